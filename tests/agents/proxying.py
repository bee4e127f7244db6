"""What the agents' tests share: the agent's process, its objects, and looks at the switch."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from faults.agent import NODE, PROGRAM, SECONDS, Agent, until
from nsxdp.lab import Netns, Node

__all__ = [
    "COOKIE",
    "NODE",
    "PROGRAM",
    "SERVICE_CIDR",
    "Agent",
    "Clock",
    "Manifests",
    "buckets",
    "endpoints",
    "flows",
    "groups",
    "ours",
    "policy",
    "service",
    "until",
]

Object = dict[str, Any]
COOKIE = "cookie=0x6e01"
"""What the cookies of the agent's flows begin with."""


class Manifests:
    """A directory of manifests; each file comes and changes at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def put(self, *objects: Mapping[str, Any]) -> None:
        """Write objects, one a file."""
        for obj in objects:
            file = self._file(obj)
            fresh = file.with_name(f".{file.name}.new")
            fresh.write_text(json.dumps(obj))
            fresh.replace(file)

    def remove(self, *objects: Mapping[str, Any]) -> None:
        """Delete objects."""
        for obj in objects:
            self._file(obj).unlink()

    def _file(self, obj: Mapping[str, Any]) -> Path:
        return self.path / f"{obj['kind']}-{obj['metadata']['name']}.json"


def service(name: str, ip: str, port: int = 80, protocol: str = "TCP", **spec: Any) -> Object:
    """A Service with one port, ``p``."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "clusterIP": ip,
            "ports": [{"name": "p", "protocol": protocol, "port": port, "targetPort": 8080}],
            **spec,
        },
    }


def endpoints(
    name: str, *addresses: str, port: int = 8080, protocol: str = "TCP", **each: Any
) -> Object:
    """The EndpointSlice of the Service 'name': endpoints on `NODE`; 'each' goes to all of them."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-1",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"name": "p", "protocol": protocol, "port": port}],
        "endpoints": [
            {"addresses": [address], "nodeName": NODE, "conditions": {"ready": True}, **each}
            for address in addresses
        ],
    }


SERVICE_CIDR: Object = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "ServiceCIDR",
    "metadata": {"name": "kubernetes"},
    "spec": {"cidrs": ["10.96.0.0/12", "fd00:96::/108"]},
}
"""What the node's own processes get a route to."""


def flows(node: Node) -> list[str]:
    """All flows of the bridge as ovs-ofctl prints them, without statistics."""
    text = node.ovs.ofctl("--no-stats", "dump-flows", node.mgmt)
    return sorted(line.strip() for line in text.splitlines() if "actions=" in line)


def ours(node: Node) -> list[str]:
    """Those of the agent."""
    return [flow for flow in flows(node) if COOKIE in flow]


def groups(node: Node) -> list[str]:
    """All groups of the bridge."""
    text = node.ovs.ofctl("dump-groups", node.mgmt)
    return sorted(line.strip() for line in text.splitlines() if "group_id=" in line)


def buckets(node: Node) -> dict[str, int]:
    """The endpoints that the groups of the bridge lead to, and their buckets' ids."""
    found = re.findall(r"bucket_id:(\d+),[^[]*?nat\(dst=([^)]+)\)", " ".join(groups(node)))
    return {endpoint: int(number) for number, endpoint in found}


class Clock:
    """ovs-vswitchd's, which only moves when it is told to (its unit tests' time/warp). For the node
    of the fixture ``timeless``.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.now = 0
        node.ovs.appctl("time/stop")

    def forward(self, seconds: int) -> None:
        """In steps in which ovs-vswitchd does what is due."""
        self.now += seconds
        step = min(seconds, 600)
        self._node.ovs.appctl("time/warp", str(1000 * seconds), str(1000 * step))


def finished(argv: Iterable[str], netns: Netns) -> subprocess.CompletedProcess[str]:
    """A run of nsx-kube-proxy that ends by itself."""
    return netns.run([PROGRAM, *argv], check=False, timeout=SECONDS)


def policy(pid: int = 0) -> int:
    """How a process gets processors (sched(7)); 0: the calling thread."""
    return os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK
