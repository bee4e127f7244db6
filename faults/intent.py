"""What Kubernetes says of Services and endpoints, and when it said so."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from faults.agent import NODE

__all__ = ["SERVICES", "History", "Served", "last_words", "scratch", "service", "slices"]

Object = dict[str, Any]


@dataclass(frozen=True)
class Served:
    """A Service that gets traffic.

    Attributes
    ----------
    name, protocol
        As Kubernetes has them.
    number
        Its cluster IPs and external IPs end with it.
    target
        The port of its pods.
    node_port
        0: it has none.
    pods
        Those that may be its endpoints; no other Service has them.
    affinity
        Whether a client keeps its endpoint.
    """

    name: str
    number: int
    target: int
    pods: tuple[str, ...]
    protocol: str = "TCP"
    node_port: int = 0
    affinity: bool = False

    @property
    def cluster_ips(self) -> dict[int, str]:
        """By IP version."""
        return {4: f"10.96.0.{self.number}", 6: f"fd00:96::{self.number:x}"}

    @property
    def external_ips(self) -> dict[int, str]:
        """By IP version."""
        return {4: f"203.0.113.{self.number}", 6: f"2001:db8:113::{self.number:x}"}


HTTP: Final = 8080
LINES: Final = 7000
UDP: Final = 8053

SERVICES: Final = (
    Served("web", 10, HTTP, ("web-1", "web-2", "web-3"), node_port=30080),
    Served("echo", 20, UDP, ("echo-1", "echo-2", "echo-3"), "UDP", node_port=30053),
    Served("sticky", 30, HTTP, ("sticky-1", "sticky-2"), affinity=True),
    Served("lines", 40, LINES, ("lines-1", "lines-2"), node_port=30070),
)


def service(served: Served) -> Object:
    """The Service."""
    ips = list(served.cluster_ips.values())
    port: Object = {"name": "p", "protocol": served.protocol, "port": 80}
    spec: Object = {
        "type": "NodePort" if served.node_port else "ClusterIP",
        "clusterIP": ips[0],
        "clusterIPs": ips,
        "ipFamilies": ["IPv4", "IPv6"],
        "ipFamilyPolicy": "RequireDualStack",
        "externalIPs": list(served.external_ips.values()),
        "ports": [port | {"targetPort": served.target}],
    }
    if served.node_port:
        spec["ports"][0]["nodePort"] = served.node_port
    if served.affinity:
        spec["sessionAffinity"] = "ClientIP"
    return _object("v1", "Service", served.name) | {"spec": spec}


def slices(served: Served, addresses: dict[int, list[str]]) -> Iterator[Object]:
    """Its EndpointSlices, with such endpoints, by IP version."""
    for version, of_version in addresses.items():
        yield _slice(served.name, version, of_version, served.protocol, served.target)


def scratch(number: int, chance: random.Random) -> list[Object]:
    """A Service that gets no traffic, with its EndpointSlice: something that changes."""
    port = chance.choice([80, 81, 443])
    count = chance.randrange(5)
    ends = {f"10.244.9.{chance.randrange(1, 250)}" for _ in range(count)}
    return _alone(f"scratch-{number}", f"10.97.0.{number}", port, sorted(ends))


def last_words() -> list[Object]:
    """A Service that gets no traffic, with its EndpointSlice: who knows both knows all before."""
    return _alone("last-words", "10.97.1.1", 80, ["10.244.8.1"])


def _alone(name: str, ip: str, port: int, ends: list[str]) -> list[Object]:
    """A Service that no pod serves, with its EndpointSlice."""
    spec = {"clusterIP": ip, "ports": [{"name": "p", "protocol": "TCP", "port": port}]}
    return [
        _object("v1", "Service", name) | {"spec": spec},
        _slice(name, 4, ends, "TCP", 8080),
    ]


def _slice(name: str, version: int, addresses: list[str], protocol: str, port: int) -> Object:
    made = _object("discovery.k8s.io/v1", "EndpointSlice", f"{name}-{version}")
    made["metadata"]["labels"] = {"kubernetes.io/service-name": name}
    return made | {
        "addressType": f"IPv{version}",
        "ports": [{"name": "p", "protocol": protocol, "port": port}],
        "endpoints": [
            {"addresses": [address], "nodeName": NODE, "conditions": {"ready": True}}
            for address in addresses
        ],
    }


def _object(version: str, kind: str, name: str) -> Object:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
    }


@dataclass
class History:
    """Which pods were a Service's endpoints, and since when."""

    said: dict[str, list[tuple[float, frozenset[str]]]] = field(default_factory=dict)

    def say(self, name: str, pods: frozenset[str]) -> None:
        """The Service has these from now on."""
        self.said.setdefault(name, []).append((time.time(), pods))

    def now(self, name: str) -> frozenset[str]:
        """Those that it has."""
        return self.said[name][-1][1]

    def between(self, name: str, first: float, last: float) -> frozenset[str]:
        """All that it had at any time from 'first' to 'last'."""
        said = self.said[name]
        found: set[str] = set()
        for number, (since, pods) in enumerate(said):
            until = said[number + 1][0] if number + 1 < len(said) else float("inf")
            if since <= last and until >= first:
                found |= pods
        return frozenset(found)
