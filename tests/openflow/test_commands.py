"""Each message that ovs-ofctl's commands send to a switch is one that the library's classes make.

The man page's commands that talk to a switch are all here: those that the tests of flows, groups
and meters compare text by text have one line.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from overhearing import overhear

from nsxdp.lab import OVS
from nsxdp.openflow import Flow, Meter, codec
from nsxdp.openflow.messages import (
    LOCAL,
    AggregateStatsRequest,
    AnyVersion,
    BarrierRequest,
    BundleAdd,
    BundleControl,
    BundleKind,
    ConfigFlags,
    CtFlush,
    CtFlushZone,
    CtTuple,
    DescRequest,
    EchoRequest,
    EvictionFlags,
    Experimenter,
    FeaturesRequest,
    FlowCommand,
    FlowDescRequest,
    FlowMod,
    FlowMonitorFlags,
    FlowMonitorRequest,
    GetConfigRequest,
    GroupCommand,
    GroupDescRequest,
    GroupFeaturesRequest,
    GroupMod,
    GroupStatsRequest,
    GroupType,
    IpfixBridgeRequest,
    IpfixFlowRequest,
    Message,
    MeterCommand,
    MeterDescRequest,
    MeterFeaturesRequest,
    MeterMod,
    MeterStatsRequest,
    Other,
    OtherRequest,
    PacketInFormat,
    PacketOut,
    PortConfig,
    PortDescRequest,
    PortMod,
    PortStatsRequest,
    QueueDescRequest,
    QueueStatsRequest,
    SetConfig,
    SetPacketInFormat,
    TableConfig,
    TableDescRequest,
    TableFeaturesRequest,
    TableMod,
    TableStatsRequest,
    TlvCommand,
    TlvMap,
    TlvTableMod,
    TlvTableRequest,
    Vacancy,
    decode,
)

LOOKUPS = [PortDescRequest(), TableFeaturesRequest(), TableDescRequest(), BarrierRequest()]
"""What ovs-ofctl asks for the names of ports and tables, and to learn of errors."""

HW_ADDR = "02:00:00:00:00:05"
PACKET = bytes(range(14))
FLOW = "table=1,tcp,tp_dst=80 actions=LOCAL"
GROUP = "group_id=1,type=all,bucket=bucket_id:3,actions=output:LOCAL"
INSERTED = "group_id=1,command_bucket_id=last,bucket=bucket_id:7,actions=drop"
METER = "meter=1,kbps,burst,stats,bands=type=drop,rate=100,burst_size=50"
OPTION = TlvMap(0xFFFF, 0, 4, 0)


def group(text: str, command: GroupCommand) -> bytes:
    return codec.group_parse(text, command)


ANY_EVICTION = EvictionFlags.OTHER | EvictionFlags.IMPORTANCE | EvictionFlags.LIFETIME
FORWARD = PortConfig.NO_FWD

COMMANDS: list[tuple[str, list[Message | AnyVersion | bytes]]] = [
    ("show", [FeaturesRequest(), PortDescRequest(), GetConfigRequest()]),
    ("dump-desc", [DescRequest()]),
    ("dump-tables", [TableStatsRequest()]),
    ("dump-table-features", [TableFeaturesRequest()]),
    ("dump-table-desc", [TableDescRequest()]),
    ("mod-table 1 evict", [TableMod(1, TableConfig.EVICTION)]),
    ("mod-table 1 noevict", [TableMod(1, TableConfig(0))]),
    (
        "mod-table 1 vacancy:10,80",
        [TableMod(1, TableConfig.VACANCY_EVENTS, ANY_EVICTION, Vacancy(10, 80))],
    ),
    ("dump-ports", [PortStatsRequest()]),
    ("dump-ports LOCAL", [PortStatsRequest(LOCAL)]),
    ("dump-ports-desc", [PortDescRequest()]),
    ("dump-ports-desc LOCAL", [PortDescRequest(LOCAL)]),
    ("mod-port br0 no-forward", [PortMod(LOCAL, HW_ADDR, FORWARD, FORWARD)]),
    ("mod-port br0 forward", [PortMod(LOCAL, HW_ADDR, mask=FORWARD)]),
    ("queue-stats", [QueueStatsRequest()]),
    ("queue-stats 1 5", [QueueStatsRequest(1, 5)]),
    ("queue-get-config LOCAL", [QueueDescRequest(LOCAL)]),
    ("queue-get-config LOCAL 5", [QueueDescRequest(LOCAL, 5)]),
    ("get-frags", [GetConfigRequest()]),
    (
        "set-frags drop",
        [GetConfigRequest(), SetConfig(ConfigFlags.FRAG_DROP, 0), GetConfigRequest()],
    ),
    (
        "set-frags nx-match",
        [GetConfigRequest(), SetConfig(ConfigFlags.FRAG_NX_MATCH, 0), GetConfigRequest()],
    ),
    ("probe", [EchoRequest()]),
    ("dump-flows", [FlowDescRequest()]),
    (
        "dump-flows table=1,tcp,cookie=5/-1,out_port=LOCAL",
        [FlowDescRequest.parse("table=1,tcp,cookie=5/-1,out_port=LOCAL")],
    ),
    ("dump-aggregate table=3", [AggregateStatsRequest(3)]),
    (f"add-flow {FLOW}", [codec.flow_parse(FLOW)]),
    ("add-flows FLOWS", [codec.flow_parse(FLOW)]),
    (f"mod-flows {FLOW}", [codec.flow_parse(FLOW, FlowCommand.MODIFY)]),
    (f"--strict mod-flows {FLOW}", [codec.flow_parse(FLOW, FlowCommand.MODIFY_STRICT)]),
    (
        "replace-flows FLOWS",
        [
            FlowDescRequest(),
            FlowMod(command=FlowCommand.DELETE_STRICT),
            codec.flow_parse(FLOW),
        ],
    ),
    ("diff-flows FLOWS", [FlowDescRequest()]),
    ("del-flows table=1,udp", [codec.flow_parse("table=1,udp", FlowCommand.DELETE)]),
    (
        "del-flows",
        [FlowMod(table_id=0xFF, command=FlowCommand.DELETE, priority=0x8000)],
    ),
    (f"add-group {GROUP}", [group(GROUP, GroupCommand.ADD)]),
    (f"--may-create mod-group {GROUP}", [group(GROUP, GroupCommand.ADD_OR_MOD)]),
    (f"insert-buckets {INSERTED}", [group(INSERTED, GroupCommand.INSERT_BUCKET)]),
    (
        "remove-buckets group_id=1,command_bucket_id=7",
        [GroupMod(GroupCommand.REMOVE_BUCKET, GroupType.ALL, 1, 7)],
    ),
    ("mod-group group_id=1,type=all", [GroupMod(GroupCommand.MODIFY, GroupType.ALL, 1)]),
    ("dump-groups", [GroupDescRequest()]),
    ("dump-groups 1", [GroupDescRequest(1)]),
    ("dump-group-stats", [GroupStatsRequest()]),
    ("dump-group-stats group_id=1", [GroupStatsRequest(1)]),
    ("dump-group-features", [GroupFeaturesRequest()]),
    ("del-groups group_id=1", [GroupMod(GroupCommand.DELETE, GroupType.ALL, 1)]),
    ("del-groups", [GroupMod(GroupCommand.DELETE, GroupType.ALL, 0xFFFFFFFC)]),
    (f"add-meter {METER}", [Meter.parse(METER).mod(MeterCommand.ADD)]),
    (f"mod-meter {METER}", [Meter.parse(METER).mod(MeterCommand.MODIFY)]),
    ("dump-meters", [MeterDescRequest()]),
    ("dump-meter meter=1", [MeterDescRequest(1)]),
    ("meter-stats", [MeterStatsRequest()]),
    ("meter-stats meter=1", [MeterStatsRequest(1)]),
    ("meter-features", [MeterFeaturesRequest()]),
    ("del-meters meter=1", [MeterMod(MeterCommand.DELETE, 0, 1)]),
    ("del-meters", [MeterMod(MeterCommand.DELETE, 0, 0xFFFFFFFF)]),
    (
        f"packet-out in_port=LOCAL,packet={PACKET.hex()},actions=drop",
        [PacketOut.parse(PACKET, "drop", LOCAL)],
    ),
    (
        "add-tlv-map {class=0xffff,type=0,len=4}->tun_metadata0",
        [TlvTableMod(TlvCommand.ADD, (OPTION,))],
    ),
    ("dump-tlv-map", [TlvTableRequest()]),
    (
        "del-tlv-map {class=0xffff,type=0,len=4}->tun_metadata0",
        [TlvTableMod(TlvCommand.DELETE, (OPTION,))],
    ),
    ("del-tlv-map", [TlvTableMod(TlvCommand.CLEAR)]),
    ("ct-flush-zone 5", [CtFlushZone(5)]),
    ("ct-flush", [CtFlush()]),
    ("ct-flush zone=5", [CtFlush(zone_id=5)]),
    (
        "ct-flush zone=5 ct_nw_proto=6,ct_nw_src=10.0.0.1,ct_tp_dst=80",
        [CtFlush(6, CtTuple(src=ip_address("10.0.0.1"), dst_port=80), zone_id=5)],
    ),
    ("--timeout=1 monitor", [SetPacketInFormat(PacketInFormat.NXT_PACKET_IN2)]),
    (
        "--timeout=1 --packet-in-format=standard monitor 32",
        [
            GetConfigRequest(),
            SetConfig(miss_send_len=32),
            SetPacketInFormat(PacketInFormat.STANDARD),
        ],
    ),
    (
        "--timeout=1 monitor watch:table=1,tcp,!initial",
        [
            FlowMonitorRequest.parse(
                0,
                "table=1,tcp",
                (FlowMonitorFlags.EVERYTHING & ~FlowMonitorFlags.INITIAL)
                | FlowMonitorFlags.ONLY_OWN,
            ),
            SetPacketInFormat(PacketInFormat.NXT_PACKET_IN2),
        ],
    ),
    ("dump-ipfix-bridge", [IpfixBridgeRequest()]),
    ("dump-ipfix-flow", [IpfixFlowRequest()]),
    (
        "bundle BUNDLE",
        [
            BundleControl(0, BundleKind.OPEN_REQUEST),
            BundleAdd(
                0, BundleControl(0, BundleKind.OPEN_REQUEST).flags, Flow.parse(FLOW).encode()
            ),
            BundleControl(0, BundleKind.COMMIT_REQUEST),
        ],
    ),
]


@pytest.fixture
def bridge(ovs: OVS) -> Iterator[Path]:
    address = ovs.add_bridge("br0", hwaddr=HW_ADDR)
    yield Path(address.removeprefix("unix:"))
    ovs.reset()


def words(command: str, directory: Path) -> list[str]:
    """A command's words, the switch being left out; its files are written."""
    (directory / "flows").write_text(f"{FLOW}\n")
    (directory / "bundle").write_text(f"flow add {FLOW}\n")
    files = {"FLOWS": str(directory / "flows"), "BUNDLE": str(directory / "bundle")}

    first, *more = command.split(" ")
    if first in {"--strict", "--may-create"}:
        return [first, more[0], " ".join(more[1:])]
    if first in {"add-flow", "mod-flows"}:
        return [first, " ".join(more)]
    return [first, *(files.get(word, word) for word in more)]


def _plain(data: bytes) -> bytes:
    """A bundled message's xid is the bundle's, which is taken to be 0."""
    return data[:20] + bytes(4) + data[24:] if data[1] == BundleAdd.type else data


@pytest.mark.parametrize(("command", "expected"), COMMANDS, ids=[x[0] for x in COMMANDS])
async def test_command(
    bridge: Path,
    tmp_path: Path,
    command: str,
    expected: list[Message | AnyVersion | bytes],
) -> None:
    heard = await overhear(bridge, tmp_path / "between", *words(command, tmp_path))
    assert heard
    for data in heard:
        message = decode(data)
        assert not isinstance(message, Other | OtherRequest | Experimenter)
        assert message.encode() == data
    heard = [_plain(data) for data in heard]
    wanted = [message if isinstance(message, bytes) else message.encode() for message in expected]
    lookups = [message.encode() for message in LOOKUPS]
    assert [data for data in heard if data not in lookups or data in wanted] == wanted
