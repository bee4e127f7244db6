"""A stream of OpenFlow messages to and from a switch, and who waits for which answer.

Requests are pipelined: each has an xid of its own, and its answer has the same.  Whoever waits
does so for a limited time.  When that is over the stream is, too: what the switch has done is
unknown then, and an answer that comes too late must not be taken for another.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, TypeVar, cast

from nsxdp.openflow.errors import (
    ConnectionLost,
    DecodeError,
    OpenFlowError,
    ProtocolError,
    ReplyTimeoutError,
)
from nsxdp.openflow.messages import HEADER, VERSION, Error, Hello, MultipartReply
from nsxdp.received import Received

__all__ = ["Pending", "Replies", "Reply", "Wire", "with_xid"]

_T = TypeVar("_T")

HIGH_WATER: Final = 1024 * 1024
"""Bytes that may wait to be sent before a writer has to wait."""
UNREAD_BOUND: Final = 64 * 1024 * 1024
"""Bytes that may wait to be sent while the switch asks for more."""
REPLIES_BOUND: Final = 1024
"""Parts of one answer (64 KiB each) that may wait for their reader before the switch has to."""


class Pending(Protocol):
    """Somebody who waits for messages with one xid."""

    def receive(self, message: bytes) -> None:
        """Take an answer."""

    def fail(self, error: OpenFlowError) -> None:
        """Take an error: there won't be another answer."""


