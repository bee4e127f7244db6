"""What was measured, and what follows from it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct, field

_MANY = 101


class Result(Struct, frozen=True):
    """One thing that was measured.

    Attributes
    ----------
    topic, group
        The part of the benchmarks, and what is compared: results of one group are side by side.
    who
        What did it.
    seconds
        Of each time that it was done; none where only facts were looked at.
    items, unit
        How many of what are in one of these times; a unit of "" for things that take a time, and
        have no rate.
    peer
        Whether the others of the group are compared with this one.
    facts
        What else was seen, as text by heading.
    """

    topic: str
    group: str
    who: str
    seconds: list[float]
    items: int = 1
    unit: str = ""
    peer: bool = False
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def is_distribution(self) -> bool:
        """Whether the times differ so much by themselves that their percentiles matter."""
        return len(self.seconds) >= 100 and not self.unit

    @property
    def each(self) -> float:
        """Seconds for one item."""
        return self.median / self.items

    def percentile(self, percent: float) -> float:
        """The time that so many of all took at most."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    def digest(self) -> Result:
        """See `Run.digest`; times to five digits."""
        seconds = self.seconds
        if len(seconds) > _MANY:
            seconds = [self.percentile(percent) for percent in range(101)]
        return msgspec.structs.replace(self, seconds=[float(f"{time:.5g}") for time in seconds])


class Run(Struct, frozen=True):
    """All of one run."""

    date: str
    machine: dict[str, str]
    results: list[Result]

    def groups(self) -> dict[tuple[str, str], list[Result]]:
        """The results by topic and group, in the order in which they were measured."""
        grouped: dict[tuple[str, str], list[Result]] = {}
        for result in self.results:
            grouped.setdefault((result.topic, result.group), []).append(result)
        return grouped

    @classmethod
    def merged(cls, runs: Sequence[Run], topics: Iterable[str]) -> Run:
        """What the last run has, and what only earlier ones have; in the order of the topics.

        Where the runs' machines differ, all are named.
        """
        groups: dict[tuple[str, str], list[Result]] = {}
        for run in runs:
            groups |= run.groups()
        places = {topic: place for place, topic in enumerate(topics)}
        ordered = sorted(groups.items(), key=lambda item: places[item[0][0]])
        results = [result for _, group in ordered for result in group]
        machine: dict[str, str] = {}
        for name in dict.fromkeys(name for run in runs for name in run.machine):
            values = dict.fromkeys(run.machine[name] for run in runs if name in run.machine)
            machine[name] = "; ".join(values)
        date = ", ".join(dict.fromkeys(run.date for run in runs))
        return cls(date, machine, results)

    def digest(self) -> Run:
        """The same with few times: of more than a hundred, the percentiles from 0 to 100."""
        return msgspec.structs.replace(self, results=[result.digest() for result in self.results])

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")

    @classmethod
    def load(cls, path: Path) -> Run:
        """Read it again."""
        return msgspec.json.decode(path.read_bytes(), type=cls)


class Row(Struct, frozen=True):
    """A line of a table: who, and the columns by their headings."""

    who: str
    is_peer: bool
    columns: dict[str, str]


def rows(results: Iterable[Result]) -> list[Row]:
    """The table of a group."""
    results = list(results)
    peer = next((result for result in results if result.peer), None)
    changes = any(result.is_distribution for result in results)
    made = []
    for result in results:
        columns: dict[str, str] = {}
        if not result.seconds:  # only facts
            pass
        elif result.unit:
            columns[f"{result.unit}/s"] = number(1 / result.each)
            if result.items == 1 or result.median >= 1e-3:
                columns["time"] = duration(result.median)
        elif changes:
            columns["p50"] = duration(result.percentile(50))
            columns["p99"] = duration(result.percentile(99))
            columns["most"] = duration(max(result.seconds))
        else:
            columns["time"] = duration(result.median)
            columns["least"] = duration(min(result.seconds))
        if peer is not None and result.seconds:
            columns[f"x {peer.who}"] = "1" if result is peer else number(peer.each / result.each)
        columns |= result.facts
        made.append(Row(result.who, result.peer, columns))
    return made


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value >= 100:
        digits = len(str(int(value)))
        return f"{round(value, 3 - digits):,.0f}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def size(n: float) -> str:
    """Bytes in MB (10^6)."""
    return f"{n / 1e6:.3g} MB"
