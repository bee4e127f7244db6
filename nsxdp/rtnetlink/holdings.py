"""What an interface has, its addresses and routes, with all that the kernel says: for another one.

`Address` and `Route` know what most need. Here everything is kept: lifetimes, metrics, sources, and
who made it. So what one interface had, another one can have just so.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Final

from msgspec import Struct

from nsxdp.rtnetlink.objects import (
    IFA,
    IFA_F_NODAD,
    IFADDRMSG,
    RT_TABLE_MAIN,
    RTA,
    RTMSG,
    RTN_UNICAST,
    RTNH_F_ONLINK,
    WIDTHS,
    Address,
    Route,
)
from nsxdp.rtnetlink.wire import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RTM,
    MalformedError,
    Request,
    attribute,
    attributes,
    u32,
)

__all__ = ["Holding", "address_of", "next_hops", "route_of"]

_U32: Final = struct.Struct("=I")
_RTNEXTHOP: Final = struct.Struct("=HBBi")
_EXPIRES: Final = struct.Struct("=8xi")
"""Of struct rta_cacheinfo, what remains, in hundredths of a second."""

_IFA_F_NOPREFIXROUTE: Final = 0x200
_KEPT_FLAGS: Final = 0x10 | 0x100 | _IFA_F_NOPREFIXROUTE | 0x400
"""``IFA_F_HOMEADDRESS``, ``MANAGETEMPADDR`` and ``MCAUTOJOIN`` among them: the others are the
kernel's to say."""
_RTPROT_KERNEL: Final = 2


class Holding(Struct, frozen=True):
    """An address, or a route, of an interface that isn't said.

    Attributes
    ----------
    route
        Whether it is a route.
    body
        The kernel's message, without what depends on the interface.
    name
        What it is, in words: of one interface, no two have the same.
    network
        Of an address, the network to which the kernel makes a route because of it. Of a route that
        the kernel may have made so, the network to which it leads.
    """

    route: bool
    body: bytes
    name: str
    network: str = ""

    def give(self, index: int) -> Request:
        """Have the interface of that number have it; a route that another one has is its then."""
        kind = RTM.NEWROUTE if self.route else RTM.NEWADDR
        return Request(kind, NLM_F_CREATE | NLM_F_REPLACE, self._of(index))

    def take(self, index: int) -> Request:
        """Have that interface not have it."""
        return Request(RTM.DELROUTE if self.route else RTM.DELADDR, 0, self._of(index))

    def _of(self, index: int) -> bytes:
        if self.route:
            return self.body + attribute(RTA.OIF, _U32.pack(index))
        family, prefixlen, flags, scope, _ = IFADDRMSG.unpack_from(self.body)
        header = IFADDRMSG.pack(family, prefixlen, flags, scope, index)
        return header + self.body[IFADDRMSG.size :]


def address_of(body: bytes) -> tuple[int, Holding] | None:
    """The number of the interface that has the address of a message's body, and that address.

    None: it is one that each interface has by itself (link-local).

    Raises
    ------
    MalformedError
        It is none.
    """
    read = Address.decode(body)
    if read.family not in WIDTHS or ip_address(read.own).is_link_local:
        return None
    found = attributes("address", body, IFADDRMSG.size)
    found.pop(IFA.LABEL, None)  # it begins with the interface's name
    if read.prefixlen > 8 * WIDTHS[read.family]:
        raise MalformedError(f"address: a prefix of {read.prefixlen} bits")
    flags = u32("address", found, IFA.FLAGS, read.flags) & _KEPT_FLAGS
    if WIDTHS[read.family] == 16:
        flags |= IFA_F_NODAD  # nobody else has it, for it is moved
    found[IFA.FLAGS] = _U32.pack(flags)
    header = IFADDRMSG.pack(read.family, read.prefixlen, flags & 0xFF, read.scope, 0)
    name = f"{ip_address(read.own)}/{read.prefixlen}"
    network = ""
    if not flags & _IFA_F_NOPREFIXROUTE:
        network = str(ip_network((read.address or read.own, read.prefixlen), strict=False))
    return read.index, Holding(False, header + _attributes(found), name, network)


def route_of(body: bytes) -> tuple[int, Holding] | None:
    """Likewise, of a route. None: it is one that comes and goes with an address or an interface.

    Raises
    ------
    MalformedError
        It is none.
    """
    read = Route.decode(body)
    if read.family not in WIDTHS or read.type != RTN_UNICAST:
        return None
    found = attributes("route", body, RTMSG.size)
    network = ip_network((read.dst, read.dst_len), strict=False)
    if network.is_link_local or network.is_multicast or RTA.MULTIPATH in found:
        return None
    found.pop(RTA.OIF, None)
    found.pop(RTA.NH_ID, None)  # of which the rest says the same
    lifetime = found.pop(RTA.CACHEINFO, b"")
    if len(lifetime) >= _EXPIRES.size and (left := _EXPIRES.unpack_from(lifetime)[0]) > 0:
        found[RTA.EXPIRES] = _U32.pack(left // 100)
    family, dst_len, src_len, tos, table, protocol, scope, kind, flags = RTMSG.unpack_from(body)
    header = RTMSG.pack(
        *(family, dst_len, src_len, tos, table, protocol, scope, kind), flags & RTNH_F_ONLINK
    )
    name = f"route to {network}"
    if read.gateway:
        name += f" via {ip_address(read.gateway)}"
    if (read.table, read.priority) != (RT_TABLE_MAIN, 0):
        name += f" table {read.table} metric {read.priority}"
    own = str(network) if read.protocol == _RTPROT_KERNEL and not read.gateway else ""
    return read.oif, Holding(True, header + _attributes(found), name, own)


def next_hops(body: bytes) -> tuple[str, frozenset[int]]:
    """Where a route leads that has several next hops, and by which interfaces; none: it hasn't.

    Raises
    ------
    MalformedError
        It is no route.
    """
    read = Route.decode(body)
    data = attributes("route", body, RTMSG.size).get(RTA.MULTIPATH, b"")
    found = set()
    at = 0
    while at + _RTNEXTHOP.size <= len(data):
        length, _, _, index = _RTNEXTHOP.unpack_from(data, at)
        found.add(index)
        at += max(length + 3 & ~3, _RTNEXTHOP.size)
    return f"{ip_address(read.dst)}/{read.dst_len}" if found else "", frozenset(found)


def _attributes(found: Mapping[int, bytes]) -> bytes:
    return b"".join(attribute(kind, value) for kind, value in found.items())
