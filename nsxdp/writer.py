"""Keeps a bridge as the desired set says: the one writer of its flows and groups.

Compilers say what owners need (`Writer.replace`); the writer sends what differs, in one atomic
bundle. While a bundle is in flight further changes gather, and go with the next one: so batches
grow by themselves under load, and latency is low without it.

A bundle's outcome is unknown if the connection breaks, and a switch may have been restarted, or
changed by somebody else. So after each (re)connection, after each refusal, and once in a while,
the writer compares what is installed with what is desired and sends the difference: the same
operation at another scale. What is right already is not touched, so no connection breaks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from functools import reduce
from operator import or_
from typing import Final, Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from nsxdp.logs import get_logger
from nsxdp.openflow import (
    CommitError,
    Connection,
    DecodeError,
    Delta,
    DesiredSet,
    Diff,
    FlowTable,
    OpenFlowError,
    Session,
    delete_flows,
)

__all__ = ["Commit", "Owned", "Writer"]

log = get_logger(__name__)

_RETRY_FIRST: Final = 0.1
_RETRY_LAST: Final = 30.0
"""Seconds before a comparison is tried again, the first time and at most."""

_READY_SECONDS: Final = 60.0

_NOBODY: Final = 0xFFFF_FFFF_FFFF_FFFF
"""Whose a flow is that isn't wanted."""

_NOBODY_WRITES: Final = "nobody writes to the switch any more"

_SHOWN: Final = 16
"""Refusals of one commit that are logged."""


class Owned(Protocol):
    """What owners need from now on: the arguments of `DesiredSet.replace`.

    Attributes
    ----------
    owners
        Numbers, shape (n,).
    messages
        All messages, one owner's after the other's.
    ends
        Where each owner's messages end, shape (n,).
    """

    owners: NDArray[np.uint64]
    messages: bytes
    ends: NDArray[np.uint64]


class Commit(Struct, frozen=True):
    """Something that the switch has confirmed.

    Attributes
    ----------
    messages
        Flow and group messages that were sent.
    seconds
        From the first byte to the switch's confirmation.
    diff
        What a comparison with the switch found; None if these were changes only.
    drift
        Whether the switch should have been right, and wasn't: somebody else changed it.
    compared
        How many seconds the comparison took, with what it sent.
    """

    messages: int
    seconds: float
    diff: Diff | None = None
    drift: bool = False
    compared: float = 0.0


