"""JSON-RPC 1.0 over a stream, as RFC 7047 uses it: both ends ask, answer and notify."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec

from nsxdp.ovsdb.errors import DisconnectedError, ProtocolError, RequestError
from nsxdp.ovsdb.framing import MAX_MESSAGE, Framer

__all__ = ["Connection", "Message", "Reader", "Writer"]

_CHUNK = 1 << 18
"""Bytes that are read at once."""

_IN_FLIGHT = 1024
"""Requests that may wait for their answers; a further one waits to be sent."""

_LARGE = 1 << 20
"""Bytes of a message that makes so many objects that the garbage collector shall wait for its end:
it would look at all of them again and again, and find that they are all needed."""

_SHOWN = 200
"""Characters of a peer's error that an exception shows."""


_NULL = msgspec.Raw(b"null")


class Message(msgspec.Struct):
    """A request, a notification (whose id is null) or, without a method, a response."""

    id: Any = None
    method: str | None = None
    params: Any = None
    result: msgspec.Raw = _NULL
    error: Any = None


class Reader(Protocol):
    """What is needed of `asyncio.StreamReader`."""

    async def read(self, n: int = -1, /) -> bytes: ...


class Writer(Protocol):
    """What is needed of `asyncio.StreamWriter`."""

    def write(self, data: bytes, /) -> None: ...
    async def drain(self) -> None: ...
    def close(self) -> None: ...


class _Pending:
    __slots__ = ("accept", "answer", "method", "shape")

    def __init__(self, method: str, accept: Callable[[Any], Any] | None, shape: Any) -> None:
        self.method = method
        self.shape = shape
        self.accept = accept
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class Connection:
    """One connection, from its beginning to its end.

    Parameters
    ----------
    notified
        Called with each notification's method and parameters, in order, before the next message
        is looked at.  `ProtocolError` from it ends the connection.
    probe_interval
        Seconds of silence after which the peer is asked whether it lives, and further seconds after
        which it is taken for dead.
    max_message
        Bytes of the largest message that is accepted.
    """

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        notified: Callable[[str, Any], None],
        *,
        probe_interval: float = 5.0,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._notified = notified
        self._probe_interval = probe_interval
        self._framer = Framer(max_message)
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(Message)
        self._pending: dict[int, _Pending] = {}
        self._room = asyncio.Semaphore(_IN_FLIGHT)
        self._next_id = 0
        self._end: BaseException | None = None

    async def run(self) -> None:
        """Serve the connection; it never returns but by an exception.

        Raises
        ------
        DisconnectedError
            The peer closed the connection, or is silent.
        ProtocolError
            The peer broke the protocol.
        OSError
            The connection broke.
        """
        try:
            await self._serve()
        except BaseException as error:
            self._finish(error)
            raise

    async def request(
        self,
        method: str,
        params: Sequence[Any],
        accept: Callable[[Any], Any] | None = None,
        timeout: float | None = 30.0,  # noqa: ASYNC109 - part of what is asked for
        shape: Any = Any,
    ) -> Any:
        """Ask the peer, and wait for its answer; several may wait at once.

        A transaction that nobody waits for any more, for whatever reason, is canceled (RFC 7047,
        4.1.4): where the server had it waiting it doesn't take place.

        Parameters
        ----------
        accept
            Takes the result before the next message is looked at; what it gives is returned.
        timeout
            Seconds; None: as long as the connection lasts.
        shape
            The type as which msgspec reads the result.

        Raises
        ------
        RequestError
            The peer answered with an error.
        DisconnectedError
            The connection ended first, or the peer didn't answer within ``timeout`` seconds.
        """
        try:
            async with asyncio.timeout(timeout), self._room:
                if self._end is not None:
                    raise self._lost(method)
                number = self._next_id
                self._next_id += 1
                pending = self._pending[number] = _Pending(method, accept, shape)
                try:
                    self._send({"method": method, "params": params, "id": number})
                    await self._writer.drain()
                    return await pending.answer
                finally:
                    if self._pending.pop(number, None) and method == "transact" and not self.lost:
                        self._send({"method": "cancel", "params": [number], "id": None})
                    pending.answer.cancel()
        except TimeoutError:
            raise DisconnectedError(f"{method}: no answer within {timeout:g} s") from None
        except OSError as error:
            self._end = self._end or error
            raise DisconnectedError(f"{method}: the connection broke: {error}") from error

    @property
    def lost(self) -> bool:
        """Whether there is nobody any more to ask."""
        return self._end is not None

    async def _serve(self) -> None:
        probed = False
        while True:
            try:
                async with asyncio.timeout(self._probe_interval):
                    data = await self._reader.read(_CHUNK)
            except TimeoutError:
                if probed:
                    raise DisconnectedError(
                        f"the server is silent for {2 * self._probe_interval:g} s"
                    ) from None
                probed = True
                self._send({"method": "echo", "params": [], "id": "echo"})
                continue
            if not data:
                raise DisconnectedError("the server closed the connection")
            probed = False
            for text in self._framer.feed(data):
                if len(text) < _LARGE:
                    await self._receive(text)
                else:
                    with _uncollected():
                        await self._receive(text)

    async def _receive(self, text: bytes) -> None:
        try:
            message = self._decoder.decode(text)
        except _UNREADABLE as error:
            raise ProtocolError(f"the server sent JSON that can't be read: {error}") from error
        if message.method is None:
            self._answered(message)
        elif message.id is None:
            self._notified(message.method, message.params)
        else:
            known = message.method == "echo"
            self._send(
                {
                    "id": message.id,
                    "result": message.params if known else None,
                    "error": None if known else "unknown method",
                }
            )
            # A peer that asks and doesn't read our answers shall wait, not fill our memory.
            try:
                async with asyncio.timeout(2 * self._probe_interval):
                    await self._writer.drain()
            except TimeoutError:
                raise DisconnectedError("the server asks and doesn't read our answers") from None

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
            result = self._read(message.result, pending.shape)
            if pending.accept is not None:
                result = pending.accept(result)
        except Exception as error:
            pending.answer.set_exception(error)
            raise
        pending.answer.set_result(result)

    @staticmethod
    def _read(result: msgspec.Raw, shape: Any) -> Any:
        try:
            return msgspec.json.decode(result, type=shape)
        except _UNREADABLE as error:
            raise ProtocolError(f"the server sent JSON that can't be read: {error}") from error

    def _send(self, message: Any) -> None:
        self._writer.write(self._encoder.encode(message))

    def _finish(self, error: BaseException) -> None:
        self._end = error
        self._writer.close()
        lost = tuple(self._pending.values())
        self._pending.clear()
        for pending in lost:
            if not pending.answer.done():
                pending.answer.set_exception(self._lost(pending.method))

    def _lost(self, method: str) -> DisconnectedError:
        why = str(self._end) or type(self._end).__name__
        return DisconnectedError(f"{method}: the connection was lost: {why}")


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
