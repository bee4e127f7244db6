"""Records of more connections than an output's queue holds, from a daemon that tells of them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import suppress
from pathlib import Path

from nsxdp_agents.common.unixctl import serving
from nsxdp_agents.node_agent.flow_outputs import Lines, Queued
from nsxdp_agents.node_agent.flow_records import FlowRecords
from nsxdp_agents.node_agent.who import NOBODY, End

MANY = 15_000


def dump(count: int) -> str:
    """What ``dpctl/dump-conntrack`` prints of so many connections."""
    return "\n".join(
        f"tcp,orig=(src=10.0.0.1,dst=10.0.0.2,sport={port},dport=80),"
        f"reply=(src=10.0.0.2,dst=10.0.0.1,sport=80,dport={port}),"
        "zone=65312,protoinfo=(state=ESTABLISHED)"
        for port in range(1, count + 1)
    )


async def test_connections_that_all_end_at_once_are_all_told_of(tmp_path: Path) -> None:
    looks = 0
    lost: Counter[str] = Counter()
    told: Counter[str] = Counter()
    done = asyncio.Event()

    async def tracked(_: tuple[str, ...]) -> str:
        nonlocal looks
        looks += 1
        return dump(MANY if looks == 1 else 0)

    def count(name: str, records: int) -> None:
        told.update({name: records})
        if told[name] == MANY:
            done.set()

    def lose(name: str, records: int) -> None:
        lost.update({name: records})

    file = tmp_path / "flows"
    output = Queued(Lines(str(file)), count, lose)
    async with serving(tmp_path, "ovs-vswitchd", {"dpctl/dump-conntrack": tracked}):
        records = FlowRecords(
            "n", tmp_path, 0.01, [output], lambda _: End("", ""), lambda _: NOBODY, lose
        )
        keeping = asyncio.create_task(records.keep())
        async with asyncio.timeout(60):
            await done.wait()
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping
    assert not lost
    ports = [json.loads(line)["source_port"] for line in file.read_text().splitlines()]
    assert sorted(ports) == list(range(1, MANY + 1))
