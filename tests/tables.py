"""Truth tables: JSON files whose lists of cases become parameters of tests.

``@pytest.mark.table("topology.json", "cases")`` runs a test once for each case of that list, with
the case as its argument 'case'; lists of cases that refer to the rest of the file get all of it as
'table'. Keywords select cases: ``function=("A", "B")`` those whose "function" is one of these, and
``op=("new",)`` those whose operations begin with that one.

The files are those of tests/data/kube-proxy and, with the same names and format, those of the
directories that the environment variable NSXDP_CORPORA lists, separated by colons.
"""

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

_OWN = Path(__file__).parent / "data" / "kube-proxy"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "table(file, *lists): run once for each case of the lists")


def _directories() -> list[Path]:
    others = [Path(text) for text in os.environ.get("NSXDP_CORPORA", "").split(":") if text]
    for other in others:
        if not any(other.glob("*.json")):
            raise pytest.UsageError(f"NSXDP_CORPORA: no .json file in {other}")
    return [_OWN, *others]


@lru_cache
def _load(path: Path) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(path.read_bytes())
    return table


def _kind(case: dict[str, Any], key: str) -> object:
    return case["ops"][0]["op"] if key == "op" else case[key]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    mark = metafunc.definition.get_closest_marker("table")
    if mark is None:
        return
    file, *lists = mark.args
    needs_table = "table" in metafunc.fixturenames
    parameters = []
    for directory in _directories():
        path = directory / file
        if directory != _OWN and not path.exists():
            continue
        table = _load(path)
        prefix = "" if directory == _OWN else f"{directory.name}/"
        for name in lists:
            # Others' files may lack a list; ours has all of them.
            cases = table[name] if directory == _OWN else table.get(name, ())
            for number, case in enumerate(cases):
                if all(_kind(case, key) in values for key, values in mark.kwargs.items()):
                    values = (case, table) if needs_table else (case,)
                    test_id = f"{prefix}{name}/{number}-{case['test']}"
                    parameters.append(pytest.param(*values, id=test_id))
    metafunc.parametrize(("case", "table") if needs_table else ("case",), parameters)
