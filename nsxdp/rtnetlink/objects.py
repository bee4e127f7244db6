"""What rtnetlink(7) tells of: of each, what the struct and the attributes have that is needed here.

Addresses are packed: 4 bytes, or 16. What there is none of is empty, or 0.
"""

from __future__ import annotations

import socket
import struct
from enum import IntEnum
from typing import Final

from msgspec import Struct

from nsxdp.rtnetlink.wire import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RTM,
    MalformedError,
    Request,
    attribute,
    attributes,
    u32,
)

__all__ = [
    "IFA_F_NODAD",
    "IFF_NOARP",
    "IFF_PROMISC",
    "IFF_UP",
    "NUD_PERMANENT",
    "RTNH_F_ONLINK",
    "RTN_UNICAST",
    "RT_SCOPE_LINK",
    "RT_SCOPE_NOWHERE",
    "RT_SCOPE_UNIVERSE",
    "RT_TABLE_MAIN",
    "WIDTHS",
    "Address",
    "Link",
    "Neighbor",
    "Route",
    "decode",
]

FAMILIES: Final = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}
"""The kernel's number of each version of IP."""

IFF_UP, IFF_NOARP, IFF_PROMISC = 0x1, 0x80, 0x100
IFA_F_NODAD: Final = 0x2
RT_TABLE_MAIN: Final = 254
RTN_UNICAST: Final = 1
RTNH_F_ONLINK: Final = 4
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_NOWHERE = 0, 253, 255
NUD_PERMANENT: Final = 0x80

WIDTHS: Final = {int(socket.AF_INET): 4, int(socket.AF_INET6): 16}
"""Bytes of an address, by family."""


class IFLA(IntEnum):
    """Attributes of a link."""

    ADDRESS = 1
    IFNAME = 3
    MTU = 4


class IFA(IntEnum):
    """Attributes of an address."""

    ADDRESS = 1
    LOCAL = 2
    LABEL = 3
    FLAGS = 8
    PROTO = 11


class RTA(IntEnum):
    """Attributes of a route."""

    DST = 1
    OIF = 4
    GATEWAY = 5
    PRIORITY = 6
    MULTIPATH = 9
    CACHEINFO = 12
    TABLE = 15
    EXPIRES = 23
    NH_ID = 30


class NDA(IntEnum):
    """Attributes of a neighbor."""

    DST = 1
    LLADDR = 2


_IFINFOMSG: Final = struct.Struct("=BxHiII")
IFADDRMSG: Final = struct.Struct("=BBBBI")
RTMSG: Final = struct.Struct("=BBBBBBBBI")
_NDMSG: Final = struct.Struct("=BxxxiHBB")
_U32: Final = struct.Struct("=I")


class Link(Struct, frozen=True, gc=False):
    """A network interface (struct ifinfomsg).

    Attributes
    ----------
    index, ifname
        Its number and its name.
    flags
        ``IFF_UP`` and others (netdevice(7)). Of those that aren't said, none changes.
    address
        The hardware's.
    mtu
        Bytes of the largest packet.
    """

    index: int
    ifname: str
    flags: int = 0
    address: bytes = b""
    mtu: int = 0

    @classmethod
    def decode(cls, body: bytes) -> Link:
        """Of a message's body.

        Raises
        ------
        MalformedError
            It is none.
        """
        _, _, index, flags, _ = _unpack("link", _IFINFOMSG, body)
        found = attributes("link", body, _IFINFOMSG.size)
        name = found.get(IFLA.IFNAME, b"").rstrip(b"\0").decode(errors="surrogateescape")
        address = found.get(IFLA.ADDRESS, b"")
        return cls(index, name, flags, address, u32("link", found, IFLA.MTU))

    def encode(self, *, mask: int = 0) -> bytes:
        """A message's body; 'mask' has the flags to change, and is 0 in what the kernel says."""
        name = self.ifname.encode(errors="surrogateescape") + b"\0" if self.ifname else b""
        body = _IFINFOMSG.pack(0, 0, self.index, self.flags, mask)
        body += _given(IFLA.IFNAME, name) + _given(IFLA.ADDRESS, self.address)
        return body + _given(IFLA.MTU, _U32.pack(self.mtu) if self.mtu else b"")

    def change(self) -> Request:
        """Have the flags, the hardware address and the MTU be so, as far as they are said."""
        return Request(RTM.NEWLINK, 0, self.encode(mask=self.flags))

    def delete(self) -> Request:
        """Have no such interface; without a number, the one of that name."""
        return Request(RTM.DELLINK, 0, self.encode())


