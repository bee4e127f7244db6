"""A part of the tests, where several machines share them: ``NSXDP_PART=2/3`` is one of three.

Tests of one file stay together, for they share what was made for them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest


def shared(files: Mapping[Path, int], parts: int) -> list[set[Path]]:
    """The files of each part, of which all have about as many tests."""
    shares: list[set[Path]] = [set() for _ in range(parts)]
    tests = [0] * parts
    for file, count in sorted(files.items(), key=lambda item: (-item[1], item[0])):
        least = tests.index(min(tests))
        shares[least].add(file)
        tests[least] += count
    return shares


class Part:
    """Leaves out what is for the others."""

    def __init__(self, number: int, parts: int) -> None:
        self._number = number
        self._parts = parts
        self._is_empty = False

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """After -m and -k: what they leave is shared."""
        ours = shared(Counter(item.path for item in items), self._parts)[self._number - 1]
        others = [item for item in items if item.path not in ours]
        self._is_empty = len(items) > 0 and not ours
        if others:
            config.hook.pytest_deselected(items=others)
            items[:] = [item for item in items if item.path in ours]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """That all is for the others is no failure."""
        if self._is_empty and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.OK


def pytest_configure(config: pytest.Config) -> None:
    """Take our part, if there are several."""
    number, _, parts = os.environ.get("NSXDP_PART", "1/1").partition("/")
    if int(parts) > 1:
        config.pluginmanager.register(Part(int(number), int(parts)))
