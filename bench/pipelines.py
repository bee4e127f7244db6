"""Pipelines that a packet to a virtual address can go through, each on a node of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import cluster, connections
from bench.ovn import Balancers, Ovn
from bench.processes import usage
from bench.proxies import Agent
from nsxdp.lab.node import Node, Pod

SERVERS: Final = 4
_ACCEPT: Final = 8080
_SINK: Final = 8081
_VIP: Final = "10.96.0.10"


class Passes(NamedTuple):
    """What one packet meets in the datapath.

    Attributes
    ----------
    lookups
        How often it is looked up: once, and once more for each recirculation.
    conntrack
        How often it passes connection tracking.
    """

    lookups: float
    conntrack: float


class Pipeline(contextlib.ExitStack):
    """A node with four pods that serve, one that connects to them, and a switch between them.

    Attributes
    ----------
    name
        What the pipeline is.
    """

    name = "plain L2, no virtual address"

    def __init__(self, fail_mode: str = "standalone") -> None:
        super().__init__()
        try:
            self.node = self.enter_context(Node("traffic", gateway6=None, fail_mode=fail_mode))
            self.servers = [self.node.add_pod(f"web-{number}") for number in range(SERVERS)]
            self.client = self.node.add_pod("client")
            self.client.sysctl("net.ipv4.ip_local_port_range", "1024 65535")
            for server in self.servers:
                self._serve(server)
            self.prepare()
        except BaseException:
            self.close()
            raise

    def prepare(self) -> None:
        """Make the flows."""

    def targets(self, port: int) -> list[str]:
        """Where the client connects to for a port of the servers."""
        return [f"{server.ip}:{port}" for server in self.servers]

    def connect(self, seconds: float) -> tuple[float, float]:
        """Open connections: how many, and in how many seconds."""
        return self._client("connect", seconds, self.targets(_ACCEPT))

    def send(self, seconds: float) -> tuple[float, float]:
        """Send on one connection: how many bytes, and in how many seconds."""
        return self._client("send", seconds, self.targets(_SINK))

    def forget_connections(self) -> None:
        """Empty conntrack."""
        self.node.ovs.appctl("dpctl/flush-conntrack")

    def forget(self) -> None:
        """Empty conntrack and the datapath's cache, and begin with its statistics."""
        self.forget_connections()
        self.node.ovs.appctl("dpctl/del-flows")
        self.node.ovs.appctl("dpif-netdev/pmd-stats-clear")

    def cpu(self) -> float:
        """Seconds that the switch has used."""
        return usage(self.node.ovs.pid()).cpu

    def megaflows(self) -> list[str]:
        """What the datapath has cached of IPv4, as ovs-appctl prints it."""
        said = self.node.ovs.appctl("dpctl/dump-flows").splitlines()
        return [line for line in said if "eth_type(0x0800)" in line]

    def passes(self) -> Passes:
        """What packets have met since `forget`."""
        said = self.node.ovs.appctl("dpif-netdev/pmd-stats-show")
        received = int(_found(r"packets received: (\d+)", said))
        recirculated = int(_found(r"packet recirculations: (\d+)", said))
        tracked = sum(
            int(_found(r"packets:(\d+)", flow)) * len(re.findall(r"\bct\(", _actions(flow)))
            for flow in self.megaflows()
        )
        return Passes((received + recirculated) / received, tracked / received)

    def _serve(self, server: Pod) -> None:
        process = server.popen(_python("serve", str(_ACCEPT), str(_SINK)), stdout=subprocess.PIPE)
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"{server.short} does not serve")

    def _client(self, verb: str, seconds: float, targets: list[str]) -> tuple[float, float]:
        said = self.client.run(_python(verb, str(seconds), *targets)).stdout.split()
        return float(said[0]), float(said[1])


class Minimal(Pipeline):
    """Two tables: conntrack, and a select group or the port for where the packet is going."""

    name = "two tables and a select group"

    def __init__(self) -> None:
        super().__init__("secure")

    def prepare(self) -> None:
        groups, flows = [], ["priority=0,actions=NORMAL", "priority=10,ip,actions=ct(table=1,nat)"]
        for group, port in enumerate((_ACCEPT, _SINK), 1):
            buckets = (
                f"bucket=bucket_id:{number},weight:100,"
                f"actions=ct(commit,table=1,nat(dst={server.ip}:{port}))"
                for number, server in enumerate(self.servers, 1)
            )
            groups.append(
                f"group_id={group},type=select,selection_method=dp_hash,{','.join(buckets)}"
            )
            flows.append(
                f"table=1,priority=20,ct_state=+new+trk,tcp,nw_dst={_VIP},tp_dst={port},"
                f"actions=group:{group}"
            )
        flows += [
            f"table=1,priority=10,ip,nw_dst={pod.ip},"
            f"actions=set_field:{pod.mac}->eth_dst,output:{self.node.ovs.ofport(pod.port)}"
            for pod in self.node.pods.values()
        ]
        self.node.ovs.ofctl("add-groups", self.node.mgmt, "-", stdin="\n".join(groups))
        self.node.ovs.ofctl("add-flows", self.node.mgmt, "-", stdin="\n".join(flows))

    def targets(self, port: int) -> list[str]:
        return [f"{_VIP}:{port}"]


class Ours(Pipeline):
    """nsx-kube-proxy's."""

    name = "nsxdp, by nsx-kube-proxy"

    def prepare(self) -> None:
        directory = self.node.netns.directory("manifests")
        (directory / "services.json").write_text(
            "\n---\n".join(json.dumps(item) for item in self._manifests())
        )
        self.enter_context(Agent(self.node, f"--manifests={directory}", 1))

    def targets(self, port: int) -> list[str]:
        return [f"{_VIP}:{port}"]

    def _manifests(self) -> list[dict[str, Any]]:
        service, endpoints = cluster.service(0), cluster.endpoint_slice(0, SERVERS)
        service["spec"]["clusterIP"] = _VIP
        service["spec"]["ports"] = [
            {"name": f"port-{port}", "port": port, "targetPort": port} for port in (_ACCEPT, _SINK)
        ]
        endpoints["ports"] = [
            {"name": f"port-{port}", "port": port, "protocol": "TCP"} for port in (_ACCEPT, _SINK)
        ]
        for endpoint, server in zip(endpoints["endpoints"], self.servers, strict=True):
            endpoint["addresses"] = [server.ip]
        return [service, endpoints]


class OvnPipeline(Pipeline):
    """OVN's, of a logical switch, its router and a load balancer on the switch."""

    name = "OVN"

    def __init__(self) -> None:
        super().__init__("secure")

    def prepare(self) -> None:
        ovn = self.enter_context(Ovn(self.node))
        ovn.add_pods()
        vips = {
            f"{_VIP}:{port}": ",".join(f"{server.ip}:{port}" for server in self.servers)
            for port in (_ACCEPT, _SINK)
        }

        async def balance() -> None:
            async with Balancers(ovn) as balancers:
                await balancers.add({"service": vips})
                await balancers.switched()

        asyncio.run(balance())

    def targets(self, port: int) -> list[str]:
        return [f"{_VIP}:{port}"]


def _python(*words: str) -> list[str]:
    return [sys.executable, "-ISE", str(Path(connections.__file__).resolve()), *words]


def _actions(flow: str) -> str:
    return flow.rpartition("actions:")[2]


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found, f"no {pattern} in {text}"
    return found[1]
