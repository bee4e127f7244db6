"""Ports added, each with a transaction: nsxdp against python-ovs, ovsdbapp and bare sockets.

Runs take turns, each on a bridge that is empty again, so that the machine is the same to all.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec
import pytest

from bench.conftest import Record
from bench.northbound import VSWITCH, Server, fill, fill_vswitch, run
from bench.turns import take_turns
from nsxdp.ovsdb import Client, Replica, Schema, Transaction, Watch
from nsxdp.ovsdb.framing import Framer

ROUNDS: Final = 7
COMMITS: Final = 1_000
AT_ONCE: Final = 16
_PATIENCE: Final = 300.0

WATCHES: Final = [Watch("Bridge", ["name", "ports"]), Watch("Port", ["name", "interfaces"])]

Work = Callable[[Server], float]
"""Adds so many ports; the seconds it took."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, json.loads(VSWITCH.read_text())) as server:
        run(fill(server, lambda client: fill_vswitch(client, 0)))
        yield server


def _take_turns(record: Record, server: Server, group: str, works: dict[str, Work]) -> None:
    bound = {who: partial(work, server) for who, work in works.items()}
    take_turns(record, group, bound, rounds=ROUNDS, items=COMMITS, unit="transactions")


def bench_one_at_a_time(record: Record, server: Server) -> None:
    works: dict[str, Work] = {
        "nsxdp, with its replica": lambda server: run(_nsxdp(server, WATCHES, 1)),
        "nsxdp, without a replica": lambda server: run(_nsxdp(server, [], 1)),
        "bare socket": lambda server: _bare(server, 1),
        "bare socket, updates unread": lambda server: _bare(server, 1, follow=True),
        "python-ovs": _python_ovs,
        "ovsdbapp": _ovsdbapp,
    }
    group = f"{COMMITS:,} ports added, each with a transaction that waits for its answer"
    _take_turns(record, server, group, works)


def bench_several_at_once(record: Record, server: Server) -> None:
    works: dict[str, Work] = {
        "nsxdp, with its replica": lambda server: run(_nsxdp(server, WATCHES, AT_ONCE)),
        "nsxdp, without a replica": lambda server: run(_nsxdp(server, [], AT_ONCE)),
        "bare socket": lambda server: _bare(server, AT_ONCE),
        "bare socket, updates unread": lambda server: _bare(server, AT_ONCE, follow=True),
    }
    group = f"{COMMITS:,} ports added, {AT_ONCE} transactions under way at any time"
    _take_turns(record, server, group, works)


def _add_port(txn: Transaction, bridge: str, name: str) -> None:
    interface = txn.insert("Interface", {"name": name})
    port = txn.insert("Port", {"name": name, "interfaces": [interface]})
    txn.mutate("Bridge", bridge, [("ports", "insert", [port])])


async def _with_bridge(client: Client) -> str:
    """A bridge without ports, the only one."""
    txn = client.transaction()
    txn.delete("Open_vSwitch", ())
    await client.commit(txn)
    txn = client.transaction()
    bridge = txn.insert("Bridge", {"name": "br-int"})
    txn.insert("Open_vSwitch", {"bridges": [bridge]})
    return (await client.commit(txn))[bridge]


async def _prepared(server: Server) -> str:
    async with Client(server.remote, server.name) as client:
        return await _with_bridge(client)


async def _nsxdp(server: Server, watches: list[Watch], at_once: int) -> float:
    async with Client(server.remote, server.name, watches) as client:
        bridge = await _with_bridge(client)
        numbers = iter(range(COMMITS))

        async def work() -> None:
            for number in numbers:
                txn = client.transaction()
                _add_port(txn, bridge, f"p{number}")
                await client.commit(txn)

        begin = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(at_once)))
        return time.perf_counter() - begin


async def _requests(server: Server) -> list[bytes]:
    async with Client(server.remote, server.name) as client:
        bridge = await _with_bridge(client)
        requests = []
        for number in range(COMMITS):
            txn = client.transaction()
            _add_port(txn, bridge, f"p{number}")
            request = {"method": "transact", "params": txn.params(), "id": number}
            requests.append(msgspec.json.encode(request))
        return requests


