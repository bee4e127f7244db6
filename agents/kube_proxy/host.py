"""The node's way to Services: a next hop on the gateway, and routes to what Services have.

The kernel sends what is for a Service's address, by the node itself or by who comes from elsewhere,
to the gateway interface, to a next hop whose MAC the bridge knows (`nsxdp.pipeline.registers`). The
next hop's neighbor entries are permanent: nobody answers for it. Whenever the interface, the node's
addresses or our routes change, the kernel tells, and all is made good again: a restarted switch
with a userspace datapath, for one, makes the interface anew, and gets its addresses some time
later.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, NamedTuple

import structlog
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import rt_scope
from pyroute2.netlink.rtnl.ndmsg import NUD_PERMANENT

from nsxdp.pipeline.registers import (
    MASQUERADE_IPV4,
    MASQUERADE_IPV6,
    NODE_IPV4,
    NODE_IPV6,
    NODE_PORT_IPV4,
    NODE_PORT_IPV6,
    VIRTUAL_MAC,
)

__all__ = ["HostAddresses", "HostRoutes"]

Address = IPv4Address | IPv6Address

log = structlog.get_logger(__name__)

_PROTOCOL: Final = 0x6E
"""Marks our routes (rtm_protocol), so that they can be told from everybody else's."""

_ONLINK: Final = 4
_FAMILIES: Final = {
    4: (socket.AF_INET, NODE_IPV4, {f"{MASQUERADE_IPV4}/32", f"{NODE_PORT_IPV4}/32"}, 32),
    6: (socket.AF_INET6, NODE_IPV6, {f"{MASQUERADE_IPV6}/128", f"{NODE_PORT_IPV6}/128"}, 128),
}
"""IP version -> address family, next hop, what is routed to it whatever Services there are, bits of
an address."""

# From linux/rtnetlink.h: groups of news, and the kinds of message that come.
_LINK, _IPV4_ADDRESS, _IPV4_ROUTE, _IPV6_ADDRESS, _IPV6_ROUTE = 0x1, 0x10, 0x40, 0x100, 0x400
_GROUPS: Final = _LINK | _IPV4_ADDRESS | _IPV4_ROUTE | _IPV6_ADDRESS | _IPV6_ROUTE
_NEW_LINK, _NEW_ADDRESS, _DELETED_ADDRESS, _DELETED_ROUTE = 16, 20, 21, 25

_MESSAGE: Final = struct.Struct("=IHHII")
"""A netlink message's header: length, kind, flags, sequence, sender."""


class HostAddresses(NamedTuple):
    """The node's addresses, but for link-local ones.

    Attributes
    ----------
    gateway
        Those of the gateway interface, in the kernel's order.
    node
        All of them but loopback's.
    """

    gateway: tuple[Address, ...] = ()
    node: frozenset[Address] = frozenset()


