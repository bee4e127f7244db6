"""Flows of a real ovs-vswitchd in Python, against ovs-ofctl and python-ovs's parser."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator

import pytest

from bench.conftest import Record
from bench.turns import take_turns, timed
from bench.workload import BALANCE, services
from nsxdp.lab.node import Node
from nsxdp.openflow import Flow, FlowTable, Switch

FLOWS = 100_000
ROUNDS = 3

_GROUP = f"a dump of {FLOWS:,} flows with their statistics"


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node("bench") as made:
        made.ovs.ofctl("del-flows", made.mgmt)
        columns = services(FLOWS)
        flows = BALANCE.stamp(vip=columns.vips, port=columns.ports, group=columns.groups[0])
        messages = services(1).stamp_groups()[0] + bytes(flows)

        async def fill() -> None:
            async with Switch(made.mgmt) as switch:
                await switch.session.commit(messages)

        asyncio.run(fill())
        yield made


def bench_dump(record: Record, node: Node) -> None:
    from ovs.flow.ofp import OFPFlow

    async def columns() -> FlowTable:
        async with Switch(node.mgmt) as switch:
            return await switch.dump()

    async def objects() -> list[object]:
        async with Switch(node.mgmt) as switch:
            replies = switch.session.dump_flows()
            return [pair async for reply in replies for pair in Flow.decode_reply(reply)]

    def printed() -> str:
        return node.ovs.ofctl("dump-flows", node.mgmt)

    def python_ovs() -> list[object]:
        # Each of the replies begins with a line of its own.
        return [OFPFlow(line) for line in printed().splitlines() if "actions=" in line]

    def check() -> None:
        table = asyncio.run(columns())
        assert len(table) == len(asyncio.run(objects())) == len(python_ovs()) == FLOWS
        assert int(table.priority.min()) == int(table.priority.max()) == 200

    check()
    works = {
        "nsxdp, Switch.dump: columns": timed(lambda: asyncio.run(columns())),
        "nsxdp, Flow.decode_reply: objects": timed(lambda: asyncio.run(objects())),
        "ovs-ofctl dump-flows and OFPFlow": timed(python_ovs),
        "ovs-ofctl dump-flows, unread": timed(lambda: _unread(node)),
    }
    take_turns(record, _GROUP, works, rounds=ROUNDS, items=FLOWS, unit="flows")


def _unread(node: Node) -> None:
    command = ["ovs-ofctl", "--protocols=OpenFlow15", "dump-flows", node.mgmt]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
