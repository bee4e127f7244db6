"""JSON-RPC 1.0 over a stream, as RFC 7047 uses it: both ends ask, answer and notify."""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import msgspec

from nsxdp.ovsdb.answer import Answer
from nsxdp.ovsdb.errors import DisconnectedError, ProtocolError, RequestError
from nsxdp.ovsdb.framing import MAX_MESSAGE, Framer
from nsxdp.received import Received

__all__ = ["Connection", "Message"]

_IN_FLIGHT = 1024
"""Requests that may wait for their answers; a further one waits to be sent."""

_LARGE = 1 << 20
"""Bytes of a message that makes so many objects that the garbage collector shall wait for its end:
it would look at all of them again and again, and find that they are all needed."""

_SHOWN = 200
"""Characters of a peer's error that an exception shows."""


_NEVER = float("inf")

_NULL = msgspec.Raw(b"null")


class Message(msgspec.Struct):
    """A request, a notification (whose id is null) or, without a method, a response."""

    id: Any = None
    method: str | None = None
    params: msgspec.Raw = _NULL
    result: msgspec.Raw = _NULL
    error: Any = None


class _Pending(msgspec.Struct):
    """A request that waits for its answer."""

    method: str
    accept: Callable[[Any], Any] | None
    raw: bool
    answer: Answer
    seconds: float | None
    deadline: float