class Address(Struct, frozen=True, gc=False):
    """An address of an interface (struct ifaddrmsg).

    Attributes
    ----------
    family
        ``AF_INET`` or ``AF_INET6``.
    index
        The interface's number.
    address, prefixlen
        Of a point-to-point interface, the other end's.
    local
        This end's, where there is another one.
    scope
        ``RT_SCOPE_...``.
    flags
        ``IFA_F_...``.
    protocol
        Who gave it, a byte. Linux before 5.18 doesn't keep it.
    """

    family: int
    index: int
    address: bytes
    prefixlen: int
    local: bytes = b""
    scope: int = RT_SCOPE_UNIVERSE
    flags: int = 0
    protocol: int = 0

    @property
    def own(self) -> bytes:
        """The interface's own."""
        return self.local or self.address

    @classmethod
    def decode(cls, body: bytes) -> Address:
        """Of a message's body.

        Raises
        ------
        MalformedError
            It is none.
        """
        family, prefixlen, flags, scope, index = _unpack("address", IFADDRMSG, body)
        found = attributes("address", body, IFADDRMSG.size)
        address = _address("address", family, found, IFA.ADDRESS)
        local = _address("address", family, found, IFA.LOCAL)
        if not (address or local):
            raise MalformedError("address: neither IFA_ADDRESS nor IFA_LOCAL")
        protocol = found.get(IFA.PROTO, b"\0")
        if len(protocol) != 1:
            raise MalformedError(f"address: IFA_PROTO has {len(protocol)} bytes")
        return cls(family, index, address, prefixlen, local, scope, flags, protocol[0])

    def encode(self) -> bytes:
        """A message's body."""
        return (
            IFADDRMSG.pack(self.family, self.prefixlen, self.flags, self.scope, self.index)
            + _given(IFA.ADDRESS, self.address)
            + _given(IFA.LOCAL, self.local)
            + _given(IFA.PROTO, bytes([self.protocol]) if self.protocol else b"")
        )

    def replace(self) -> Request:
        """Have this address, in place of the same one with something else."""
        return Request(RTM.NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, self.encode())

    def delete(self) -> Request:
        """Have the address no more, whoever gave it."""
        return Request(RTM.DELADDR, 0, self.encode())


class Route(Struct, frozen=True, gc=False):
    """A route with one next hop (struct rtmsg).

    Attributes
    ----------
    family
        ``AF_INET`` or ``AF_INET6``.
    dst, dst_len
        The network's address, and the prefix's length.
    oif
        The number of the interface that it leads to.
    gateway
        The next hop.
    protocol
        Who made it.
    scope, type, flags
        ``RT_SCOPE_...``, ``RTN_...``, ``RTNH_F_...``.
    priority
        Of two to one network, the one with the lower number is taken.
    table
        The routing table's number.
    """

    family: int
    dst: bytes
    dst_len: int
    oif: int = 0
    gateway: bytes = b""
    protocol: int = 0
    scope: int = RT_SCOPE_UNIVERSE
    type: int = RTN_UNICAST
    flags: int = 0
    priority: int = 0
    table: int = RT_TABLE_MAIN

    @classmethod
    def decode(cls, body: bytes) -> Route:
        """Of a message's body.

        Raises
        ------
        MalformedError
            It is none.
        """
        family, dst_len, _, _, table, protocol, scope, kind, flags = _unpack("route", RTMSG, body)
        found = attributes("route", body, RTMSG.size)
        width = WIDTHS.get(family, 0)
        if width and dst_len > 8 * width:
            raise MalformedError(f"route: a prefix of {dst_len} bits, and addresses of {8 * width}")
        dst = _address("route", family, found, RTA.DST)
        if width and dst_len and not dst:
            raise MalformedError(f"route: a prefix of {dst_len} bits without RTA_DST")
        return cls(
            family,
            dst or bytes(width),
            dst_len,
            u32("route", found, RTA.OIF),
            _address("route", family, found, RTA.GATEWAY),
            protocol,
            scope,
            kind,
            flags,
            u32("route", found, RTA.PRIORITY),
            u32("route", found, RTA.TABLE, table),
        )

    def encode(self) -> bytes:
        """A message's body."""
        body = RTMSG.pack(
            self.family,
            self.dst_len,
            0,
            0,
            self.table if self.table < 256 else 0,
            self.protocol,
            self.scope,
            self.type,
            self.flags,
        ) + _given(RTA.DST, self.dst)
        for kind, number in ((RTA.OIF, self.oif), (RTA.PRIORITY, self.priority)):
            if number:
                body += attribute(kind, _U32.pack(number))
        if self.table >= 256:
            body += attribute(RTA.TABLE, _U32.pack(self.table))
        return body + _given(RTA.GATEWAY, self.gateway)

    def add(self) -> Request:
        """Have this route; where there is one to the same network, it is refused."""
        return Request(RTM.NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, self.encode())

    def replace(self) -> Request:
        """Have this route, in place of the one to the same network if there is one."""
        return Request(RTM.NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, self.encode())

    def delete(self) -> Request:
        """Have the route no more that is as this one says; in `scope`, nowhere is any."""
        return Request(RTM.DELROUTE, 0, self.encode())


