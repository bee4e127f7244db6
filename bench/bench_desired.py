"""The desired set of ten thousand owners: what a change, a rebuild and a comparison cost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.conftest import Measure, Record
from bench.results import size
from bench.workload import Services, services
from nsxdp.openflow import Delta, DesiredSet, Diff
from nsxdp.openflow.fake import FakeSwitch
from nsxdp.pipeline.registers import COOKIE_PREFIX, GROUP_FIRST, GROUP_LAST

N = 10_000

_ALL = f"{N:,} owners at once"
_ONE = "one owner of them"
_DIFF = f"comparison with a switch that has {N:,} groups and {N:,} flows"


def empty() -> DesiredSet:
    return DesiredSet(COOKIE_PREFIX, GROUP_FIRST, GROUP_LAST)


@pytest.fixture
def columns() -> Services:
    return services(N)


def bench_first(measure: Measure, columns: Services) -> None:
    messages, ends = columns.messages()
    made: list[DesiredSet] = []

    def do() -> None:
        made[-1].replace(columns.groups, messages, ends)

    def setup() -> None:
        made[:] = [empty()]

    measure(_ALL, "into an empty set", do, items=N, unit="owners", rounds=20, setup=setup)
    assert made[-1].size.groups == N


def bench_same_again(measure: Measure, columns: Services) -> None:
    messages, ends = columns.messages()
    desired = empty()
    desired.replace(columns.groups, messages, ends)
    assert not desired.replace(columns.groups, messages, ends)
    measure(
        _ALL,
        "the same again",
        lambda: desired.replace(columns.groups, messages, ends),
        items=N,
        unit="owners",
    )


def bench_one_changed(measure: Measure, columns: Services) -> None:
    messages, ends = columns.messages()
    desired = empty()
    desired.replace(columns.groups, messages, ends)
    start, end = int(ends[41]), int(ends[42])
    one = messages[start:end]
    other = bytearray(one)
    other[other.rindex(b"\x1f\x90") + 1] ^= 1  # another port of the last endpoint
    versions = [bytes(other), one]
    owner = columns.groups[42:43]
    lengths = np.array([end - start], np.uint64)
    assert desired.replace(owner, versions[0], lengths).messages == 1
    turn = 1

    def do() -> None:
        nonlocal turn
        desired.replace(owner, versions[turn], lengths)
        turn ^= 1

    measure(_ONE, "a bucket changed: one message", do)


def bench_comparison(measure: Measure, columns: Services) -> None:
    messages, ends = columns.messages()
    desired = empty()
    switch = FakeSwitch()
    switch.apply(desired.replace(columns.groups, messages, ends))
    replies = switch.replies()

    def do() -> tuple[Delta, Diff]:
        desired.begin(verify=True)
        for reply in replies:
            desired.installed(reply)
        return desired.diff()

    assert do()[1].is_empty
    measure(_DIFF, "nothing differs", do, items=2 * N, unit="flows and groups")


_GROW = """
from bench.bench_desired import N, empty
from bench.processes import resident
from bench.workload import services
columns = services(N)
messages, ends = columns.messages()
empty().replace(columns.groups[:1], messages[:int(ends[0])], ends[:1])
desired = empty()
before = resident()
desired.replace(columns.groups, messages, ends)
print(len(messages), resident() - before)
"""


def bench_memory(record: Record) -> None:
    said = subprocess.run(
        [sys.executable, "-c", _GROW],
        cwd=Path(__file__).parents[1],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    wire, grown = map(int, said.split())
    record(
        "memory",
        f"{N:,} groups of ten buckets and {N:,} flows",
        (),
        facts={"bytes on the wire": size(wire), "resident, grown by": size(grown)},
    )
