"""Switches that answer with something else, in pieces, or too much: an error that says so, no hang.

What a switch does that is slow, silent or gone is in test_faults.py.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from fake_switch import FakeSwitch, good_answer
from oracle import flow_desc, flow_desc_reply

from nsxdp.backoff import Backoff
from nsxdp.openflow import Connection, DesiredSet, Session, Switch, codec
from nsxdp.openflow.errors import (
    ConnectionLost,
    DecodeError,
    OpenFlowError,
    ProtocolError,
    ReplyTimeoutError,
)
from nsxdp.openflow.messages import (
    MORE,
    BarrierRequest,
    BundleControl,
    BundleKind,
    FeaturesRequest,
    Hello,
    MultipartRequest,
    decode,
    frame,
)
from nsxdp.openflow.session import SessionOptions
from nsxdp.writer import Owned, Writer

FLOW = codec.flow_parse("table=1,ip actions=drop")
PATIENT = SessionOptions(idle=60)
IMPATIENT = SessionOptions(reply_timeout=0.2, commit_timeout=0.2, idle=60)
FLOWS = [codec.flow_parse(f"priority={i},ip,nw_dst=10.0.0.{i} actions=drop") for i in range(1, 9)]
PARTS = [flow_desc_reply([flow_desc(flow) for flow in part]) for part in (FLOWS[:5], FLOWS[5:])]


def xid_of(message: bytes) -> bytes:
    return message[4:8]


def dumped(message: bytes) -> bytes:
    """The answer to a request for flows: those of `PARTS`."""
    first, last = (part[:4] + xid_of(message) + part[8:] for part in PARTS)
    return first[:10] + struct.pack("!H", MORE) + first[12:] + last


def answer_with(switch: FakeSwitch, kind: int, answer: Callable[[bytes], bytes]) -> None:
    """Let messages of one type be answered like that."""

    async def act(message: bytes, writer: asyncio.StreamWriter) -> bool:
        if message[1] != kind:
            return False
        writer.write(answer(message))
        await writer.drain()
        return True

    switch.answer = act


@pytest.fixture
def switch(tmp_path: Path) -> FakeSwitch:
    return FakeSwitch(tmp_path / "s")


@asynccontextmanager
async def session(switch: FakeSwitch, options: SessionOptions = PATIENT) -> AsyncIterator[Session]:
    async with switch.listen():
        opened = await Session.open(switch.remote, options=options)
        try:
            yield opened
        finally:
            opened.close()


# Other answers.


def control(kind: BundleKind) -> Callable[[bytes], bytes]:
    """A bundle's answers are all of that kind."""

    def answer(message: bytes) -> bytes:
        request = decode(message)
        assert isinstance(request, BundleControl)
        return BundleControl(request.bundle_id, kind, xid=request.xid).encode()

    return answer


@pytest.mark.parametrize(
    ("kind", "answer", "reason"),
    [
        (33, control(BundleKind.COMMIT_REPLY), "answered a bundle's open with kind 5"),
        (33, control(BundleKind.OPEN_REPLY), "answered a bundle's close with kind 1"),
        (33, control(BundleKind.OPEN_REQUEST), "answered a bundle's open with kind 0"),
        (33, lambda m: frame(21, 0)[:4] + xid_of(m), "type 21, where 33 was due"),
        (33, lambda m: frame(33, 0, b"")[:4] + xid_of(m), "0 bytes where there are 4"),
        (20, lambda m: frame(3, 0)[:4] + xid_of(m), "type 3, where 21 was due"),
    ],
)
async def test_a_commit_is_answered_with_something_else(
    switch: FakeSwitch, kind: int, answer: Callable[[bytes], bytes], reason: str
) -> None:
    async with session(switch) as opened:
        answer_with(switch, kind, answer)
        with pytest.raises(ProtocolError, match=reason):
            await opened.commit(FLOW * 2)
        with pytest.raises(ConnectionLost, match=reason):
            await opened.commit(FLOW)


