"""Routes through the gateway, as netlink is told of them: those that change, or all there are.

They lead to a next hop whose MAC address is known for ever, for nobody answers for it.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Final, NamedTuple

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
from nsxdp.services.addresses import Family, format_address
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

_ONLINK: Final = 4


def _single(address: str) -> Prefix:
    packed = ip_address(address).packed
    return packed, 8 * len(packed)


class _Way(NamedTuple):
    """How a family's routes lead to the bridge.

    Attributes
    ----------
    number
        The family's, as the kernel has it.
    anywhere
        Its default route's destination.
    hop
        The next hop.
    to_hop
        What is routed to the interface itself.
    always
        What is routed as soon as anything is; `to_hop` too.
    """

    number: int
    anywhere: str
    hop: str
    to_hop: Prefix
    always: frozenset[Prefix]

    @classmethod
    def of(cls, number: int, anywhere: str, hop: str, *others: str) -> _Way:
        """By 'hop', to 'others' whatever Services there are."""
        return cls(number, anywhere, hop, _single(hop), frozenset(map(_single, (hop, *others))))


_WAYS: Final = {
    Family.IPV4: _Way.of(socket.AF_INET, "0.0.0.0", NODE_IPV4, MASQUERADE_IPV4, NODE_PORT_IPV4),
    Family.IPV6: _Way.of(socket.AF_INET6, "::", NODE_IPV6, MASQUERADE_IPV6, NODE_PORT_IPV6),
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
    with IPRoute() as netlink:
        for family, of_family in wanted.items():
            try:
                _apply(netlink, index, _WAYS[family], of_family)
            except NetlinkError as error:
                problems.append(f"{family.label} route: {os.strerror(error.code)}")
    return problems


def _apply(
    netlink: IPRoute, index: int, way: _Way, wanted: frozenset[Prefix] | SetChange[Prefix]
) -> None:
    common = {"family": way.number, "oif": index, "proto": PROTOCOL}
    neighbor = {"family": way.number, "ifindex": index, "dst": way.hop, "lladdr": VIRTUAL_MAC}
    if isinstance(wanted, SetChange):
        added, removed = wanted.added - way.always, wanted.removed - way.always
    else:
        if wanted:
            wanted |= way.always
            netlink.neigh("replace", state=NUD_PERMANENT, **neighbor)
            # Always, for that it is there doesn't say that it has the right scope.
            netlink.route("replace", dst=_text(way.to_hop), scope=rt_scope["link"], **common)
        there = frozenset(
            (socket.inet_pton(way.number, route.get("dst") or way.anywhere), route["dst_len"])
            for route in netlink.get_routes(**common)
        )
        added, removed = wanted - there - {way.to_hop}, there - wanted
    for prefix in removed:
        _gone(netlink.route, "del", dst=_text(prefix), scope=rt_scope["nowhere"], **common)
    for prefix in added:
        netlink.route("replace", dst=_text(prefix), gateway=way.hop, flags=_ONLINK, **common)
    if not wanted:
        _gone(netlink.neigh, "del", **neighbor)


def _text(prefix: Prefix) -> str:
    address, length = prefix
    return f"{format_address(address)}/{length}"


def _gone(remove: Callable[..., object], *arguments: object, **attributes: object) -> None:
    """Remove something that somebody else may have removed already."""
    try:
        remove(*arguments, **attributes)
    except NetlinkError as error:
        if error.code not in (errno.ESRCH, errno.ENOENT):
            raise
