"""Routes through the gateway, as netlink is told of them: those that change, or all there are.

They lead to a next hop whose MAC address is known for ever, for nobody answers for it.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final, NamedTuple

from nsxdp.pipeline.registers import (
    MASQUERADE_IPV4,
    MASQUERADE_IPV6,
    NODE_IPV4,
    NODE_IPV6,
    NODE_PORT_IPV4,
    NODE_PORT_IPV6,
    VIRTUAL_MAC,
)
from nsxdp.rtnetlink import RTM, Connection, Neighbor, RefusedError, Route, RtnetlinkError
from nsxdp.rtnetlink.objects import (
    RT_SCOPE_LINK,
    RT_SCOPE_NOWHERE,
    RT_TABLE_MAIN,
    RTNH_F_ONLINK,
)
from nsxdp.services.addresses import Family
from nsxdp.services.shared import SetChange

__all__ = ["NOTHING", "PROTOCOL", "Prefix", "Wanted", "always_routed", "apply"]

PROTOCOL: Final = 0x6E
"""Marks our routes (rtm_protocol), so that they can be told from everybody else's."""

Prefix = tuple[bytes, int]
"""A network's packed address, and the prefix's length."""

Wanted = Mapping[Family, frozenset[Prefix] | SetChange[Prefix]]
"""All that shall be routed in a family, or only what changes of that."""

NOTHING: Final[Wanted] = {family: frozenset[Prefix]() for family in Family}
"""No route at all."""

_MAC: Final = bytes.fromhex(VIRTUAL_MAC.replace(":", ""))

_GONE: Final = (errno.ESRCH, errno.ENOENT)
"""How the kernel refuses to delete what somebody else has deleted."""


def _single(address: str) -> Prefix:
    packed = ip_address(address).packed
    return packed, 8 * len(packed)


class _Way(NamedTuple):
    """How a family's routes lead to the bridge.

    Attributes
    ----------
    number
        The family's, as the kernel has it.
    hop
        The next hop.
    to_hop
        What is routed to the interface itself.
    always
        What is routed as soon as anything is; `to_hop` too.
    """

    number: int
    hop: bytes
    to_hop: Prefix
    always: frozenset[Prefix]

    @classmethod
    def of(cls, number: int, hop: str, *others: str) -> _Way:
        """By 'hop', to 'others' whatever Services there are."""
        to_hop = _single(hop)
        return cls(number, to_hop[0], to_hop, frozenset(map(_single, (hop, *others))))

    def neighbor(self, index: int) -> Neighbor:
        """The next hop, behind the interface with that number."""
        return Neighbor(self.number, index, self.hop, _MAC)

    def route(self, index: int, prefix: Prefix) -> Route:
        """By the next hop; to that itself, by the interface alone."""
        dst, dst_len = prefix
        if prefix == self.to_hop:
            return Route(self.number, dst, dst_len, index, protocol=PROTOCOL, scope=RT_SCOPE_LINK)
        return Route(self.number, dst, dst_len, index, self.hop, PROTOCOL, flags=RTNH_F_ONLINK)

    def any_route(self, index: int, prefix: Prefix) -> Route:
        """Ours by that interface, whatever else there is about it."""
        dst, dst_len = prefix
        return Route(self.number, dst, dst_len, index, protocol=PROTOCOL, scope=RT_SCOPE_NOWHERE)


_WAYS: Final = {
    Family.IPV4: _Way.of(socket.AF_INET, NODE_IPV4, MASQUERADE_IPV4, NODE_PORT_IPV4),
    Family.IPV6: _Way.of(socket.AF_INET6, NODE_IPV6, MASQUERADE_IPV6, NODE_PORT_IPV6),
}


def always_routed(family: Family) -> frozenset[Prefix]:
    """What has a route as soon as anything of 'family' has one."""
    return _WAYS[family].always


def apply(interface: str, wanted: Wanted) -> list[str]:
    """Have the routes through 'interface' be as 'wanted' says; returns what is wrong, in words."""
    try:
        index = socket.if_nametoindex(interface)
    except OSError:
        missing = f"no interface {interface} in this network namespace"
        return [missing] if any(wanted.values()) else []
    problems = []
    for family, of_family in wanted.items():
        try:
            with Connection() as netlink:
                refused = _apply(netlink, index, _WAYS[family], of_family)
        except RtnetlinkError as error:
            problems.append(f"{family.label} route: {error}")
        else:
            problems += dict.fromkeys(f"{family.label} route: {error.reason}" for error in refused)
    return problems


def _apply(
    netlink: Connection, index: int, way: _Way, wanted: frozenset[Prefix] | SetChange[Prefix]
) -> list[RefusedError]:
    """Returns what is refused, and matters."""
    if isinstance(wanted, SetChange):
        added, removed = wanted.added - way.always, wanted.removed - way.always
    else:
        if wanted:
            wanted |= way.always
            # Always, for that it is there doesn't say that it has the right scope.
            to_hop = way.route(index, way.to_hop)
            refused = netlink.apply([way.neighbor(index).replace(), to_hop.replace()])
            if refused:
                return refused
        there = frozenset(
            (route.dst, route.dst_len)
            for route in netlink.routes(way.number, oif=index, protocol=PROTOCOL)
            if route.table == RT_TABLE_MAIN
        )
        added, removed = wanted - there - {way.to_hop}, there - wanted
    requests = [way.any_route(index, prefix).delete() for prefix in removed]
    requests += [way.route(index, prefix).replace() for prefix in added]
    if not wanted:
        requests.append(way.neighbor(index).delete())
    return [
        error
        for error in netlink.apply(requests)
        if error.code not in _GONE or error.request.type not in (RTM.DELROUTE, RTM.DELNEIGH)
    ]