async def test_features_are_answered_with_something_else(switch: FakeSwitch) -> None:
    answer_with(switch, FeaturesRequest.type, lambda m: frame(21, 0)[:4] + xid_of(m))
    with pytest.raises(ProtocolError, match="type 21, where 6 was due"):
        async with session(switch):
            pass


async def test_answers_to_others(switch: FakeSwitch) -> None:
    async with session(switch, IMPATIENT) as opened:
        answer_with(switch, BarrierRequest.type, lambda _: frame(21, 0x7FFFFFFF))
        with pytest.raises(ReplyTimeoutError, match="no answer to BarrierRequest"):
            await opened.barrier()


async def test_every_answer_twice(switch: FakeSwitch) -> None:
    async def twice(message: bytes, writer: asyncio.StreamWriter) -> bool:
        answer = dumped(message) if message[1] == MultipartRequest.type else good_answer(message)
        writer.write(answer * 2)
        return True

    switch.answer = twice
    async with session(switch) as opened:
        for _ in range(3):
            await opened.commit(FLOW * 3)
            assert len([part async for part in opened.dump_flows()]) == 2


def statistics(kind: int, body: str) -> Callable[[bytes], bytes]:
    data = struct.pack("!HH4x", kind, 0) + bytes.fromhex(body)
    return lambda message: frame(19, 0, data)[:4] + xid_of(message) + data


@pytest.mark.parametrize(
    ("call", "answer", "reason"),
    [
        ("dump", statistics(1, "0000"), "flow of 0 bytes"),
        ("dump", statistics(1, "0000" + "00" * 62), "flow of 0 bytes"),
        ("dump", statistics(1, "ffff" + "00" * 62), "flow of 65535 bytes"),
        ("dump", statistics(7, ""), "no OFPMP_FLOW_DESC reply"),
        ("groups", statistics(7, "0000" + "00" * 30), "group"),
        (
            "groups",
            statistics(7, "0018 0100 00000005 0008 000000000000 0000 0008 0000000000000000"),
            "bad length of a bucket",
        ),
        ("groups", statistics(1, ""), "OFPMP_GROUP_DESC"),
        ("table_stats", statistics(3, "00" * 23), "an entry is cut off"),
        ("port_stats", statistics(4, "0000" + "00" * 78), "an entry of 0 bytes"),
        ("port_stats", statistics(4, "ffff" + "00" * 78), "an entry of 65535 bytes"),
        ("port_stats", statistics(4, "0050" + "00" * 79), "an entry is cut off"),
        ("queue_stats", statistics(5, "0008" + "00" * 46), "an entry of 8 bytes"),
        ("group_stats", statistics(6, "0058" + "00" * 38), "an entry of 88 bytes"),
        ("meter_stats", statistics(9, "00000001 0000" + "00" * 34), "an entry of 0 bytes"),
    ],
)  # fmt: skip
async def test_statistics_that_can_t_be(
    switch: FakeSwitch, call: str, answer: Callable[[bytes], bytes], reason: str
) -> None:
    answer_with(switch, MultipartRequest.type, answer)
    async with switch.listen(), Switch(f"unix:{switch.remote.path}", options=PATIENT) as opened:
        with pytest.raises(ProtocolError, match=reason):
            await getattr(opened, call)()
        with pytest.raises(ConnectionLost, match=reason):
            await opened.table_stats()


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        ("0000 0004 00000000", "FlowUpdateAbbrev of 0 bytes"),
        ("0007 0004 00000000", "3 bytes where there are 4"),
        ("0010 0004 00000000", "FlowUpdateAbbrev of 16 bytes"),
        ("0017 0001" + "00" * 20, "7 bytes where there are 8"),
        ("0008 0009 00000000", "no event 9"),
    ],
)
async def test_news_that_can_t_be(switch: FakeSwitch, update: str, reason: str) -> None:
    async with switch.listen(), Switch(f"unix:{switch.remote.path}", options=PATIENT) as opened:
        news = statistics(16, update)(frame(18, 0))
        answer_with(switch, MultipartRequest.type, lambda m: good_answer(m) + news)
        async with asyncio.timeout(5):
            with pytest.raises(ProtocolError, match=reason):
                await anext(opened.monitor())


