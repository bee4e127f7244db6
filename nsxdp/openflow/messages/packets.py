"""Packets: what a switch sends to a controller, and what that sends back."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import ClassVar, Final, Self

from nsxdp.openflow import codec
from nsxdp.openflow.codec import Tables
from nsxdp.openflow.messages.message import HEADER, Message, Nicira
from nsxdp.openflow.parts import Match
from nsxdp.openflow.record import (
    Code,
    Property,
    length_of,
    match,
    match_fields,
    others,
    prop,
    record,
    rest,
    u8,
    u16,
    u32,
    u64,
)

__all__ = [
    "ANY_MATCH",
    "LOCAL",
    "NO_BUFFER",
    "NO_COOKIE",
    "NiciraPacketIn",
    "PacketIn",
    "PacketIn2",
    "PacketInFormat",
    "PacketInReason",
    "PacketOut",
    "Resume",
    "SetPacketInFormat",
]

LOCAL: Final = 0xFFFFFFFE
"""OFPP_LOCAL: the bridge's own port."""
NO_BUFFER: Final = 0xFFFFFFFF
"""OFP_NO_BUFFER: the packet isn't kept at the switch."""
NO_COOKIE: Final = 0xFFFFFFFFFFFFFFFF
"""Of a packet that no flow sent."""
ANY_MATCH: Final = Match.of(b"")
"""A match without fields."""

_IN_PORT: Final = 0x80000004
"""The OXM header of in_port."""
_XREG0: Final = 0x80010000
"""The OXM header of xreg0, without length and mask; the next one's is 0x200 more."""


class PacketInReason(Code):
    """OFPR_*: why a packet is sent to a controller."""

    TABLE_MISS = 0
    APPLY_ACTION = 1
    INVALID_TTL = 2
    ACTION_SET = 3
    GROUP = 4
    PACKET_OUT = 5


def _fields(found: Match) -> Iterator[tuple[int, bytes]]:
    """A match's fields: header, and value with mask. What is cut off is left out."""
    fields, at = found.fields, 0
    while at + 4 <= len(fields):
        (header,) = struct.unpack_from("!I", fields, at)
        end = at + 4 + (header & 0xFF)
        if end <= len(fields):
            yield header, fields[at + 4 : end]
        at = end


def _in_port(found: Match) -> int:
    """The OpenFlow port of a match; 0 where it has none."""
    for header, value in _fields(found):
        if header == _IN_PORT:
            return int.from_bytes(value, "big")
    return 0


@record
class PacketIn(Message):
    """A packet for the controller: OFPT_PACKET_IN."""

    type = 10
    buffer_id: int = u32()
    total_len: int = u16()
    """The packet's length before the switch cut it."""
    reason: PacketInReason = u8(PacketInReason)
    table_id: int = u8()
    cookie: int = u64()
    """Of the flow that sent it; all ones: none did."""
    match: Match = match()
    """The port that it came in by, registers, connection tracking state..."""
    data: bytes = rest(before=2)
    """The packet, from its Ethernet header on."""

    @property
    def userdata(self) -> bytes:
        """Nothing: only a `PacketIn2` has some."""
        return b""

    @property
    def in_port(self) -> int:
        """The OpenFlow port that the packet came in by; 0 where the switch didn't say."""
        return _in_port(self.match)


@record
class NiciraPacketIn(Nicira):
    """A packet for the controller: NXT_PACKET_IN."""

    subtype = 17
    buffer_id: int = u32()
    total_len: int = u16()
    reason: PacketInReason = u8(PacketInReason)
    table_id: int = u8()
    cookie: int = u64()
    _match_len: ClassVar = length_of("match", pad=6)
    match: Match = match_fields(align=8)
    data: bytes = rest(before=2)


@record
class _Packet2(Nicira):
    """A packet, and what Open vSwitch tells of it."""

    data: bytes = prop(0, rest(), default=b"", sent=True)
    """The packet, from its Ethernet header on."""
    full_len: int | None = prop(1, u32(), default=None)
    """The packet's length before the switch cut it; None: it didn't."""
    buffer_id: int = prop(2, u32(), default=NO_BUFFER)
    table_id: int = prop(3, u8(), pad=0, default=0, sent=True)
    cookie: int = prop(4, u64(before=4), default=NO_COOKIE)
    """Of the flow that sent it; all ones: none did."""
    reason: PacketInReason = prop(
        5, u8(PacketInReason), pad=0, default=PacketInReason.TABLE_MISS, sent=True
    )
    match: Match = prop(6, match_fields(), default=ANY_MATCH, sent=True)
    """The port that it came in by, registers, connection tracking state..."""
    continuation: bytes = prop(8, rest(before=4), default=b"")
    """Of a packet that ``controller(pause)`` sent: how the switch goes on."""
    userdata: bytes = prop(7, rest(), default=b"")
    """What the flow's ``controller(userdata=...)`` says."""
    others: tuple[Property, ...] = others(default=())

    @property
    def total_len(self) -> int:
        """The packet's length before the switch cut it."""
        return len(self.data) if self.full_len is None else self.full_len

    @property
    def in_port(self) -> int:
        """The OpenFlow port that the packet came in by; 0 where the switch didn't say."""
        return _in_port(self.match)


