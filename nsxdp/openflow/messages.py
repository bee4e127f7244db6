"""OpenFlow 1.5 messages as values, each beside its layout.

A class has the name, and its fields have the names and the order, of the specification (Open
Networking Foundation, TS-025, section 7); Open vSwitch's own messages are those of its
``include/openflow/nicira-ext.h``.  Flows and groups are bytes here: `nsxdp.openflow.codec` makes
and prints those.  `nsxdp.openflow.requests` puts together what takes more than a class.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Any, ClassVar, Final, Self

from msgspec import Struct

from nsxdp.openflow import codec
from nsxdp.openflow.errors import DecodeError

__all__ = [
    "BarrierReply",
    "BarrierRequest",
    "BundleControl",
    "BundleFlags",
    "BundleKind",
    "EchoReply",
    "EchoRequest",
    "Error",
    "Experimenter",
    "FeaturesReply",
    "FeaturesRequest",
    "FlowMod",
    "GroupMod",
    "Hello",
    "Message",
    "MeterCommand",
    "MeterMod",
    "MultipartReply",
    "MultipartRequest",
    "Other",
    "PacketIn",
    "PacketOut",
    "SetConfig",
    "decode",
]

VERSION: Final = 6
"""OpenFlow 1.5's number."""
HEADER: Final = struct.Struct("!BBHI")
"""Version, type, length of the whole message, xid."""
MAX_LENGTH: Final = 0xFFFF

NICIRA: Final = 0x2320
PACKET_IN2: Final = 30
LOCAL: Final = 0xFFFFFFFE
NO_BUFFER: Final = 0xFFFFFFFF
MORE: Final = 1
"""The flag of a multipart reply that isn't the last."""

_IN_PORT = 0x80000004
"""The OXM header of in_port."""


class Message(Struct, frozen=True, kw_only=True):
    """One message.  ``str()`` of it is what ``ovs-ofctl ofp-print`` says.

    Attributes
    ----------
    type
        OpenFlow's number of this kind of message.
    layout
        Of the fields, in their order; a last field of type bytes is what follows.
    has_rest
        Whether there is such a field.
    xid
        Tells an answer from others: it has its request's. It is not compared.

    Examples
    --------
    >>> from nsxdp.openflow.messages import SetConfig, decode
    >>> message = SetConfig(miss_send_len=128, xid=7)
    >>> message.encode().hex()
    '0609000c0000000700000080'
    >>> decode(message.encode()) == message
    True
    >>> print(message)
    OFPT_SET_CONFIG (OF1.5) (xid=0x7): frags=normal miss_send_len=128
    """

    type: ClassVar[int]
    layout: ClassVar[struct.Struct] = struct.Struct("")
    has_rest: ClassVar[bool] = False

    xid: int = 0

    @classmethod
    def from_body(cls, body: bytes, xid: int = 0) -> Self:
        """Read what follows the header.

        Raises
        ------
        DecodeError
            It is too short or too long, or has a value that none can have.
        """
        size = cls.layout.size
        if len(body) < size or (len(body) > size and not cls.has_rest):
            raise DecodeError(f"{cls.__name__} with a body of {len(body)} bytes", HEADER.size)
        values: list[Any] = [*cls.layout.unpack_from(body)]
        if cls.has_rest:
            values.append(body[size:])
        return cls(*values, xid=xid)

    def body(self) -> bytes:
        """What follows the header."""
        values = self._values()
        rest = values.pop() if self.has_rest else b""
        return self.layout.pack(*values) + rest

    def encode(self) -> bytes:
        """The message's bytes.

        Raises
        ------
        ValueError
            It is longer than a message can be.
        """
        return frame(self.type, self.xid, self.body())

    def _values(self) -> list[Any]:
        """What it says: all but the xid, and but the bytes that it was read from."""
        names = self.__struct_fields__
        return [getattr(self, name) for name in names if name not in ("xid", "message")]

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), *self._values()))

    def __str__(self) -> str:
        return codec.message_format(self.encode())


def frame(kind: int, xid: int, body: bytes = b"") -> bytes:
    """Put a header before a body."""
    length = HEADER.size + len(body)
    if length > MAX_LENGTH:
        raise ValueError(f"message of {length} bytes: OpenFlow allows {MAX_LENGTH}")
    return HEADER.pack(VERSION, kind, length, xid) + body


# The connection.


