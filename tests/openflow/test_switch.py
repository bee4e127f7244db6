"""`Switch` with a real ovs-vswitchd; ovs-ofctl says what is there."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress

import numpy as np
import pytest

from nsxdp.lab import OVS
from nsxdp.openflow import CommitError, DecodeError, Flow, FlowTable, ParseError, Tables
from nsxdp.openflow.messages import FlowUpdateEvent as Event
from nsxdp.openflow.switch import Switch, bridge_remote
from nsxdp.openflow.trace import read_trace
from nsxdp.transport import RemoteError
from nsxdp.unixctl import UnixctlError

FLOWS = [
    "priority=5,ip actions=resubmit(,1)",
    "table=1, priority=7,ip,nw_dst=10.0.0.1 actions=LOCAL",
    "cookie=0x7, table=1, idle_timeout=100, importance=3, tcp,tp_dst=80 actions=drop",
]


@pytest.fixture
async def switch(ovs: OVS) -> AsyncIterator[Switch]:
    async with Switch(ovs.add_bridge("br0"), packets=True) as switch:
        await switch.delete()
        yield switch
    ovs.reset()


def dumped(text: str, *, stats: bool = False) -> list[str]:
    """Lines of ovs-ofctl dump-flows, without what time changes."""
    lines = [line.strip() for line in text.splitlines() if "actions=" in line]
    return sorted(
        lines if stats else [re.sub(r"(?:duration|idle_age)=\S+ ", "", line) for line in lines]
    )


async def test_flows_are_added_and_dumped(switch: Switch, ovs: OVS) -> None:
    await switch.add(FLOWS[0], Flow.parse(FLOWS[1]), Flow.parse(FLOWS[2]).encode())
    flows = await switch.dump()
    assert len(flows) == 3
    assert dumped("\n".join(flows.lines())) == dumped(ovs.ofctl("dump-flows", "br0"))
    assert dumped("\n".join(flows.lines(stats=False))) == dumped(
        ovs.ofctl("dump-flows", "--no-stats", "br0")
    )
    assert sorted(map(str, flows)) == sorted(FLOWS)


async def test_columns(switch: Switch) -> None:
    await switch.add(*FLOWS)
    switch.send_packet(bytes(12) + bytes.fromhex("0800") + bytes(50))
    await switch.session.barrier()
    flows = (await switch.dump()).sorted()
    assert flows.table.tolist() == [0, 1, 1]
    assert flows.priority.tolist() == [5, 32768, 7]
    assert flows.cookie.tolist() == [0, 7, 0]
    assert flows.duration.max() < 60
    assert len(flows[flows.table == 1]) == 2
    assert flows[flows.cookie == 7][0] == Flow.parse(FLOWS[2])
    assert flows[np.array([2])].format(0, stats=False) == FLOWS[1]
    assert flows[1:][-1] == flows[2]
    assert flows.top(1).packets[0] == flows.packets.max()
    assert flows.stats(0).packets == flows.packets[0]
    with pytest.raises(AttributeError, match="no column 'colour'"):
        _ = flows.colour


async def test_a_filter_selects(switch: Switch) -> None:
    await switch.add(*FLOWS)
    assert len(await switch.dump("table=1")) == 2
    assert len(await switch.dump("cookie=7/-1")) == 1
    assert len(await switch.dump("tcp")) == 1
    assert len(await switch.dump("out_port=LOCAL")) == 1
    await switch.delete("table=1,tcp")
    assert len(await switch.dump()) == 2
    await switch.delete("table=0,priority=5,ip", strict=True)
    assert [str(flow) for flow in await switch.dump()] == [FLOWS[1]]


async def test_replace_touches_only_what_differs(switch: Switch) -> None:
    await switch.add(*FLOWS)
    wanted = [FLOWS[0], FLOWS[1].replace("LOCAL", "drop"), "table=3 actions=drop"]
    changes = await switch.replace(wanted)
    assert (len(changes.added), len(changes.changed), len(changes.removed)) == (1, 1, 1)
    assert changes.unchanged == 1
    assert sorted(map(str, await switch.dump())) == sorted(str(Flow.parse(flow)) for flow in wanted)
    assert not await switch.replace(wanted)


async def test_replace_among_some(switch: Switch) -> None:
    await switch.add(*FLOWS)
    await switch.replace([], "table=1")
    assert [str(flow) for flow in await switch.dump()] == [FLOWS[0]]


async def test_diff_is_ovs_ofctl_s(switch: Switch, ovs: OVS) -> None:
    await switch.add(*FLOWS)
    wanted = [
        FLOWS[0],
        FLOWS[1].replace("LOCAL", "drop"),
        "table=3 actions=drop",
        "cookie=9,idle_timeout=5,hard_timeout=6,importance=7,actions=LOCAL",
    ]
    path = ovs.directory / "wanted.txt"
    path.write_text("\n".join(wanted) + "\n")
    command = ["ovs-ofctl", "-O", "OpenFlow15", "diff-flows", "br0", str(path)]
    done = await asyncio.to_thread(
        subprocess.run, command, env=ovs.env, capture_output=True, text=True, check=False
    )
    theirs = done.stdout.splitlines()
    assert sorted((await switch.diff(wanted)).lines()) == sorted(theirs)
    assert len(theirs) == 5


async def test_what_the_switch_refuses(switch: Switch) -> None:
    with pytest.raises(CommitError, match="OFPBAC_BAD_OUT_GROUP"):
        await switch.add(FLOWS[0], "actions=group:99")
    assert len(await switch.dump()) == 0
    with pytest.raises(ParseError):
        await switch.add("nonsense=1 actions=drop")


async def test_groups(switch: Switch) -> None:
    text = "group_id=5,type=select,bucket=bucket_id:0,actions=output:1"
    await switch.add_groups(text)
    assert [str(group) for group in await switch.groups()] == [text]
    assert (await switch.group_stats())["group"].tolist() == [5]


async def test_statistics(switch: Switch) -> None:
    ports = await switch.port_stats()
    assert ports["port"].tolist() == [0xFFFFFFFE]
    assert ports.dtype["rx_packets"] == np.uint64
    await switch.add(*FLOWS)
    tables = await switch.table_stats()
    assert tables["active"][:3].tolist() == [1, 2, 0]
    assert len(await switch.meter_stats()) == 0
    assert len(await switch.queue_stats()) == 0


async def test_monitor(switch: Switch, ovs: OVS) -> None:
    await switch.add(FLOWS[0])
    async with asyncio.timeout(10):
        updates = switch.monitor("table=1")
        other = asyncio.ensure_future(anext(updates))
        everything = switch.monitor()
        first = await anext(everything)
        assert (first.event, str(first.flow)) == (Event.INITIAL, FLOWS[0])
        ovs.ofctl("add-flow", "br0", FLOWS[1])
        added = await other
        assert (added.event, str(added.flow)) == (Event.ADDED, FLOWS[1])
        ovs.ofctl("mod-flows", "br0", "table=1,ip,nw_dst=10.0.0.1,actions=drop")
        assert (await anext(updates)).event == Event.MODIFIED
        ovs.ofctl("del-flows", "br0", "table=1")
        removed = await anext(updates)
        assert str(removed).startswith("REMOVED table=1, priority=7,ip,nw_dst=10.0.0.1")
        await updates.aclose()
        await everything.aclose()


async def test_packets(switch: Switch) -> None:
    await switch.add("actions=controller(userdata=01.02)")
    packet = bytes(12) + bytes.fromhex("88b5") + bytes(46)
    async with asyncio.timeout(10):
        switch.send_packet(packet)
        received = await anext(switch.packet_ins())
    assert received.data == packet
    assert received.userdata == b"\x01\x02"


async def test_trace(ovs: OVS) -> None:
    tables = Tables({"First": 0})
    async with Switch(ovs.add_bridge("br0"), tables=tables) as switch:
        await switch.add_groups("group_id=3,type=all,bucket=LOCAL")
        await switch.add(
            "priority=5,cookie=7,ip actions=resubmit(,1),set_field:5->reg0",
            "table=1,ip actions=ct(table=2,zone=5)",
            "table=2,ct_state=+trk actions=group:3",
        )
        trace = await switch.trace("in_port=LOCAL,tcp,nw_dst=10.0.0.1")
        missed = await switch.trace("in_port=LOCAL,arp")
    ovs.reset()
    assert [step.table for step in trace.steps] == ["0", "1", "2"]
    first, second, third = trace.steps
    assert (first.match, first.priority, first.cookie, first.depth) == ("ip", 5, 7, 0)
    assert first.actions == ("resubmit(,1)", "set_field:0x5->reg0")
    assert (second.depth, second.actions[0]) == (1, "ct(table=2,zone=5)")
    assert third.match == "ct_state=+trk"
    assert trace.passes[0].bridge == "br0"
    assert trace.passes[0].datapath_actions.startswith("ct(zone=5),recirc(")
    assert trace.passes[0].megaflow.startswith("recirc_id=0,eth,ip")
    assert "Datapath actions" in str(trace)
    assert (missed.steps[0].match, missed.steps[0].priority) == ("", 0)
    assert missed.dropped  # there is no port to flood to


def test_trace_without_a_flow() -> None:
    trace = read_trace(
        'Flow: arp\n\nbridge("br0")\n-------------\n 0. No match.\n    drop\n\n'
        "Final flow: unchanged\nMegaflow: recirc_id=0\nDatapath actions: drop\n"
    )
    (step,) = trace.steps
    assert (step.match, step.actions) == (None, ("drop",))
    assert trace.dropped


async def test_trace_of_nonsense(switch: Switch) -> None:
    with pytest.raises(UnixctlError, match="nonsense"):
        await switch.trace("nonsense")


async def test_no_such_bridge(ovs: OVS, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVS_RUNDIR", str(ovs.directory))
    assert bridge_remote("br7").path == f"{ovs.directory}/br7.mgmt"
    assert str(bridge_remote("tcp:127.0.0.1:6653")) == "tcp:127.0.0.1:6653"
    with pytest.raises(RemoteError):
        async with Switch("br7"):
            pass


def flow_desc(match: str = "0001000400000000", stats: str = "0000000400000000") -> bytes:
    """A reply with one flow, which drops."""
    flow = bytes.fromhex(f"{'00' * 22}0000{match}{stats}")
    flow = len(flow).to_bytes(2, "big") + flow[2:]
    return bytes.fromhex(f"0613{16 + len(flow):04x}00000000 0001000000000000") + flow


def test_rows_of_hostile_replies() -> None:
    good = flow_desc(stats="00000010800208080000000000000005")
    assert FlowTable.read([good, flow_desc()]).packets.tolist() == [5, 2**64 - 1]
    for at in range(len(good)):
        for wrong in (0, 1, 0xFF, good[at] ^ 0x80):
            with suppress(DecodeError):
                table = FlowTable.read([good[:at] + bytes([wrong]) + good[at + 1 :]])
                for i in range(len(table)):
                    table.format(i)
    for length in range(len(good)):
        with pytest.raises(DecodeError):
            FlowTable.read([good[:length]])
