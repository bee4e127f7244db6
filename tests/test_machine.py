"""What several emulated machines share, and how what they say comes out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from machine.emulator import Lines
from tests.parts import shared

FILES = "tests/test_backoff.py", "tests/test_logs.py"


def collected(part: str, *arguments: str) -> tuple[list[str], int]:
    """In which files pytest finds something for a part, and its exit status."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *arguments],
        env={**os.environ, "NSXDP_PART": part},
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
        timeout=100,
        check=False,
    )
    found = {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}
    return sorted(found), done.returncode


def test_parts_are_about_as_large_and_miss_nothing() -> None:
    sizes = {Path("a"): 90, Path("b"): 40, Path("c"): 30, Path("d"): 30, Path("e"): 20}
    first, second = shared(sizes, 2)
    assert first | second == set(sizes)
    assert [sum(sizes[file] for file in part) for part in (first, second)] == [110, 100]


def test_each_machine_has_its_own_files() -> None:
    parts = [collected(part, *FILES) for part in ("1/2", "2/2")]
    assert sorted(parts) == [([file], 0) for file in FILES]


def test_a_machine_without_tests_is_no_failure() -> None:
    assert [collected(part, FILES[0]) for part in ("1/2", "2/2")] == [([FILES[0]], 0), ([], 0)]


def test_no_tests_at_all_are_one() -> None:
    assert [collected(part, FILES[0], "-knone") for part in ("1/2", "2/2")] == [([], 5), ([], 5)]


def test_lines_come_with_the_machine_s_number() -> None:
    lines = Lines(b"2: ")
    said = [lines.take(data) for data in (b"a test ", b"PASSED\nanother\n", b"the end", b"")]
    assert said == [b"", b"2: a test PASSED\n2: another\n", b"", b"2: the end\n"]


def test_one_machine_is_heard_as_it_speaks() -> None:
    lines = Lines(b"")
    assert [lines.take(data) for data in (b"a test ", b"PASSED\n", b"")] == [
        b"a test ",
        b"PASSED\n",
        b"",
    ]
