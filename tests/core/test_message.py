"""Framing, bundles and printing of messages under sanitizers: no bytes may crash them."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Core


def header(kind: int, body: bytes, xid: int = 1) -> bytes:
    return struct.pack("!BBHI", 6, kind, 8 + len(body), xid) + body


def samples(core: Core) -> list[bytes]:
    """One message of each type that is known."""
    flow = core.flow(
        "table=2,cookie=5,idle_timeout=3,tcp,tp_dst=80,reg0=1/0xff "
        "actions=ct(commit,zone=1,nat(dst=10.0.0.1:80),exec(load:1->NXM_NX_CT_MARK[])),"
        "learn(table=3,eth_type=0x800,NXM_OF_IP_SRC[],load:1->NXM_NX_REG0[]),resubmit(,3)"
    )
    group = core.group(
        "group_id=5,type=select,selection_method=hash,fields(ip_src),"
        "bucket=bucket_id:3,weight:100,actions=output:1,bucket=bucket_id:4,actions=output:2"
    )
    nicira = struct.pack("!I", 0x2320)
    tuple_property = struct.pack("!HHHH", 0, 32, 0, 0) + struct.pack("!HH", 0, 20) + bytes(20)
    packet_in2 = b"".join(
        [
            struct.pack("!HH4s", 0, 8, b"data"),
            struct.pack("!HHI", 1, 8, 99),
            struct.pack("!HHB3x", 3, 5, 4),
            struct.pack("!HH4xQ", 4, 16, 7),
            struct.pack("!HHB3x", 5, 5, 1),
            struct.pack("!HHII4x", 6, 12, 0x80000004, 3),
            struct.pack("!HH2s2x", 7, 6, b"\1\2"),
        ]
    )
    in_port = struct.pack("!HHII4x", 1, 12, 0x80000004, 3)
    match = in_port
    return [
        header(0, struct.pack("!HHI", 1, 8, 64)),
        header(1, struct.pack("!HH", 5, 1) + flow),
        header(1, struct.pack("!HH", 0xFFFF, 15) + nicira + group),
        header(1, struct.pack("!HH", 0, 0) + b"text\xff"),
        header(2, b"abc"),
        header(4, nicira + struct.pack("!II", 16, 2)),
        header(4, nicira + struct.pack("!I", 29) + bytes(8)),
        header(4, nicira + struct.pack("!I", 30) + packet_in2),
        header(4, nicira + struct.pack("!I", 32) + bytes(8) + tuple_property),
        header(6, bytes(12) + b"\xff\1" + b"\xff" * 10),
        header(9, struct.pack("!HH", 1, 128)),
        header(10, struct.pack("!IHBBQ", 0xFFFFFFFF, 60, 1, 2, 3) + in_port + bytes(62)),
        header(
            13,
            struct.pack("!IH2x", 0xFFFFFFFF, 16)
            + match
            + bytes.fromhex("0000 0010 00000001 0000 000000000000"),
        ),
        flow,
        group,
        header(18, struct.pack("!HH4xB3xII4xQQ", 1, 0, 3, 1, 1, 5, 7) + match),
        header(18, struct.pack("!HH4xI4x", 7, 0, 5)),
        header(19, struct.pack("!HH4x", 1, 1)),
        header(19, struct.pack("!HH4x", 7, 0)),
        header(20, b""),
        header(29, struct.pack("!HHIHHII4x", 0, 6, 5, 1, 16, 100, 10)),
        header(33, struct.pack("!IHH", 1, 4, 3)),
        header(34, struct.pack("!IHH", 1, 0, 3) + flow[:4] + struct.pack("!I", 1) + flow[8:]),
    ]


def printed(core: Core, data: bytes) -> str | None:
    """The message's text; None if it can't be decoded."""
    buf, error = core.buf(), core.error()
    size = len(data)
    retval = core.lib.nsx_message_format(core.exact(data), size, core.ffi.NULL, buf, error)
    if retval:
        assert core.message(error)
        assert error.position <= size
        assert buf.size == 0
        return None
    return core.bytes(buf).decode()


def test_samples_print(core: Core) -> None:
    texts = [printed(core, data) for data in samples(core)]
    assert all(texts), [text for text in texts if not text]


def test_truncations(core: Core) -> None:
    for data in samples(core):
        for size in range(len(data)):
            assert printed(core, data[:size]) is None
            if size >= 8:
                printed(core, data[:2] + struct.pack("!H", size) + data[4:size])


def test_flipped_bytes(core: Core) -> None:
    rng = random.Random(1)
    for data in samples(core):
        for i in range(len(data)):
            for value in (0, 0xFF, data[i] ^ 0x80, rng.randrange(256)):
                printed(core, data[:i] + bytes([value]) + data[i + 1 :])


def test_noise(core: Core) -> None:
    rng = random.Random(2)
    all_samples = samples(core)
    for _ in range(20_000):
        data = bytearray(rng.choice(all_samples))
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(4, len(data)) if len(data) > 4 else 0] = rng.randrange(256)
        printed(core, bytes(data))


def test_nested_messages_are_bounded(core: Core) -> None:
    data = header(2, b"")
    while len(data) + 12 < 0xFFFF:
        data = header(1, struct.pack("!HH", 1, 1) + data)
    text = printed(core, data)
    assert text is not None
    assert len(text) < 1000


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 40, 80, 0xFFFF])
def test_split(core: Core, size: int) -> None:
    n, used, error = core.ffi.new("size_t *"), core.ffi.new("size_t *"), core.error()
    stream = (header(2, b"12345678") * 5000)[:size]
    assert core.lib.nsx_stream_split(core.exact(stream), size, n, used, error) == 0
    assert (n[0], used[0]) == (size // 16, size // 16 * 16)


def _wrap(core: Core, data: bytes) -> tuple[int, Any, Any]:
    buf, error = core.buf(), core.error()
    arguments = (core.exact(data), len(data), 7, 3, 0xFFFFFFFF, buf, error)
    return core.lib.nsx_bundle_wrap(*arguments), buf, error


def test_bundle_wrap(core: Core) -> None:
    retval, buf, _ = _wrap(core, header(2, b"one") + header(2, b"three"))
    assert retval == 0
    assert core.bytes(buf) == (
        struct.pack("!BBHIIHH", 6, 34, 27, 0xFFFFFFFF, 7, 0, 3)
        + header(2, b"one", 0xFFFFFFFF)
        + struct.pack("!BBHIIHH", 6, 34, 29, 0, 7, 0, 3)
        + header(2, b"three", 0)
    )
    assert _wrap(core, b"")[0] == 0


@pytest.mark.parametrize(
    "data",
    [
        b"\6",
        header(2, b"one")[:-1],
        header(2, b"one") + b"\6\2\0\3\0\0\0\0",
        header(2, b"one") + header(2, bytes(0xFFFF - 8 - 15)),
    ],
)
def test_bundle_wrap_of_what_it_can_t(core: Core, data: bytes) -> None:
    retval, buf, error = _wrap(core, data)
    assert retval
    assert core.message(error)
    assert buf.size == 0


def test_error_names(core: Core) -> None:
    name = core.lib.nsx_error_name
    assert core.ffi.string(name(17, 13, 0)) == b"OFPBFC_MSG_FAILED"
    assert core.ffi.string(name(0xFFFF, 22, 0x2320)) == b"OFPBFC_BAD_VERSION"
    assert name(0xFFFF, 22, 0) == core.ffi.NULL
    assert name(17, 0xFFFF, 0) == core.ffi.NULL


@pytest.mark.parametrize("text", ["", "drop", "output:1,resubmit(,2)", "ct(commit,zone=5)"])
def test_packet_actions(core: Core, text: str) -> None:
    buf, error = core.buf(), core.error()
    parse = core.lib.nsx_packet_actions_parse
    assert parse(text.encode(), len(text), core.ffi.NULL, buf, error) == 0
    assert (buf.size == 0) == (text in ("", "drop"))


def test_packet_actions_that_are_none(core: Core) -> None:
    buf, error = core.buf(), core.error()
    text = b"output:1,goto_table:5"
    parse = core.lib.nsx_packet_actions_parse
    assert parse(text, len(text), core.ffi.NULL, buf, error) != 0
    assert "goto_table" in core.message(error)
    assert buf.size == 0
