"""Requests that take more than filling in a message's fields."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from nsxdp.openflow import codec
from nsxdp.openflow.messages import NICIRA, NO_BUFFER, Experimenter, FlowMod, MultipartRequest

__all__ = [
    "ALL_GROUPS",
    "ALL_TABLES",
    "ANY_MATCH",
    "CtTuple",
    "ct_flush",
    "delete_flows",
    "flow_desc_request",
    "group_desc_request",
    "set_packet_in_format",
]

ALL_TABLES: Final = 0xFF
ALL_GROUPS: Final = 0xFFFFFFFC
"""The numbers that stand for all tables (OFPTT_ALL) and all groups (OFPG_ALL)."""

ANY_MATCH: Final = bytes.fromhex("0001000400000000")
"""A match without fields."""

_ANY = 0xFFFFFFFF
_SET_PACKET_IN_FORMAT = 16
_CT_FLUSH = 32
_FLOW_DESC = 1
_GROUP_DESC = 7


def set_packet_in_format() -> Experimenter:
    """Ask for packets as NXT_PACKET_IN2, which alone has a flow's userdata."""
    return Experimenter(NICIRA, _SET_PACKET_IN_FORMAT, struct.pack("!I", 2))


def flow_desc_request(
    cookie: int = 0, mask: int = 0, table: int = ALL_TABLES, match: bytes = ANY_MATCH
) -> MultipartRequest:
    """Ask for the flows with a cookie like this (in the bits of ``mask``).

    Parameters
    ----------
    match
        Only flows that match at least this.
    """
    head = struct.pack("!B3xII4xQQ", table, _ANY, _ANY, cookie, mask)
    return MultipartRequest(_FLOW_DESC, 0, head + match)


def group_desc_request(group_id: int = ALL_GROUPS) -> MultipartRequest:
    """Ask for a group, or all."""
    return MultipartRequest(_GROUP_DESC, 0, struct.pack("!I4x", group_id))


def delete_flows(
    cookie: int = 0, mask: int = 0, table: int = ALL_TABLES, match: bytes = ANY_MATCH
) -> FlowMod:
    """Delete the flows with a cookie like this (in the bits of ``mask``).

    Parameters
    ----------
    match
        Only flows that match at least this.

    Examples
    --------
    >>> from nsxdp.openflow import delete_flows
    >>> print(delete_flows(0x6E01 << 48, 0xFFFF << 48, table=20))
    OFPT_FLOW_MOD (OF1.5) (xid=0x0): DEL table:20 ... cookie:0x6e01000000000000/...
    """
    head = struct.pack(
        "!QQBBHHHIIIHH",
        cookie,
        mask,
        table,
        codec.FLOW_DELETE,
        0,
        0,
        0,
        NO_BUFFER,
        _ANY,
        _ANY,
        0,
        0,
    )
    return FlowMod(head + match)


@dataclass(frozen=True, slots=True)
class CtTuple:
    """One direction of the connections to forget; what isn't given is not compared."""

    src: IPv4Address | IPv6Address | None = None
    dst: IPv4Address | IPv6Address | None = None
    src_port: int | None = None
    dst_port: int | None = None

    def encode(self) -> bytes:
        """Its bytes: properties, nested in those of the request."""
        parts = []
        for kind, address in enumerate((self.src, self.dst)):
            if isinstance(address, IPv4Address):
                address = IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)
            if address is not None:
                parts.append(_property(kind, address.packed))
        for kind, port in ((2, self.src_port), (3, self.dst_port)):
            if port is not None:
                parts.append(_property(kind, struct.pack("!H2x", port)))
        return b"".join(parts)


def ct_flush(
    zone: int | None = None,
    protocol: int = 0,
    original: CtTuple | None = None,
    reply: CtTuple | None = None,
) -> Experimenter:
    """Forget tracked connections (NXT_CT_FLUSH, since Open vSwitch 3.1).

    Parameters
    ----------
    zone
        Only of this zone.
    protocol
        Only of this IP protocol; needed where a port is given.
    original, reply
        Only those with these addresses and ports: as their first packet had them, and as an answer
        has them, which is where one sees the endpoint that a Service's address was translated to.

    Examples
    --------
    >>> from ipaddress import ip_address
    >>> from nsxdp.openflow import CtTuple, ct_flush
    >>> request = ct_flush(zone=1, protocol=6, reply=CtTuple(src=ip_address("10.244.0.5")))
    >>> print(request)
    NXT_CT_FLUSH (OF1.5) (xid=0x0): zone=1 ... 'ct_nw_src=10.244.0.5,...
    """
    body = struct.pack("!B7x", protocol)
    for kind, direction in enumerate((original, reply)):
        nested = direction.encode() if direction is not None else b""
        if nested:
            body += _property(kind, bytes(4) + nested)
    if zone is not None:
        body += _property(2, struct.pack("!H2x", zone))
    return Experimenter(NICIRA, _CT_FLUSH, body)


def _property(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("!HH", kind, length) + value + bytes(-length % 8)
