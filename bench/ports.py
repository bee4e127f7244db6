"""Programs that add ports to a bridge that is empty, each port with a transaction.

``python -m bench.ports WHO REMOTE AT_ONCE`` runs one of them, and prints the seconds it took.  Each
runs in a process of its own, as a program of its users would: what another one has imported, and
what it has left in memory, costs it nothing.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, ClassVar, Final

import msgspec

from bench.northbound import VSWITCH, run
from nsxdp.ovsdb import Client, Replica, Schema, Transaction, Watch
from nsxdp.ovsdb.framing import Framer

__all__ = ["COMMITS", "add_ports"]

COMMITS: Final = 1_000
_DATABASE: Final = "Open_vSwitch"
_PATIENCE: Final = 300.0

_WATCHES: Final = [Watch("Bridge", ["name", "ports"]), Watch("Port", ["name", "interfaces"])]


def add_ports(who: str, remote: str, at_once: int = 1) -> float:
    """Have `COMMITS` ports added, with so many transactions under way; the seconds it took."""
    command = [sys.executable, "-W", "ignore", "-m", "bench.ports", who, remote, str(at_once)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_PATIENCE)
    return float(done.stdout)


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


async def _prepared(remote: str) -> str:
    async with Client(remote, _DATABASE) as client:
        return await _with_bridge(client)


async def _nsxdp(remote: str, watches: list[Watch], at_once: int) -> float:
    async with Client(remote, _DATABASE, watches) as client:
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


async def _requests(remote: str) -> list[bytes]:
    async with Client(remote, _DATABASE) as client:
        bridge = await _with_bridge(client)
        requests = []
        for number in range(COMMITS):
            txn = client.transaction()
            _add_port(txn, bridge, f"p{number}")
            request = {"method": "transact", "params": txn.params(), "id": number}
            requests.append(msgspec.json.encode(request))
        return requests


_ANSWERED: Final = b'"error":null}'


def _bare(remote: str, at_once: int, *, follow: bool = False) -> float:
    """Requests that were made before; of what comes back only the ends of answers are seen.

    ``follow``: the server sends updates too, as it does to a client with a replica.
    """
    requests = run(_requests(remote))
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(_PATIENCE)
        stream.connect(remote.removeprefix("unix:"))
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
    params = Replica(schema, _WATCHES).monitor_params("monitor_cond_since", "bench")
    request = {"method": "monitor_cond_since", "params": params, "id": "bench"}
    stream.sendall(msgspec.json.encode(request))
    framer = Framer()
    while not framer.feed(stream.recv(1 << 16)):
        pass


def _python_ovs(remote: str) -> float:
    from ovs.db.idl import Idl, SchemaHelper
    from ovs.db.idl import Transaction as IdlTransaction
    from ovs.poller import Poller

    run(_prepared(remote))
    helper = SchemaHelper(None, json.loads(VSWITCH.read_text()))
    helper.register_columns("Bridge", ["name", "ports"])
    helper.register_columns("Port", ["name", "interfaces"])
    helper.register_columns("Interface", ["name"])
    idl = Idl(remote, helper)
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


def _ovsdbapp(remote: str) -> float:
    from ovs.db.idl import Idl, SchemaHelper
    from ovsdbapp.backend import ovs_idl
    from ovsdbapp.backend.ovs_idl import connection, transaction

    class Api(ovs_idl.Backend):  # type: ignore[misc]
        lookup_table: ClassVar[dict[str, object]] = {}

        def create_transaction(self, **_: object) -> Any:
            return transaction.Transaction(self, self.ovsdb_connection, _PATIENCE)

    bridge = run(_prepared(remote))
    helper = SchemaHelper(None, json.loads(VSWITCH.read_text()))
    helper.register_columns("Bridge", ["name", "ports"])
    helper.register_columns("Port", ["name", "interfaces"])
    helper.register_columns("Interface", ["name"])
    link = connection.Connection(Idl(remote, helper), _PATIENCE)
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


_WORKS: Final[dict[str, Callable[[str, int], float]]] = {
    "nsxdp, with its replica": lambda remote, at_once: run(_nsxdp(remote, _WATCHES, at_once)),
    "nsxdp, without a replica": lambda remote, at_once: run(_nsxdp(remote, [], at_once)),
    "bare socket": _bare,
    "bare socket, updates unread": lambda remote, at_once: _bare(remote, at_once, follow=True),
    "python-ovs": lambda remote, _: _python_ovs(remote),
    "ovsdbapp": lambda remote, _: _ovsdbapp(remote),
}
"""What there is to run, by what the benchmark calls it."""


if __name__ == "__main__":
    print(_WORKS[sys.argv[1]](sys.argv[2], int(sys.argv[3])))
