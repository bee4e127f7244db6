"""Which tracked UDP connections to forget: those to endpoints that went (KP-50).

A UDP client may send from one port for ever, and conntrack goes on translating to the endpoint that
it once chose, even where that is gone. Only connections whose endpoint serves no more are
forgotten: a change of policy or topology breaks none (KP-51), and neither does a Service without
any serving endpoint. TCP's are left alone (KP-52).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from socket import AF_INET, AF_INET6, inet_pton
from typing import NamedTuple

from nsxdp.conntrack import read_entries
from nsxdp.services.addresses import Family
from nsxdp.services.model import SERVING, Endpoints, ServicePort, ServicePortName

__all__ = ["Stale", "StaleFinder", "parse_entries"]


class Stale(NamedTuple):
    """Connections to a virtual address that go to an endpoint. Addresses are packed.

    ``vip`` is None for a node port, whichever of the node's addresses it was for; ``client`` is
    None for those of all clients.
    """

    vip: bytes | None
    port: int
    endpoint: bytes
    endpoint_port: int
    client: bytes | None = None
    client_port: int = 0


class StaleFinder:
    """Compares the endpoints of each UDP Service port with those that it had."""

    def __init__(self) -> None:
        self._serving: dict[tuple[ServicePortName, Family], tuple[ServicePort, Endpoints]] = {}

    def update(self, port: ServicePort, endpoints: Endpoints) -> list[Stale]:
        """'port' has 'endpoints', ready and other ones, now: what has to be forgotten?"""
        if port.protocol != "UDP":
            return []
        serving = endpoints.where((endpoints.flags & SERVING) != 0)
        key = port.name, port.family
        if not serving:
            return []
        old = self._serving.get(key)
        self._serving[key] = port, serving
        if old is None or old[1] == serving:
            return []
        return [
            Stale(vip, at, address, number)
            for vip, at in _frontends(port)
            for address, number in sorted(_pairs(old[1]) - _pairs(serving))
        ]

    def check(self, entries: Iterable[Stale]) -> list[Stale]:
        """Which of the tracked UDP connections 'entries' lead to endpoints that serve no more.

        For the start: what went while nobody looked.
        """
        serving = {
            frontend: _pairs(endpoints)
            for port, endpoints in self._serving.values()
            for frontend in _frontends(port)
        }
        stale = []
        for entry in entries:
            known = serving.get((entry.vip, entry.port), serving.get((None, entry.port)))
            if known is not None and (entry.endpoint, entry.endpoint_port) not in known:
                stale.append(entry)
        return stale

    def remove(self, name: ServicePortName, family: Family) -> None:
        """The Service port is gone; its connections go on as long as its endpoints do."""
        self._serving.pop((name, family), None)


def parse_entries(dump: str) -> Iterator[Stale]:
    """The UDP connections in what ``ovs-appctl dpctl/dump-conntrack`` prints."""
    for entry in read_entries(dump):
        if entry.protocol == "udp":
            family = AF_INET6 if ":" in entry.dst else AF_INET
            yield Stale(
                inet_pton(family, entry.dst),
                entry.dst_port,
                inet_pton(family, entry.reply_src),
                entry.reply_src_port,
                inet_pton(family, entry.src),
                entry.src_port,
            )


def _frontends(port: ServicePort) -> list[tuple[bytes | None, int]]:
    """Where connections to a Service port go: addresses and ports; None: any of the node's."""
    vips = (port.cluster_ip, *port.external_ips, *port.load_balancer_vips)
    found: list[tuple[bytes | None, int]] = [(vip, port.port) for vip in vips]
    if port.node_port:
        found.append((None, port.node_port))
    return found


def _pairs(endpoints: Endpoints) -> set[tuple[bytes, int]]:
    width = endpoints.family.width
    packed = endpoints.packed_addresses
    return {
        (packed[row * width : (row + 1) * width], port)
        for row, port in enumerate(endpoints.ports.tolist())
    }
