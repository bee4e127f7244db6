"""The node's way to Services: routes to what Services have, and the node's own addresses.

The kernel sends what is for a Service's address, by the node itself or by who comes from elsewhere,
to the gateway interface (`nsxdp_agents.kube_proxy.routes`). Whenever the interface, the node's
addresses or our routes change, the kernel tells, and all is made good again: a restarted switch
with a userspace datapath, for one, makes the interface anew, and gets its addresses some time
later. As long as it tells nothing of that kind, only what changes is changed.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

import structlog
from pyroute2 import IPRoute

from nsxdp.services.addresses import Family
from nsxdp.services.shared import SetChange, SharedSet
from nsxdp_agents.kube_proxy import routes
from nsxdp_agents.kube_proxy.routes import Prefix

__all__ = ["HostAddresses", "HostRoutes"]

Address = IPv4Address | IPv6Address

log = structlog.get_logger(__name__)

# From linux/rtnetlink.h: groups of news, and the kinds of message that come.
_LINK, _IPV4_ADDRESS, _IPV4_ROUTE, _IPV6_ADDRESS, _IPV6_ROUTE = 0x1, 0x10, 0x40, 0x100, 0x400
_GROUPS: Final = _LINK | _IPV4_ADDRESS | _IPV4_ROUTE | _IPV6_ADDRESS | _IPV6_ROUTE
_NEW_LINK, _NEW_ADDRESS, _DELETED_ADDRESS, _DELETED_ROUTE = 16, 20, 21, 25

_DESTINATION: Final = 1
"""RTA_DST."""

_MESSAGE: Final = struct.Struct("=IHHII")
"""A netlink message's header: length, kind, flags, sequence, sender."""

_ROUTE: Final = struct.Struct("=BBBBBBBBI")
"""struct rtmsg: family, prefix's length, source's, TOS, table, protocol, scope, type, flags."""

_ATTRIBUTE: Final = struct.Struct("=HH")
"""An attribute's header: length, kind."""


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
        self._wanted = {family: SharedSet[Prefix]() for family in Family}
        self._problems: list[str] = []
        self._begun = False
        self._doubtful = True
        """Whether something may have happened to our routes since they were made."""
        self._due = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    def replace(self, before: Iterable[Prefix], after: Iterable[Prefix]) -> None:
        """Who wanted routes to 'before' wants them to 'after' from now on (see `apply`)."""
        before, after = list(before), list(after)
        for family, wanted in self._wanted.items():
            width = family.width
            wanted.replace(
                [prefix for prefix in before if len(prefix[0]) == width],
                [prefix for prefix in after if len(prefix[0]) == width],
            )

    async def apply(self) -> None:
        """Route exactly what is wanted to the bridge.

        What the kernel refuses is logged: once, until it is something else. The next call tries all
        of it again.
        """
        async with self._one_at_a_time:
            wanted = self._to_apply()
            self._begun = True
            self._doubtful = False
            if not wanted:
                return
            problems = await asyncio.to_thread(routes.apply, self._interface, wanted)
            for problem in problems:
                if problem not in self._problems:
                    log.warning(
                        "the node's own processes can't reach Services",
                        interface=self._interface,
                        reason=problem,
                    )
            self._problems = problems
            self._doubtful = self._doubtful or bool(problems)

    def _to_apply(self) -> routes.Wanted:
        """What changed; where there is doubt, or nothing is left of what was, all."""
        found: dict[Family, frozenset[Prefix] | SetChange[Prefix]] = {}
        for family, wanted in self._wanted.items():
            change = wanted.changes()
            if self._doubtful or (change and len(wanted) == len(change.added)):
                found[family] = frozenset(wanted)
            elif change:
                found[family] = change
        return found

    async def use(self, interface: str) -> None:
        """The gateway is 'interface' from now on."""
        async with self._one_at_a_time:
            if interface == self._interface:
                return
            before, self._interface = self._interface, interface
            if self._begun:
                await asyncio.to_thread(routes.apply, before, routes.NOTHING)
            self._doubtful = True
        self.look_again()

    def look_again(self) -> None:
        """Let `changes` have something to tell."""
        self._due.set()

    async def clear(self) -> None:
        """Remove all that there is, whoever made it."""
        await asyncio.to_thread(routes.apply, self._interface, routes.NOTHING)

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
        while at + _MESSAGE.size + _ATTRIBUTE.size * 2 <= len(data):
            length, kind = _MESSAGE.unpack_from(data, at)[:2]
            body = data[at + _MESSAGE.size : at + length]
            if kind in (_NEW_LINK, _NEW_ADDRESS, _DELETED_ADDRESS):
                # struct ifinfomsg and struct ifaddrmsg have the interface at the same place.
                (index,) = struct.unpack_from("=I", body, 4)
                ours = index == self._index()
            else:
                ours = kind == _DELETED_ROUTE and self._is_missed(body)
            self._doubtful = self._doubtful or ours
            if ours or kind in (_NEW_ADDRESS, _DELETED_ADDRESS):
                self.look_again()
            at += max(_MESSAGE.size, length + 3 & ~3)

    def _is_missed(self, deleted: bytes) -> bool:
        """Whether a deleted route is one of ours that is wanted: others, we deleted ourselves."""
        number, length, _, _, _, protocol, *_ = _ROUTE.unpack_from(deleted)
        if protocol != routes.PROTOCOL:
            return False
        family = Family.IPV4 if number == socket.AF_INET else Family.IPV6
        prefix = _destination(deleted[_ROUTE.size :]) or bytes(family.width), length
        wanted = self._wanted[family]
        return prefix in wanted or (bool(wanted) and prefix in routes.always_routed(family))

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


def _destination(attributes: bytes) -> bytes:
    """The packed destination among a route's attributes; empty: it has none."""
    at = 0
    while at + _ATTRIBUTE.size <= len(attributes):
        length, kind = _ATTRIBUTE.unpack_from(attributes, at)
        if kind == _DESTINATION:
            return attributes[at + _ATTRIBUTE.size : at + length]
        at += max(_ATTRIBUTE.size, length + 3 & ~3)
    return b""