class Writer:
    """The writer of one bridge.

    Parameters
    ----------
    connection
        To the bridge; reconnects by itself.
    desired
        What the bridge shall have. Nobody else may change it.
    sync_period
        Seconds between two comparisons with the switch.
    other_prefixes
        Of the cookies of other versions' flows. Where there are any, the bridge is taken over from
        that version: in one bundle, so that no packet meets some flows of each. What is left in
        tables that this version hasn't goes with the next comparison.
    other_learned
        Cookies, and their masks, of flows that other versions had the switch learn: a takeover
        deletes them.
    prepare
        Awaited before each comparison, and so after each (re)connection before anything else is
        sent: for what can't be in a bundle.
    on_commit
        Told of each commit.
    on_refusal
        Told of each message or commit that the switch refused.

    Examples
    --------
    >>> import asyncio
    >>> from nsxdp.lab import Node
    >>> from nsxdp.openflow import Connection, DesiredSet
    >>> from nsxdp.pipeline.compiled import Compiled
    >>> from nsxdp.pipeline.forwarding import BASE
    >>> from nsxdp.transport import parse_remote
    >>> from nsxdp.writer import Writer
    >>> async def main(address):
    ...     async with Connection(parse_remote(address)) as connection:
    ...         writer = Writer(connection, DesiredSet(0x6E01, 0x4000_0000, 0x7FFF_FFFF))
    ...         work = asyncio.create_task(writer.run())
    ...         pieces = [(template.stamp(), [0]) for template in BASE]
    ...         writer.replace(Compiled([42], pieces))
    ...         await writer.settled()
    ...         print(writer.desired)
    ...         work.cancel()
    >>> with Node() as node:
    ...     asyncio.run(main(node.mgmt))
    <DesiredSet 0x6e01: 1 owners, 31 flows, 0 groups>
    """

    def __init__(
        self,
        connection: Connection,
        desired: DesiredSet,
        *,
        sync_period: float = 30.0,
        other_prefixes: Collection[int] = (),
        other_learned: Collection[tuple[int, int]] = (),
        prepare: Callable[[Session], Awaitable[None]] | None = None,
        on_commit: Callable[[Commit], None] | None = None,
        on_refusal: Callable[[CommitError], None] | None = None,
    ) -> None:
        self._connection = connection
        self._desired = desired
        self._sync_period = sync_period
        self._other_prefixes = tuple(other_prefixes)
        # The bits that the prefixes of all versions have in common.
        self._family = 0xFFFF & ~reduce(or_, (p ^ desired.prefix for p in other_prefixes), 0)
        self._other_learned = tuple(other_learned)
        self._took_over = False
        """Whether the last comparison did, and left what is not in the way."""
        self._prepare = prepare
        self._on_commit = on_commit
        self._on_refusal = on_refusal
        self._pending: list[Delta] = []
        self._session: Session | None = None
        self._watcher: asyncio.Task[OpenFlowError] | None = None
        self._in_sync = False
        """Whether what is pending is all that the switch lacks."""
        self._expected = False
        """Whether the last comparison's difference was taken whole."""
        self._compare_due = False
        self._timer: asyncio.TimerHandle | None = None
        """Until the next comparison is due."""
        self._ended = False
        self._wanted = 0
        self._done = 0
        self._wake = asyncio.Event()
        self._waiting: list[tuple[int, asyncio.Future[float]]] = []
        """Until when everything up to a number is done, and who is told."""

    @property
    def desired(self) -> DesiredSet:
        """What the bridge shall have: to look at."""
        return self._desired

    @property
    def is_in_sync(self) -> bool:
        """Whether the switch has all that `settled` has waited for, as far as one can know."""
        return self._in_sync and self._session is not None and self._session.lost is None

    def replace(self, owned: Owned) -> None:
        """Let owners need something else from now on."""
        delta = self._desired.replace(owned.owners, owned.messages, owned.ends)
        self._wanted += 1
        if self._in_sync:
            self._pending.append(delta)
        self._wake.set()

    async def settled(self) -> float:
        """Wait until the switch has confirmed all that `replace` was told before.

        Returns
        -------
        float
            When it had, which is now where there is nothing to wait for: `time.monotonic`.

        Raises
        ------
        OpenFlowError
            `run` has ended before.
        """
        if self._done >= self._wanted:
            return time.monotonic()
        if self._ended:
            raise OpenFlowError(_NOBODY_WRITES)
        told: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append((self._wanted, told))
        return await told

    async def owner(self, cookie: int) -> int | None:
        """Who needs the flow with a cookie; None: nobody, or the switch hasn't it.

        Raises
        ------
        OpenFlowError
            It can't be asked.
        """
        replies = self._connection.dump_flows(cookie, 0xFFFF_FFFF_FFFF_FFFF)
        flows = FlowTable.read([reply async for reply in replies])
        found = (int(owner) for owner in self._desired.owners(flows.rows, flows.data))
        return next((owner for owner in found if owner != _NOBODY), None)

    def compare(self) -> None:
        """Compare the switch with what is desired, soon."""
        self._in_sync = False
        self._wake.set()

    async def run(self) -> None:
        """Write until cancelled. All owners must have been given once before."""
        try:
            await self._write()
        finally:
            self._ended, self._in_sync = True, False
            self._watch(None)
            if self._timer is not None:
                self._timer.cancel()
            for _, told in self._waiting:
                if not told.done():
                    told.set_exception(OpenFlowError(_NOBODY_WRITES))

    async def _write(self) -> None:
        failures = 0
        while True:
            try:
                await self._step(await self._ready())
                failures = 0
            except OpenFlowError as error:
                self._in_sync = self._expected = False
                delay = min(_RETRY_FIRST * 2**failures, _RETRY_LAST)
                failures = min(failures + 1, 16)
                if isinstance(error, CommitError):
                    self._refused(error)
                log.warning("the switch will be compared again", reason=str(error), retry_in=delay)
                await asyncio.sleep(delay)

    async def _ready(self) -> Session:
        """The present session."""
        if self._session is not None and self._session.lost is None:
            return self._session
        while True:
            try:
                session = await self._connection.ready(_READY_SECONDS)
            except OpenFlowError as error:
                log.debug("no connection to the switch", reason=str(error))
                await asyncio.sleep(_RETRY_FIRST)
                continue
            if session is not self._session:
                self._in_sync = self._expected = False
                self._session = session
                self._watch(session)
            return session

    def _watch(self, session: Session | None) -> None:
        """Wake up when that session ends, and no longer when the last one does."""
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None
        if session is not None:
            self._watcher = asyncio.create_task(session.wait_closed())
            self._watcher.add_done_callback(lambda _: self._wake.set())

    async def _step(self, session: Session) -> None:
        """Do what is most urgent; wait where nothing is."""
        self._wake.clear()
        if not self._in_sync or self._compare_due:
            await self._compare(session)
        elif self._pending:
            await self._send_pending(session)
        elif session.lost is None:
            await self._wake.wait()  # for something to do, or the end of the session
        else:
            await asyncio.sleep(0)  # the connection is about to hear of it, too

    async def _send_pending(self, session: Session) -> None:
        """Send all deltas that have gathered."""
        wanted = self._wanted
        deltas, self._pending = self._pending, []
        messages = b"".join(deltas)
        seconds = await self._commit(session, messages) if messages else 0.0
        self._advance(wanted)
        if messages:
            self._committed(Commit(sum(delta.messages for delta in deltas), seconds))

    async def _compare(self, session: Session) -> None:
        """Compare the switch with what is desired, and send the difference."""
        started = time.perf_counter()
        if self._prepare is not None:
            await self._prepare(session)
        expected, took_over = self._expected, self._took_over
        self._desired.begin(self._other_prefixes, verify=True)
        family = self._family << 48
        try:
            async for reply in session.dump_flows(self._desired.prefix << 48 & family, family):
                self._desired.installed(reply)
            async for reply in session.dump_groups():
                self._desired.installed(reply)
        except DecodeError as error:
            raise session.distrust(error) from error
        wanted = self._wanted
        delta, diff = self._desired.diff(keep_old=not took_over)
        # Deltas from here on start from what the difference makes of the switch.
        self._pending = []
        self._in_sync = self._expected = True
        n, messages = delta.messages, bytes(delta)
        del delta  # at the start it is megabytes, and so are its bytes
        if diff.flows_old or took_over:
            # Also the second time: what the datapath had cached went on learning.
            n += len(self._other_learned)
            messages += b"".join(delete_flows(*learned).encode() for learned in self._other_learned)
        seconds = await self._commit(session, messages) if n else 0.0
        self._compare_in(self._sync_period)
        self._took_over = bool(diff.flows_old) and not took_over
        if self._took_over:
            log.info("took over from another version of the pipeline", its_flows=diff.flows_old)
        drift = expected and not took_over and wanted == self._done and not diff.is_empty
        if drift:
            log.warning("somebody else changed the switch: repaired", **diff._asdict())
        taken = time.perf_counter() - started
        self._advance(wanted)
        self._committed(Commit(n, seconds, diff, drift, taken))

    async def _commit(self, session: Session, messages: bytes) -> float:
        """Commit 'messages'; returns the seconds it took.

        What the switch refuses must not keep all the rest from it: then each message is sent by
        itself. A delta's order is valid at every step. What was refused is tried again with the
        next comparison.
        """
        started = time.perf_counter()
        try:
            await session.commit(messages)
        except CommitError as error:
            if error.index < 0:
                raise
            self._expected = False
            refusals = await session.commit_each(messages)
            for number, refusal in enumerate(refusals):
                self._refused(refusal, quietly=number >= _SHOWN)
            if len(refusals) > _SHOWN:
                log.error("the switch refused more than is shown", more=len(refusals) - _SHOWN)
        return time.perf_counter() - started

    def _committed(self, commit: Commit) -> None:
        if self._on_commit is not None:
            self._on_commit(commit)

    def _refused(self, error: CommitError, *, quietly: bool = False) -> None:
        if not quietly:
            log.error("the switch refused", error=error.name, refused=error.request)
        if self._on_refusal is not None:
            self._on_refusal(error)

    def _advance(self, wanted: int) -> None:
        """Everything up to 'wanted' is on the switch, since now."""
        now = time.monotonic()
        self._done = wanted
        waiting, self._waiting = self._waiting, []
        for until, told in waiting:
            if until > wanted:
                self._waiting.append((until, told))
            elif not told.done():  # who waits may have been cancelled
                told.set_result(now)

    def _compare_in(self, seconds: float) -> None:
        """A comparison has been made; the next is due so much later."""

        def due() -> None:
            self._compare_due = True
            self._wake.set()

        if self._timer is not None:
            self._timer.cancel()
        self._compare_due = False
        self._timer = asyncio.get_running_loop().call_later(seconds, due)
