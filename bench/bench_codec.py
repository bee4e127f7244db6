"""Text, bytes and objects, one at a time, against os-ken and ovs-ofctl."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from socket import inet_aton

import pytest

from bench import oskenflows
from bench.conftest import Measure
from bench.workload import BUCKETS, TCP, services, texts
from nsxdp.openflow import Flow, FlowTable, Group, codec
from nsxdp.openflow.fake import FakeSwitch
from nsxdp.pipeline.registers import LEARNED_COOKIE, ZONE
from nsxdp.pipeline.tables import TABLES

N = 1_000
FEW = 200
LINES = 10_000

_MAKE = "a flow made of what a program knows, to bytes"
_MAKE_GROUP = "a group of ten buckets with ct and nat, made likewise"
_DECODE = "a flow_mod to an object"
_PRINT = "a flow_mod to text (os-ken: of its own syntax)"
_STATS = "a dump of flows with their statistics, decoded"
_FILE = f"a file of {LINES:,} flows to bytes; printed, too, where it is a process"


@pytest.fixture
def messages() -> list[bytes]:
    """EndpointDNAT's flows: match, learn, ct, nat."""
    stamped = services(N // 10).stamp_endpoints()
    return [stamped[row] for row in range(N)]


Endpoint = tuple[int, int, int, str, int]
"""Slot, group, timeout, address, port: as Python programs have them."""


def endpoints(n: int) -> list[Endpoint]:
    columns = services(n // BUCKETS)
    return list(
        zip(
            columns.slots.tolist(),
            columns.groups_of_endpoints.tolist(),
            columns.timeouts.tolist(),
            texts(columns.ips),
            columns.endpoint_ports.tolist(),
            strict=True,
        )
    )


def made(slot: int, group: int, timeout: int, ip: str, port: int) -> bytes:
    return TCP.endpoint.make(
        slot=slot,
        group=group,
        timeout=timeout,
        cookie=LEARNED_COOKIE,
        ip=inet_aton(ip),
        endpoint_port=port,
    )


def text(slot: int, group: int, timeout: int, ip: str, port: int) -> str:
    return (
        f"table=EndpointDNAT,priority=200,tcp,reg4={slot},reg8={group} actions=learn("
        f"table=ServiceAffinity,idle_timeout={timeout},priority=100,cookie={LEARNED_COOKIE:#x},"
        f"eth_type=0x800,nw_proto=6,reg7,ip_src,load:{slot}->reg4),ct(commit,table=ServiceSNAT,"
        f"zone={ZONE},nat(dst={ip}:{port}),exec(set_field:0x10/0x10->ct_mark))"
    )


def bench_make(measure: Measure, messages: list[bytes]) -> None:
    rows = endpoints(N)
    assert [made(*row) for row in rows] == messages

    def do() -> None:
        for row in rows:
            made(*row)

    measure(_MAKE, "Template.make", do, items=N, unit="flows")


def bench_parse(measure: Measure, messages: list[bytes]) -> None:
    rows = endpoints(N)
    assert [codec.flow_parse(text(*row), tables=TABLES) for row in rows] == messages

    def do() -> None:
        for row in rows:
            codec.flow_parse(text(*row), tables=TABLES)

    measure(_MAKE, "codec.flow_parse of a text", do, items=N, unit="flows")


def bench_parse_to_object(measure: Measure) -> None:
    rows = endpoints(N)

    def do() -> None:
        for row in rows:
            Flow.parse(text(*row), TABLES).encode()

    measure(_MAKE, "Flow.parse of a text, and encode", do, items=N, unit="flows")


def bench_make_with_os_ken(measure: Measure, messages: list[bytes]) -> None:
    rows = endpoints(FEW)
    assert codec.flow_format(oskenflows.endpoint(*rows[-1])) == codec.flow_format(messages[FEW - 1])

    def do() -> None:
        for row in rows:
            oskenflows.endpoint(*row)

    measure(_MAKE, "os-ken", do, items=FEW, unit="flows", peer=True)


Group_ = tuple[int, list[tuple[int, str, int]]]
"""A group's number, and slot, address and port of each endpoint."""


def groups(n: int) -> list[Group_]:
    of_group: dict[int, list[tuple[int, str, int]]] = {}
    for slot, group, _, ip, port in endpoints(n * BUCKETS):
        of_group.setdefault(group, []).append((slot, ip, port))
    return list(of_group.items())


def made_group(group: int, ends: list[tuple[int, str, int]]) -> bytes:
    slots, ips, ports = zip(*ends, strict=True)
    return TCP.group.make(
        group=group, slot=slots, ip=[inet_aton(ip) for ip in ips], endpoint_port=ports
    )


def group_text(group: int, ends: list[tuple[int, str, int]]) -> str:
    buckets = "".join(
        f",bucket=bucket_id:{slot},weight:100,actions=ct(commit,table=ServiceSNAT,zone={ZONE},"
        f"nat(dst={ip}:{port}),exec(set_field:0x10/0x10->ct_mark))"
        for slot, ip, port in ends
    )
    return f"group_id={group},type=select,selection_method=dp_hash{buckets}"


def bench_make_group(measure: Measure) -> None:
    rows = groups(FEW)
    stamped = services(FEW).stamp_groups()
    assert [made_group(*row) for row in rows] == [stamped[i] for i in range(FEW)]

    def do() -> None:
        for row in rows:
            made_group(*row)

    measure(_MAKE_GROUP, "Template.make", do, items=FEW, unit="groups")


def bench_parse_group_to_object(measure: Measure) -> None:
    rows = groups(FEW)
    stamped = services(FEW).stamp_groups()
    add = codec.GROUP_ADD_OR_MOD
    assert Group.parse(group_text(*rows[-1]), TABLES).encode(add) == stamped[FEW - 1]

    def do() -> None:
        for row in rows:
            Group.parse(group_text(*row), TABLES).encode()

    measure(_MAKE_GROUP, "Group.parse of a text, and encode", do, items=FEW, unit="groups")


def bench_make_group_with_os_ken(measure: Measure) -> None:
    rows = groups(FEW)

    def do() -> None:
        for row in rows:
            oskenflows.group(*row)

    measure(_MAKE_GROUP, "os-ken", do, items=FEW, unit="groups", peer=True)


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


def bench_flow_table(measure: Measure, reply: bytes) -> None:
    assert FlowTable.read([reply]).priority.tolist() == [200] * FEW
    measure(
        _STATS, "FlowTable.read", lambda: FlowTable.read([reply]).packets, items=FEW, unit="flows"
    )


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


def bench_parse_file(measure: Measure, flows_file: Path) -> None:
    nsxdp = Path(sys.executable).with_name("nsxdp")

    def do() -> None:
        subprocess.run([nsxdp, "parse-flows", flows_file], check=True, stdout=subprocess.DEVNULL)

    measure(_FILE, "nsxdp parse-flows", do, items=LINES, unit="flows", rounds=15)


def bench_parse_file_in_process(measure: Measure, flows_file: Path) -> None:
    def do() -> None:
        codec.flows_parse(flows_file.read_text())

    measure(_FILE, "codec.flows_parse in a Python that runs", do, items=LINES, unit="flows")


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
        rounds=15,
    )


@pytest.fixture
def flows_file(tmp_path: Path) -> Path:
    stamped = services(LINES).stamp_balance()
    path = tmp_path / "flows.txt"
    path.write_text("".join(codec.flow_format(stamped[row]) + "\n" for row in range(LINES)))
    return path
