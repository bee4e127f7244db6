"""How the benchmarks measure: `measure` and `record`; what they say while they run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from rich.console import Console

from bench import machine, report
from bench.results import Result, Run, rows

_RUN = pytest.StashKey[Run]()
_COUNT = pytest.StashKey[tuple[int, int]]()


class Record(Protocol):
    """Notes a result of the present benchmark."""

    def __call__(
        self,
        group: str,
        who: str,
        seconds: Sequence[float],
        *,
        items: int = 1,
        unit: str = "",
        peer: bool = False,
        facts: dict[str, str] | None = None,
    ) -> None: ...


class Measure(Protocol):
    """Does something again and again for about a second, and notes how long it took."""

    def __call__(
        self,
        group: str,
        who: str,
        do: Callable[[], object],
        *,
        items: int = 1,
        unit: str = "",
        peer: bool = False,
        facts: dict[str, str] | None = None,
        rounds: int = 0,
        setup: Callable[[], object] | None = None,
    ) -> None: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--services",
        type=lambda text: [int(number) for number in text.split(",")],
        default=[],
        help="proxies, or our own alone (scale), with so many Services, with commas between",
    )
    parser.addoption("--results", type=Path, help="where the results are written, as JSON")
    parser.addoption("--docs", type=Path, help="the folder in which to write benchmarks.md")


def pytest_configure(config: pytest.Config) -> None:
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    config.stash[_RUN] = Run(date, machine.describe(), [])


def pytest_runtest_logstart(nodeid: str) -> None:
    path, _, name = nodeid.partition("::")
    topic = Path(path).stem.removeprefix("bench_")
    words = name.partition("[")[0].removeprefix("bench_").replace("_", " ")
    _console.print(f"[dim]{datetime.now():%H:%M:%S}[/] [bold]{topic}[/]: {words}")


def pytest_terminal_summary(exitstatus: int, config: pytest.Config) -> None:
    run = config.stash[_RUN]
    run.machine["Load at the end"] = f"{os.getloadavg()[0]:.2f}"
    report.to_terminal(run, _console)
    _console.print(f"[dim]load now: {run.machine['Load at the end']}")
    if path := config.getoption("--results"):
        run.save(path)
        _console.print(f"[dim]{path}")
    folder = config.getoption("--docs")
    if folder and exitstatus == pytest.ExitCode.OK:
        report.to_docs(run, folder)
        _console.print(f"[dim]{folder / 'benchmarks.md'}")


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """Notes a result that the benchmark has measured by itself.

    The file of the results has it at once: what is ended early leaves what it has found.
    """
    path = request.config.getoption("--results")
    run = request.config.stash[_RUN]
    topic = request.path.stem.removeprefix("bench_")

    def note(
        group: str,
        who: str,
        seconds: Sequence[float],
        *,
        items: int = 1,
        unit: str = "",
        peer: bool = False,
        facts: dict[str, str] | None = None,
    ) -> None:
        result = Result(topic, group, who, list(seconds), items, unit, peer, facts or {})
        run.results.append(result)
        if path:
            run.save(path)
        row = rows([result])[0]
        said = "  ".join(f"{value} {name}" for name, value in row.columns.items() if value != "1")
        _console.print(f"         {who}: [cyan]{said}")

    return note


@pytest.fixture
def measure(benchmark: BenchmarkFixture, record: Record) -> Measure:
    """Measures with pytest-benchmark, which chooses how often; or so many rounds."""

    def run(
        group: str,
        who: str,
        do: Callable[[], object],
        *,
        items: int = 1,
        unit: str = "",
        peer: bool = False,
        facts: dict[str, str] | None = None,
        rounds: int = 0,
        setup: Callable[[], object] | None = None,
    ) -> None:
        benchmark.group = group
        if rounds:
            pedantic: Callable[..., object] = benchmark.pedantic
            pedantic(do, setup=(lambda: setup() and None) if setup else None, rounds=rounds)
        else:
            benchmark(do)
        if benchmark.stats is None:  # --benchmark-disable: only to see that it works
            return
        seconds = benchmark.stats.stats.data
        record(group, who, seconds, items=items, unit=unit, peer=peer, facts=facts)

    return run


_console = Console(highlight=False, soft_wrap=True)
