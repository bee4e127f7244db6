"""A lasting connection to a bridge: one session after another.

Whatever breaks the session, the next is tried until there is one, at growing intervals.  With each
new one ``on_connected`` is awaited before anybody else may use it: there the owner of the flows
compares what is installed with what is wanted.  Until then all calls fail with `ConnectionLost`,
and so do those whose answer is lost with the session: their outcome is unknown, and the next
``on_connected`` sets it right.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Final, Self

from nsxdp.backoff import Backoff
from nsxdp.openflow import requests
from nsxdp.openflow.codec import Tables
from nsxdp.openflow.commit import CommitResult
from nsxdp.openflow.errors import ConnectionLost, DecodeError, OpenFlowError, VersionError
from nsxdp.openflow.messages import Message, PacketIn, PacketIn2, decode
from nsxdp.openflow.session import Session, SessionOptions
from nsxdp.transport import Remote, RemoteError, Tls

__all__ = ["Connection", "Phase", "State"]

log = logging.getLogger(__name__)

MAX_PACKETS: Final = 1024
"""Packets from the switch that wait for their reader; of more, the oldest are dropped."""


class Phase(Enum):
    """What a connection is doing."""

    CONNECTING = "connecting"
    RESYNCING = "resyncing"
    """``on_connected`` is at work."""
    READY = "ready"
    WAITING = "waiting"
    """After a failure, until the next attempt."""
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class State:
    """What a connection is doing, and why the last session or attempt ended."""

    phase: Phase
    error: Exception | None = None


REMOTE_BACKOFF: Final = Backoff(0.05, 8.0)

LOCAL_BACKOFF: Final = Backoff(0.05, 0.5)
"""For a Unix domain socket: an attempt costs next to nothing, and its server may be back."""


class Connection:
    """A connection to a bridge that is made again whenever it is lost.

    Parameters
    ----------
    remote
        Where the bridge listens: ``unix:/var/run/openvswitch/br0.mgmt``, say.
    tls
        Files for an ``ssl:`` remote.
    tables
        Names of tables for what is printed.
    on_connected
        Awaited with each new session before others may use the connection.  If it fails, the
        session is closed and the next one tried.
    options
        Times, as of a `Session`.
    backoff
        Intervals between attempts; None: up to half a second for a Unix domain socket, else 8 s.

    Attributes
    ----------
    remote
        Where the bridge listens.
    dropped_packets
        Packets that came faster than they were read.

    Examples
    --------
    >>> import asyncio
    >>> from nsxdp.lab import Node
    >>> from nsxdp.openflow import Connection, Flow
    >>> from nsxdp.transport import parse_remote
    >>> async def main(address):
    ...     async with Connection(parse_remote(address)) as connection:
    ...         await connection.ready(10)
    ...         flow = Flow.parse("table=1,tcp,tp_dst=80,actions=drop")
    ...         result = await connection.commit(flow.encode())
    ...         print(result.messages, connection.state)
    >>> with Node() as node:
    ...     asyncio.run(main(node.mgmt))
    1 State(phase=<Phase.READY: 'ready'>, error=None)
    """

    def __init__(
        self,
        remote: Remote,
        *,
        tls: Tls | None = None,
        tables: Tables | None = None,
        on_connected: Callable[[Session], Awaitable[None]] | None = None,
        options: SessionOptions | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self.remote = remote
        self.dropped_packets = 0
        self._tls = tls
        self._tables = tables
        self._on_connected = on_connected
        self._options = options or SessionOptions()
        self._backoff = backoff or (LOCAL_BACKOFF if remote.kind == "unix" else REMOTE_BACKOFF)
        self._session: Session | None = None
        self._state = State(Phase.CLOSED)
        self._changed = asyncio.Event()
        self._packets: deque[bytes] = deque()
        self._packet = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # Life.

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def start(self) -> None:
        """Begin to connect; what ``async with`` does. It returns at once: see `ready`."""
        if self._task is None:
            self._set(State(Phase.CONNECTING))
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """End the connection for good."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    @property
    def state(self) -> State:
        """What the connection is doing."""
        return self._state

    async def states(self) -> AsyncIterator[State]:
        """The present state, and each that follows; of those that pass quickly, the last."""
        seen = None
        while seen is None or seen.phase is not Phase.CLOSED:
            if seen is self._state:
                await self._changed.wait()
            else:
                seen = self._state
                yield seen

    async def ready(self, seconds: float) -> Session:
        """Wait until the connection can be used.

        Returns
        -------
        Session
            The present one.

        Raises
        ------
        VersionError
            The bridge doesn't speak OpenFlow 1.5.  Attempts go on: somebody may change that.
        ConnectionLost
            It can't be used within that many seconds; says why the last attempt failed.
        """
        try:
            async with asyncio.timeout(seconds):
                async for state in self.states():
                    if isinstance(state.error, VersionError):
                        raise state.error
                    if self._session is not None:
                        return self._session
        except TimeoutError:
            pass
        reason = self._state.error or f"{self.remote}: {self._state.phase.value}"
        raise ConnectionLost(f"not ready within {seconds:g} s: {reason}")

    @property
    def session(self) -> Session:
        """The present session.

        Raises
        ------
        ConnectionLost
            There is none that can be used.
        """
        if self._session is None:
            raise ConnectionLost(str(self._state.error or f"{self.remote}: not connected"))
        return self._session

    def _set(self, state: State) -> None:
        self._state = state
        self._changed.set()
        self._changed = asyncio.Event()

    async def _run(self) -> None:
        failures = 0
        loop = asyncio.get_running_loop()
        try:
            while True:
                started = loop.time()
                error = await self._one_session()
                # One that breaks at once, every time, is no better than none.
                lasted = self._state.phase is Phase.READY and (
                    loop.time() - started > self._backoff.last
                )
                failures = 1 if lasted else failures + 1
                if self._state.error is None or str(self._state.error) != str(error):
                    log.warning("%s", error)
                self._set(State(Phase.WAITING, error))
                await asyncio.sleep(self._backoff.delay(failures))
                self._set(State(Phase.CONNECTING, error))
        finally:
            self._session = None
            self._set(State(Phase.CLOSED, self._state.error))

    async def _one_session(self) -> Exception:
        """Connect, and stay so; returns why that ended."""
        session = None
        try:
            session = await Session.open(
                self.remote,
                self._tls,
                tables=self._tables,
                options=self._options,
                on_packet=self._received_packet,
            )
            self._set(State(Phase.RESYNCING))
            if self._on_connected is not None:
                await self._resync(session, self._on_connected)
            self._session = session
            self._set(State(Phase.READY))
            return await session.wait_closed()
        except (RemoteError, OpenFlowError) as error:
            return error
        except Exception as error:
            log.exception("%s: the new session's first use failed", self.remote)
            return error
        finally:
            self._session = None
            if session is not None:
                session.close()

    async def _resync(
        self, session: Session, on_connected: Callable[[Session], Awaitable[None]]
    ) -> None:
        """Await the callback, but not beyond the session's end."""
        callback = asyncio.ensure_future(on_connected(session))
        end = asyncio.ensure_future(session.wait_closed())
        try:
            await asyncio.wait([callback, end], return_when=asyncio.FIRST_COMPLETED)
            if callback.done():
                await callback
            else:
                raise end.result()
        finally:
            for task in (callback, end):
                task.cancel()
            await asyncio.wait([callback, end])

    # Use.

    async def commit(self, messages: bytes, seconds: float | None = None) -> CommitResult:
        """See `Session.commit`."""
        return await self.session.commit(messages, seconds)

    async def barrier(self, seconds: float | None = None) -> None:
        """See `Session.barrier`."""
        await self.session.barrier(seconds)

    async def request(self, message: Message, seconds: float | None = None) -> Message:
        """See `Session.request`."""
        return await self.session.request(message, seconds)

    def send(self, *messages: Message | bytes) -> None:
        """See `Session.send`."""
        self.session.send(*messages)

    def dump_flows(
        self, cookie: int = 0, mask: int = 0, table: int = requests.ALL_TABLES
    ) -> AsyncIterator[bytes]:
        """See `Session.dump_flows`."""
        return self.session.dump_flows(cookie, mask, table)

    def dump_groups(self, group_id: int = requests.ALL_GROUPS) -> AsyncIterator[bytes]:
        """See `Session.dump_groups`."""
        return self.session.dump_groups(group_id)

    # Packets.

    def _received_packet(self, message: bytes) -> None:
        if len(self._packets) >= MAX_PACKETS:
            self._packets.popleft()
            self.dropped_packets += 1
        self._packets.append(message)
        self._packet.set()

    async def packet_ins(self) -> AsyncIterator[PacketIn | PacketIn2]:
        """The packets that the switch sends; it does with ``SessionOptions.receive_packets``.

        They go on from one session to the next, and end when the connection is closed.
        """
        while self._state.phase is not Phase.CLOSED or self._packets:
            if not self._packets:
                self._packet.clear()
                await self._either(self._packet)
                continue
            try:
                message = decode(self._packets.popleft())
            except DecodeError as error:
                log.warning("%s: %s", self.remote, error)
                continue
            if isinstance(message, PacketIn | PacketIn2):
                yield message

    async def _either(self, event: asyncio.Event) -> None:
        """Wait for the event, or for another state."""
        waits = [asyncio.ensure_future(e.wait()) for e in (event, self._changed)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
