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
from collections.abc import AsyncIterator, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

from nsxdp import rtnetlink
from nsxdp.logs import get_logger
from nsxdp.rtnetlink import RTM, Connection, Link, Neighbor, News, Route
from nsxdp.services.addresses import Family
from nsxdp.services.shared import SetChange, SharedSet
from nsxdp_agents.kube_proxy import routes
from nsxdp_agents.kube_proxy.routes import Prefix

__all__ = ["HostAddresses", "HostRoutes"]

Address = IPv4Address | IPv6Address

log = get_logger(__name__)

_NEWS: Final = (RTM.NEWLINK, RTM.NEWADDR, RTM.DELADDR, RTM.DELROUTE)


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

    The kernel is told in a thread (`nsxdp.rtnetlink.connection` says why).

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
        self._due.set()
        with News(_NEWS, self._hear, self._doubt, protocol=routes.PROTOCOL):
            while True:
                await self._due.wait()
                self._due.clear()
                yield

    def _hear(self, of: Link | rtnetlink.Address | Route | Neighbor) -> None:
        """Of the many things that the kernel tells, a few matter."""
        match of:
            case Link(index=index) | rtnetlink.Address(index=index) if index == self._index():
                self._doubt()
            case Route() if self._is_missed(of):
                self._doubt()
            case rtnetlink.Address():
                self.look_again()

    def _doubt(self) -> None:
        """Something may have happened to our routes, or to the interface."""
        self._doubtful = True
        self.look_again()

    def _is_missed(self, deleted: Route) -> bool:
        """Whether a deleted route is one of ours that is wanted: others, we deleted ourselves."""
        family = Family.IPV4 if deleted.family == socket.AF_INET else Family.IPV6
        prefix = deleted.dst, deleted.dst_len
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
        with Connection() as netlink:
            found = [(one.index, ip_address(one.own)) for one in netlink.addresses()]
        found = [(of, address) for of, address in found if not address.is_link_local]
        return HostAddresses(
            tuple(address for of, address in found if of == index),
            frozenset(address for _, address in found if not address.is_loopback),
        )