class Wire(Received):
    """One connection, from when it is made until it is lost.

    Parameters
    ----------
    name
        The switch's address, for messages to people.
    on_message
        Called with the type, the xid and the bytes of each message that nobody waits for.
    """

    def __init__(self, name: str, on_message: Callable[[int, int, bytes], None]) -> None:
        super().__init__()
        self.name = name
        self.pending: dict[int, Pending] = {}
        self.lost: OpenFlowError | None = None
        """Why the connection has ended; None: it hasn't."""
        self.closed = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.heard = self.loop.time()
        """When the switch last sent anything, by the loop's clock."""
        self._on_message = on_message
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._drained: asyncio.Future[None] | None = None
        self._last_xid = 0

    def fail(self, error: OpenFlowError) -> None:
        """End the connection; all who wait get the error."""
        if self.lost is not None:
            return
        self.lost = error
        if self._transport is not None:
            self._transport.abort()
        pending, self.pending = self.pending, {}
        for one in pending.values():
            one.fail(error)
        if self._drained is not None:
            set_exception(self._drained, error)
        self.closed.set()

    def distrust(self, reason: object) -> ProtocolError:
        """End the connection for what the switch has sent; returns what to raise."""
        lie = ProtocolError(f"{self.name}: {reason}")
        self.fail(lie)
        return lie

    # The transport's calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)

    def connection_lost(self, exc: Exception | None) -> None:
        reason = str(exc) if exc else "the switch closed the connection"
        self.fail(ConnectionLost(f"{self.name}: {reason}"))

    def pause_writing(self) -> None:
        self._drained = self.loop.create_future()

    def resume_writing(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    def data_received(self, data: bytes) -> None:
        self.heard = self.loop.time()
        stream: bytes | bytearray = data
        if self._buffer:
            self._buffer += data
            stream = self._buffer
        try:
            used = self._split(stream)
        except (ProtocolError, DecodeError) as error:
            self.distrust(error)
            return
        if stream is self._buffer:
            del self._buffer[:used]
        elif used < len(data):
            self._buffer += data[used:]

    def _split(self, stream: bytes | bytearray) -> int:
        """Hand out the whole messages at the front; returns the bytes that they take."""
        used, available = 0, len(stream)
        while available - used >= HEADER.size and self.lost is None:
            version, kind, length, xid = HEADER.unpack_from(stream, used)
            if length < HEADER.size:
                raise ProtocolError(f"a message says that its length is {length}")
            if version != VERSION and kind not in (Hello.type, Error.type):
                raise ProtocolError(f"a message of version {version:#04x}")
            if length > available - used:
                break
            message = bytes(stream[used : used + length])
            used += length
            pending = self.pending.get(xid) if kind != Error.type else None
            if pending is not None:
                pending.receive(message)
            else:
                self._on_message(kind, xid, message)
        return used

    def pause_reading(self) -> None:
        """Let the switch wait."""
        if self.lost is None and self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on."""
        if self.lost is None and self._transport is not None:
            self._transport.resume_reading()

    # Sending, and waiting for answers.

    def xids(self, n: int = 1) -> int:
        """The first of ``n`` consecutive xids that nobody uses; 0 is never among them."""
        if self._last_xid + n > 0xFFFFFFFF:
            self._last_xid = 0
        first = self._last_xid + 1
        self._last_xid += n
        return first

    def write(self, data: bytes) -> None:
        """Send whole messages.

        Raises
        ------
        ConnectionLost
        """
        if self.lost is not None:
            raise ConnectionLost(str(self.lost))
        assert self._transport is not None
        self._transport.write(data)

    def answer(self, data: bytes) -> None:
        """Send what the switch has asked for, unless it asks without end and doesn't read."""
        assert self._transport is not None
        if self._transport.get_write_buffer_size() > UNREAD_BOUND:
            raise ProtocolError("asks and doesn't read the answers")
        self.write(data)

    async def drain(self, seconds: float, what: str) -> None:
        """Wait until there is room for more to be sent.

        Raises
        ------
        ConnectionLost
        """
        while self._drained is not None:
            await self.wait(asyncio.shield(self._drained), seconds, what)

    async def wait(self, future: asyncio.Future[_T], seconds: float, what: str) -> _T:
        """Wait for an answer.

        Raises
        ------
        ConnectionLost
        """
        timer = self.loop.call_later(seconds, self._expire, seconds, what)
        try:
            return await future
        finally:
            timer.cancel()

    def _expire(self, seconds: float, what: str) -> None:
        self.fail(ReplyTimeoutError(f"{self.name}: no answer to {what} within {seconds:.3g} s"))

    def expect(self, xid: int, kind: int) -> Reply:
        """Announce that an answer of type ``kind`` with this xid will be waited for."""
        self.pending[xid] = reply = Reply(self.loop.create_future(), kind)
        return reply

    def ignore(self, xid: int, kind: int) -> None:
        """Announce that such an answer doesn't matter."""
        self.expect(xid, kind).future.add_done_callback(lambda _: self.pending.pop(xid, None))


class Reply:
    """The answer to one request."""

    __slots__ = ("_kind", "future")

    def __init__(self, future: asyncio.Future[bytes], kind: int) -> None:
        self.future = future
        self._kind = kind

    def receive(self, message: bytes) -> None:
        if message[1] != self._kind:
            raise ProtocolError(f"an answer of type {message[1]}, where {self._kind} was due")
        if not self.future.done():
            self.future.set_result(message)

    def fail(self, error: OpenFlowError) -> None:
        set_exception(self.future, error)


class Replies:
    """The parts of an answer of many, while somebody reads them.

    Where that somebody is slow, the switch has to wait, and with it all other answers.
    """

    __slots__ = ("_error", "_parts", "_paused", "_waiter", "_wire")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._parts: deque[bytes] = deque()
        self._error: OpenFlowError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False

    def receive(self, message: bytes) -> None:
        if message[1] != MultipartReply.type or len(message) < HEADER.size + 8:
            raise ProtocolError("a multipart request was answered with something else")
        self._parts.append(message)
        if len(self._parts) >= REPLIES_BOUND and not self._paused:
            self._paused = True
            self._wire.pause_reading()
        self._wake()

    def fail(self, error: OpenFlowError) -> None:
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self, seconds: float, what: str) -> bytes:
        """The next part.

        Raises
        ------
        RequestError, ConnectionLost
        """
        while not self._parts:
            if self._error is not None:
                raise self._error
            self.resume()
            self._waiter = self._wire.loop.create_future()
            await self._wire.wait(self._waiter, seconds, what)
        return self._parts.popleft()

    def resume(self) -> None:
        """Nobody has to wait for the reader any more."""
        if self._paused:
            self._paused = False
            self._wire.resume_reading()


def with_xid(message: bytes, xid: int) -> bytes:
    """The same message with another xid."""
    return message[:4] + xid.to_bytes(4, "big") + message[8:]


def set_exception(future: asyncio.Future[_T], error: OpenFlowError) -> None:
    """Fail a future, which nobody may wait for any more."""
    if not future.done():
        future.set_exception(error)
        future.exception()
