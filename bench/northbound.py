"""Databases to replicate: one like OVN's northbound database, and Open vSwitch's own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import uvloop

from nsxdp.backoff import Backoff
from nsxdp.ovsdb import Client, Transaction, UnreachableError

T = TypeVar("T")

VSWITCH: Final = Path("/usr/share/openvswitch/vswitch.ovsschema")
PORTS_PER_SWITCH: Final = 80
_ROWS_PER_TRANSACTION: Final = 5000
_PATIENCE: Final = 60.0


def _many(key: str) -> dict[str, Any]:
    return {"key": key, "min": 0, "max": "unlimited"}


def _optional(key: str) -> dict[str, Any]:
    return {"key": key, "min": 0, "max": 1}


def _refers(table: str) -> dict[str, Any]:
    return {"key": {"type": "uuid", "refTable": table}, "min": 0, "max": "unlimited"}


_MAP: Final = {"key": "string", "value": "string", "min": 0, "max": "unlimited"}


def _table(columns: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"columns": {name: {"type": kind} for name, kind in columns.items()}, **more}


NORTHBOUND: Final = {
    "name": "Northbound",
    "version": "1.0.0",
    "tables": {
        "Logical_Switch": _table(
            {
                "name": "string",
                "ports": _refers("Logical_Switch_Port"),
                "acls": _refers("ACL"),
                "other_config": _MAP,
                "external_ids": _MAP,
            },
            isRoot=True,
        ),
        "Logical_Switch_Port": _table(
            {
                "name": "string",
                "type": "string",
                "options": _MAP,
                "parent_name": _optional("string"),
                "tag_request": _optional("integer"),
                "tag": _optional("integer"),
                "addresses": _many("string"),
                "dynamic_addresses": _optional("string"),
                "port_security": _many("string"),
                "up": _optional("boolean"),
                "enabled": _optional("boolean"),
                "external_ids": _MAP,
            },
            indexes=[["name"]],
        ),
        "ACL": _table(
            {
                "name": _optional("string"),
                "priority": "integer",
                "direction": "string",
                "match": "string",
                "action": "string",
                "log": "boolean",
                "severity": _optional("string"),
                "options": _MAP,
                "external_ids": _MAP,
            }
        ),
    },
}
"""The tables of OVN's northbound database that have many rows, with their columns."""


class Server:
    """An ovsdb-server of a database of its own."""

    def __init__(self, directory: Path, schema: dict[str, Any]) -> None:
        self.directory = directory
        self.name = str(schema["name"])
        self.remote = f"unix:{directory}/db.sock"
        path = directory / "schema.json"
        path.write_text(json.dumps(schema))
        _call("ovsdb-tool", "create", str(directory / "conf.db"), str(path))

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [
                _program("ovsdb-server"),
                f"--remote=p{self.remote}",
                f"--unixctl={self.directory}/ctl",
                "-vconsole:off",
                "--no-chdir",
                str(self.directory / "conf.db"),
            ],
            env=os.environ | {"OVS_RUNDIR": str(self.directory)},
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(_PATIENCE)


def run(work: Awaitable[T]) -> T:
    """Run something in an event loop of its own."""

    async def awaited() -> T:
        return await work

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(awaited())


async def fill(server: Server, work: Callable[[Client], Awaitable[None]]) -> None:
    """Have ``work`` done as soon as the server listens."""
    for delay in Backoff(0.1, 8.0).delays():
        try:
            async with Client(server.remote, server.name, timeout=_PATIENCE) as client:
                await work(client)
                return
        except UnreachableError:
            await asyncio.sleep(delay)


async def fill_northbound(client: Client, rows: int) -> None:
    """Insert switches with their ports and, for every four ports, an ACL: ``rows`` together."""
    per_switch = 1 + PORTS_PER_SWITCH + PORTS_PER_SWITCH // 4
    await _insert(client, rows // per_switch, per_switch, _switch)


async def fill_vswitch(client: Client, ports: int) -> None:
    """Insert a bridge with so many ports, each with its interface."""
    txn = client.transaction()
    inserted = []
    for number in range(ports):
        name = f"veth{number}"
        interface = txn.insert("Interface", {"name": name, "external_ids": _ids(number)})
        inserted.append(txn.insert("Port", {"name": name, "interfaces": [interface]}))
    bridge = txn.insert("Bridge", {"name": "br-int", "ports": inserted})
    txn.insert("Open_vSwitch", {"bridges": [bridge]})
    await client.commit(txn)


async def _insert(
    client: Client, count: int, rows: int, insert: Callable[[Transaction, int], None]
) -> None:
    step = max(1, _ROWS_PER_TRANSACTION // rows)
    for first in range(0, count, step):
        txn = client.transaction()
        for number in range(first, min(first + step, count)):
            insert(txn, number)
        await client.commit(txn)


def _ids(number: int) -> dict[str, str]:
    return {
        "iface-id": f"namespace-{number % 50}/pod-{number}",
        "attached-mac": _mac(number),
        "pod": f"pod-{number}",
    }


def _mac(number: int) -> str:
    return "0a:58:" + number.to_bytes(4).hex(":")


def _switch(txn: Transaction, number: int) -> None:
    ports = []
    for place in range(PORTS_PER_SWITCH):
        port = number * PORTS_PER_SWITCH + place
        address = f"{_mac(port)} 10.{port >> 16 & 255}.{port >> 8 & 255}.{port & 255}"
        row = {
            "name": f"namespace-{port % 50}_pod-{port}",
            "addresses": [address],
            "port_security": [address],
            "up": True,
            "options": {"requested-chassis": f"node-{number}", "iface-id-ver": f"{port:032x}"},
            "external_ids": _ids(port),
        }
        ports.append(txn.insert("Logical_Switch_Port", row))
    acls = [
        txn.insert(
            "ACL",
            {
                "name": f"policy-{number}-{place}",
                "priority": 1000 + place,
                "direction": "to-lport",
                "match": f'outport == "pod-{place}" && ip4.src == $as_{number} && tcp',
                "action": "allow-related",
                "external_ids": {"policy": f"policy-{place}", "namespace": f"namespace-{number}"},
            },
        )
        for place in range(PORTS_PER_SWITCH // 4)
    ]
    txn.insert("Logical_Switch", {"name": f"node-{number}", "ports": ports, "acls": acls})


def _program(name: str) -> str:
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise FileNotFoundError(f"{name}: apt-get install openvswitch-switch")
    return path


def _call(name: str, *words: str) -> None:
    subprocess.run([_program(name), *words], check=True, timeout=_PATIENCE)