_ANSWERED: Final = b'"error":null}'


def _bare(server: Server, at_once: int, *, follow: bool = False) -> float:
    """Requests that were made before; of what comes back only the ends of answers are seen.

    ``follow``: the server sends updates too, as it does to a client with a replica.
    """
    requests = run(_requests(server))
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(_PATIENCE)
        stream.connect(server.remote.removeprefix("unix:"))
        if follow:
            _follow(stream)
        begin = time.perf_counter()
        sent = answered = 0
        rest = b""
        while answered < COMMITS:
            while sent < COMMITS and sent - answered < at_once:
                stream.sendall(requests[sent])
                sent += 1
            rest += stream.recv(1 << 16)
            answered += rest.count(_ANSWERED)
            rest = rest[-len(_ANSWERED) :].rpartition(b"}")[2]
        return time.perf_counter() - begin


def _follow(stream: socket.socket) -> None:
    schema = Schema.from_json(json.loads(VSWITCH.read_text()))
    params = Replica(schema, WATCHES).monitor_params("monitor_cond_since", "bench")
    request = {"method": "monitor_cond_since", "params": params, "id": "bench"}
    stream.sendall(msgspec.json.encode(request))
    framer = Framer()
    while not framer.feed(stream.recv(1 << 16)):
        pass


def _python_ovs(server: Server) -> float:
    from ovs.db.idl import Idl, SchemaHelper
    from ovs.db.idl import Transaction as IdlTransaction
    from ovs.poller import Poller

    run(_prepared(server))
    helper = SchemaHelper(None, json.loads(VSWITCH.read_text()))
    helper.register_columns("Bridge", ["name", "ports"])
    helper.register_columns("Port", ["name", "interfaces"])
    helper.register_columns("Interface", ["name"])
    idl = Idl(server.remote, helper)
    while not idl.tables["Bridge"].rows:
        poller = Poller()
        idl.run()
        idl.wait(poller)
        if not idl.tables["Bridge"].rows:
            poller.block()
    [bridge] = idl.tables["Bridge"].rows.values()
    begin = time.perf_counter()
    for number in range(COMMITS):
        txn = IdlTransaction(idl)
        interface = txn.insert(idl.tables["Interface"])
        interface.name = f"p{number}"
        port = txn.insert(idl.tables["Port"])
        port.name = f"p{number}"
        port.interfaces = [interface]
        bridge.addvalue("ports", port.uuid)
        assert txn.commit_block() == IdlTransaction.SUCCESS
    seconds = time.perf_counter() - begin
    idl.close()
    return seconds


def _ovsdbapp(server: Server) -> float:
    from ovs.db.idl import Idl, SchemaHelper
    from ovsdbapp.backend import ovs_idl
    from ovsdbapp.backend.ovs_idl import connection, transaction

    class Api(ovs_idl.Backend):  # type: ignore[misc]
        lookup_table: ClassVar[dict[str, object]] = {}

        def create_transaction(self, **_: object) -> Any:
            return transaction.Transaction(self, self.ovsdb_connection, _PATIENCE)

    bridge = run(_prepared(server))
    helper = SchemaHelper(None, json.loads(VSWITCH.read_text()))
    helper.register_columns("Bridge", ["name", "ports"])
    helper.register_columns("Port", ["name", "interfaces"])
    helper.register_columns("Interface", ["name"])
    link = connection.Connection(Idl(server.remote, helper), _PATIENCE)
    api = Api(link)
    begin = time.perf_counter()
    for number in range(COMMITS):
        with api.create_transaction() as txn:
            interface = txn.add(api.db_create("Interface", name=f"p{number}"))
            port = txn.add(api.db_create("Port", name=f"p{number}", interfaces=interface))
            txn.add(api.db_add("Bridge", bridge, "ports", port))
    seconds = time.perf_counter() - begin
    link.stop(_PATIENCE)
    return seconds
