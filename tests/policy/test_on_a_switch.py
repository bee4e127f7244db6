"""The interpreter of flows, held to Open vSwitch: the same packets through ``ofproto/trace``."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import Maker
from flowtable import FlowTables
from policed import ENTRY, GATEWAY, TUNNEL, Policed, first_packet, port_of
from questions import asked, passes

from nsxdp.lab import Node
from nsxdp.openflow import Connection
from nsxdp.openflow.trace import read_trace
from nsxdp.pipeline.tables import TABLES
from nsxdp.transport import parse_remote
from nsxdp.unixctl import call, control_socket

SEEDS = range(1000, 1012)
PACKETS = 40


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node("policies") as node:
        yield node


@pytest.mark.parametrize("seed", SEEDS)
def test_open_vswitch_decides_alike(seed: int, node: Node) -> None:
    asyncio.run(_compare(seed, node))


async def _compare(seed: int, node: Node) -> None:
    maker = Maker(seed)
    world = maker.world(7)
    local = maker.some(tuple(world.pods), 2, 3)
    policed = Policed()
    policed.take_world(world, local)
    policed.commit()
    node.ovs.ofctl("del-flows", node.mgmt)
    async with Connection(parse_remote(node.mgmt, 6653), tables=TABLES) as connection:
        await connection.ready(10.0)
        await connection.commit(policed.desired.dump())
    socket = control_socket(Path(node.ovsdb.removeprefix("unix:")).parent)
    tables = FlowTables(policed.flows())
    packets = asked(world, local)
    seen: Counter[bool] = Counter()
    for direction, packet, who in maker.random.sample(packets, min(PACKETS, len(packets))):
        port = port_of(world.pods[who])
        in_port, out_port = (port, GATEWAY) if direction == "egress" else (TUNNEL, port)
        text = await call(
            socket,
            *("ofproto/trace-packet-out", "br-int"),
            first_packet(packet, in_port, out_port),
            f"resubmit(,{TABLES.by_number.index(ENTRY[direction].encode())})",
        )
        trace = read_trace(text)
        met = [TABLES.by_number[int(step.table)].decode() for step in trace.steps]
        through = ("L3Forwarding" if direction == "egress" else "ConntrackCommit") in met
        assert through == passes(tables, world, direction, packet, who), text
        seen[through] += 1
    assert sum(seen.values()) > 10


def test_a_switch_has_what_was_sent(node: Node) -> None:
    """What Open vSwitch dumps is what is desired: no flow was made anything else of."""
    asyncio.run(_dump(node))


async def _dump(node: Node) -> None:
    policed = Policed(log=True)
    policed.take_world(Maker(7).world(9), ["p1", "p2", "p3"])
    policed.commit()
    node.ovs.ofctl("del-flows", node.mgmt)
    node.ovs.ofctl("add-meter", node.mgmt, "meter=28162,pktps,bands=type=drop,rate=100")
    async with Connection(parse_remote(node.mgmt, 6653), tables=TABLES) as connection:
        await connection.ready(10.0)
        await connection.commit(policed.desired.dump())
        policed.desired.begin(verify=True)
        async for reply in connection.dump_flows():
            policed.desired.installed(reply)
        _, difference = policed.desired.diff()
        assert difference.is_empty
        assert difference.flows_right == len(policed.flows())
