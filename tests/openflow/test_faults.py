"""Connections to switches that are slow, silent, lying or gone."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from fake_switch import Answer, FakeSwitch, good_answer

from nsxdp.backoff import Backoff
from nsxdp.openflow import codec
from nsxdp.openflow.connection import Connection, Phase
from nsxdp.openflow.errors import (
    CommitError,
    ConnectionLost,
    OpenFlowError,
    ProtocolError,
    ReplyTimeoutError,
    VersionError,
)
from nsxdp.openflow.messages import (
    HEADER,
    BarrierRequest,
    BundleControl,
    BundleKind,
    EchoRequest,
    Error,
    FeaturesRequest,
    Hello,
    MultipartRequest,
    decode,
    frame,
)
from nsxdp.openflow.session import Session, SessionOptions
from nsxdp.transport import Remote, RemoteError

FLOW = codec.flow_parse("table=1,ip actions=drop")
Action = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]

FAST = SessionOptions(
    connect_timeout=5, reply_timeout=0.2, commit_timeout=0.2, idle=0.05, idle_timeout=0.1
)
PATIENT = SessionOptions(idle=60)


@pytest.fixture
def switch(tmp_path: Path) -> FakeSwitch:
    return FakeSwitch(tmp_path / "s")


def only(kind: int, action: Action) -> Answer:
    """An answer to messages of one type."""

    async def answer(message: bytes, writer: asyncio.StreamWriter) -> bool:
        if message[1] != kind:
            return False
        await action(message, writer)
        return True

    return answer


async def silence(_message: bytes, _writer: asyncio.StreamWriter) -> None:
    """Say nothing."""


async def hang_up(_message: bytes, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def say(data: bytes) -> Action:
    """The same, whatever was asked, but for the xid."""

    async def action(message: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(data[:4] + message[4:8] + data[8:])

    return action


# The handshake.


@pytest.mark.parametrize("hello", [Hello(frozenset({1, 4})).encode(), b"\4\0\0\x08\0\0\0\1"])
async def test_hello_of_an_older_switch(switch: FakeSwitch, hello: bytes) -> None:
    switch.hello = hello
    async with switch.listen():
        with pytest.raises(VersionError, match=r"does not speak OpenFlow 1\.5"):
            await Session.open(switch.remote)


async def test_a_switch_that_refuses_our_hello(switch: FakeSwitch) -> None:
    switch.hello = Error(0, 0, b"no common version").encode()
    async with switch.listen():
        with pytest.raises(VersionError):
            await Session.open(switch.remote)


async def test_a_newer_switch_without_bitmap(switch: FakeSwitch) -> None:
    switch.hello = b"\7\0\0\x08\0\0\0\1"
    async with switch.listen():
        session = await Session.open(switch.remote)
        session.close()


@pytest.mark.parametrize(
    "hello",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\6\0\0\3\0\0\0\0",
        b"\6\0\0\0\0\0\0\0",
        b"\6\0\0\x10\0\0\0\0\0\1\0\2\0\0\0\0",
        b"\6\x15\0\x08\0\0\0\0",
        b"\4\x05\0\x08\0\0\0\0",
    ],
)
async def test_what_is_no_hello(switch: FakeSwitch, hello: bytes) -> None:
    switch.hello = hello
    async with switch.listen():
        with pytest.raises(ProtocolError):
            await Session.open(switch.remote, options=FAST)


async def test_no_hello(switch: FakeSwitch) -> None:
    switch.hello = b""
    async with switch.listen():
        with pytest.raises(ReplyTimeoutError, match=r"no answer to the hello within 0\.2 s"):
            await Session.open(switch.remote, options=FAST)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (silence, ReplyTimeoutError),
        (hang_up, ConnectionLost),
        (say(Error(1, 5).encode()), OpenFlowError),
        (say(frame(21, 0)), ProtocolError),
        (say(frame(6, 0, bytes(3))), ProtocolError),
    ],
)
async def test_no_features(
    switch: FakeSwitch,
    answer: Action,
    error: type[Exception],
) -> None:
    switch.answer = only(FeaturesRequest.type, answer)
    async with switch.listen():
        with pytest.raises(error):
            await Session.open(switch.remote, options=FAST)


async def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="no such socket: is its server running"):
        await Session.open(Remote("unix", path=str(tmp_path / "none")))
    (tmp_path / "file").touch()
    with pytest.raises(RemoteError, match="connection refused"):
        await Session.open(Remote("unix", path=str(tmp_path / "file")))


# The stream.


async def test_answers_byte_by_byte(switch: FakeSwitch) -> None:
    async def answer(message: bytes, writer: asyncio.StreamWriter) -> bool:
        for byte in good_answer(message):
            writer.write(bytes([byte]))
            await writer.drain()
        return True

    switch.answer = answer
    async with switch.listen():
        session = await Session.open(switch.remote, options=PATIENT)
        assert session.features.n_tables == 254
        await session.commit(FLOW * 3)
        session.close()


@pytest.mark.parametrize(
    "lie",
    [
        b"\6\x15\0\0\0\0\0\0",
        b"\6\x15\0\7\0\0\0\0",
        b"\4\x15\0\x08\0\0\0\0",
        b"\xff" * 64,
        b"\6\1\0\x0a\0\0\0\0\0\0",
    ],
)
async def test_a_lie_ends_the_session(switch: FakeSwitch, lie: bytes) -> None:
    switch.answer = only(BarrierRequest.type, say(lie))
    async with switch.listen():
        with pytest.raises(ProtocolError):
            await Session.open(switch.remote, options=PATIENT)


async def test_a_message_that_never_ends(switch: FakeSwitch) -> None:
    async with switch.listen():
        session = await Session.open(switch.remote, options=FAST)
        switch.answer = only(BarrierRequest.type, say(b"\6\x15\xff\xff\0\0\0\0" + bytes(100)))
        with pytest.raises(ReplyTimeoutError):
            await session.barrier()
        assert session.lost is not None


async def test_answers_that_nobody_asked_for(switch: FakeSwitch) -> None:
    junk = b"".join(
        [
            frame(21, 0xFFFF),
            frame(33, 0xFFFE, bytes(8)),
            frame(19, 0xFFFD, bytes(8)),
            frame(12, 0, bytes(72)),
            frame(10, 0, bytes(8)),
            frame(99, 0),
            frame(4, 0, b"\0\0\x23\x20\0\0\0\x1e" + b"\xff" * 8),
            Error(1, 1, FLOW, xid=0xFFFC).encode(),
            Error(0xFFFF, 2, b"").encode(),
            EchoRequest(b"who?", xid=5).encode(),
        ]
    )

    async def answer(message: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(junk + good_answer(message) + junk)

    switch.answer = only(BarrierRequest.type, answer)
    async with switch.listen():
        session = await Session.open(switch.remote, options=PATIENT)
        await session.commit(FLOW)
        await session.commit(FLOW * 2)
        assert frame(3, 5, b"who?") in switch.received
        session.close()


async def test_packets_that_can_t_be_read_are_skipped(switch: FakeSwitch) -> None:
    good = bytes.fromhex(
        "060a0022 00000000 ffffffff 0000 01 02 0000000000000003 0001 0004 00000000"
    )
    good += b"\0\0"
    async with switch.listen(), Connection(switch.remote, options=PATIENT) as connection:
        await connection.ready(5)
        switch.writers[-1].write(frame(10, 0, bytes(8)) + good)
        async with asyncio.timeout(5):
            packet = await anext(connection.packet_ins())
        assert (packet.table_id, packet.cookie) == (2, 3)


async def test_a_silent_switch_is_given_up(switch: FakeSwitch) -> None:
    async with switch.listen():
        session = await Session.open(switch.remote, options=FAST)
        switch.answer = only(EchoRequest.type, silence)
        async with asyncio.timeout(5):
            error = await session.wait_closed()
        assert isinstance(error, ReplyTimeoutError)
        with pytest.raises(ConnectionLost):
            session.send(FLOW)


async def test_an_idle_switch_that_answers_is_kept(switch: FakeSwitch) -> None:
    async with switch.listen():
        session = await Session.open(switch.remote, options=FAST)
        echoes = asyncio.Semaphore(0)

        async def answer(message: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(good_answer(message))
            echoes.release()

        switch.answer = only(EchoRequest.type, answer)
        async with asyncio.timeout(5):
            for _ in range(3):
                await echoes.acquire()
        await session.barrier()
        session.close()


# Commits and dumps.


def bundle_step(kind: BundleKind, action: Action) -> Answer:
    """An answer to one step of a bundle."""

    async def answer(message: bytes, writer: asyncio.StreamWriter) -> bool:
        control = decode(message)
        if not isinstance(control, BundleControl) or control.kind != kind:
            return False
        await action(message, writer)
        return True

    return answer


STEPS = [BundleKind.OPEN_REQUEST, BundleKind.CLOSE_REQUEST, BundleKind.COMMIT_REQUEST]


@pytest.mark.parametrize("step", STEPS)
async def test_hang_up_in_a_commit(switch: FakeSwitch, step: BundleKind) -> None:
    switch.answer = bundle_step(step, hang_up)
    async with switch.listen():
        session = await Session.open(switch.remote, options=PATIENT)
        with pytest.raises(ConnectionLost):
            await session.commit(FLOW * 3)
        with pytest.raises(ConnectionLost):
            await session.commit(FLOW)


@pytest.mark.parametrize("step", STEPS)
async def test_stall_in_a_commit(switch: FakeSwitch, step: BundleKind) -> None:
    switch.answer = bundle_step(step, silence)
    async with switch.listen():
        session = await Session.open(switch.remote, options=FAST)
        with pytest.raises(ReplyTimeoutError):
            await session.commit(FLOW * 3)
        assert session.lost is not None


@pytest.mark.parametrize("step", STEPS)
async def test_a_refused_step_refuses_the_commit(switch: FakeSwitch, step: BundleKind) -> None:
    switch.answer = bundle_step(step, say(Error(17, 5).encode()))
    async with switch.listen():
        session = await Session.open(switch.remote, options=PATIENT)
        with pytest.raises(CommitError, match="OFPBFC_OUT_OF_BUNDLES") as caught:
            await session.commit(FLOW * 3)
        assert caught.value.index == -1
        await session.barrier()
        session.close()


async def test_every_message_refused(switch: FakeSwitch) -> None:
    async def refuse(message: bytes, writer: asyncio.StreamWriter) -> None:
        _, _, _, xid = HEADER.unpack_from(message)
        writer.write(Error(5, 1, message, xid=xid).encode())

    switch.answer = only(34, refuse)
    async with switch.listen():
        session = await Session.open(switch.remote, options=PATIENT)
        with pytest.raises(CommitError) as caught:
            await session.commit(FLOW * 5_000)
        assert (caught.value.index, caught.value.name) == (0, "OFPFMFC_TABLE_FULL")
        kinds = [
            message.kind
            for data in switch.received
            if isinstance(message := decode(data), BundleControl)
        ]
        assert BundleKind.COMMIT_REQUEST not in kinds
        await session.barrier()
        session.close()


async def test_a_switch_that_doesn_t_read(switch: FakeSwitch) -> None:
    """More than sockets and buffers take: the writer waits, and gives up in time."""

    async def stall(_message: bytes, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    switch.answer = only(34, stall)
    async with switch.listen():
        session = await Session.open(switch.remote, options=SessionOptions(commit_timeout=0.5))
        with pytest.raises(ReplyTimeoutError, match="a bundle's messages"):
            await session.commit(FLOW * 100_000)


@pytest.mark.parametrize("messages", [FLOW[:-1], FLOW + b"\6", b"\6\x0e\0\3\0\0\0\0"])
async def test_commit_of_what_is_no_message(switch: FakeSwitch, messages: bytes) -> None:
    async with switch.listen():
        session = await Session.open(switch.remote, options=PATIENT)
        with pytest.raises(ValueError, match=r"message|length"):
            await session.commit(messages)
        await session.commit(FLOW)
        session.close()


async def test_a_dump_without_end(switch: FakeSwitch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The switch has to wait for a reader who is slow."""
    monkeypatch.setattr("nsxdp.openflow.wire.REPLIES_BOUND", 8)
    sent = 0

    async def flood(message: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        _, _, _, xid = HEADER.unpack_from(message)
        part = frame(19, xid, struct.pack("!HH4x", 1, 1) + bytes(60_000))
        while True:
            writer.write(part)
            await writer.drain()
            sent += 1

    switch.answer = only(MultipartRequest.type, flood)
    async with switch.listen():
        session = await Session.open(switch.remote, options=PATIENT)
        dump = session.dump_flows()
        for _ in range(3):
            await anext(dump)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 100
        for _ in range(200):
            await anext(dump)
        assert sent > 150
        session.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (silence, ReplyTimeoutError),
        (hang_up, ConnectionLost),
        (say(frame(21, 0)), ProtocolError),
        (say(frame(19, 0, bytes(4))), ProtocolError),
        (say(frame(19, 0, struct.pack("!HH4x", 1, 1))), ReplyTimeoutError),
        (say(Error(1, 5).encode()), OpenFlowError),
    ],
)
async def test_broken_dumps(
    switch: FakeSwitch,
    answer: Action,
    error: type[Exception],
) -> None:
    switch.answer = only(MultipartRequest.type, answer)
    async with switch.listen():
        session = await Session.open(switch.remote, options=FAST)
        with pytest.raises(error):
            async for _ in session.dump_groups():
                pass
        session.close()


