"""The node's own way to Services: a next hop on the gateway, and a route to each Service range.

The kernel sends what is for a Service's address to the gateway interface, to a next hop whose MAC
the bridge knows (`nsxdp.pipeline.registers`). The next hop's neighbor entries are permanent: nobody
answers for it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from ipaddress import ip_network

import structlog
from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from nsxdp.pipeline.registers import NODE_IPV4, NODE_IPV6, VIRTUAL_MAC

__all__ = ["HostRoutes"]

log = structlog.get_logger(__name__)

_PROTOCOL = 0x6E
"""Marks our routes (rtm_protocol), so that they can be told from everybody else's."""

_NUD_PERMANENT = 0x80
_FAMILY = {4: 2, 6: 10}
_NEXT_HOP = {4: NODE_IPV4, 6: NODE_IPV6}
_ONLINK = 4


class HostRoutes:
    """Keeps the host's routes to Services through 'interface', in this process's namespace."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._ranges: frozenset[str] = frozenset()
        self._warned = False

    async def set(self, ranges: Iterable[str]) -> None:
        """Route exactly the Service 'ranges' (such as ``10.96.0.0/12``) to the bridge."""
        self._ranges = frozenset(ranges)
        await self.apply()

    async def apply(self) -> None:
        """Put in place what is missing; for an interface that has come back, too."""
        async with AsyncIPRoute() as netlink:
            links = [link async for link in await netlink.get_links()]
            index = next((i["index"] for i in links if i.get("ifname") == self._interface), None)
            if index is None:
                if not self._warned:
                    log.warning(
                        f"no interface {self._interface} in this network namespace: the node's "
                        "own processes get no route to Services"
                    )
                self._warned = True
                return
            self._warned = False
            await self._apply(netlink, index)

    async def clear(self) -> None:
        """Remove all that `set` made."""
        self._ranges = frozenset()
        await self.apply()

    async def _apply(self, netlink: AsyncIPRoute, index: int) -> None:
        wanted = {
            version: {r for r in self._ranges if ip_network(r).version == version}
            for version in _FAMILY
        }
        for version, ranges in wanted.items():
            hop = _NEXT_HOP[version]
            prefix = 32 if version == 4 else 128
            destinations = {f"{hop}/{prefix}", *ranges} if ranges else set()
            family = _FAMILY[version]
            if ranges:
                await netlink.neigh(
                    "replace", dst=hop, lladdr=VIRTUAL_MAC, ifindex=index, state=_NUD_PERMANENT,
                    family=family,
                )  # fmt: skip
            for destination in sorted(destinations, key=lambda d: -ip_network(d).prefixlen):
                request = {"family": family, "dst": destination, "oif": index, "proto": _PROTOCOL}
                if destination in ranges:
                    request |= {"gateway": hop, "flags": _ONLINK}
                else:
                    request["scope"] = 253
                await netlink.route("replace", **request)
            async for route in await netlink.get_routes(
                family=family, oif=index, proto=_PROTOCOL
            ):
                destination = f"{route.get('dst')}/{route['dst_len']}"
                if destination not in destinations:
                    try:
                        await netlink.route(
                            "del", family=family, dst=destination, oif=index, proto=_PROTOCOL
                        )
                    except NetlinkError as error:
                        if error.code != errno.ESRCH:
                            raise
