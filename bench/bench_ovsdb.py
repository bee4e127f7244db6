"""A replica of a large database: nsxdp against python-ovs and bare sockets."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
import pytest

from bench.conftest import Record
from bench.northbound import NORTHBOUND, VSWITCH, Server, fill, fill_northbound, fill_vswitch, run
from nsxdp.ovsdb import Client, Replica, Schema, Watch
from nsxdp.ovsdb.framing import Framer

ROWS = 50_000
PORTS = 5_000
ROUNDS = 3
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


def _first(
    record: Record, database: Database, who: str, body: str, imports: str, *, peer: bool
) -> None:
    server, schema, what = database
    code = _TIMED.format(imports=imports, body=body)
    arguments = (server.remote, json.dumps(schema), ",".join(schema["tables"]))
    runs = []
    for _ in range(ROUNDS):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
        runs.append([float(word) for word in done.stdout.split()[-4:]])
    best = min(runs, key=lambda run: run[1])
    facts = {
        "processor": f"{min(run[2] for run in runs):.2f} s",
        "memory": f"{best[3] / 1e6:.0f} MB",
    }
    seconds = [run[1] for run in runs]
    group = f"The first replica of {what}"
    record(group, who, seconds, items=int(best[0]), unit="rows", peer=peer, facts=facts)


def bench_first_replica(record: Record, database: Database) -> None:
    imports = "import nsxdp.ovsdb, uvloop"
    _first(record, database, "nsxdp", _OURS, imports, peer=False)


def bench_first_replica_of_python_ovs(record: Record, database: Database) -> None:
    imports = "import ovs.db.idl, ovs.json"
    from ovs.json import PARSER  # which of its parsers was built

    who = f"python-ovs ({'C' if str(PARSER) == 'C' else 'Python'} parser)"
    _first(record, database, who, _IDL, imports, peer=True)


def bench_bare_fetch(record: Record, database: Database) -> None:
    server, schema, what = database
    replica = Replica(Schema.from_json(schema), [Watch(table) for table in schema["tables"]])
    params = replica.monitor_params("monitor_cond_since", "bench")
    request = msgspec.json.encode({"method": "monitor_cond_since", "params": params, "id": 0})
    path = server.remote.removeprefix("unix:")
    size = _fetch(path, request, 0)
    rows = run(_count(server, schema))
    seconds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        _fetch(path, request, size)
        seconds.append(time.perf_counter() - begin)
    group = f"The first replica of {what}"
    record(group, "bare socket, reply unread", seconds, items=rows, unit="rows", peer=True)


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
