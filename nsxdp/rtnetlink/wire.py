"""Netlink's messages and their attributes (netlink(7)): bytes to parts, and back.

A datagram has messages; a message has a header, a struct of its type, and attributes; each of them
begins at a multiple of 4 bytes. Every length is checked, whoever sent it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Final, NamedTuple

__all__ = [
    "NLMSG_DONE",
    "NLMSG_ERROR",
    "NLMSG_OVERRUN",
    "NLM_F_ACK",
    "NLM_F_DUMP",
    "NLM_F_DUMP_INTR",
    "RTM",
    "Failure",
    "MalformedError",
    "Message",
    "Request",
    "RtnetlinkError",
    "attribute",
    "attributes",
    "messages",
    "u32",
]

NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 2, 3, 4
"""Types of message that are netlink's own."""

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR = 0x1, 0x4, 0x10
NLM_F_DUMP, NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x300, 0x100, 0x200, 0x400
"""Flags of a message."""

NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
"""Flags of an answer: the request isn't in it; there are attributes in it."""


class RTM(IntEnum):
    """Types of message that are rtnetlink's."""

    NEWLINK = 16
    DELLINK = 17
    GETLINK = 18
    NEWADDR = 20
    DELADDR = 21
    GETADDR = 22
    NEWROUTE = 24
    DELROUTE = 25
    GETROUTE = 26
    NEWNEIGH = 28
    DELNEIGH = 29
    NEWQDISC = 36
    GETQDISC = 38


class RtnetlinkError(Exception):
    """The kernel can't be asked, doesn't answer, or refuses; one line."""


class MalformedError(RtnetlinkError):
    """These bytes are no message; says where they aren't."""


_HEADER: Final = struct.Struct("=IHHII")
"""struct nlmsghdr."""

_ATTRIBUTE: Final = struct.Struct("=HH")
"""struct nlattr."""

_U32: Final = struct.Struct("=I")

_ERROR: Final = struct.Struct("=i")
"""What struct nlmsgerr begins with."""

_MAX_ERRNO: Final = 4095

_TYPE_BITS: Final = 0x3FFF
"""Of an attribute's type; the others say how what is in it is to be read."""

_NLMSGERR_ATTR_MSG: Final = 1


class Message(NamedTuple):
    """A message that came.

    Attributes
    ----------
    type
        `RTM`, or one of netlink's own.
    flags
        ``NLM_F_...``.
    sequence
        The request's, where it is an answer.
    port
        The socket's that asked for it, or for what it tells of; 0: the kernel did it by itself.
    body
        What follows the header.
    """

    type: int
    flags: int
    sequence: int
    port: int
    body: bytes


class Request(NamedTuple):
    """What the kernel shall do.

    Attributes
    ----------
    type
        Of message.
    flags
        ``NLM_F_...``; that it is a request is added.
    body
        What follows the header.
    """

    type: RTM
    flags: int
    body: bytes

    def encode(self, sequence: int, flags: int = 0) -> bytes:
        """The message with that number, and with more 'flags'."""
        return _padded(
            _HEADER.pack(
                _HEADER.size + len(self.body),
                self.type,
                self.flags | flags | NLM_F_REQUEST,
                sequence,
                0,
            )
            + self.body
        )


class Failure(NamedTuple):
    """What struct nlmsgerr says.

    Attributes
    ----------
    code
        An errno; 0: it was done.
    text
        What the kernel says about it; empty: nothing.
    """

    code: int
    text: str = ""

    @classmethod
    def decode(cls, message: Message) -> Failure:
        """Of an `NLMSG_ERROR` or `NLMSG_DONE`.

        Raises
        ------
        MalformedError
            It is neither.
        """
        body = message.body
        if len(body) < _ERROR.size:
            raise MalformedError(f"netlink answer: {len(body)} bytes, and an error has 4")
        code = -_ERROR.unpack_from(body)[0]
        if not 0 <= code <= _MAX_ERRNO:
            raise MalformedError(f"netlink answer: {-code} is no error")
        if not message.flags & NLM_F_ACK_TLVS:
            return cls(code)
        at = _ERROR.size
        if message.type == NLMSG_ERROR:
            if len(body) < at + _HEADER.size:
                raise MalformedError(f"netlink answer: {len(body)} bytes, and no request's header")
            asked = _U32.unpack_from(body, at)[0]
            at += _HEADER.size if message.flags & NLM_F_CAPPED else _aligned(asked)
        text = attributes("netlink answer", body, at).get(_NLMSGERR_ATTR_MSG, b"")
        return cls(code, text.rstrip(b"\0").decode(errors="replace"))


def messages(datagram: bytes) -> Iterator[Message]:
    """The messages of a datagram.

    Raises
    ------
    MalformedError
        One isn't; those before it have been given.
    """
    at = 0
    while at < len(datagram):
        left = len(datagram) - at
        if left < _HEADER.size:
            raise MalformedError(f"netlink message at byte {at}: {left} bytes are no header")
        length, kind, flags, sequence, port = _HEADER.unpack_from(datagram, at)
        if not _HEADER.size <= length <= left:
            raise MalformedError(
                f"netlink message at byte {at}: it says that it has {length} bytes, of {left}"
            )
        yield Message(kind, flags, sequence, port, datagram[at + _HEADER.size : at + length])
        at += _aligned(length)


def attributes(what: str, body: bytes, at: int) -> dict[int, bytes]:
    """The attributes from byte 'at' on, by type; of two with one type, the last.

    Parameters
    ----------
    what
        Whose they are, for the error.

    Raises
    ------
    MalformedError
        They aren't.
    """
    found = {}
    while at < len(body):
        left = len(body) - at
        if left < _ATTRIBUTE.size:
            raise MalformedError(f"{what}: {left} bytes at byte {at} are no attribute")
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if not _ATTRIBUTE.size <= length <= left:
            raise MalformedError(
                f"{what}: attribute {kind & _TYPE_BITS} at byte {at}: it says that it has {length} "
                f"bytes, of {left}"
            )
        found[kind & _TYPE_BITS] = body[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute's bytes, with what comes before the next one."""
    return _padded(_ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value)


def u32(what: str, found: Mapping[int, bytes], kind: IntEnum, default: int = 0) -> int:
    """The number that is the attribute 'kind'; 'default': there is none.

    Raises
    ------
    MalformedError
        It isn't one.
    """
    value = found.get(kind)
    if value is None:
        return default
    if len(value) != _U32.size:
        raise MalformedError(f"{what}: {type(kind).__name__}_{kind.name} has {len(value)} bytes")
    number: int = _U32.unpack(value)[0]
    return number


def _aligned(length: int) -> int:
    return length + 3 & ~3


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) & 3)
