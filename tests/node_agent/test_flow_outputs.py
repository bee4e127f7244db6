"""Outputs of records that are slow, away, or moved: nobody waits, and what is lost is counted."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import socket
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from nsxdp.flowrecords.ipfix import Encoder
from nsxdp.flowrecords.record import FlowRecord
from nsxdp.lab import Netns
from nsxdp_agents.node_agent.flow_outputs import Collector, Lines, Queued


def record(port: int = 1) -> FlowRecord:
    return FlowRecord(
        node="n",
        start=0.0,
        end=1.5,
        verdict="allow",
        reason="end",
        protocol="TCP",
        source="10.0.0.1",
        source_port=port,
        destination="10.0.0.2",
        destination_port=80,
    )


class Slow:
    """One that writes when it is told to."""

    name = "slow"

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.got: list[FlowRecord] = []

    async def write(self, records: list[FlowRecord]) -> None:
        await self.go.wait()
        self.got += records

    def close(self) -> None:
        pass


async def test_a_queue_has_an_end() -> None:
    counted: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    output = Slow()
    done = asyncio.Event()

    def count(name: str, n: int) -> None:
        counted.update({name: n})
        if counted[name] == 10_000:
            done.set()

    queued = Queued(output, count, lambda name, n: lost.update({name: n}))
    for port in range(12_000):
        queued.put(record(port))
    assert lost == {"slow": 2000}
    work = asyncio.create_task(queued.run())
    output.go.set()
    async with asyncio.timeout(30):
        await done.wait()
    assert [one.source_port for one in output.got] == list(range(10_000))
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work


async def ended(queued: Queued, **options: float) -> None:
    """One that is cancelled as soon as it runs."""
    work = asyncio.create_task(queued.run(**options))
    await asyncio.sleep(0)
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work


async def test_what_waits_at_the_end_is_written() -> None:
    counted: Counter[str] = Counter()
    output = Slow()
    queued = Queued(output, lambda name, n: counted.update({name: n}), lost_none)
    for port in range(2500):
        queued.put(record(port))
    output.go.set()
    await ended(queued)
    assert [one.source_port for one in output.got] == list(range(2500))
    assert counted == {"slow": 2500}


def lost_none(name: str, count: int) -> None:
    raise AssertionError(f"{count} records of {name} are lost")


async def test_who_hangs_at_the_end_costs_records_and_the_agent_ends() -> None:
    lost: Counter[str] = Counter()
    queued = Queued(Slow(), lost_none, lambda name, n: lost.update({name: n}))
    for port in range(1500):
        queued.put(record(port))
    await ended(queued, last_seconds=0.01)
    assert lost == {"slow": 1500}


async def test_a_collector_that_is_away_costs_records_and_nothing_else() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
    collector = Collector("127.0.0.1", port, 1)
    # The first message is sent before anybody says that nobody is there.
    with pytest.raises(OSError, match=rf"127.0.0.1:{port}: .*refused"):
        await collector.write([record()])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind(("127.0.0.1", port))
        there.settimeout(10)
        await collector.write([record()])
        templates, message = (there.recv(65536) for _ in range(2))
        assert templates[16:18] == b"\0\2"
        assert message[16:18] >= b"\1\0"
    collector.close()


@pytest.mark.parametrize("name", ["nowhere.invalid", "a..b", "x" * 64 + ".invalid"])
async def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(OSError, match=rf"{re.escape(name)}:4739"):
        await Collector(name, 4739, 1).write([record()])


async def test_a_collector_that_moves_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    places = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for place in places:
        place.bind(("127.0.0.1", 0))
        place.settimeout(10)
    addresses = [place.getsockname() for place in places]
    now = [1000.0]

    def look_up(*_: object, **__: object) -> list[object]:
        if not addresses:
            raise OSError("no name server")
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", addresses[0])]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(time, "time", lambda: now[0])
    collector = Collector("collector.example", 4739, 1)
    await collector.write([record()])
    came_from = [places[0].recvfrom(65536)[1] for _ in range(2)]
    now[0] += 60
    await collector.write([record()])
    came_from += [places[0].recvfrom(65536)[1] for _ in range(2)]
    assert len(set(came_from)) == 1  # a collector tells exporters apart by that
    addresses.reverse()
    now[0] += 60
    await collector.write([record()])
    assert [places[1].recv(65536)[16:18] for _ in range(2)] == [b"\0\2", b"\1\1"]
    addresses.clear()
    now[0] += 60
    await collector.write([record()])
    assert [places[1].recv(65536)[16:18] for _ in range(2)] == [b"\0\2", b"\1\1"]
    collector.close()
    for place in places:
        place.close()


async def test_a_slow_network_is_waited_for(netns: Netns) -> None:
    netns.run(f"tc qdisc add dev lo root tbf rate 2mbit burst 4kb limit {1 << 20}".split())
    with netns.enter():
        there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        collector = Collector("127.0.0.1", 4739, 1)
        there.bind(("127.0.0.1", 4739))
        await collector.write([record()])
    records = [record(port) for port in range(4000)]
    messages = len(list(Encoder(1).messages(records, 0.0)))
    there.setblocking(False)
    loop = asyncio.get_running_loop()
    with there:
        async with asyncio.timeout(30):
            writing = asyncio.create_task(collector.write(records))
            for _ in range(2 + messages):
                await loop.sock_recv(there, 65536)
            await writing
    collector.close()


async def test_lines_go_where_the_name_is(tmp_path: Path) -> None:
    path = tmp_path / "flows"
    lines = Lines(str(path))
    await lines.write([record(1)])
    path.rename(tmp_path / "old")
    await lines.write([record(2)])
    path.unlink()
    await lines.write([record(3), record(4)])
    ports = [json.loads(line)["source_port"] for line in path.read_text().splitlines()]
    assert ports == [3, 4]
    assert json.loads((tmp_path / "old").read_text())["end"] == "1970-01-01T00:00:01.500Z"
    lines.close()


async def test_a_line_that_is_cut_off_stays_alone(tmp_path: Path) -> None:
    path = tmp_path / "flows"
    lines = Lines(str(path))
    await lines.write([record(1)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            await lines.write([record(2), record(3)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await lines.write([record(4)])
    first, torn, last = path.read_text().splitlines()
    assert [json.loads(line)["source_port"] for line in (first, last)] == [1, 4]
    assert len(torn) == 20
    lines.close()


async def test_a_pipe_that_nobody_reads_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    lines = Lines(str(path))
    with pytest.raises(OSError, match="No such device"):
        await lines.write([record()])
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(BlockingIOError, match="nobody reads it"):
            await lines.write([record()] * 1000)
    finally:
        os.close(reader)
    lines.close()


async def test_who_may_read_a_file(tmp_path: Path) -> None:
    path = tmp_path / "flows"
    mask = os.umask(0)
    try:
        lines = Lines(str(path))
        await lines.write([record()])
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o640
    lines.close()


async def test_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    lines = Lines("-")
    await lines.write([record(7)])
    lines.close()
    assert json.loads(capfd.readouterr().out)["source_port"] == 7