class Connection(Received):
    """One connection, from its beginning to its end: a protocol for asyncio to connect.

    Parameters
    ----------
    peer
        Who the errors say it was.
    notified
        Called with each notification's method and parameters, which are JSON, in order, before the
        next message is looked at.  An exception from it ends the connection.
    probe_interval
        Seconds of silence after which the peer is asked whether it lives, and further seconds after
        which it is taken for dead.
    max_message
        Bytes of the largest message that is accepted.

    Attributes
    ----------
    ended
        Why the connection ended, once it has: `DisconnectedError` where the peer closed it or is
        silent, `ProtocolError` where it broke the protocol, `OSError` where the connection broke.
    """

    def __init__(
        self,
        peer: object,
        notified: Callable[[str, msgspec.Raw], None],
        *,
        probe_interval: float = 5.0,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Exception] = self._loop.create_future()
        self._peer = peer
        self._notified = notified
        self._probe_interval = probe_interval
        self._framer = Framer(max_message)
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(Message).decode
        self._decode_result = msgspec.json.Decoder().decode
        self._pending: dict[int, _Pending] = {}
        self._asking = 0
        self._to_ask: deque[asyncio.Future[None]] = deque()
        self._writable = asyncio.Event()
        self._next_id = 0
        self._heard = self._loop.time()
        self._probed = False
        self._last_look = False
        self._next_deadline = _NEVER
        self._deadlines: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._writable.set()
        self._heard = self._loop.time()
        self._timer = self._loop.call_later(self._probe_interval, self._probe)

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        self._probed = False
        try:
            for text in self._framer.feed(data):
                if len(text) < _LARGE:
                    self._receive(text)
                else:
                    with _uncollected():
                        self._receive(text)
                if self.lost:
                    return
        except Exception as error:  # whatever it was, whoever waits must hear of it
            self._finish(error)

    def eof_received(self) -> bool:
        self._finish(DisconnectedError("the server closed the connection"))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(exc or DisconnectedError("the server closed the connection"))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
            self._transport.resume_reading()

    # What we do.

    async def request(
        self,
        method: str,
        params: Sequence[Any] | msgspec.Raw,
        accept: Callable[[Any], Any] | None = None,
        timeout: float | None = 30.0,  # noqa: ASYNC109 - part of what is asked for
        *,
        raw: bool = False,
    ) -> Any:
        """Ask the peer, and wait for its answer; several may wait at once.

        A transaction that nobody waits for any more, for whatever reason, is canceled (RFC 7047,
        4.1.4): where the server had it waiting it doesn't take place.

        Parameters
        ----------
        params
            What `json` writes, or JSON.
        accept
            Takes the result before the next message is looked at; what it gives is returned.
        timeout
            Seconds; None: as long as the connection lasts.
        raw
            Whether the result is wanted as JSON.

        Raises
        ------
        RequestError
            The peer answered with an error.
        DisconnectedError
            The connection ended first, or the peer didn't answer within ``timeout`` seconds.
        """
        if self._asking == _IN_FLIGHT or not self._writable.is_set():
            await self._wait_for_room(method, timeout)
        else:
            self._asking += 1
        number = self._next_id
        self._next_id += 1
        deadline = _NEVER if timeout is None else self._loop.time() + timeout
        answer = Answer(self._loop)
        try:
            if self.ended.done():
                raise self._lost(method)
            self._pending[number] = _Pending(method, accept, raw, answer, timeout, deadline)
            if deadline < self._next_deadline:
                self._expire_at(deadline)
            self._send({"method": method, "params": params, "id": number})
            return await answer
        finally:
            self._make_room()
            if self._pending.pop(number, None) and method == "transact" and not self.lost:
                self._send({"method": "cancel", "params": [number], "id": None})

    async def _wait_for_room(self, method: str, seconds: float | None) -> None:
        """Wait until one more request may be sent, and count it."""
        try:
            async with asyncio.timeout(seconds):
                await self._writable.wait()
                if self._asking < _IN_FLIGHT:
                    self._asking += 1
                    return
                place = self._loop.create_future()
                self._to_ask.append(place)
                try:
                    await place
                except asyncio.CancelledError:
                    if place.done() and not place.cancelled():
                        self._make_room()
                    raise
        except TimeoutError:
            raise self._unanswered(method, seconds) from None

    def _make_room(self) -> None:
        """A request is through: its place is for the next one that waits, if any does."""
        while self._to_ask:
            place = self._to_ask.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._asking -= 1

    def _expire_at(self, deadline: float) -> None:
        """Look for unanswered requests then: one timer serves them all."""
        if self._deadlines is not None:
            self._deadlines.cancel()
        self._deadlines = None
        self._next_deadline = deadline
        if deadline < _NEVER:
            self._deadlines = self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        now = self._loop.time()
        left = _NEVER
        for pending in self._pending.values():
            if pending.deadline > now:
                left = min(left, pending.deadline)
            elif not pending.answer.done():
                pending.answer.set_exception(self._unanswered(pending.method, pending.seconds))
        self._expire_at(left)

    def close(self) -> None:
        """End the connection; what was sent before still goes out."""
        self._transport.close()
        self._finish(DisconnectedError("closed"), abort=False)

    @property
    def lost(self) -> bool:
        """Whether there is nobody any more to ask."""
        return self.ended.done()

    def _probe(self) -> None:
        """Ask whether the peer lives, where it was silent; end, where it was that after asking."""
        now = self._loop.time()
        due = self._heard + self._probe_interval * (2 if self._probed else 1)
        if self._unread is not None:  # it is we who don't listen
            due = now + self._probe_interval
        elif now >= due and not self._probed:
            self._probed = True
            self._send({"method": "echo", "params": [], "id": "echo"})
            due = now + self._probe_interval
        elif now >= due and self._last_look:
            silence = f"the server is silent for {2 * self._probe_interval:g} s"
            self._finish(DisconnectedError(silence))
            return
        # Where the process was busy all the time, the answer may be there and unread.
        self._last_look = now >= due
        self._timer = self._loop.call_at(max(due, now + self._probe_interval / 10), self._probe)

    def _receive(self, text: bytes | bytearray) -> None:
        try:
            message = self._decode(text)
        except _UNREADABLE as error:
            raise ProtocolError(f"the server sent JSON that can't be read: {error}") from error
        if message.method is None:
            self._answered(message)
        elif message.id is None:
            self._notified(message.method, message.params)
        else:
            self._asked(message)

    def _asked(self, message: Message) -> None:
        known = message.method == "echo"
        self._send(
            {
                "id": message.id,
                "result": message.params if known else None,
                "error": None if known else "unknown method",
            }
        )
        # A peer that asks and doesn't read our answers shall wait, not fill our memory.
        if not self._writable.is_set() and self._unread is None and not self.lost:
            self._transport.pause_reading()
            left = DisconnectedError("the server asks and doesn't read our answers")
            self._unread = self._loop.call_later(2 * self._probe_interval, self._finish, left)

    def _answered(self, message: Message) -> None:
        if message.id == "echo":
            return
        pending = self._pending.pop(message.id, None) if type(message.id) is int else None
        if pending is None:
            if type(message.id) is int and 0 <= message.id < self._next_id:
                return  # of a request that didn't want to wait any longer
            raise ProtocolError(f"the server answers a request that wasn't made: {message.id!r}")
        if pending.answer.done():
            return
        if message.error is not None:
            pending.answer.set_exception(_request_error(pending.method, message.error))
            return
        try:
            result: Any = message.result
            if not pending.raw:
                result = self._read(result)
            if pending.accept is not None:
                result = pending.accept(result)
        except Exception as error:
            pending.answer.set_exception(error)
            raise
        pending.answer.set_result(result)

    def _read(self, result: msgspec.Raw) -> Any:
        try:
            return self._decode_result(result)
        except _UNREADABLE as error:
            raise ProtocolError(f"the server sent JSON that can't be read: {error}") from error

    def _send(self, message: Any) -> None:
        self._transport.write(self._encode(message))

    def _finish(self, error: Exception, *, abort: bool = True) -> None:
        if self.lost:
            return
        self.ended.set_result(error)
        for timer in (self._timer, self._unread, self._deadlines):
            if timer is not None:
                timer.cancel()
        self._writable.set()
        if abort:
            self._transport.abort()
        lost = tuple(self._pending.values())
        self._pending.clear()
        for pending in lost:
            if not pending.answer.done():
                pending.answer.set_exception(self._lost(pending.method))

    def _lost(self, method: str) -> DisconnectedError:
        end = self.ended.result()
        why = end or type(end).__name__
        return DisconnectedError(f"{self._peer}: {method}: the connection was lost: {why}")

    def _unanswered(self, method: str, seconds: float | None) -> DisconnectedError:
        return DisconnectedError(f"{self._peer}: {method}: no answer within {seconds:g} s")


_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


@contextmanager
def _uncollected() -> Iterator[None]:
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _request_error(method: str, error: Any) -> RequestError:
    if isinstance(error, dict):
        return RequestError(method, str(error.get("error"))[:_SHOWN], _details(error))
    return RequestError(method, str(error)[:_SHOWN])


def _details(error: dict[str, Any]) -> str:
    return str(error.get("details", ""))[:_SHOWN]
