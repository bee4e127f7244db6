"""A short run of each fuzz target: its seeds, what it once failed on, and the same few changes.

``make fuzz`` runs them for longer, and with other changes each time.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz import found, seeds
from fuzz.__main__ import main, run
from fuzz.build import ROOT, TARGETS, build

RUNS = 5000
SECONDS = 60


@pytest.fixture(scope="module")
def programs() -> dict[str, Path]:
    return build(TARGETS)


@pytest.mark.timeout(900)  # the first one waits for the compiler
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found(target: str, programs: dict[str, Path], tmp_path: Path) -> None:
    result = run(programs[target], SECONDS, tmp_path, runs=RUNS)
    assert not result.failure, result.failure
    assert result.executions > len(seeds.seeds(target))
    assert result.features > 50


def test_every_target_has_seeds() -> None:
    assert sorted(seeds.SEEDS) == TARGETS
    assert set(found.FOUND) <= set(TARGETS)
    assert all(len(seeds.seeds(target)) >= 20 for target in TARGETS)


def test_seeds_have_every_kind_of_message() -> None:
    table = (ROOT / "csrc" / "messages.def").read_text()
    kinds = sum(line.startswith("NSX_") for line in table.splitlines())
    assert len(list(seeds.kinds())) == 3 * kinds
    assert kinds > 80


def test_no_such_target(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["no_such_target"])
    assert "no target no_such_target: there are actions, " in capsys.readouterr().err
