"""What all messages have: a header, bytes, text; and `decode`, which knows them all."""

from __future__ import annotations

import struct
from dataclasses import field
from typing import Any, ClassVar, Final

from nsxdp.openflow import codec
from nsxdp.openflow.errors import DecodeError
from nsxdp.openflow.record import MAX_LENGTH, Record, record, rest, u32

__all__ = [
    "HEADER",
    "MORE",
    "MULTIPART",
    "NICIRA",
    "VERSION",
    "AnyVersion",
    "Experimenter",
    "Message",
    "MultipartReply",
    "MultipartRequest",
    "Nicira",
    "NiciraReply",
    "NiciraRequest",
    "Other",
    "OtherReply",
    "OtherRequest",
    "decode",
    "frame",
]

VERSION: Final = 6
"""OpenFlow 1.5's number."""
HEADER: Final = struct.Struct("!BBHI")
"""Version, type, length of the whole message, xid."""
MULTIPART: Final = struct.Struct("!HH4x")
"""What follows in a multipart message: its type and flags."""
NICIRA: Final = 0x2320
"""Open vSwitch, as an experimenter."""
MORE: Final = 1
"""The flag of a multipart message that isn't the last."""

_EXPERIMENTER: Final = struct.Struct("!II")
_MULTIPART_EXPERIMENTER: Final = 0xFFFF
_NAMES: Final = {1: "1.0", 2: "1.1", 3: "1.2", 4: "1.3", 5: "1.4", 6: "1.5"}

_known: dict[tuple[int, ...], type[Message]] = {}


def _numbers(cls: type, *names: str) -> tuple[int, ...]:
    """A class's numbers; empty where it hasn't got all of them."""
    numbers = [getattr(cls, name, None) for name in names]
    return () if None in numbers else tuple(n for n in numbers if isinstance(n, int))


@record
class Message(Record):
    """One message.  ``str()`` of it is what ``ovs-ofctl ofp-print`` says.

    Attributes
    ----------
    type
        OpenFlow's number of this kind of message.
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

    xid: int = field(default=0, kw_only=True, compare=False)

    @classmethod
    def key(cls) -> tuple[int, ...]:
        """What tells it from others on the wire; empty where that isn't said yet."""
        return _numbers(cls, "type")

    @classmethod
    def declared(cls) -> None:
        if key := cls.key():
            _known[key] = cls

    def head(self) -> bytes:
        """What is between the header and the fields."""
        return b""

    def body(self) -> bytes:
        """What follows the header.

        Raises
        ------
        ValueError
            One of the values can't be sent.
        """
        try:
            return self.head() + self.write()
        except struct.error as error:
            raise ValueError(f"{type(self).__name__}: {error}") from error

    def encode(self) -> bytes:
        """The message's bytes.

        Raises
        ------
        ValueError
            One of the values can't be sent, or the message is longer than one can be.
        """
        return frame(self.type, self.xid, self.body())

    def __str__(self) -> str:
        return codec.message_print(self.encode())


def frame(kind: int, xid: int, body: bytes = b"", version: int = VERSION) -> bytes:
    """Put a header before a body."""
    size = HEADER.size + len(body)
    if size > MAX_LENGTH:
        raise ValueError(f"message of {size} bytes: OpenFlow allows {MAX_LENGTH}")
    return HEADER.pack(version, kind, size, xid) + body


@record
class AnyVersion(Message):
    """A message that is the same in all versions of OpenFlow."""

    version: int = field(default=VERSION, kw_only=True, compare=False)
    """The header's."""

    def encode(self) -> bytes:
        return frame(self.type, self.xid, self.body(), self.version)


@record
class Other(Message):
    """A message of a type that nothing here reads."""

    type = -1
    number: int = field()
    data: bytes = rest(default=b"")

    def encode(self) -> bytes:
        return frame(self.number, self.xid, self.body())


# Lists that may take more than one message.


@record
class Multipart(Message):
    """A part of a list, or a request for one."""

    kind: ClassVar[int]

    flags: int = field(default=0, kw_only=True)

    @classmethod
    def key(cls) -> tuple[int, ...]:
        return _numbers(cls, "type", "kind")

    def head(self) -> bytes:
        return MULTIPART.pack(self.kind, self.flags)


@record
class MultipartRequest(Multipart):
    """Ask for a list."""

    type = 18


@record
class MultipartReply(Multipart):
    """A part of a list."""

    type = 19


@record
class OtherRequest(MultipartRequest):
    """A request for a list that nothing here knows."""

    number: int = field()
    """Which list: what ``kind`` is of others."""
    data: bytes = rest(default=b"")

    def head(self) -> bytes:
        return MULTIPART.pack(self.number, self.flags)


