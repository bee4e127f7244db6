"""Where flow records go: a file, and a collector. Each has a queue of its own, with an end.

Whoever is slow or away loses records, which are counted; nothing else waits for it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from errno import EAGAIN
from io import FileIO
from pathlib import Path
from typing import Any, Final, Protocol

from nsxdp.flowrecords.ipfix import Encoder
from nsxdp.flowrecords.record import FlowRecord, as_line
from nsxdp.logs import get_logger

__all__ = ["Collector", "Lines", "Output", "Queued"]

log = get_logger(__name__)

_WAITING: Final = 10_000
"""Records that wait for an output."""
_AT_ONCE: Final = 1000

_LAST_SECONDS: Final = 2.0
"""For what waits when the agent ends."""

_TEMPLATE_SECONDS: Final = 60.0
"""Between two times that a collector is sent the templates."""


class Output(Protocol):
    """Somewhere that records go.

    Attributes
    ----------
    name
        As metrics have it.
    """

    name: str

    async def write(self, records: list[FlowRecord]) -> None:
        """Have them there.

        Raises
        ------
        OSError
            They aren't.
        """

    def close(self) -> None:
        """Let go of it."""


class Queued:
    """An output with its queue.

    Parameters
    ----------
    count, lose
        Are told how many records got there, and how many were lost, by the output's name.
    """

    def __init__(
        self, output: Output, count: Callable[[str, int], None], lose: Callable[[str, int], None]
    ) -> None:
        self._output = output
        self._count = count
        self._lose = lose
        self._queue: asyncio.Queue[FlowRecord] = asyncio.Queue(_WAITING)
        self._left = 0
        self._problem = ""

    def put(self, record: FlowRecord) -> None:
        """Let it have a record, if there is room."""
        try:
            self._queue.put_nowait(record)
        except asyncio.QueueFull:
            self._lose(self._output.name, 1)
        else:
            self._left += 1

    async def run(self, *, last_seconds: float = _LAST_SECONDS) -> None:
        """Write until cancelled; what is left then may take so long."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_writing())
                try:
                    await asyncio.Event().wait()
                finally:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(last_seconds):
                            await self._queue.join()
        finally:
            if self._left:
                self._lost(self._left, "the agent ended")
            self._output.close()

    async def _keep_writing(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < _AT_ONCE and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._write(batch)
            self._left -= len(batch)
            for _ in batch:
                self._queue.task_done()

    async def _write(self, batch: list[FlowRecord]) -> None:
        try:
            await self._output.write(batch)
        except OSError as error:
            self._lost(len(batch), str(error))
        else:
            self._count(self._output.name, len(batch))
            self._problem = ""

    def _lost(self, count: int, problem: str) -> None:
        """Records don't get there; the log is told once."""
        self._lose(self._output.name, count)
        if problem != self._problem:
            log.warning("flow records are lost", output=self._output.name, reason=problem)
        self._problem = problem


class Lines:
    """A file to which a line of JSON is added for each record.

    When somebody moves the file away, the next records go to a new one of its name.

    Parameters
    ----------
    path
        ``-``: standard output.
    """

    name = "file"

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path != "-" else None
        self._file: FileIO | None = None
        self._is_cut_off = False

    async def write(self, records: list[FlowRecord]) -> None:
        """Add the lines."""
        await asyncio.to_thread(self._add, records)

    def _add(self, records: list[FlowRecord]) -> None:
        file = self._opened()
        data = b"".join(map(as_line, records))
        if self._is_cut_off:
            data = b"\n" + data
        while data:
            written = file.write(data)
            if not written:
                raise BlockingIOError(EAGAIN, f"{self._path}: nobody reads it")
            self._is_cut_off = data[written - 1 : written] != b"\n"
            data = data[written:]

    def _opened(self) -> FileIO:
        if self._file is not None and not self._is_there(self._file):
            self.close()
        if self._file is None:
            self._file = self._open()
        return self._file

    def _open(self) -> FileIO:
        if self._path is None:
            return FileIO(os.dup(1), "wb")
        return FileIO(self._path, "ab", opener=_opener)

    def _is_there(self, file: FileIO) -> bool:
        if self._path is None:
            return True
        try:
            return os.path.samestat(self._path.stat(), os.fstat(file.fileno()))
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Close it."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._is_cut_off = False


def _opener(path: str, flags: int) -> int:
    """Opens a file; a pipe that nobody reads is an error at once."""
    return os.open(path, flags | os.O_NONBLOCK, 0o640)


class Collector:
    """A collector of IPFIX that is reached by UDP.

    Parameters
    ----------
    host, port
        Its address; a name is looked up again with each sending of the templates.
    domain
        See `Encoder`.
    """

    name = "ipfix"

    def __init__(self, host: str, port: int, domain: int) -> None:
        self._host = host
        self._port = port
        self._encoder = Encoder(domain)
        self._socket: socket.socket | None = None
        self._templates_at = 0.0

    async def write(self, records: list[FlowRecord]) -> None:
        """Send them. What the network loses, nobody hears of."""
        now = time.time()
        try:
            if self._socket is None or not 0 <= now - self._templates_at < _TEMPLATE_SECONDS:
                self._socket = await self._connected()
                await self._send(self._socket, self._encoder.templates(now))
                self._templates_at = now
            for message in await asyncio.to_thread(self._encode, records, now):
                await self._send(self._socket, message)
        except OSError as error:
            self.close()
            raise OSError(f"{self._host}:{self._port}: {error}") from None

    def _encode(self, records: list[FlowRecord], now: float) -> list[bytes]:
        return list(self._encoder.messages(records, now))

    @staticmethod
    async def _send(to: socket.socket, message: bytes) -> None:
        """Send a datagram, once the network takes it."""
        await asyncio.get_running_loop().sock_sendall(to, message)

    async def _connected(self) -> socket.socket:
        """A socket to where the collector is now, as far as that can be found out.

        The one that there is, if that leads there: a collector tells who sends by its port.
        """
        try:
            family, kind, protocol, address = await self._find()
        except OSError:
            if self._socket is None:
                raise
            return self._socket
        if self._socket is not None and self._socket.getpeername() == address:
            return self._socket
        self.close()
        made = socket.socket(family, kind, protocol)
        try:
            made.setblocking(False)
            made.connect(address)
        except OSError:
            made.close()
            raise
        return made

    async def _find(self) -> tuple[int, int, int, Any]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
        except UnicodeError as error:  # such as a label of a name that is too long
            raise OSError(error) from None
        family, kind, protocol, _, address = found[0]
        return family, kind, protocol, address

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