async def test_packets_that_can_t_be_read_are_skipped(switch: FakeSwitch) -> None:
    good = frame(10, 0, bytes.fromhex("ffffffff 0000 0102 0000000000000003 0001000400000000 0000"))
    async with (
        switch.listen(),
        Switch(f"unix:{switch.remote.path}", packets=True, options=PATIENT) as opened,
    ):
        switch.writers[-1].write(frame(10, 0, bytes(8)) + good)
        async with asyncio.timeout(5):
            packet = await anext(opened.packet_ins())
        assert (packet.table_id, packet.cookie) == (2, 3)


# Pieces.


async def test_answers_in_pieces_of_any_size(switch: FakeSwitch) -> None:
    """Whatever the boundaries of what is read, the messages are the same."""
    rng = random.Random(7)

    async def answer(message: bytes, writer: asyncio.StreamWriter) -> bool:
        data = dumped(message) if message[1] == MultipartRequest.type else good_answer(message)
        while data:
            size = rng.choice([1, 2, 7, 8, 9, 100, len(data)])
            writer.write(data[:size])
            await writer.drain()
            await asyncio.sleep(0)
            data = data[size:]
        return True

    switch.answer = answer
    async with session(switch) as opened:
        for _ in range(50):
            parts = [part async for part in opened.dump_flows()]
            assert [part[8:10] + part[12:] for part in parts] == [
                part[8:10] + part[12:] for part in PARTS
            ]
        await opened.commit(FLOW * 3)


async def test_an_answer_that_trickles_in(switch: FakeSwitch) -> None:
    """The time for an answer is for all of it, however lively its parts are."""
    async with session(switch, IMPATIENT) as opened:

        async def trickle(_: bytes, writer: asyncio.StreamWriter) -> bool:
            with suppress(ConnectionError):
                for byte in frame(21, 0, bytes(60_000)):
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(0.01)
            return True

        switch.answer = trickle
        with pytest.raises(ReplyTimeoutError, match=r"within 0\.2 s"):
            await opened.barrier()


HELLO = Hello().encode()


@pytest.mark.parametrize("length", range(1, len(HELLO)))
async def test_a_part_of_a_hello(switch: FakeSwitch, length: int) -> None:
    switch.hello = HELLO[:length]
    with pytest.raises(ReplyTimeoutError, match="no answer to the hello"):
        async with session(switch, SessionOptions(reply_timeout=0.02)):
            pass


@pytest.mark.parametrize("kind", [5, 20, 33, 34, 18])
@pytest.mark.parametrize("length", [0, 1, 8, 12])
async def test_a_connection_that_ends_in_an_answer(
    switch: FakeSwitch, kind: int, length: int
) -> None:
    """It is closed, not reset: all that was sent before arrives."""

    async def answer(message: bytes, writer: asyncio.StreamWriter) -> bool:
        if message[1] == kind:
            whole = dumped(message) if kind == MultipartRequest.type else good_answer(message)
            writer.write((whole or frame(1, 0, bytes(8)))[:length])
            writer.close()
        return message[1] == kind

    async def use() -> None:
        if kind == FeaturesRequest.type:
            switch.answer = answer
        async with session(switch) as opened:
            switch.answer = answer
            await opened.commit(FLOW * 3)
            async for _ in opened.dump_flows():
                pass

    with pytest.raises(ConnectionLost):
        await use()


@pytest.mark.parametrize("n", [1, 2, 3])
async def test_reset_between_a_bundle_s_messages(switch: FakeSwitch, n: int) -> None:
    added = 0

    async def answer(message: bytes, writer: asyncio.StreamWriter) -> bool:
        nonlocal added
        added += message[1] == 34
        if added == n:
            writer.transport.abort()
        return False

    async with session(switch) as opened:
        switch.answer = answer
        with pytest.raises(ConnectionLost):
            await opened.commit(FLOW * 3)


