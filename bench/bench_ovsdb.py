"""A replica of a large database: nsxdp against python-ovs and bare sockets."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, TypeVar

import msgspec
import pytest

from bench.conftest import Record
from bench.northbound import NORTHBOUND, VSWITCH, Server, fill, fill_northbound, fill_vswitch, run
from bench.turns import take_turns, timed
from nsxdp.ovsdb import Client, Replica, Schema, Watch
from nsxdp.ovsdb.framing import Framer

ROWS = 50_000
PORTS = 5_000
ROUNDS = 5
CHANGES = 1_000
_PATIENCE = 300.0

T = TypeVar("T")
Database = tuple[Server, dict[str, Any], str]

_IDL = """
import json, sys, time
import ovs.db.idl, ovs.poller
remote, schema, tables = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3].split(",")
helper = ovs.db.idl.SchemaHelper(None, schema)
for table in tables:
    helper.register_table(table)
idl = ovs.db.idl.Idl(remote, helper)
while not idl.has_ever_connected():
    poller = ovs.poller.Poller()
    idl.run()
    idl.wait(poller)
    if not idl.has_ever_connected():
        poller.block()
rows = sum(len(idl.tables[table].rows) for table in tables)
"""
_OURS = """
import asyncio, json, sys
from nsxdp.ovsdb import Client, Watch
remote, schema, tables = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3].split(",")
async def main():
    global client
    client = Client(remote, schema["name"], [Watch(table) for table in tables])
    await client.open()
    return sum(len(table) for table in client.replica)
import uvloop
runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
rows = runner.run(main())
"""
_TIMED = """
import os, time
def status(name):
    return next(int(t.split()[1]) for t in open("/proc/self/status") if t.startswith(name)) * 1024
{imports}
before, memory = os.times(), status("VmRSS")
begin = time.perf_counter()
{body}
seconds = time.perf_counter() - begin
after = os.times()
cpu = after.user + after.system - before.user - before.system
print(rows, seconds, cpu, status("VmRSS") - memory, flush=True)
os._exit(0)
"""


@pytest.fixture(scope="module")
def northbound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("northbound"), NORTHBOUND) as server:
        run(fill(server, lambda client: fill_northbound(client, ROWS)))
        yield server


@pytest.fixture(scope="module")
def vswitch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    schema = json.loads(VSWITCH.read_text())
    with Server(tmp_path_factory.mktemp("vswitch"), schema) as server:
        run(fill(server, lambda client: fill_vswitch(client, PORTS)))
        yield server


@pytest.fixture(params=["northbound", "vswitch"])
def database(request: pytest.FixtureRequest) -> Database:
    server = request.getfixturevalue(request.param)
    if request.param == "northbound":
        return server, dict(NORTHBOUND), f"{ROWS:,} rows like OVN's northbound database"
    return server, json.loads(VSWITCH.read_text()), f"Open_vSwitch with {PORTS:,} ports"


class _Program:
    """A program that reads a replica, in a process of its own."""

    def __init__(self, database: Database, body: str, imports: str) -> None:
        server, schema, _ = database
        code = _TIMED.format(imports=imports, body=body)
        arguments = (server.remote, json.dumps(schema), ",".join(schema["tables"]))
        self._command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
        self._cpu: list[float] = []
        self._memory: list[float] = []

    def __call__(self) -> float:
        done = subprocess.run(
            self._command, check=True, capture_output=True, text=True, timeout=_PATIENCE
        )
        _, seconds, cpu, memory = (float(word) for word in done.stdout.split()[-4:])
        self._cpu.append(cpu)
        self._memory.append(memory)
        return seconds

    @property
    def facts(self) -> dict[str, str]:
        """What else it used, at least."""
        return {
            "processor": f"{min(self._cpu):.2f} s",
            "memory": f"{min(self._memory) / 1e6:.0f} MB",
        }


def bench_first_replica(record: Record, database: Database) -> None:
    from ovs.json import PARSER  # which of its parsers was built

    server, schema, what = database
    parser = "C" if str(PARSER) == "C" else "Python"
    programs = {
        "nsxdp": _Program(database, _OURS, "import nsxdp.ovsdb, uvloop"),
        f"python-ovs ({parser} parser)": _Program(database, _IDL, "import ovs.db.idl, ovs.json"),
    }
    replica = Replica(Schema.from_json(schema), [Watch(table) for table in schema["tables"]])
    params = replica.monitor_params("monitor_cond_since", "bench")
    request = msgspec.json.encode({"method": "monitor_cond_since", "params": params, "id": 0})
    path = server.remote.removeprefix("unix:")
    fetch = timed(partial(_fetch, path, request, _fetch(path, request, 0)))
    take_turns(
        record,
        f"The first replica of {what}",
        {**programs, "bare socket, reply unread": fetch},
        rounds=ROUNDS,
        items=run(_count(server, schema)),
        unit="rows",
        facts=lambda who: programs[who].facts if who in programs else {},
    )


async def _count(server: Server, schema: dict[str, Any]) -> int:
    async with Client(server.remote, server.name, [Watch(t) for t in schema["tables"]]) as client:
        return sum(len(table) for table in client.replica)


def _fetch(path: str, request: bytes, size: int) -> int:
    """Have a reply of ``size`` bytes come, or, where that isn't known, find out."""
    framer = Framer()
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(_PATIENCE)
        stream.connect(path)
        stream.sendall(request)
        come = 0
        while not size or come < size:
            data = stream.recv(1 << 18)
            come += len(data)
            if not size and framer.feed(data):
                return come
    return come


def bench_updates(record: Record, northbound: Server) -> None:
    """Rows that others change, as fast as the server says it: here 50 in a transaction."""
    watch = Watch("Logical_Switch_Port", indexes=("name",))

    async def work() -> float:
        async with (
            Client(northbound.remote, northbound.name) as writer,
            Client(northbound.remote, northbound.name, [watch]) as client,
        ):
            uuids = list(client.replica["Logical_Switch_Port"].uuids)[: CHANGES * 50 // 5]
            begin = time.process_time()
            for first in range(0, len(uuids), 50):
                txn = writer.transaction()
                for uuid in uuids[first : first + 50]:
                    mutation: Any = ("options", "insert", {"n": str(begin)})
                    deletion: Any = ("options", "delete", ["n"])
                    txn.mutate("Logical_Switch_Port", uuid, [deletion, mutation])
                await writer.commit(txn)
            await client.commit(client.transaction())
            return time.process_time() - begin

    seconds = [run(work()) for _ in range(ROUNDS)]
    group = "Changes of rows, written and followed: the processor's time of both"
    record(group, "nsxdp", seconds, items=CHANGES * 10, unit="rows")
