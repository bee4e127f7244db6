"""Which tracked UDP connections to forget: those to endpoints that went (KP-50).

A UDP client may send from one port for ever, and conntrack goes on translating to the endpoint that
it once chose, even where that is gone, or is none of the Service that has this address now. Only
connections whose endpoint serves no more are forgotten: a change of policy or topology breaks none
(KP-51), and neither does a Service without any serving endpoint. TCP's are left alone (KP-52).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from socket import AF_INET, AF_INET6, inet_pton
from typing import Final, NamedTuple

from nsxdp.conntrack import read_entries
from nsxdp.services.addresses import Family
from nsxdp.services.model import SERVING, Endpoints, ServicePort, ServicePortName

__all__ = ["Stale", "StaleFinder", "parse_entries"]

_Key = tuple[ServicePortName, Family]

_Frontend = tuple[int, bytes | None, int]
"""An address's width, which is its family's; the address, or None for any of the node's; a port."""

_MOST_LEFT: Final = 10_000
"""So many frontends of Services that are gone are remembered, the last ones."""


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
    """Compares the endpoints behind each UDP frontend with those that were there.

    A frontend is an address and port of a Service, or its node port. It outlives the Service: one
    that is made anew has the cluster IP of the last one, perhaps, and other endpoints; and an
    external IP or a node port may go from one Service to another.
    """

    def __init__(self) -> None:
        self._serving: dict[_Key, tuple[ServicePort, Endpoints]] = {}
        self._whose: dict[_Frontend, tuple[_Key, ...]] = {}
        self._left: dict[_Frontend, Endpoints] = {}
        """What was last behind frontends that are nobody's."""

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
        stale: list[Stale] = []
        if old is None or old[0] != port:
            stale += self._move(key, old, port, serving)
        if old is not None and old[1] != serving:
            gone = sorted(_pairs(old[1]) - _pairs(serving))
            stale += [entry for at in _frontends(port) for entry in _entries(at, gone)]
        return stale

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
            width = len(entry.endpoint)
            known = serving.get((width, entry.vip, entry.port))
            if known is None:
                known = serving.get((width, None, entry.port))
            if known is not None and (entry.endpoint, entry.endpoint_port) not in known:
                stale.append(entry)
        return stale

    def remove(self, name: ServicePortName, family: Family) -> list[Stale]:
        """The Service port is gone: what has to be forgotten?

        Nothing, unless another one is served where it was: its connections go on as long as its
        endpoints do.
        """
        old = self._serving.pop((name, family), None)
        if old is None:
            return []
        return self._leave((name, family), _frontends(old[0]), old[1])

    def _move(
        self,
        key: _Key,
        old: tuple[ServicePort, Endpoints] | None,
        port: ServicePort,
        new: Endpoints,
    ) -> list[Stale]:
        """The Service port 'key' is served elsewhere than before, by 'new' endpoints."""
        before = _frontends(old[0]) if old is not None else []
        now = _frontends(port)
        stale = []
        if old is not None:
            stale += self._leave(key, [at for at in before if at not in now], old[1])
        for frontend in now:
            if frontend in before:
                continue
            self._whose[frontend] = *self._whose.get(frontend, ()), key
            left = self._left.pop(frontend, None)
            if left is not None:
                stale += _entries(frontend, sorted(_pairs(left) - _pairs(new)))
        return stale

    def _leave(
        self, key: _Key, frontends: Iterable[_Frontend], endpoints: Endpoints
    ) -> list[Stale]:
        """The Service port 'key' isn't served at 'frontends' any more, where it had 'endpoints'."""
        stale: list[Stale] = []
        for frontend in frontends:
            others = tuple(other for other in self._whose.pop(frontend) if other != key)
            if others:
                self._whose[frontend] = others
                _, theirs = self._serving[others[-1]]
                stale += _entries(frontend, sorted(_pairs(endpoints) - _pairs(theirs)))
            else:
                self._left[frontend] = endpoints
                if len(self._left) > _MOST_LEFT:
                    del self._left[next(iter(self._left))]
        return stale


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


def _frontends(port: ServicePort) -> list[_Frontend]:
    """Where connections to a Service port go."""
    width = port.family.width
    vips = (port.cluster_ip, *port.external_ips, *port.load_balancer_vips)
    found: list[_Frontend] = [(width, vip, port.port) for vip in vips]
    if port.node_port:
        found.append((width, None, port.node_port))
    return list(dict.fromkeys(found))


def _entries(frontend: _Frontend, endpoints: Iterable[tuple[bytes, int]]) -> Iterator[Stale]:
    """The connections to a frontend that go to these endpoints."""
    _, vip, port = frontend
    for address, number in endpoints:
        yield Stale(vip, port, address, number)


def _pairs(endpoints: Endpoints) -> set[tuple[bytes, int]]:
    width = endpoints.family.width
    packed = endpoints.packed_addresses
    return {
        (packed[row * width : (row + 1) * width], port)
        for row, port in enumerate(endpoints.ports.tolist())
    }