# Too much.


async def test_a_switch_that_asks_and_doesn_t_read(
    switch: FakeSwitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nsxdp.openflow.wire.UNREAD_BOUND", 1024 * 1024)

    async def ask(_: bytes, writer: asyncio.StreamWriter) -> bool:
        with suppress(ConnectionError):
            while True:
                writer.write(frame(2, 1, bytes(60_000)))
                await writer.drain()
        return True

    async with session(switch) as opened:
        switch.answer = ask
        with pytest.raises(ProtocolError, match="asks and doesn't read the answers"):
            await opened.barrier()


async def test_news_without_end_are_no_answer(switch: FakeSwitch) -> None:
    async def talk(_: bytes, writer: asyncio.StreamWriter) -> bool:
        with suppress(ConnectionError):
            while True:
                writer.write(frame(12, 0, bytes(72)) * 100)
                await writer.drain()
        return True

    async with session(switch, IMPATIENT) as opened:
        switch.answer = talk
        with pytest.raises(ReplyTimeoutError):
            await opened.barrier()


# Anything.


def damage(rng: random.Random, data: bytes) -> bytes:
    """'data' with a few bytes changed, missing, or too many."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(changed) or 1)
        how = rng.randrange(4)
        if how == 0 and changed:
            changed[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        elif how == 1:
            del changed[at : at + rng.choice([1, 8, len(changed)])]
        elif how == 2:
            changed[at:at] = rng.randbytes(rng.choice([1, 8, 60]))
        else:
            changed += data
    return bytes(changed)


@pytest.mark.parametrize("seed", range(60))
async def test_any_damage_is_an_error_or_harmless(switch: FakeSwitch, seed: int) -> None:
    rng = random.Random(seed)
    spared = rng.randrange(12)
    n = 0

    async def answer(message: bytes, writer: asyncio.StreamWriter) -> bool:
        nonlocal n
        n += 1
        data = dumped(message) if message[1] == MultipartRequest.type else good_answer(message)
        writer.write(damage(rng, data) if n > spared else data)
        await writer.drain()
        return True

    switch.answer = answer
    if not spared:
        switch.hello = damage(rng, switch.hello)
    with suppress(OpenFlowError, DecodeError):
        async with asyncio.timeout(20), session(switch, IMPATIENT) as opened:
            for _ in range(5):
                async for part in opened.dump_flows():
                    codec.flow_descs(part)
                await opened.commit(FLOW * 3)
                await opened.commit(FLOW)


# The writer.


class Wanted(Owned):
    """One owner's flow."""

    def __init__(self, flow: bytes) -> None:
        self.owners = np.array([1], np.uint64)
        self.messages = flow
        self.ends = np.array([len(flow)], np.uint64)


@pytest.mark.parametrize(
    "lie",
    [
        lambda m: frame(21, 0)[:4] + xid_of(m),
        statistics(1, "0000" + "00" * 62),
        statistics(1, "0030 0000 00" + "00" * 43),
        statistics(7, "0000" + "00" * 30),
        statistics(99, ""),
    ],
)
async def test_a_writer_outlives_a_switch_that_lies(
    switch: FakeSwitch, lie: Callable[[bytes], bytes]
) -> None:
    """It connects again and again, and writes what is wanted once it is told the truth."""
    lies = 0

    def answer(message: bytes) -> bytes:
        nonlocal lies
        lies += 1
        return lie(message) if lies <= 3 else good_answer(message)

    answer_with(switch, MultipartRequest.type, answer)
    desired = DesiredSet(0x6E01, 1, 1000)
    async with (
        switch.listen(),
        Connection(switch.remote, options=PATIENT, backoff=Backoff(0.001, 0.01)) as connection,
    ):
        writer = Writer(connection, desired)
        writer.replace(Wanted(FLOW))
        task = asyncio.ensure_future(writer.run())
        try:
            async with asyncio.timeout(10):
                await writer.settled()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        assert switch.connections == 4
        assert any(message[1] == 14 for message in switch.received)
