"""Finding the objects in a stream of JSON."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsxdp.ovsdb.errors import ProtocolError
from nsxdp.ovsdb.framing import Framer

nasty = st.text(alphabet='{}"\\ax\n\u00e9[]:,', max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | nasty,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(nasty, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(nasty, values, max_size=4)


def in_pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[a:b] for a, b in pairwise(edges)]


@given(
    st.lists(objects, max_size=5),
    st.sampled_from(["", " ", "\r\n\t "]),
    st.booleans(),
    st.lists(st.integers(0, 10_000), max_size=12),
)
def test_objects_come_out_as_they_went_in_however_the_stream_is_cut(
    sent: list[Any], between: str, ascii_only: bool, cuts: list[int]
) -> None:
    stream = between.join(json.dumps(o, ensure_ascii=ascii_only) for o in [*sent, {}]).encode()
    framer = Framer()
    received = [
        json.loads(message) for piece in in_pieces(stream, cuts) for message in framer.feed(piece)
    ]
    assert received == [*sent, {}]
    assert framer.pending == 0


def test_byte_by_byte() -> None:
    framer = Framer()
    stream = rb'{"a":"}\\\"{"}{"b":{"c":"\\"}} {}'
    out = [m for i in range(len(stream)) for m in framer.feed(stream[i : i + 1])]
    assert out == [rb'{"a":"}\\\"{"}', rb'{"b":{"c":"\\"}}', b"{}"]


@pytest.mark.parametrize(
    "stream",
    [b"HTTP/1.1 400 Bad Request\r\n", b"[1]", b'{"a":1}}', b'{"a":1},{"b":2}', b"\x06\x00\x00\x08"],
)
def test_what_is_no_object_is_refused_with_a_sample_of_it(stream: bytes) -> None:
    with pytest.raises(ProtocolError, match="doesn't speak JSON-RPC: a message begins with b"):
        Framer().feed(stream)


def test_a_message_may_not_be_larger_than_agreed() -> None:
    framer = Framer(max_message=100)
    assert framer.feed(b'{"a":"' + 92 * b"x" + b'"}') != []
    framer.feed(b'{"a":"')
    with pytest.raises(ProtocolError, match="more than 100 bytes"):
        framer.feed(100 * b"x")


def test_many_messages_in_one_read_may_be_larger_together() -> None:
    assert len(Framer(max_message=100).feed(1000 * b'{"a":"b"}')) == 1000


@given(st.lists(st.binary(max_size=30), max_size=5))
def test_no_bytes_crash_it(pieces: list[bytes]) -> None:
    framer = Framer(max_message=1000)
    try:
        for piece in pieces:
            framer.feed(piece)
    except ProtocolError:
        pass