# Reconnection.


async def test_reset_again_and_again(switch: FakeSwitch) -> None:
    backoff = Backoff(0.001, 0.01)
    async with switch.listen(), Connection(switch.remote, backoff=backoff) as connection:
        for n in range(1, 6):
            await connection.ready(5)
            assert switch.connections == n
            switch.hang_up()
            async with asyncio.timeout(5):
                async for state in connection.states():
                    if state.phase is not Phase.READY:
                        break


async def test_a_session_that_breaks_while_resyncing(switch: FakeSwitch) -> None:
    attempts = 0

    async def resync(_: Session) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            switch.hang_up()
            await asyncio.Event().wait()

    backoff = Backoff(0.001, 0.01)
    async with (
        switch.listen(),
        Connection(switch.remote, on_connected=resync, backoff=backoff) as connection,
    ):
        await connection.ready(5)
        assert attempts == 2


async def test_closed_while_resyncing(switch: FakeSwitch) -> None:
    started = asyncio.Event()

    async def resync(_: Session) -> None:
        started.set()
        await asyncio.Event().wait()

    async with switch.listen():
        connection = Connection(switch.remote, on_connected=resync)
        connection.start()
        await started.wait()
        async with asyncio.timeout(5):
            await connection.close()
        assert connection.state.phase is Phase.CLOSED
        with pytest.raises(ConnectionLost):
            await connection.commit(FLOW)