class HostRoutes:
    """Keeps the host's routes to Services through the gateway, in this process's namespace.

    Netlink's answers come at once; they are waited for in a thread of their own, because uvloop
    has no netlink sockets.

    Parameters
    ----------
    interface
        The gateway's name.
    """

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._ranges: frozenset[str] | None = None
        """What `set` was told last; None: nothing yet."""
        self._problems: list[str] = []
        self._doubtful = True
        """Whether something may have happened to our routes since they were set."""
        self._due = asyncio.Event()

    async def set(self, ranges: Iterable[str]) -> None:
        """Route exactly 'ranges' (such as ``10.96.0.0/12``) to the bridge.

        What the kernel refuses is logged: once, until it is something else.
        """
        wanted = frozenset(ranges)
        if wanted == self._ranges and not self._doubtful:
            return
        self._ranges = wanted
        self._doubtful = False
        problems = await asyncio.to_thread(self._apply, self._interface, self._ranges)
        for problem in problems:
            if problem not in self._problems:
                log.warning(
                    "the node's own processes can't reach Services",
                    interface=self._interface,
                    reason=problem,
                )
        self._problems = problems
        self._doubtful = self._doubtful or bool(problems)

    async def use(self, interface: str) -> None:
        """The gateway is 'interface' from now on."""
        if interface == self._interface:
            return
        before, self._interface = self._interface, interface
        if self._ranges is not None:
            await asyncio.to_thread(self._apply, before, frozenset[str]())
        self._doubtful = True
        self.look_again()

    def look_again(self) -> None:
        """Let `changes` have something to tell."""
        self._due.set()

    async def clear(self) -> None:
        """Remove all that `set` made."""
        await self.set(())

    async def addresses(self) -> HostAddresses:
        """The node's addresses; none of the gateway's if the interface isn't here."""
        return await asyncio.to_thread(self._addresses)

    async def changes(self) -> AsyncIterator[None]:
        """Each change of the interface, its addresses or our routes; the first comes at once.

        What changes while nobody asks for the next becomes one.
        """
        loop = asyncio.get_running_loop()
        self._due.set()
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as news:
            news.setblocking(False)
            news.bind((0, _GROUPS))
            loop.add_reader(news, self._hear, news)
            try:
                while True:
                    await self._due.wait()
                    self._due.clear()
                    yield
            finally:
                loop.remove_reader(news)

    def _hear(self, news: socket.socket) -> None:
        """Read what the kernel tells; of the many things, a few matter."""
        try:
            data = news.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:  # more news than the socket holds: what was in them is lost
            self._doubtful = True
            self.look_again()
            return
        at = 0
        while at + _MESSAGE.size + 8 <= len(data):
            length, kind = _MESSAGE.unpack_from(data, at)[:2]
            body = at + _MESSAGE.size
            if kind in (_NEW_LINK, _NEW_ADDRESS, _DELETED_ADDRESS):
                # struct ifinfomsg and struct ifaddrmsg have the interface at the same place.
                (index,) = struct.unpack_from("=I", data, body + 4)
                ours = index == self._index()
            else:
                ours = kind == _DELETED_ROUTE and data[body + 5] == _PROTOCOL
            self._doubtful = self._doubtful or ours
            if ours or kind in (_NEW_ADDRESS, _DELETED_ADDRESS):
                self.look_again()
            at += max(_MESSAGE.size, length + 3 & ~3)

    def _index(self) -> int:
        """The interface's number; 0: there is none."""
        try:
            return socket.if_nametoindex(self._interface)
        except OSError:
            return 0

    def _addresses(self) -> HostAddresses:
        index = self._index()
        with IPRoute() as netlink:
            found = [(a["index"], ip_address(a.get("address"))) for a in netlink.get_addr()]
        found = [(of, address) for of, address in found if not address.is_link_local]
        return HostAddresses(
            tuple(address for of, address in found if of == index),
            frozenset(address for _, address in found if not address.is_loopback),
        )

    @staticmethod
    def _apply(interface: str, ranges: frozenset[str]) -> list[str]:
        """Have exactly the routes that 'ranges' need; returns what is wrong."""
        try:
            index = socket.if_nametoindex(interface)
        except OSError:
            return [f"no interface {interface} in this network namespace"] if ranges else []
        problems = []
        with IPRoute() as netlink:
            for version in _FAMILIES:
                own = {cidr for cidr in ranges if ip_network(cidr).version == version}
                try:
                    _set_family(netlink, index, version, own)
                except NetlinkError as error:
                    problems.append(f"IPv{version} route: {os.strerror(error.code)}")
        return problems


def _set_family(netlink: IPRoute, index: int, version: int, ranges: set[str]) -> None:
    """Have exactly the routes that 'ranges', of one IP version, need on interface 'index'."""
    family, hop, always, bits = _FAMILIES[version]
    common = {"family": family, "oif": index, "proto": _PROTOCOL}
    way_to_hop = f"{hop}/{bits}"
    if ranges:
        ranges = ranges | always
        netlink.neigh(
            "replace",
            family=family,
            ifindex=index,
            dst=hop,
            lladdr=VIRTUAL_MAC,
            state=NUD_PERMANENT,
        )
        netlink.route("replace", dst=way_to_hop, scope=rt_scope["link"], **common)
    wanted = {way_to_hop, *ranges} if ranges else set()
    there = set()
    for route in list(netlink.get_routes(**common)):
        destination = f"{route.get('dst')}/{route['dst_len']}"
        there.add(destination)
        if destination not in wanted:
            _gone(netlink.route, "del", dst=destination, scope=route["scope"], **common)
    for cidr in ranges - there:
        netlink.route("replace", dst=cidr, gateway=hop, flags=_ONLINK, **common)
    if not ranges:
        _gone(netlink.neigh, "del", family=family, ifindex=index, dst=hop, lladdr=VIRTUAL_MAC)


def _gone(remove: Callable[..., object], *arguments: object, **attributes: object) -> None:
    """Remove something that somebody else may have removed already."""
    try:
        remove(*arguments, **attributes)
    except NetlinkError as error:
        if error.code not in (errno.ESRCH, errno.ENOENT):
            raise