class Neighbor(Struct, frozen=True, gc=False):
    """Whose link-layer address is known (struct ndmsg).

    Attributes
    ----------
    family
        ``AF_INET`` or ``AF_INET6``.
    ifindex
        The number of the interface that leads to it.
    dst, lladdr
        Its address, and the one of the link layer.
    state
        ``NUD_...``.
    """

    family: int
    ifindex: int
    dst: bytes
    lladdr: bytes = b""
    state: int = NUD_PERMANENT

    @classmethod
    def decode(cls, body: bytes) -> Neighbor:
        """Of a message's body.

        Raises
        ------
        MalformedError
            It is none.
        """
        family, ifindex, state, _, _ = _unpack("neighbor", _NDMSG, body)
        found = attributes("neighbor", body, _NDMSG.size)
        dst = _address("neighbor", family, found, NDA.DST)
        return cls(family, ifindex, dst, found.get(NDA.LLADDR, b""), state)

    def encode(self) -> bytes:
        """A message's body."""
        return (
            _NDMSG.pack(self.family, self.ifindex, self.state, 0, 0)
            + _given(NDA.DST, self.dst)
            + _given(NDA.LLADDR, self.lladdr)
        )

    def replace(self) -> Request:
        """Have it so, in place of what is known of that address."""
        return Request(RTM.NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, self.encode())

    def delete(self) -> Request:
        """Know nothing of that address."""
        return Request(RTM.DELNEIGH, 0, self.encode())


_OBJECTS: Final[dict[int, type[Link] | type[Address] | type[Route] | type[Neighbor]]] = {
    RTM.NEWLINK: Link,
    RTM.DELLINK: Link,
    RTM.NEWADDR: Address,
    RTM.DELADDR: Address,
    RTM.NEWROUTE: Route,
    RTM.DELROUTE: Route,
    RTM.NEWNEIGH: Neighbor,
    RTM.DELNEIGH: Neighbor,
}


def decode(kind: int, body: bytes) -> Link | Address | Route | Neighbor | None:
    """What a message of type 'kind' tells of; None: of something else.

    Raises
    ------
    MalformedError
        It tells nothing.
    """
    found = _OBJECTS.get(kind)
    return found.decode(body) if found else None


def _unpack(what: str, fixed: struct.Struct, body: bytes) -> tuple[int, ...]:
    if len(body) < fixed.size:
        raise MalformedError(f"{what}: {len(body)} bytes, and its struct has {fixed.size}")
    return fixed.unpack_from(body)


def _address(what: str, family: int, found: dict[int, bytes], kind: IntEnum) -> bytes:
    """That attribute, which has as many bytes as addresses of that family; empty: there is none."""
    value = found.get(kind)
    if value is None:
        return b""
    if len(value) != WIDTHS.get(family, len(value)):
        raise MalformedError(f"{what}: {type(kind).__name__}_{kind.name} has {len(value)} bytes")
    return value


def _given(kind: int, value: bytes) -> bytes:
    """An attribute, if there is something to say."""
    return attribute(kind, value) if value else b""
