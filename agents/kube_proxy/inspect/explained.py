"""What is told of a Service port: its addresses, groups and endpoints, and what they have done."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from nsxdp.services.model import ServicePort
from nsxdp.tracing.tree import Branch
from nsxdp_agents.kube_proxy.inspect.output import counts

__all__ = ["Client", "Count", "Endpoint", "Explained", "Frontend", "PortGroup"]

MOST_CLIENTS: Final = 10
"""Clients with an affinity that are shown by name."""


@dataclass(slots=True)
class Count:
    """What a flow, group or bucket has done.

    Attributes
    ----------
    state
        ``installed``; ``missing``; ``different``: it is there, and otherwise; ``taken``: what is
        there is another Service's; ``unasked``: no switch was asked.
    packets, bytes
        None where nobody knows.
    owner
        Who has taken its place.
    """

    state: str = "unasked"
    packets: int | None = None
    bytes: int | None = None
    owner: str = ""

    def __str__(self) -> str:
        if self.state == "missing":
            return "not on the switch"
        if self.state == "unasked":
            return ""
        text = counts(self.packets, self.bytes)
        if self.state == "taken":
            return f"taken by {self.owner}, {text}"
        return f"otherwise on the switch, {text}" if self.state == "different" else text


@dataclass(slots=True)
class Frontend:
    """A flow by which packets come in.

    Attributes
    ----------
    kind
        ``cluster IP``, ``external IP``, ``load balancer IP``, ``node port``.
    address
        With the port; ``:30080`` of a node port; empty of all other ports.
    condition
        Whose packets; empty: anybody's.
    does
        What becomes of them.
    group
        Where they go; 0: to none.
    """

    kind: str
    address: str
    condition: str
    does: str
    group: int
    flow: str
    count: Count


@dataclass(slots=True)
class Endpoint:
    """An endpoint, with the bucket that leads to it."""

    address: str
    bucket: int
    about: str
    flow: str = ""
    count: Count = field(default_factory=Count)


@dataclass(slots=True)
class PortGroup:
    """A group.

    Attributes
    ----------
    role
        ``all endpoints``, ``this node's endpoints``, ``part``.
    method
        How a bucket is chosen.
    parts
        Of a large group: the groups among which it chooses.
    """

    number: int
    role: str
    method: str
    endpoints: list[Endpoint]
    parts: list[int]
    count: Count = field(default_factory=Count)


@dataclass(slots=True)
class Client:
    """A client that has an endpoint."""

    address: str
    endpoint: str
    idle: int
    packets: int


@dataclass(slots=True)
class Explained:
    """A Service port in one IP family.

    Attributes
    ----------
    unused
        Endpoints that no packet goes to, and why.
    affinity
        Seconds; None: there is none.
    clients
        Clients that the switch remembers an endpoint of.
    health_check
        The node port at which load balancers ask for the Service's health, and how many ready
        endpoints of it this node has; None: there is none.
    """

    port: ServicePort
    frontends: list[Frontend]
    groups: list[PortGroup]
    unused: list[str]
    affinity: int | None
    clients: list[Client]
    health_check: tuple[int, int] | None = None

    def tree(self) -> Branch:
        """For people."""
        n = len({e.address for g in self.groups for e in g.endpoints})
        tree = Branch(f"{self.port.name} {self.port.family.label}: {_many(n, 'endpoint')} in use")
        for frontend in self.frontends:
            where = f"{frontend.kind} {frontend.address}".strip()
            condition = f" {frontend.condition}" if frontend.condition else ""
            line = tree.add(_with(f"{where}{condition}: {frontend.does}", frontend.count))
            line.add(frontend.flow)
        for group in self.groups:
            chooses = f"{_many(len(group.parts) or len(group.endpoints), 'bucket')}"
            title = f"group {group.number}, {group.role}: {chooses}, chosen by {group.method}"
            line = tree.add(_with(title, group.count))
            for part in group.parts:
                line.add(f"group {part}")
            for endpoint in group.endpoints:
                title = f"{endpoint.address} {endpoint.about}, bucket {endpoint.bucket}"
                leaf = line.add(_with(title, endpoint.count))
                if endpoint.flow:
                    leaf.add(endpoint.flow.partition(" actions=")[0])
        if self.affinity is not None:
            title = f"affinity by client IP, {self.affinity} seconds"
            known = f": {_many(len(self.clients), 'client')} known" if self.clients else ""
            line = tree.add(title + known)
            for client in self.clients[:MOST_CLIENTS]:
                line.add(
                    f"{client.address} goes to {client.endpoint}, last connection "
                    f"{client.idle} s ago: {counts(client.packets)}"
                )
            if len(self.clients) > MOST_CLIENTS:
                line.add(f"and {len(self.clients) - MOST_CLIENTS:,} more")
        if self.health_check is not None:
            number, ready = self.health_check
            answer = f"{200 if ready else 503}, {_many(ready, 'ready endpoint')} on this node"
            tree.add(f"health check node port {number}: {answer}")
        for unused in self.unused:
            tree.add(f"not in use: {unused}")
        return tree

    def json(self) -> dict[str, Any]:
        """For programs."""
        name = self.port.name
        return {
            "service": name.service,
            "port": name.port_name,
            "protocol": name.protocol,
            "family": self.port.family.label,
            "frontends": [asdict(frontend) for frontend in self.frontends],
            "groups": [asdict(group) for group in self.groups],
            "unused": self.unused,
            "affinity": self.affinity,
            "clients": [asdict(client) for client in self.clients],
            "healthCheckNodePort": self.health_check and self.health_check[0],
            "localReadyEndpoints": self.health_check and self.health_check[1],
        }


def _many(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _with(text: str, count: Count) -> str:
    said = str(count)
    return f"{text}: {said}" if said else text
