"""A switch that does as it is told: for all that a real one wouldn't do."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from nsxdp.openflow.messages import (
    HEADER,
    BarrierReply,
    BarrierRequest,
    BundleControl,
    EchoReply,
    EchoRequest,
    FeaturesReply,
    FeaturesRequest,
    Hello,
    MultipartRequest,
    decode,
    frame,
)
from nsxdp.transport import Remote

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[bool]]
"""Given a message, answers it, or returns False: then the switch does what a good one does."""


class FakeSwitch:
    """Listens on a Unix domain socket; says hello, and answers what it is asked."""

    def __init__(self, path: Path) -> None:
        self.remote = Remote("unix", path=str(path))
        self.answer: Answer | None = None
        self.hello = Hello().encode()
        self.received: list[bytes] = []
        """All messages of all connections."""
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[FakeSwitch]:
        """Be there."""
        server = await asyncio.start_unix_server(self._serve, self.remote.path)
        try:
            yield self
        finally:
            server.close()
            self.hang_up()

    def hang_up(self) -> None:
        """Reset all connections."""
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        writer.write(self.hello)
        try:
            while True:
                header = await reader.readexactly(HEADER.size)
                (length,) = struct.unpack_from("!H", header, 2)
                message = header + await reader.readexactly(length - HEADER.size)
                self.received.append(message)
                if self.answer is None or not await self.answer(message, writer):
                    writer.write(good_answer(message))
                    await writer.drain()
        except (EOFError, ConnectionError):
            pass
        finally:
            writer.close()


def good_answer(message: bytes) -> bytes:
    """What a switch without flows says."""
    _, kind, _, xid = HEADER.unpack_from(message)
    if kind == FeaturesRequest.type:
        return FeaturesReply(0x1, 0, 254, 0, 0, xid=xid).encode()
    if kind == BarrierRequest.type:
        return BarrierReply(xid=xid).encode()
    if kind == EchoRequest.type:
        return EchoReply(message[HEADER.size :], xid=xid).encode()
    if kind == BundleControl.type:
        control = decode(message)
        assert isinstance(control, BundleControl)
        return BundleControl(control.bundle_id, control.kind + 1, 0, xid=xid).encode()
    if kind == MultipartRequest.type:
        request = message[HEADER.size : HEADER.size + 2]
        return frame(19, xid, request + bytes(6))
    return b""
