"""The node's own way to Services: a next hop on the gateway, and a route to each Service range.

The kernel sends what is for a Service's address to the gateway interface, to a next hop whose MAC
the bridge knows (`nsxdp.pipeline.registers`). The next hop's neighbor entries are permanent: nobody
answers for it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

import structlog
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import rt_scope
from pyroute2.netlink.rtnl.ndmsg import NUD_PERMANENT

from nsxdp.pipeline.registers import NODE_IPV4, NODE_IPV6, VIRTUAL_MAC

__all__ = ["HostRoutes"]

log = structlog.get_logger(__name__)

_PROTOCOL: Final = 0x6E
"""Marks our routes (rtm_protocol), so that they can be told from everybody else's."""

_ONLINK: Final = 4
_FAMILIES: Final = {4: (socket.AF_INET, NODE_IPV4, 32), 6: (socket.AF_INET6, NODE_IPV6, 128)}
"""IP version -> address family, next hop, bits of an address."""


class HostRoutes:
    """Keeps the host's routes to Services through 'interface', in this process's namespace.

    Netlink's answers come at once; they are waited for in a thread of their own, because uvloop
    has no netlink sockets.
    """

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._warned = False

    async def set(self, ranges: Iterable[str]) -> None:
        """Route exactly the Service 'ranges' (such as ``10.96.0.0/12``) to the bridge."""
        await asyncio.to_thread(self._set, frozenset(ranges))

    async def clear(self) -> None:
        """Remove all that `set` made."""
        await self.set(())

    async def addresses(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """The interface's addresses, but for link-local ones; none if it isn't here."""
        return await asyncio.to_thread(self._addresses)

    def _addresses(self) -> tuple[IPv4Address | IPv6Address, ...]:
        with IPRoute() as netlink:
            index = self._index(netlink)
            if index is None:
                return ()
            found = [ip_address(a.get("address")) for a in netlink.get_addr(index=index)]
        return tuple(address for address in found if not address.is_link_local)

    def _set(self, ranges: frozenset[str]) -> None:
        with IPRoute() as netlink:
            index = self._index(netlink)
            if index is not None:
                for version in _FAMILIES:
                    own = {cidr for cidr in ranges if ip_network(cidr).version == version}
                    _set_family(netlink, index, version, own)
            elif ranges and not self._warned:
                log.warning(
                    f"no interface {self._interface} in this network namespace: the node's own "
                    "processes get no route to Services"
                )
            self._warned = index is None

    def _index(self, netlink: IPRoute) -> int | None:
        found: list[int] = netlink.link_lookup(ifname=self._interface)
        return found[0] if found else None


def _set_family(netlink: IPRoute, index: int, version: int, ranges: set[str]) -> None:
    """Have exactly the routes that 'ranges', of one IP version, need on interface 'index'."""
    family, hop, bits = _FAMILIES[version]
    common = {"family": family, "oif": index, "proto": _PROTOCOL}
    way_to_hop = f"{hop}/{bits}"
    if ranges:
        netlink.neigh(
            "replace",
            family=family,
            ifindex=index,
            dst=hop,
            lladdr=VIRTUAL_MAC,
            state=NUD_PERMANENT,
        )
        netlink.route("replace", dst=way_to_hop, scope=rt_scope["link"], **common)
        for cidr in ranges:
            netlink.route("replace", dst=cidr, gateway=hop, flags=_ONLINK, **common)
    wanted = {way_to_hop, *ranges} if ranges else set()
    for route in list(netlink.get_routes(**common)):
        destination = f"{route.get('dst')}/{route['dst_len']}"
        if destination not in wanted:
            try:
                netlink.route("del", dst=destination, **common)
            except NetlinkError as error:
                if error.code != errno.ESRCH:
                    raise