class Hello(Message, frozen=True):
    """The versions that the sender speaks."""

    type = 0
    versions: frozenset[int] = frozenset({VERSION})

    @classmethod
    def from_body(cls, body: bytes, xid: int = 0, version: int = VERSION) -> Self:
        """Read the version bitmap; without one, all versions up to the header's."""
        versions = frozenset(range(1, version + 1))
        at = 0
        while at + 4 <= len(body):
            kind, length = struct.unpack_from("!HH", body, at)
            if length < 4 or at + length > len(body):
                raise DecodeError(f"hello's element of {length} bytes", HEADER.size + at)
            if kind == 1 and length >= 8:
                (bitmap,) = struct.unpack_from("!I", body, at + 4)
                versions = frozenset(bit for bit in range(32) if bitmap & 1 << bit)
                break
            at += -(-length // 8) * 8
        return cls(versions, xid=xid)

    def body(self) -> bytes:
        return struct.pack("!HHI", 1, 8, sum(1 << version for version in self.versions))


class Error(Message, frozen=True):
    """A message was refused."""

    type = 1
    layout = struct.Struct("!HH")
    has_rest = True
    kind: int
    code: int
    data: bytes = b""
    """The start of the refused message: at least 64 bytes, Open vSwitch sends all of it."""

    EXPERIMENTER: ClassVar = 0xFFFF

    @property
    def experimenter(self) -> int:
        """Whose error this is; 0: OpenFlow's own."""
        if self.kind != self.EXPERIMENTER or len(self.data) < 4:
            return 0
        return int.from_bytes(self.data[:4], "big")

    @property
    def name(self) -> str:
        """Open vSwitch's name of the error."""
        name = codec.error_name(self.kind, self.code, self.experimenter)
        return name or f"error type {self.kind:#x} code {self.code:#x}"

    @property
    def request(self) -> bytes:
        """What was refused, as far as the switch has sent it back."""
        return self.data[4:] if self.kind == self.EXPERIMENTER else self.data


class EchoRequest(Message, frozen=True):
    """Are you there?"""

    type = 2
    has_rest = True
    data: bytes = b""


class EchoReply(Message, frozen=True):
    """I am."""

    type = 3
    has_rest = True
    data: bytes = b""


class Experimenter(Message, frozen=True):
    """Somebody's own message, Open vSwitch's for one."""

    type = 4
    layout = struct.Struct("!II")
    has_rest = True
    experimenter: int
    subtype: int
    data: bytes = b""


class FeaturesRequest(Message, frozen=True):
    """Who are you?"""

    type = 5


class FeaturesReply(Message, frozen=True):
    """What the switch is."""

    type = 6
    layout = struct.Struct("!QIBB2xII")
    datapath_id: int
    n_buffers: int
    n_tables: int
    auxiliary_id: int
    capabilities: int
    reserved: int = 0


class SetConfig(Message, frozen=True):
    """How the switch treats fragments, and how much of a packet it sends to a controller.

    Open vSwitch sends nothing unasked, and so no packet, to a connection to its management socket
    until this has set ``miss_send_len`` to more than 0 (its ofproto/connmgr.c).
    """

    type = 9
    layout = struct.Struct("!HH")
    flags: int = 0
    miss_send_len: int = 0xFFFF


# Packets.


class PacketIn(Message, frozen=True):
    """A packet that a flow sent to the controller: OFPT_PACKET_IN or NXT_PACKET_IN2."""

    type = 10
    data: bytes
    """The packet, from its Ethernet header on."""
    total_len: int
    """Its length before the switch cut it."""
    reason: int
    table: int
    cookie: int
    """Of the flow that sent it."""
    fields: bytes
    """OXM fields: the port that it came in by, registers, connection tracking state..."""
    userdata: bytes = b""
    """What the flow's ``controller(userdata=...)`` says."""
    message: bytes = b""
    """As it was received."""

    _LAYOUT: ClassVar = struct.Struct("!IHBBQHH")

    @classmethod
    def from_body(cls, body: bytes, xid: int = 0) -> Self:
        head = cls._LAYOUT
        if len(body) < head.size:
            raise DecodeError("packet-in is cut off", HEADER.size + len(body))
        _, total, reason, table, cookie, _, length = head.unpack_from(body)
        start = head.size + -(-length // 8) * 8 - 4 + 2
        if length < 4 or start > len(body):
            raise DecodeError(f"packet-in's match of {length} bytes", HEADER.size + 16)
        oxm = body[head.size : head.size + length - 4]
        message = frame(cls.type, xid, body)
        return cls(body[start:], total, reason, table, cookie, oxm, message=message, xid=xid)

    @classmethod
    def from_properties(cls, body: bytes, xid: int = 0) -> Self:
        """Read an NXT_PACKET_IN2, after its experimenter header."""
        found = dict(_properties(body, HEADER.size + 8))
        data = found.get(0, b"")
        message = frame(Experimenter.type, xid, struct.pack("!II", NICIRA, PACKET_IN2) + body)
        return cls(
            data,
            _number(found, 1, 4, len(data)),
            _number(found, 5, 1, 0),
            _number(found, 3, 1, 0),
            int.from_bytes(found.get(4, b"")[4:12], "big"),  # aligned to 8 bytes
            found.get(6, b""),
            found.get(7, b""),
            message=message,
            xid=xid,
        )

    def body(self) -> bytes:
        length = 4 + len(self.fields)
        head = self._LAYOUT.pack(
            NO_BUFFER, self.total_len, self.reason, self.table, self.cookie, 1, length
        )
        return head + self.fields + bytes(-length % 8 + 2) + self.data

    def encode(self) -> bytes:
        return self.message or frame(self.type, self.xid, self.body())

    @property
    def in_port(self) -> int:
        """The OpenFlow port that the packet came in by; 0 where the switch didn't say."""
        at = 0
        while at + 4 <= len(self.fields):
            (header,) = struct.unpack_from("!I", self.fields, at)
            if header == _IN_PORT and at + 8 <= len(self.fields):
                return int.from_bytes(self.fields[at + 4 : at + 8], "big")
            at += 4 + (header & 0xFF)
        return 0


class PacketOut(Message, frozen=True):
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
    data: bytes
    """The packet, from its Ethernet header on."""
    actions: bytes
    in_port: int = LOCAL

    _LAYOUT: ClassVar = struct.Struct("!IH2xHHII4x")

    @classmethod
    def parse(
        cls,
        data: bytes,
        actions: str = "resubmit(,0)",
        in_port: int = LOCAL,
        tables: codec.Tables | None = None,
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
        return cls(data, codec.packet_actions_parse(actions, tables), in_port)

    @classmethod
    def from_body(cls, body: bytes, xid: int = 0) -> Self:
        head = cls._LAYOUT
        if len(body) < head.size:
            raise DecodeError("packet-out is cut off", HEADER.size + len(body))
        _, length, _, _, oxm, in_port = head.unpack_from(body)
        if oxm != _IN_PORT or head.size + length > len(body):
            raise DecodeError("packet-out isn't one that is sent from here", HEADER.size)
        return cls(body[head.size + length :], body[head.size :][:length], in_port, xid=xid)

    def body(self) -> bytes:
        head = self._LAYOUT.pack(NO_BUFFER, len(self.actions), 1, 12, _IN_PORT, self.in_port)
        return head + self.actions + self.data


# State of the switch.


class FlowMod(Message, frozen=True):
    """Add, change or delete flows: `nsxdp.openflow.flow.Flow` is a view of the body."""

    type = 14
    has_rest = True
    flow: bytes = b""


class GroupMod(Message, frozen=True):
    """Add, change or delete a group: `nsxdp.openflow.flow.Group` is a view of the body."""

    type = 15
    has_rest = True
    group: bytes = b""


class MeterCommand(IntEnum):
    """What a `MeterMod` does."""

    ADD = 0
    MODIFY = 1
    DELETE = 2


class MeterMod(Message, frozen=True):
    """A meter with one band, which drops what exceeds ``rate`` packets a second.

    Meters can't be in bundles.
    """

    type = 29
    command: MeterCommand
    meter_id: int
    rate: int = 0
    """Packets a second."""
    burst: int = 0
    """Packets."""

    _PKTPS_BURST: ClassVar = 0x2 | 0x4
    _BAND: ClassVar = struct.Struct("!HHII4x")

    @classmethod
    def from_body(cls, body: bytes, xid: int = 0) -> Self:
        if len(body) not in (8, 24):
            raise DecodeError("meter_mod with more than one band", HEADER.size)
        command, _, meter_id = struct.unpack_from("!HHI", body)
        _, _, rate, burst = cls._BAND.unpack_from(body, 8) if len(body) == 24 else (0, 0, 0, 0)
        return cls(MeterCommand(command), meter_id, rate, burst, xid=xid)

    def body(self) -> bytes:
        if self.command == MeterCommand.DELETE:
            return struct.pack("!HHI", self.command, 0, self.meter_id)
        head = struct.pack("!HHI", self.command, self._PKTPS_BURST, self.meter_id)
        return head + self._BAND.pack(1, self._BAND.size, self.rate, self.burst)


class MultipartRequest(Message, frozen=True):
    """Ask for a list."""

    type = 18
    layout = struct.Struct("!HH4x")
    has_rest = True
    kind: int
    flags: int
    data: bytes = b""


class MultipartReply(Message, frozen=True):
    """A part of a list."""

    type = 19
    layout = struct.Struct("!HH4x")
    has_rest = True
    kind: int
    flags: int
    data: bytes = b""


class BarrierRequest(Message, frozen=True):
    """Answer this when all that came before is done."""

    type = 20


class BarrierReply(Message, frozen=True):
    """All that came before is done."""

    type = 21


class BundleKind(IntEnum):
    """What a `BundleControl` does."""

    OPEN_REQUEST = 0
    OPEN_REPLY = 1
    CLOSE_REQUEST = 2
    CLOSE_REPLY = 3
    COMMIT_REQUEST = 4
    COMMIT_REPLY = 5
    DISCARD_REQUEST = 6
    DISCARD_REPLY = 7


class BundleFlags(IntFlag):
    """All or nothing; in the order in which they were added."""

    ATOMIC = 1
    ORDERED = 2


class BundleControl(Message, frozen=True):
    """Open, close, commit or discard a bundle."""

    type = 33
    layout = struct.Struct("!IHH")
    bundle_id: int
    kind: int
    flags: int = BundleFlags.ATOMIC | BundleFlags.ORDERED


class Other(Message, frozen=True):
    """A message of a type that nothing here reads."""

    type = -1
    has_rest = True
    number: int = -1
    data: bytes = b""

    def encode(self) -> bytes:
        return frame(self.number, self.xid, self.data)


# Reading.

_TYPES: dict[int, type[Message]] = {
    kind.type: kind
    for kind in (
        EchoRequest,
        EchoReply,
        Error,
        Experimenter,
        FeaturesRequest,
        FeaturesReply,
        SetConfig,
        PacketIn,
        PacketOut,
        FlowMod,
        GroupMod,
        MeterMod,
        MultipartRequest,
        MultipartReply,
        BarrierRequest,
        BarrierReply,
        BundleControl,
    )
}


def decode(data: bytes) -> Message:
    """Read one whole message.

    Raises
    ------
    DecodeError
        It isn't one; says where.

    Examples
    --------
    >>> from nsxdp.openflow import decode
    >>> decode(bytes.fromhex("0614000800000001"))
    BarrierRequest(xid=1)
    """
    if len(data) < HEADER.size:
        raise DecodeError(f"message of {len(data)} bytes", len(data))
    version, kind, length, xid = HEADER.unpack_from(data)
    if length != len(data):
        raise DecodeError(f"message of {length} bytes in {len(data)}", 2)
    body = data[HEADER.size :]
    if kind == Hello.type:
        return Hello.from_body(body, xid, version)
    if version != VERSION and kind != Error.type:
        raise DecodeError(f"message of version {version:#04x}", 0)
    if kind not in _TYPES:
        return Other(kind, body, xid=xid)
    if kind == Experimenter.type and body[:8] == struct.pack("!II", NICIRA, PACKET_IN2):
        return PacketIn.from_properties(body[8:], xid)
    try:
        return _TYPES[kind].from_body(body, xid)
    except DecodeError:
        raise
    except ValueError as error:
        raise DecodeError(str(error), HEADER.size) from error


# Properties: type, length, value, padded to 8 bytes.


def _properties(data: bytes, position: int) -> list[tuple[int, bytes]]:
    found = []
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            raise DecodeError("property is cut off", position + at)
        kind, length = struct.unpack_from("!HH", data, at)
        if length < 4 or at + length > len(data):
            raise DecodeError(f"property of {length} bytes", position + at)
        found.append((kind, data[at + 4 : at + length]))
        at += -(-length // 8) * 8
    return found


def _number(found: dict[int, bytes], kind: int, width: int, default: int) -> int:
    value = found.get(kind)
    if value is None:
        return default
    return int.from_bytes(value[:width], "big")