@record
class Resume(_Packet2):
    """Go on with a packet that was paused: NXT_RESUME."""

    subtype = 28


@record
class PacketIn2(_Packet2):
    """A packet for the controller: NXT_PACKET_IN2, for which `SetPacketInFormat` asks."""

    subtype = 30

    def register(self, number: int) -> int:
        """What reg0, reg1, ... had; 0 where the switch didn't say.

        OpenFlow 1.5 has two of them in one field.
        """
        for header, value in _fields(self.match):
            if header & ~0x1FF == _XREG0 + number // 2 * 0x200 and len(value) >= 8:
                at = number % 2 * 4
                return int.from_bytes(value[at : at + 4], "big")
        return 0

    def resume(self, data: bytes | None = None, match: Match | None = None) -> Resume:
        """What lets a packet go on that ``controller(pause)`` has stopped.

        Parameters
        ----------
        data
            Instead of the packet as it was.
        match
            Likewise, of its fields: the switch takes over registers and metadata.

        Raises
        ------
        ValueError
            It isn't stopped.
        """
        if not self.continuation:
            raise ValueError("the packet isn't paused: its flow has no controller(pause)")
        return Resume(
            self.data if data is None else data,
            table_id=self.table_id,
            cookie=self.cookie,
            reason=self.reason,
            match=self.match if match is None else match,
            continuation=self.continuation,
        )


class PacketInFormat(Code):
    """NXPIF_*: as what a switch sends packets."""

    STANDARD = 0
    NXT_PACKET_IN = 1
    NXT_PACKET_IN2 = 2


@record
class SetPacketInFormat(Nicira):
    """Send packets as this; a flow's userdata only comes with the default."""

    subtype = 16
    format: PacketInFormat = u32(PacketInFormat, default=PacketInFormat.NXT_PACKET_IN2)


@record
class PacketOut(Message):
    """Send a packet.

    Examples
    --------
    >>> from nsxdp.openflow import PacketOut
    >>> packet = bytes(12) + bytes.fromhex("0806") + bytes(46)
    >>> message = PacketOut.parse(packet, "output:2")
    >>> print(message)
    OFPT_PACKET_OUT (OF1.5) (xid=0x0): in_port=LOCAL actions=output:2 data_len=60...
    """

    type = 13
    buffer_id: int = u32()
    _actions_len: ClassVar = length_of("actions", pad=2)
    match: Match = match()
    """Of what the actions see: the port that the packet is said to come from, for one."""
    actions: bytes = rest()
    data: bytes = rest()
    """The packet, from its Ethernet header on."""

    @classmethod
    def parse(
        cls,
        data: bytes,
        actions: str = "resubmit(,0)",
        in_port: int = LOCAL,
        tables: Tables | None = None,
    ) -> Self:
        """Make one from actions in ovs-ofctl's syntax.

        Parameters
        ----------
        actions
            Without: the packet is treated as if it had come in by ``in_port``.
        in_port
            OpenFlow's number of a port; without: the bridge's own.

        Raises
        ------
        ParseError
            The text isn't actions; says where.
        """
        fields = struct.pack("!II", _IN_PORT, in_port)
        return cls(NO_BUFFER, Match.of(fields), codec.packet_actions_parse(actions, tables), data)

    @classmethod
    def parse_text(cls, text: str, tables: Tables | None = None) -> Self:
        """Make one from the text of ``ovs-ofctl packet-out``.

        ``in_port=1,packet=HEX,actions=output:2``.

        Raises
        ------
        ParseError
            The text isn't one; says where.
        """
        message = codec.packet_out_parse(text, tables)
        return cls.read(message, HEADER.size, len(message))[0]

    @property
    def in_port(self) -> int:
        """The OpenFlow port that the packet is said to come from."""
        return _in_port(self.match)
