"""Commits: all of some flow_mods and group_mods, or none.

A commit of several messages is one atomic, ordered bundle.  Open vSwitch drops a message that it
can't read when it is added, and would commit the rest (its ofproto/ofproto.c,
handle_bundle_add()), so "commit" is only sent when the answer to "close" says that all have been
taken.  A message alone needs no bundle: it is atomic by itself, and a round trip cheaper.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from nsxdp.openflow import codec
from nsxdp.openflow.codec import Tables
from nsxdp.openflow.errors import CommitError, DecodeError, RequestError
from nsxdp.openflow.messages import (
    BarrierReply,
    BarrierRequest,
    BundleControl,
    BundleFlags,
    BundleKind,
    FlowMod,
    GroupMod,
    decode,
    frame,
)
from nsxdp.openflow.wire import Reply, Wire, with_xid

__all__ = ["CommitResult", "Commits", "describe_mod"]

BURST: Final = 256
"""Messages outside of a bundle that are written before a look at whether the switch keeps up."""

CHUNK: Final = 256 * 1024
"""Bytes of a bundle that are handed to the transport at once."""

_FLAGS: Final = BundleFlags.ATOMIC | BundleFlags.ORDERED


@dataclass(frozen=True, slots=True)
class CommitResult:
    """A commit that was done.

    Attributes
    ----------
    messages
        How many there were.
    size
        How many bytes these had.
    seconds
        From the call to the switch's confirmation.
    bundled
        Whether it took a bundle; a message alone is atomic without one.
    """

    messages: int
    size: int
    seconds: float
    bundled: bool


class Commits:
    """The commits on one wire, in the order in which they were asked for."""

    def __init__(self, wire: Wire, tables: Tables | None) -> None:
        self._wire = wire
        self._tables = tables
        self._batches: list[_Batch] = []
        self._last_bundle = 0
        self._last_turn: asyncio.Future[None] | None = None

    def blame(self, xid: int, name: str) -> bool:
        """Note an error about one of the messages; returns whether it was about one."""
        return any(batch.blame(xid, name) for batch in self._batches)

    async def commit(self, messages: bytes, seconds: float) -> CommitResult:
        """See `nsxdp.openflow.session.Session.commit`."""
        started = time.perf_counter()
        n, used = codec.split(messages)
        if used != len(messages):
            raise DecodeError(f"message {n} is cut off", used)
        if n:
            batch = _Batch(self._wire.xids(n), n, messages, seconds, self._wire.loop)
            batch.before, self._last_turn = self._last_turn, batch.turn
            self._batches.append(batch)
            try:
                await (self._alone(batch) if n == 1 else self._bundle(batch))
            finally:
                self._batches.remove(batch)
                batch.end_turn()
        return CommitResult(n, used, time.perf_counter() - started, n > 1)

    async def each(self, messages: bytes, seconds: float) -> list[CommitError]:
        """See `nsxdp.openflow.session.Session.commit_each`."""
        n, used = codec.split(messages)
        if used != len(messages):
            raise DecodeError(f"message {n} is cut off", used)
        batch = _Batch(self._wire.xids(n), n, messages, seconds, self._wire.loop)
        batch.before, self._last_turn = self._last_turn, batch.turn
        self._batches.append(batch)
        try:
            await self._unbundled(batch)
        finally:
            self._batches.remove(batch)
            batch.end_turn()
        return [self._error(batch, index) for index in sorted(batch.blamed)]

    async def _alone(self, batch: _Batch) -> None:
        await self._unbundled(batch)
        if batch.blamed:
            raise self._error(batch, 0)

    async def _unbundled(self, batch: _Batch) -> None:
        """Send the messages as they are, and wait until the switch has seen them all."""
        wire = self._wire
        await batch.wait_turn()
        messages: list[bytes] = []
        at = 0
        for index in range(batch.n):
            length = int.from_bytes(batch.messages[at + 2 : at + 4], "big")
            messages.append(with_xid(batch.messages[at : at + length], batch.xid + index))
            at += length
            if index % BURST == BURST - 1:
                wire.write(b"".join(messages))
                messages.clear()
                await wire.drain(batch.seconds_left(), "a commit's messages")
        xid = wire.xids()
        barrier = wire.expect(xid, BarrierReply.type)
        try:
            # With the last messages: the switch wakes up once.
            messages.append(frame(BarrierRequest.type, xid))
            wire.write(b"".join(messages))
            batch.end_turn()
            await self._answer(batch, barrier, "a barrier")
        finally:
            wire.pending.pop(xid, None)

    async def _bundle(self, batch: _Batch) -> None:
        wire = self._wire
        self._last_bundle = bundle = self._last_bundle % 0xFFFFFFFF + 1
        xid = wire.xids(4)
        opened, closed, committed = (wire.expect(xid + i, BundleControl.type) for i in range(3))
        barrier = wire.expect(xid + 3, BarrierReply.type)
        sent = False
        try:
            await self._stream(batch, bundle, xid)
            await self._control_answer(batch, opened, BundleKind.OPEN_REPLY)
            await self._control_answer(batch, closed, BundleKind.CLOSE_REPLY)
            if batch.blamed:
                raise self._first_error(batch)
            await batch.wait_turn()
            wire.write(
                _control(bundle, BundleKind.COMMIT_REQUEST, xid + 2)
                + frame(BarrierRequest.type, xid + 3)
            )
            sent = True
            batch.end_turn()
            await self._control_answer(batch, committed, BundleKind.COMMIT_REPLY)
            await self._answer(batch, barrier, "a barrier")
        finally:
            for i in range(4):
                wire.pending.pop(xid + i, None)
            if not sent and wire.lost is None:
                # The switch would forget the bundle by itself, but only after 10 s.
                wire.ignore(discard := wire.xids(), BundleControl.type)
                wire.write(_control(bundle, BundleKind.DISCARD_REQUEST, discard))

    async def _stream(self, batch: _Batch, bundle: int, xid: int) -> None:
        """Open the bundle, add the messages as fast as the switch takes them, and close it."""
        view = memoryview(batch.messages)
        head = _control(bundle, BundleKind.OPEN_REQUEST, xid)
        at = added = 0
        while at < len(view) and not batch.blamed:
            n, used = codec.split(view[at : at + CHUNK])
            chunk = codec.bundle_wrap(view[at : at + used], bundle, _FLAGS, batch.xid + added)
            at += used
            added += n
            tail = b"" if at < len(view) else _control(bundle, BundleKind.CLOSE_REQUEST, xid + 1)
            self._wire.write(head + chunk + tail if head or tail else chunk)
            head = b""
            await self._wire.drain(batch.seconds_left(), "a bundle's messages")
        if at < len(view):
            # One has been refused: the rest needn't be sent.
            self._wire.write(_control(bundle, BundleKind.CLOSE_REQUEST, xid + 1))

    async def _control_answer(self, batch: _Batch, reply: Reply, due: BundleKind) -> None:
        what = f"a bundle's {due.name.partition('_')[0].lower()}"
        message = await self._answer(batch, reply, what)
        try:
            answer = decode(message)
        except DecodeError as error:
            raise self._wire.distrust(error) from error
        assert isinstance(answer, BundleControl)
        if answer.kind != due:
            raise self._wire.distrust(f"answered {what} with kind {answer.kind}")

    async def _answer(self, batch: _Batch, reply: Reply, what: str) -> bytes:
        try:
            return await self._wire.wait(reply.future, batch.seconds_left(), what)
        except RequestError as error:
            raise self._first_error(batch, error.name) from error

    def _first_error(self, batch: _Batch, name: str = "") -> CommitError:
        """What the switch says of the first message that it blames; else 'name' of them all."""
        if not batch.blamed:
            return CommitError(name, "", -1, b"")
        return self._error(batch, min(batch.blamed))

    def _error(self, batch: _Batch, index: int) -> CommitError:
        """What the switch says of one message that it blames."""
        message = batch.message(index)
        text = describe_mod(message, self._tables)
        return CommitError(batch.blamed[index], text, index, message)


class _Batch:
    """The messages of one commit under way, and which of them the switch has refused."""

    def __init__(
        self,
        xid: int,
        n: int,
        messages: bytes,
        seconds: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.xid = xid
        self.n = n
        self.messages = messages
        self.blamed: dict[int, str] = {}
        self.before: asyncio.Future[None] | None = None
        self.turn: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._deadline = loop.time() + seconds

    def seconds_left(self) -> float:
        return self._deadline - self._loop.time()

    async def wait_turn(self) -> None:
        """Wait until the commit before this one has been sent, or given up."""
        if self.before is not None and not self.before.done():
            await asyncio.shield(self.before)
        self.before = None

    def end_turn(self) -> None:
        if not self.turn.done():
            self.turn.set_result(None)

    def blame(self, xid: int, name: str) -> bool:
        index = xid - self.xid
        if not 0 <= index < self.n:
            return False
        self.blamed.setdefault(index, name)
        return True

    def message(self, index: int) -> bytes:
        view = memoryview(self.messages)
        for _ in range(index):
            view = view[int.from_bytes(view[2:4], "big") :]
        return bytes(view[: int.from_bytes(view[2:4], "big")])


_FLOW_COMMANDS: Final = ("add", "modify", "modify_strict", "delete", "delete_strict")
_GROUP_COMMANDS: Final = {
    codec.GROUP_ADD: "add",
    codec.GROUP_MODIFY: "modify",
    codec.GROUP_DELETE: "delete",
    codec.GROUP_INSERT_BUCKET: "insert_bucket",
    codec.GROUP_REMOVE_BUCKET: "remove_bucket",
    codec.GROUP_ADD_OR_MOD: "add_or_mod",
}


def describe_mod(message: bytes, tables: Tables | None = None) -> str:
    """A flow_mod or group_mod as a line of a file that ``ovs-ofctl bundle`` takes."""
    try:
        if message[1] == FlowMod.type:
            command, _ = codec.flow_mod_decode(message)
            text = codec.flow_format(message, tables, True)
            return f"flow {_FLOW_COMMANDS[command]} {text}"
        if message[1] == GroupMod.type:
            command, _, _ = codec.group_mod_decode(message)
            return f"group {_GROUP_COMMANDS[command]} {codec.group_format(message, tables)}"
        return codec.message_format(message, tables)
    except (DecodeError, LookupError) as error:
        return f"{len(message)} bytes ({error})"


def _control(bundle: int, kind: BundleKind, xid: int) -> bytes:
    return BundleControl(bundle, kind, _FLAGS, xid=xid).encode()