@record
class OtherReply(MultipartReply):
    """A part of a list that nothing here knows."""

    number: int = field()
    data: bytes = rest(default=b"")

    def head(self) -> bytes:
        return MULTIPART.pack(self.number, self.flags)


# Experimenters' messages: Open vSwitch is one.


@record
class Experimenter(Message):
    """An experimenter's message that nothing here knows."""

    type = 4
    experimenter: int = u32()
    subtype: int = u32()
    data: bytes = rest(default=b"")


@record
class Nicira(Message):
    """One of Open vSwitch's own messages: NXT_*."""

    type = 4
    subtype: ClassVar[int]

    @classmethod
    def key(cls) -> tuple[int, ...]:
        return _numbers(cls, "type", "subtype") and (cls.type, NICIRA, cls.subtype)

    def head(self) -> bytes:
        return _EXPERIMENTER.pack(NICIRA, self.subtype)


@record
class NiciraRequest(MultipartRequest):
    """A request for one of Open vSwitch's own lists: NXST_*."""

    kind = _MULTIPART_EXPERIMENTER
    subtype: ClassVar[int]

    @classmethod
    def key(cls) -> tuple[int, ...]:
        return _numbers(cls, "subtype") and (cls.type, cls.kind, NICIRA, cls.subtype)

    def head(self) -> bytes:
        return MULTIPART.pack(self.kind, self.flags) + _EXPERIMENTER.pack(NICIRA, self.subtype)


@record
class NiciraReply(MultipartReply):
    """A part of one of Open vSwitch's own lists."""

    kind = _MULTIPART_EXPERIMENTER
    subtype: ClassVar[int]

    @classmethod
    def key(cls) -> tuple[int, ...]:
        return _numbers(cls, "subtype") and (cls.type, cls.kind, NICIRA, cls.subtype)

    def head(self) -> bytes:
        return MULTIPART.pack(self.kind, self.flags) + _EXPERIMENTER.pack(NICIRA, self.subtype)


# Reading.


def decode(data: bytes) -> Message:
    """Read one whole message.

    Raises
    ------
    DecodeError
        It isn't one, or it is of another version: of those only hello, error and echo, which are
        the same in all, are read.

    Examples
    --------
    >>> from nsxdp.openflow import decode
    >>> decode(bytes.fromhex("0614000800000001"))
    BarrierRequest(xid=1)
    """
    if len(data) < HEADER.size:
        raise DecodeError(f"message of {len(data)} bytes", len(data))
    version, kind, size, xid = HEADER.unpack_from(data)
    if size != len(data):
        raise DecodeError(f"message of {size} bytes in {len(data)}", 2)
    values: dict[str, Any] = {"xid": xid}
    known = _known.get((kind,))
    if known is not None and issubclass(known, AnyVersion):
        values["version"] = version
    elif version != VERSION:
        name = f"OpenFlow {_NAMES[version]}" if version in _NAMES else f"version {version:#04x}"
        raise DecodeError(f"message of {name}: only those of OpenFlow 1.5 are read", 0)
    known, at = _find(data, kind, values)
    one, end = known.read(data, at, size, **values)
    if end != size:
        raise DecodeError(f"{known.__name__} has {size - end} bytes too many", end)
    return one


def _find(data: bytes, kind: int, values: dict[str, Any]) -> tuple[type[Message], int]:
    """The class of a message, and where its fields begin; notes values that are before those."""
    at = HEADER.size
    key: tuple[int, ...] = (kind,)
    other: type[Message] = Other
    if kind in (MultipartRequest.type, MultipartReply.type):
        other = OtherRequest if kind == MultipartRequest.type else OtherReply
        number, values["flags"] = _unpack(MULTIPART, data, at)
        key = (kind, number)
        at += MULTIPART.size
        if number == _MULTIPART_EXPERIMENTER and len(data) >= at + _EXPERIMENTER.size:
            key += _unpack(_EXPERIMENTER, data, at)
    elif kind == Experimenter.type:
        other = Experimenter
        key += _unpack(_EXPERIMENTER, data, at)
    known = _known.get(key)
    if known is not None:
        return known, at + (_EXPERIMENTER.size if len(key) > 2 else 0)
    if other is not Experimenter:
        values["number"] = key[-1] if other is Other else key[1]
    return other, at


def _unpack(layout: struct.Struct, data: bytes, at: int) -> tuple[int, ...]:
    if len(data) < at + layout.size:
        raise DecodeError("message is cut off", len(data))
    return layout.unpack_from(data, at)
