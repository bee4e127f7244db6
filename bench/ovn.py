"""OVN on a node of its own: both databases, ovn-northd and ovn-controller, beside the lab's OVS."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from nsxdp.lab import tools
from nsxdp.lab.node import Node
from nsxdp.ovsdb import Client, Insert, Transaction, Watch

_SCHEMAS: Final = Path("/usr/share/ovn")
_PROGRAMS: Final = ("ovn-northd", "ovn-controller", "ovn-nbctl")
_PATIENCE: Final = 120.0
_NORTHBOUND: Final = "OVN_Northbound"
_SWITCH: Final = "pods"
_ROUTER: Final = "router"
_PORT: Final = f"{_SWITCH}-{_ROUTER}"


class Ovn:
    """OVN that makes the flows of a node's bridge; its databases are empty.

    The bridge has to be ``secure``: it has no flows but OVN's.
    """

    def __init__(self, node: Node) -> None:
        tools.require(*_PROGRAMS)
        self.node = node
        self.directory = node.netns.directory("ovn")
        self._environment = node.ovs.env | {
            "OVN_RUNDIR": str(self.directory),
            "OVN_LOGDIR": str(self.directory),
            "OVN_DBDIR": str(self.directory),
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.northbound = self._database("ovn-nb")
        southbound = self._database("ovn-sb")
        node.ovs.vsctl(
            *("set", "Open_vSwitch", "."),
            f"external_ids:ovn-remote={southbound}",
            "external_ids:ovn-encap-type=geneve",
            "external_ids:ovn-encap-ip=127.0.0.1",
            f"external_ids:ovn-bridge={node.bridge}",
            "external_ids:ovn-bridge-datapath-type=netdev",
            f"external_ids:system-id={node.name}",
        )
        databases = [f"--ovnnb-db={self.northbound}", f"--ovnsb-db={southbound}"]
        self._start("ovn-northd", "ovn-northd", *databases)
        self.start_controller()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in list(self._processes):
            self._end(name)

    def start_controller(self) -> None:
        """Start ovn-controller."""
        self._start("ovn-controller", "ovn-controller", self.node.ovsdb)

    def stop_controller(self) -> None:
        """End ovn-controller and leave the bridge as it is."""
        control = self.directory / f"ovn-controller.{self.pid('ovn-controller')}.ctl"
        tools.run(["ovs-appctl", "-t", control, "exit", "--restart"])
        self._processes.pop("ovn-controller").wait(_PATIENCE)

    def pid(self, name: str) -> int:
        """Process id of ``ovn-northd``, ``ovn-controller``, ``ovn-nb`` or ``ovn-sb``."""
        return self._processes[name].pid

    def nbctl(self, *commands: Sequence[str]) -> str:
        """Run ovn-nbctl's commands in one transaction; returns when the switch has the flows."""
        words = ["ovn-nbctl", f"--db={self.northbound}", "--wait=hv", f"--timeout={_PATIENCE:.0f}"]
        for command in commands:
            words += ["--", *command]
        return tools.run(words, env=self._environment, timeout=_PATIENCE + 10).stdout

    def add_pods(self) -> None:
        """A logical switch of the node's pods, and the router that is their gateway."""
        gateway = self.node.gateway
        assert gateway is not None
        commands = [
            ["ls-add", _SWITCH],
            ["lr-add", _ROUTER],
            ["lrp-add", _ROUTER, f"{_ROUTER}-{_SWITCH}", self.node.mac, str(gateway)],
            ["lsp-add", _SWITCH, _PORT],
            ["lsp-set-type", _PORT, "router"],
            ["lsp-set-addresses", _PORT, "router"],
            ["lsp-set-options", _PORT, f"router-port={_ROUTER}-{_SWITCH}"],
        ]
        for pod in self.node.pods.values():
            port = f"{pod.namespace}/{pod.short}"
            commands += [
                ["lsp-add", _SWITCH, port],
                ["lsp-set-addresses", port, f"{pod.mac} {pod.ip}"],
            ]
        self.nbctl(*commands)

    def _database(self, name: str) -> str:
        file = self.directory / f"{name}.db"
        tools.run(["ovsdb-tool", "create", file, _SCHEMAS / f"{name}.ovsschema"])
        remote = f"unix:{self.directory}/{name}.sock"
        self._start(name, "ovsdb-server", file, f"--remote=p{remote}")
        return remote

    def _start(self, name: str, *command: str | os.PathLike[str]) -> None:
        pidfile = self.directory / f"{name}.pid"
        pidfile.unlink(missing_ok=True)
        log = self.directory / f"{name}.log"
        with tools.PathWatch(pidfile) as watch, log.open("ab") as output:
            process = self.node.netns.popen(
                [*command, f"--pidfile={pidfile}", "-vconsole:info", "-vsyslog:off"],
                stdout=output,
                stderr=output,
                env=self._environment,
            )
            self._processes[name] = process
            if not watch.wait(process, _PATIENCE):
                raise RuntimeError(f"{name} did not start; its log ends:\n{tools.tail(log)}")

    def _end(self, name: str) -> None:
        process = self._processes.pop(name)
        process.terminate()
        process.wait(_PATIENCE)


class Balancers:
    """The load balancers of OVN's northbound database, and when the switch has them.

    Made and used in one event loop.
    """

    def __init__(self, ovn: Ovn) -> None:
        watches = [Watch("NB_Global", ["nb_cfg", "hv_cfg"]), Watch("Logical_Switch", ["name"])]
        self._client = Client(ovn.northbound, _NORTHBOUND, watches, timeout=_PATIENCE)

    async def __aenter__(self) -> Self:
        await self._client.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.close()

    async def add(self, balancers: Mapping[str, Mapping[str, str]]) -> None:
        """Have load balancers, by name: of addresses with ports, the backends with commas."""
        txn = self._client.transaction()
        rows = [
            txn.insert("Load_Balancer", {"name": name, "protocol": "tcp", "vips": vips})
            for name, vips in balancers.items()
        ]
        await self._on_switch(txn, rows)

    async def change(self, name: str, vips: Mapping[str, str]) -> None:
        """Have one load balancer with other backends."""
        txn = self._client.transaction()
        txn.update("Load_Balancer", [("name", "==", name)], {"vips": vips})
        await self._client.commit(txn)

    async def remove_all(self) -> None:
        """Have none."""
        txn = self._client.transaction()
        txn.delete("Load_Balancer", [])
        await self._on_switch(txn, [])

    async def switched(self) -> None:
        """Wait until the switch has everything up to now."""
        table = self._client.replica["NB_Global"]
        with self._client.replica.changes() as changes:
            txn = self._client.transaction()
            txn.mutate("NB_Global", [], [("nb_cfg", "+=", 1)])
            await self._client.commit(txn)
            (row,) = table
            if row.hv_cfg == row.nb_cfg:
                return
            async for _ in changes:
                (row,) = table
                if row.hv_cfg == row.nb_cfg:
                    return

    async def _on_switch(self, txn: Transaction, rows: Sequence[Insert]) -> None:
        txn.update("Logical_Switch", [("name", "==", _SWITCH)], {"load_balancer": rows})
        await self._client.commit(txn)
