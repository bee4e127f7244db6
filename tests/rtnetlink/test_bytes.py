"""Messages as bytes: what is encoded is decoded, and what is no message is an error, no more."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsxdp.rtnetlink import RTM, Address, Link, MalformedError, Neighbor, Request, Route
from nsxdp.rtnetlink.holdings import address_of, next_hops, route_of
from nsxdp.rtnetlink.objects import decode
from nsxdp.rtnetlink.wire import NLMSG_ERROR, Failure, Message, messages

V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)

ROUTE = Route(V4, bytes([10, 96, 0, 0]), 12, 7, bytes([169, 254, 0, 253]), 110, flags=4)

GOLDEN = {
    RTM.NEWLINK: (
        Link(7, "br-int", 0x1043),
        "0000 0000 07000000 43100000 00000000  0b00 0300 62722d696e7400 00",
    ),
    RTM.NEWADDR: (
        Address(V4, 7, bytes([10, 0, 0, 2]), 32, bytes([10, 0, 0, 1]), protocol=111),
        "02 20 00 00 07000000  0800 0100 0a000002  0800 0200 0a000001  0500 0b00 6f000000",
    ),
    RTM.NEWROUTE: (
        ROUTE,
        "02 0c 00 00 fe 6e 00 01 04000000  0800 0100 0a600000  0800 0400 07000000"
        "  0800 0500 a9fe00fd",
    ),
    RTM.NEWNEIGH: (
        Neighbor(V4, 7, bytes([169, 254, 0, 253]), bytes.fromhex("020000000001")),
        "02 000000 07000000 8000 00 00  0800 0100 a9fe00fd  0a00 0200 020000000001 0000",
    ),
}
"""As a little-endian kernel has them."""

REFUSAL = bytes.fromhex(
    "9cffffff  2c000000 1800 0504 09000000 00000000  1d00 0100"
) + b"Nexthop device is not up\0".ljust(28, b"\0")
"""ENETDOWN, the header of the request, and what the kernel says."""

u8, u32 = st.integers(0, 255), st.integers(0, 0xFFFF_FFFF)
index = st.integers(0, 0x7FFF_FFFF)


def packed(family: int) -> st.SearchStrategy[bytes]:
    width = 4 if family == V4 else 16
    return st.binary(min_size=width, max_size=width)


@st.composite
def objects(draw: Any) -> Link | Address | Route | Neighbor:
    """Any of them; where there may be nothing, nothing now and then."""
    family = draw(st.sampled_from([V4, V6]))
    address = packed(family)
    maybe = st.just(b"") | address
    name = st.text("abcdefghi-.0123456789", max_size=15)
    prefixlen = st.integers(0, 32 if family == V4 else 128)
    return draw(
        st.one_of(
            st.builds(Link, index, name, u32),
            st.builds(Address, st.just(family), u32, address, prefixlen, maybe, u8, protocol=u8),
            st.builds(
                Route, st.just(family), address, prefixlen, u32, maybe, u8, u8, u8, u32, u32, u32
            ),
            st.builds(
                Neighbor, st.just(family), index, maybe, st.binary(max_size=32), st.integers(0, 255)
            ),
        )
    )


@given(objects())
def test_what_is_encoded_is_decoded(thing: Link | Address | Route | Neighbor) -> None:
    assert type(thing).decode(thing.encode()) == thing


@pytest.mark.parametrize("kind", GOLDEN)
def test_bytes_are_the_kernel_s(kind: RTM) -> None:
    thing, golden = GOLDEN[kind]
    body = bytes.fromhex(golden)
    assert thing.encode() == body
    assert decode(kind, body) == thing


def test_what_one_interface_has_another_gets() -> None:
    read: Any
    for kind, read in ((RTM.NEWADDR, address_of), (RTM.NEWROUTE, route_of)):
        body = GOLDEN[kind][0].encode()
        index, holding = read(body)
        assert index == 7
        for request in (holding.give(9), holding.take(9)):
            assert read(request.body) == (9, holding)


@given(st.sampled_from([RTM.NEWADDR, RTM.NEWROUTE]), st.data())
def test_what_an_interface_has_is_read_or_refused(kind: RTM, data: st.DataObject) -> None:
    body = bytearray(bytes.fromhex(GOLDEN[kind][1]))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(u8)
    for read in (address_of, route_of, next_hops):
        with suppress(MalformedError):
            read(bytes(body))
            read(bytes(body[: data.draw(st.integers(0, len(body)))]))


def test_an_anywhere_has_no_address() -> None:
    anywhere = Route.decode(Route(V6, b"", 0, 7).encode())
    assert (anywhere.dst, anywhere.dst_len) == (bytes(16), 0)


def test_what_is_of_another_kind_is_nothing() -> None:
    assert decode(RTM.GETROUTE, b"") is None


@pytest.mark.parametrize("kind", GOLDEN)
def test_cut_off_it_is_something_else_or_an_error(kind: RTM) -> None:
    thing, golden = GOLDEN[kind]
    body = bytes.fromhex(golden)
    whole = body.rstrip(b"\0")
    cut = 0
    for length in range(len(whole) - 2):
        try:
            assert decode(kind, body[:length]) != thing
        except MalformedError:
            cut += 1
    assert cut > len(body) // 2


@pytest.mark.parametrize("kind", GOLDEN)
def test_a_changed_byte_does_no_harm(kind: RTM) -> None:
    body = bytearray.fromhex(GOLDEN[kind][1])
    for at, was in enumerate(body):
        for value in range(256):
            body[at] = value
            with suppress(MalformedError):
                decode(kind, bytes(body))
        body[at] = was


@given(st.sampled_from(list(GOLDEN)), st.binary(max_size=200))
def test_any_bytes_do_no_harm(kind: RTM, data: bytes) -> None:
    with suppress(MalformedError):
        for message in messages(data):
            decode(message.type, message.body)
    with suppress(MalformedError):
        decode(kind, data)


@given(st.sampled_from([NLMSG_ERROR, 3]), st.integers(0, 0xFFFF), st.binary(max_size=100))
def test_any_answer_does_no_harm(kind: int, flags: int, body: bytes) -> None:
    with suppress(MalformedError):
        assert 0 <= Failure.decode(Message(kind, flags, 1, 0, body)).code < 4096


def test_a_message_has_its_number_and_its_neighbors() -> None:
    datagram = ROUTE.replace().encode(5) + Request(RTM.GETADDR, 0, b"\2").encode(6, 0x300)
    first, second = messages(datagram)
    assert (first.type, first.flags, first.sequence) == (RTM.NEWROUTE, 0x501, 5)
    assert Route.decode(first.body) == ROUTE
    assert second == Message(RTM.GETADDR, 0x301, 6, 0, b"\2")


def test_a_datagram_that_is_cut_off_is_an_error() -> None:
    datagram = ROUTE.replace().encode(5)
    for length in range(1, len(datagram)):
        with pytest.raises(MalformedError, match="netlink message at byte 0"):
            list(messages(datagram[:length]))


def test_a_message_that_lies_about_its_length_is_an_error() -> None:
    for length in (0, 15, 1 << 31):
        with pytest.raises(MalformedError, match=f"says that it has {length} bytes, of 16"):
            list(messages(length.to_bytes(4, "little") + bytes(12)))


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("02 20 00 00 fe 6e 00 01 00000000  0700 0100 0a6000 00", "route: RTA_DST has 3 bytes"),
        ("02 21 00 00 fe 6e 00 01 00000000  0800 0100 0a600000", "a prefix of 33 bits"),
        ("02 20 00 00 fe 6e 00 01 00000000", "32 bits without RTA_DST"),
        ("02 20 00 00 fe 6e 00 01 00000000  0300 0100", "attribute 1 at byte 12: it says that"),
        ("02 20 00 00 fe 6e 00 01 00000000  08", "1 bytes at byte 12 are no attribute"),
        ("02 00 00 00 fe 6e 00 01 00000000  0500 0400 07 000000", "RTA_OIF has 1 bytes"),
    ],
)
def test_an_error_says_what_is_wrong(body: str, error: str) -> None:
    with pytest.raises(MalformedError, match=error):
        Route.decode(bytes.fromhex(body))


def test_a_refusal_says_why() -> None:
    refusal = Message(NLMSG_ERROR, 0x300, 9, 0, REFUSAL)
    assert Failure.decode(refusal) == Failure(100, "Nexthop device is not up")
    for length in range(len(REFUSAL) - 3):
        cut = refusal._replace(body=REFUSAL[:length])
        if length == 20:
            assert Failure.decode(cut) == Failure(100)
        else:
            with pytest.raises(MalformedError):
                Failure.decode(cut)
