"""Text, bytes and objects, one at a time, against os-ken and ovs-ofctl."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench import oskenflows
from bench.conftest import Measure
from bench.workload import services, texts
from nsxdp.openflow import Flow, codec
from nsxdp.openflow.fake import FakeSwitch

N = 1_000
FEW = 200
LINES = 10_000

_MAKE = "a flow made of what a program knows, to bytes"
_DECODE = "a flow_mod to an object"
_PRINT = "a flow_mod to text (os-ken: of its own syntax)"
_STATS = "a dump of flows, decoded"
_FILE = f"a file of {LINES:,} flows to bytes (ovs-ofctl prints them, too)"


@pytest.fixture
def messages() -> list[bytes]:
    """EndpointDNAT's flows: match, learn, ct, nat."""
    stamped = services(N // 10).stamp_endpoints()
    return [stamped[row] for row in range(N)]


@pytest.fixture
def lines(messages: list[bytes]) -> list[str]:
    return [codec.flow_format(message) for message in messages]


def bench_parse(measure: Measure, lines: list[str]) -> None:
    def do() -> None:
        for line in lines:
            codec.flow_parse(line)

    measure(_MAKE, "codec.flow_parse, from text", do, items=N, unit="flows")


def bench_parse_to_object(measure: Measure, lines: list[str]) -> None:
    def do() -> None:
        for line in lines:
            Flow.parse(line).encode()

    measure(_MAKE, "Flow.parse and encode, from text", do, items=N, unit="flows")


def bench_encode_with_os_ken(measure: Measure) -> None:
    columns = services(FEW // 10)
    rows = list(
        zip(
            columns.slots.tolist(),
            columns.groups_of_endpoints.tolist(),
            columns.timeouts.tolist(),
            texts(columns.ips),
            columns.endpoint_ports.tolist(),
            strict=True,
        )
    )

    def do() -> None:
        for row in rows:
            oskenflows.endpoint(*row)

    measure(_MAKE, "os-ken", do, items=FEW, unit="flows", peer=True)


def bench_decode(measure: Measure, messages: list[bytes]) -> None:
    def do() -> None:
        for message in messages:
            Flow.decode(message)

    measure(_DECODE, "Flow.decode", do, items=N, unit="flows")


def bench_decode_with_os_ken(measure: Measure, messages: list[bytes]) -> None:
    few = messages[:FEW]

    def do() -> None:
        for message in few:
            oskenflows.decode(message)

    measure(_DECODE, "os-ken", do, items=FEW, unit="flows", peer=True)


def bench_format(measure: Measure, messages: list[bytes]) -> None:
    def do() -> None:
        for message in messages:
            codec.flow_format(message)

    measure(_PRINT, "codec.flow_format", do, items=N, unit="flows")


def bench_format_with_os_ken(measure: Measure, messages: list[bytes]) -> None:
    few = messages[:FEW]

    def do() -> None:
        for message in few:
            str(oskenflows.decode(message))

    measure(_PRINT, "os-ken", do, items=FEW, unit="flows", peer=True)


@pytest.fixture
def reply(messages: list[bytes]) -> bytes:
    """A switch's OFPMP_FLOW_DESC reply with some of the flows."""
    switch = FakeSwitch()
    switch.apply(b"".join(messages[:FEW]))
    return switch.replies()[0]


def bench_flow_stats(measure: Measure, reply: bytes) -> None:
    assert len(codec.flow_descs(reply)) == FEW
    measure(_STATS, "Flow.decode_reply", lambda: Flow.decode_reply(reply), items=FEW, unit="flows")


def bench_flow_stats_with_os_ken(measure: Measure, reply: bytes) -> None:
    assert len(oskenflows.decode_reply(reply)) == FEW
    measure(
        _STATS,
        "os-ken",
        lambda: oskenflows.decode_reply(reply),
        items=FEW,
        unit="flows",
        peer=True,
    )


_PARSE_FILE = """
import sys
from nsxdp.openflow.codec import flow_parse
sys.stdout.buffer.write(b"".join(flow_parse(line) for line in open(sys.argv[1])))
"""


def bench_parse_file(measure: Measure, flows_file: Path) -> None:
    def do() -> None:
        subprocess.run(
            [sys.executable, "-c", _PARSE_FILE, flows_file], check=True, stdout=subprocess.DEVNULL
        )

    measure(_FILE, "nsxdp in a new Python", do, items=LINES, unit="flows", rounds=7)


def bench_parse_file_in_process(measure: Measure, flows_file: Path) -> None:
    def do() -> None:
        with flows_file.open() as file:
            b"".join(codec.flow_parse(line) for line in file)

    measure(_FILE, "nsxdp in a Python that runs", do, items=LINES, unit="flows")


def bench_parse_file_with_ovs_ofctl(measure: Measure, flows_file: Path) -> None:
    def do() -> None:
        subprocess.run(
            ["ovs-ofctl", "--protocols=OpenFlow15", "parse-flows", flows_file],
            check=True,
            stdout=subprocess.DEVNULL,
        )

    measure(
        _FILE,
        "ovs-ofctl parse-flows",
        do,
        items=LINES,
        unit="flows",
        peer=True,
        rounds=7,
    )


@pytest.fixture
def flows_file(tmp_path: Path) -> Path:
    stamped = services(LINES).stamp_balance()
    path = tmp_path / "flows.txt"
    path.write_text("".join(codec.flow_format(stamped[row]) + "\n" for row in range(LINES)))
    return path
