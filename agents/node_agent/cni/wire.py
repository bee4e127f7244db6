"""What nsx-cni and the agent say to each other: csrc/cni/wire.h, read and written.

A peer is anybody who got hold of the socket: every length is bounded, and what comes too slowly
isn't waited for.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

__all__ = ["MAX_ANSWER", "Frame", "WireError", "answer", "receive", "send"]

MAGIC: Final = 0x4E53582D
VERSION: Final = 1
MAX_VARIABLES: Final = 64 << 10
MAX_CONFIG: Final = 1 << 20
MAX_ANSWER: Final = 1 << 20

_REQUEST: Final = struct.Struct("!IIII")
_ANSWER: Final = struct.Struct("!III")
_FILES: Final = 8
"""How many open files are taken from a peer that sends any; all but the first are closed."""


class WireError(Exception):
    """What a peer sends is no request; one line."""


class Frame(NamedTuple):
    """A request as it came.

    Attributes
    ----------
    netns
        An open file that came with it, which whoever has the frame closes; None: there was none.
    """

    variables: bytes
    config: bytes
    netns: int | None

    def close(self) -> None:
        """Close the file."""
        if self.netns is not None:
            os.close(self.netns)


def answer(body: bytes, *, ok: bool) -> bytes:
    """The message of an answer: what the plugin prints, and whether its exit status is 0."""
    return _ANSWER.pack(MAGIC, 0 if ok else 1, len(body)) + body


async def receive(peer: socket.socket) -> Frame:
    """Read a request from 'peer', which doesn't block.

    Raises
    ------
    WireError
        It isn't one.
    """
    with _files() as files:
        header = await _exactly(peer, _REQUEST.size, files)
        magic, version, variables, config = _REQUEST.unpack(header)
        if magic != MAGIC or version != VERSION:
            raise WireError(f"it begins with {header[:8].hex(' ')}, as no request does")
        if variables > MAX_VARIABLES or config > MAX_CONFIG:
            raise WireError(f"{variables} bytes of variables and {config} of configuration")
        body = await _exactly(peer, variables + config, files)
        netns = files.pop(0) if files else None
    return Frame(body[:variables], body[variables:], netns)


async def send(peer: socket.socket, message: bytes) -> None:
    """Write all of it to 'peer'.

    Raises
    ------
    WireError
        It doesn't take it.
    """
    left = memoryview(message)
    while left:
        try:
            left = left[peer.send(left) :]
        except BlockingIOError:
            await _ready(peer, write=True)
        except OSError as error:
            raise WireError(f"it doesn't take the answer: {error.strerror}") from None


@contextmanager
def _files() -> Iterator[list[int]]:
    """What is left in the list at the end is closed."""
    files: list[int] = []
    try:
        yield files
    finally:
        for file in files:
            os.close(file)


async def _exactly(peer: socket.socket, size: int, files: list[int]) -> bytes:
    data = bytearray()
    while len(data) < size:
        try:
            chunk, control, _, _ = peer.recvmsg(
                size - len(data), socket.CMSG_SPACE(_FILES * 4), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            await _ready(peer, write=False)
            continue
        except OSError as error:
            raise WireError(f"it doesn't send its request: {error.strerror}") from None
        for level, kind, sent in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                found = array.array("i")
                found.frombytes(sent[: len(sent) - len(sent) % found.itemsize])
                files += found
        if not chunk:
            raise WireError(f"it ended after {len(data)} bytes of {size}")
        data += chunk
    return bytes(data)


async def _ready(peer: socket.socket, *, write: bool) -> None:
    """Wait until the socket can be written to, or read from."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def is_ready() -> None:
        if not ready.done():
            ready.set_result(None)

    add, remove = (
        (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
    )
    add(peer, is_ready)
    try:
        await ready
    finally:
        remove(peer)
