"""What the kernel tells by itself: whoever changes something, those who listen hear of it.

It keeps what isn't heard yet in the socket's buffer. Where that is full, news are lost, and it says
so: then who listens knows nothing any more, and has to ask for all there is.
"""

from __future__ import annotations

import array
import asyncio
import errno
import socket
import struct
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final, Self

from nsxdp.rtnetlink.connection import receive
from nsxdp.rtnetlink.objects import Address, Link, Neighbor, Route, decode
from nsxdp.rtnetlink.wire import RTM, MalformedError, RtnetlinkError

__all__ = ["News"]

_LINK, _NEIGH = 0x1, 0x4
_ADDRESSES = 0x10 | 0x100
_ROUTES = 0x40 | 0x400
_GROUPS: Final = {
    **dict.fromkeys((RTM.NEWLINK, RTM.DELLINK), _LINK),
    **dict.fromkeys((RTM.NEWADDR, RTM.DELADDR), _ADDRESSES),
    **dict.fromkeys((RTM.NEWROUTE, RTM.DELROUTE), _ROUTES),
    **dict.fromkeys((RTM.NEWNEIGH, RTM.DELNEIGH), _NEIGH),
}
"""``RTMGRP_...``: who is in a group hears all of its types; of IPv4 and IPv6."""

_BUFFER: Final = 1 << 20
"""Bytes: about a thousand messages."""

_SO_ATTACH_FILTER: Final = 26
_SO_RCVBUFFORCE: Final = 33

_INSTRUCTION: Final = struct.Struct("=HBBI")
"""struct sock_filter: operation, how many to skip if it holds and if not, operand."""

_PROGRAM: Final = struct.Struct("@HP")
"""struct sock_fprog: the number of instructions, and where they are."""

_LOAD_HALF, _LOAD_BYTE, _IF_EQUAL, _RETURN = 0x28, 0x30, 0x15, 0x06
_TYPE_AT: Final = 4
_PROTOCOL_AT: Final = 16 + 5
"""Where a message has its type, and a route's its protocol."""


class News:
    """Hears of some changes, as long as it is entered, in the running event loop.

    Parameters
    ----------
    types
        Of messages.
    hear
        Is told what the message is of.
    lost
        Is called when there was more than could be heard.
    protocol
        Of routes, only those that this one made are told of.

    Raises
    ------
    RtnetlinkError
        On entering: there is no socket.
    """

    def __init__(
        self,
        types: Collection[RTM],
        hear: Callable[[Link | Address | Route | Neighbor], None],
        lost: Callable[[], None],
        *,
        protocol: int | None = None,
    ) -> None:
        self._types = frozenset(types)
        self._hear = hear
        self._lost = lost
        self._protocol = protocol

    def __enter__(self) -> Self:
        try:
            self._socket = _listen(self._types, self._protocol)
        except OSError as error:
            raise RtnetlinkError(f"no netlink socket: {error.strerror}") from None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _receive(self) -> None:
        """Hear one datagram: the event loop asks again, and others get their turn between."""
        try:
            told = [
                decode(message.type, message.body)
                for message in receive(self._socket)
                if message.type in self._types
            ]
        except BlockingIOError:
            return
        except (OSError, MalformedError):
            self._forget()
            self._lost()
            return
        for found in told:
            if found is not None:
                self._hear(found)

    def _forget(self) -> None:
        """Throw away what is left to hear.

        Until there is nothing, the kernel keeps nothing new, and doesn't say so again. That comes
        to an end, for a change takes longer than forgetting it, and the kernel makes one at a time.
        """
        while True:
            try:
                self._socket.recv(1)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    return


def _listen(types: Collection[RTM], protocol: int | None) -> socket.socket:
    news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    try:
        news.setblocking(False)
        with suppress(PermissionError):  # then it has what everybody has
            news.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        _attach(news, _filter(types, protocol))
        groups = 0
        for kind in types:
            groups |= _GROUPS[kind]
        news.bind((0, groups))
    except BaseException:
        news.close()
        raise
    return news


def _filter(types: Collection[RTM], protocol: int | None) -> bytes:
    """A program that lets the kernel keep nothing else for us (BPF): a group has many types.

    One who adds ten thousand routes hears nothing of it, if it asked for the deleted ones.
    """
    program = [(_LOAD_HALF, 0, 0, _TYPE_AT)]
    for left, kind in zip(range(len(types) - 1, -1, -1), types, strict=True):
        of_protocol = protocol is not None and kind in (RTM.NEWROUTE, RTM.DELROUTE)
        program.append((_IF_EQUAL, left + (1 if of_protocol else 4), 0, socket.htons(kind)))
    program += [
        (_RETURN, 0, 0, 0),  # another type
        (_LOAD_BYTE, 0, 0, _PROTOCOL_AT),  # to here skips 1
        (_IF_EQUAL, 1, 0, protocol or 0),
        (_RETURN, 0, 0, 0),
        (_RETURN, 0, 0, 0xFFFF_FFFF),  # and to here 4: all of it
    ]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)


def _attach(news: socket.socket, program: bytes) -> None:
    code = array.array("B", program)
    address, length = code.buffer_info()
    what = _PROGRAM.pack(length // _INSTRUCTION.size, address)
    news.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, what)
