"""What the node's kernel does for pods: routes to those of other nodes, and who gets its address.

Where a network was this node's before, the gateway has its address there no more: the kernel would
take all of the network for its own.

It is looked at when the node or the others change, when the kernel tells of links, addresses or our
routes, and now and then, for nobody tells who changes an nftables table. Only what differs is
touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from ipaddress import ip_address, ip_interface, ip_network
from typing import Final, NamedTuple

from nsxdp import rtnetlink
from nsxdp.forwarding.host import HOP_IPV6, TABLE, Route, routes, ruleset
from nsxdp.forwarding.model import Network
from nsxdp.logs import get_logger
from nsxdp.pipeline.columns import Address
from nsxdp.pipeline.registers import VIRTUAL_MAC
from nsxdp.rtnetlink import RTM, Connection, Link, Neighbor, News, Request, RtnetlinkError
from nsxdp.rtnetlink.objects import FAMILIES, RT_SCOPE_NOWHERE, RT_TABLE_MAIN, RTNH_F_ONLINK
from nsxdp_agents.common.nft import NftError, Table
from nsxdp_agents.common.wait import until_set
from nsxdp_agents.node_agent.bridge import PROTOCOL
from nsxdp_agents.node_agent.plug import is_port
from nsxdp_agents.node_agent.wiring import Wiring

__all__ = ["HostKeeper"]

log = get_logger(__name__)

_HOP_MAC: Final = bytes.fromhex(VIRTUAL_MAC.replace(":", ""))

_NEWS: Final = (RTM.NEWLINK, RTM.NEWADDR, RTM.DELADDR, RTM.DELROUTE)


class HostKeeper:
    """Keeps routes and rules in this process's network namespace as the node and others need them.

    Parameters
    ----------
    interface
        The gateway's name.
    wiring
        Knows the node and the others.
    addresses
        Asked for the node's own, by which others know it.
    tell_mtu
        Told after each look the MTU of the link that has the first of the node's addresses; 0:
        there is none.
    on_repair
        Told how many of what was left as it should be was not any more.
    look_seconds
        The longest time between two looks.
    rest_seconds
        The shortest one: somebody's links may come and go all the time.

    Attributes
    ----------
    looked
        Set when all was looked at once.
    """

    def __init__(
        self,
        interface: str,
        wiring: Wiring,
        addresses: Callable[[], Sequence[Address]],
        *,
        tell_mtu: Callable[[int], Awaitable[None]],
        on_repair: Callable[[int], None],
        look_seconds: float = 30.0,
        rest_seconds: float = 1.0,
    ) -> None:
        self.looked = asyncio.Event()
        self._underlay_mtu = 0
        self._interface = interface
        self._wiring = wiring
        self._addresses = addresses
        self._tell_mtu = tell_mtu
        self._on_repair = on_repair
        self._look_seconds = look_seconds
        self._rest_seconds = rest_seconds
        self._table = Table(TABLE)
        self._made: frozenset[Route] = frozenset()
        self._said: list[str] = []
        self._due = asyncio.Event()

    def look_again(self) -> None:
        """The node or others may have changed."""
        self._due.set()

    async def keep(self) -> None:
        """Do so, until cancelled."""
        with News(_NEWS, self._hear, self.look_again, protocol=PROTOCOL):
            while True:
                self._due.clear()
                await self._look()
                await self._tell_mtu(self._underlay_mtu)
                self.looked.set()
                await asyncio.sleep(self._rest_seconds)
                await until_set(self._due, self._look_seconds - self._rest_seconds)

    def _hear(self, news: Link | rtnetlink.Address | rtnetlink.Route | Neighbor) -> None:
        if not (isinstance(news, Link) and is_port(news.ifname)):
            self.look_again()

    async def _look(self) -> None:
        config = self._wiring.config
        if config is None:
            return
        peers = list(self._wiring.peers)
        # Rules come first: who is reached by a new route is masqueraded by none of the old ones.
        problems, repaired = await self._apply_rules(ruleset(self._interface, config, peers))
        # Of two nodes that have one network, the first one has the flows, too.
        first = {route.network: route for route in reversed(routes(config, peers))}
        wanted = frozenset(first.values())
        found = await asyncio.to_thread(_route, self._interface, wanted, self._addresses())
        self._underlay_mtu = found.underlay_mtu
        problems += found.problems
        repaired += len(found.made & self._made)
        self._made = wanted
        if repaired:
            log.warning("routes or rules for pods were lost: they are made anew", number=repaired)
            self._on_repair(repaired)
        for problem in problems:
            if problem not in self._said:
                log.warning("pods can't reach all that they should", reason=problem)
        self._said = problems

    async def _apply_rules(self, text: str) -> tuple[list[str], int]:
        """What is wrong, and how many tables were lost."""
        lost = 0
        try:
            if self._table.was_written(text):
                if await self._table.is_as_left():
                    return [], 0
                lost = 1
            await self._table.write(text)
        except NftError as error:
            return [str(error)], lost
        return [], lost


class _Routed(NamedTuple):
    """What came of a look at routes."""

    made: frozenset[Route]
    problems: Sequence[str]
    underlay_mtu: int


def _route(interface: str, wanted: frozenset[Route], addresses: Sequence[Address]) -> _Routed:
    """Have exactly those routes; for a thread."""
    try:
        with Connection() as node:
            links = {link.index: link for link in node.links()}
            has = node.addresses()
            mtu = _underlay_mtu(has, links, interface, addresses)
            index = next((at for at, link in links.items() if link.ifname == interface), 0)
            made: set[Route] = set()
            of_gateway = (address for address in has if address.index == index)
            problems = _give_up(node, of_gateway, [route.network for route in wanted])
            for version in FAMILIES:
                of_family = {route for route in wanted if route.network.version == version}
                new, refused = _route_family(node, index, version, of_family)
                made |= new
                problems += refused
    except RtnetlinkError as error:
        return _Routed(frozenset(), [str(error)], 0)
    return _Routed(frozenset(made), problems, mtu)


def _give_up(
    node: Connection, of_gateway: Iterable[rtnetlink.Address], networks: Collection[Network]
) -> list[str]:
    """Have the gateway have no address of ours in those networks; what is refused, in words.

    A kernel that doesn't keep who gave one shows it by its form: the first of its network.
    """
    requests = {}
    for address in of_gateway:
        own = ip_interface((address.own, address.prefixlen))
        is_first = int(own) == int(own.network.network_address) + 1
        if not is_first and address.protocol != PROTOCOL:
            continue
        if any(net.version == own.version and net.overlaps(own.network) for net in networks):
            requests[address.delete()] = f"{own} of another node's network"
    refused = node.apply(list(requests)) if requests else []
    return [f"{requests[error.request]}: {error.reason}" for error in refused]


def _route_family(
    node: Connection, index: int, version: int, wanted: Iterable[Route]
) -> tuple[set[Route], list[str]]:
    """The routes that had to be made, and what the kernel refuses, in words."""
    family = FAMILIES[version]
    there = {
        ip_network((found.dst, found.dst_len)): found
        for found in node.routes(family, protocol=PROTOCOL)
        if found.table == RT_TABLE_MAIN
    }
    requests: dict[Request, str] = {}
    made = set()
    if index and any(route.via == HOP_IPV6 for route in wanted):
        hop = Neighbor(family, index, HOP_IPV6.packed, _HOP_MAC)
        # Always: a link that goes down forgets it.
        requests[hop.replace()] = f"next hop {HOP_IPV6}"
    for route in wanted:
        found = there.pop(route.network, None)
        oif = index if route.by_gateway else 0
        if found is not None and found.gateway == route.via.packed and oif in (0, found.oif):
            continue
        made.add(route)
        requests[
            rtnetlink.Route(
                *(family, route.network.network_address.packed, route.network.prefixlen),
                *(oif, route.via.packed, PROTOCOL),
                flags=RTNH_F_ONLINK if route.by_gateway else 0,
            ).replace()
        ] = f"route to {route.network} via {route.via}"
    for network, found in there.items():
        requests[
            rtnetlink.Route(
                *(family, found.dst, found.dst_len, found.oif, found.gateway, PROTOCOL),
                scope=RT_SCOPE_NOWHERE,
                priority=found.priority,
            ).delete()
        ] = f"route to {network} of a node that is gone"
    refused = node.apply(list(requests)) if requests else []
    return made, [f"{requests[error.request]}: {error.reason}" for error in refused]


def _underlay_mtu(
    has: Iterable[rtnetlink.Address],
    links: dict[int, Link],
    interface: str,
    addresses: Iterable[Address],
) -> int:
    """That of the link with the first of 'addresses' that the node has; 0: it has none."""
    on = {ip_address(one.own): links.get(one.index) for one in has}
    for address in addresses:
        link = on.get(address)
        if link is not None and link.ifname != interface:
            return link.mtu
    return 0
