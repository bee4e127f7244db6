"""Counts the lines of the core that tests run: ``python -m instrument.coverage [TEST ...]``.

Builds libraries and bindings whose lines are counted in build/coverage, runs the tests with them,
and prints for each file of csrc/ which lines no test ran. Fails if that are too many.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from instrument.core import COVERAGE, ROOT

BUILD = ROOT / "build" / "coverage"
TESTS = ["tests/core", "tests/openflow", "tests/ovsdb"]
ENOUGH = 95.0
"""Percent of all lines."""

Lines = dict[int, int]
"""How often each line of a file ran."""


def build_bindings(environment: dict[str, str]) -> Path:
    """The package, its bindings linked with a core that counts."""
    base = BUILD / "bindings"
    command = [sys.executable, "setup.py", "-q", "build", "--build-base", str(base)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    python = sys.implementation.cache_tag
    return base / f"lib.{sysconfig.get_platform()}-{python}"


def run_tests(tests: list[str], package: Path, environment: dict[str, str]) -> int:
    for old in BUILD.rglob("*.gcda"):
        old.unlink()
    command = [sys.executable, "-m", "pytest", "-q", "-o", f"pythonpath={package} .", *tests]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def lines_of(note: Path) -> dict[str, Lines]:
    """What gcov says of an object whose 'note' gcc wrote, about the files of csrc/."""
    command = ["gcov", "--json-format", "--stdout", str(note)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, Lines] = {}
    for document in done.stdout.splitlines():
        for file in json.loads(document)["files"]:
            path = ROOT / file["file"]
            if path.is_relative_to(ROOT / "csrc"):
                lines = found.setdefault(path.name, {})
                for entry in file["lines"]:
                    number = entry["line_number"]
                    lines[number] = lines.get(number, 0) + entry["count"]
    return found


def counted(directory: Path) -> dict[str, Lines]:
    """How often the lines of each file ran, in all libraries below 'directory' together."""
    objects: dict[str, list[dict[str, Lines]]] = {}
    for note in directory.rglob("*.gcno"):
        objects.setdefault(note.stem, []).append(lines_of(note))
    counts: dict[str, Lines] = {}
    for several in objects.values():
        for file in several[0]:
            builds = [build[file] for build in several]
            # Sanitizers bring lines of their own.
            common = set.intersection(*map(set, builds))
            lines = counts.setdefault(file, {})
            for number in common:
                lines[number] = lines.get(number, 0) + sum(build[number] for build in builds)
    return counts


def ranges(numbers: Iterable[int], lines: Iterable[int]) -> Iterator[str]:
    """The ascending 'numbers' as "3-7" where no other one of 'lines' is in between."""
    position = {line: i for i, line in enumerate(sorted(lines))}
    first = last = None
    for number in numbers:
        if last is not None and position[number] != position[last] + 1:
            yield f"{first}-{last}" if first != last else f"{first}"
            first = None
        first, last = first or number, number
    if last is not None:
        yield f"{first}-{last}" if first != last else f"{first}"


def report(counts: dict[str, Lines]) -> float:
    """Print the table; return the percentage of all lines that ran."""
    print(f"{'file':24} {'lines':>6} {'missed':>6} {'%':>6}  lines that no test runs")
    n_lines = n_missed = 0
    for file, lines in sorted(counts.items()):
        missed = sorted(line for line, count in lines.items() if not count)
        n_lines += len(lines)
        n_missed += len(missed)
        percent = 100 * (1 - len(missed) / len(lines))
        text = ", ".join(ranges(missed, lines))
        print(f"{file:24} {len(lines):6} {len(missed):6} {percent:6.1f}  {text}".rstrip())
    percent = 100 * (1 - n_missed / n_lines)
    print(f"{'all':24} {n_lines:6} {n_missed:6} {percent:6.1f}")
    return percent


def main(tests: list[str]) -> int:
    environment = {**os.environ, COVERAGE: str(BUILD)}
    package = build_bindings(environment)
    environment["PYTHONPATH"] = str(package)
    failed = run_tests(tests or TESTS, package, environment)
    percent = report(counted(BUILD))
    if percent < ENOUGH:
        print(f"tests run {percent:.1f} % of the core's lines, of which {ENOUGH} % are required")
    return failed or int(percent < ENOUGH)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
