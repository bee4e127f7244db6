"""Numbers that a restarted agent comes to again."""

from __future__ import annotations

from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nsxdp.pipeline.ids import Numbers
from nsxdp.services.slots import endpoint_columns, endpoint_slots

FIRST, LAST = 0x4000_0000, 0x7FFF_FFFF


def one_group(addresses: list[bytes], ports: list[int]) -> NDArray[np.uint32]:
    width = len(addresses[0])
    return endpoint_slots(
        np.frombuffer(b"".join(addresses), np.uint8).reshape(-1, width),
        np.array(ports, np.uint16),
        np.array([0, len(ports)], np.uint64),
    )


# Groups.


def test_id_is_the_hash_of_the_text() -> None:
    ids = Numbers(FIRST, LAST)
    assert (
        ids.take("a", "default/web/TCP/IPv4")
        == FIRST | crc32(b"default/web/TCP/IPv4") & 0x3FFF_FFFF
    )
    assert ids.take("a", "whatever") == ids.get("a")
    assert ids.name(ids.take("a", "")) == "a"
    assert len(ids) == 1


def test_taken_id_gives_the_next_one() -> None:
    ids = Numbers(FIRST, LAST)
    numbers = [ids.take(n, "the same") for n in range(3)]
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]


def test_released_id_is_free_again() -> None:
    ids = Numbers(FIRST, LAST)
    first = ids.take("a", "the same")
    ids.release("a")
    ids.release("a")
    assert ids.get("a") is None
    assert ids.name(first) is None
    assert ids.take("b", "the same") == first


def test_ids_wrap_around_and_end() -> None:
    ids = Numbers(16, 23)
    assert {ids.take(n, "the same") for n in range(8)} == set(range(16, 24))
    with pytest.raises(OverflowError, match="one more: all 8 numbers are taken"):
        ids.take(8, "one more")
    assert ids.take(3, "one that has one") == ids.get(3)


def test_range_is_a_power_of_two() -> None:
    with pytest.raises(ValueError, match="10 numbers: not a power of two"):
        Numbers(0, 9)


# Endpoints.

endpoints = st.lists(
    st.tuples(st.binary(min_size=4, max_size=4), st.integers(1, 65535)),
    min_size=1,
    max_size=50,
    unique=True,
)


@given(endpoints, st.integers(0, 49))
def test_number_depends_on_the_endpoint_alone(ends: list[tuple[bytes, int]], row: int) -> None:
    row %= len(ends)
    addresses, ports = zip(*ends, strict=True)
    slots = one_group(list(addresses), list(ports))
    assert slots[row] == one_group([addresses[row]], [ports[row]])[0]
    assert len(set(slots.tolist())) == len(ends)
    assert slots.min() >= 1
    assert slots.max() <= 0x7FFF_FFFF


@pytest.mark.parametrize("width", [4, 16])
def test_neighbors_get_different_numbers(width: int) -> None:
    addresses = [n.to_bytes(width) for n in range(10_000)]
    assert len(set(one_group(addresses, [80] * 10_000).tolist())) == 10_000
    assert len(set(one_group([addresses[5]] * 10_000, list(range(1, 10_001))).tolist())) == 10_000


def test_all_of_an_ipv6_address_counts() -> None:
    base = bytes(16)
    others = [base[:i] + b"\1" + base[i + 1 :] for i in range(16)]
    assert len(set(one_group([base, *others], [80] * 17).tolist())) == 17


def collision() -> tuple[bytes, bytes]:
    """Two IPv4 addresses whose numbers at port 80 are the same."""
    n = 1 << 18
    start = 0x0A00_0000
    words = np.arange(start, start + n, dtype=np.uint64).astype(">u4")
    # Each a group of its own, so that none gives way.
    slots = endpoint_slots(
        words.view(np.uint8).reshape(-1, 4),
        np.full(n, 80, np.uint16),
        np.arange(n + 1, dtype=np.uint64),
    )
    order = np.argsort(slots, kind="stable")
    (at, *_) = np.flatnonzero(slots[order][1:] == slots[order][:-1])
    return int(words[order[at]]).to_bytes(4), int(words[order[at + 1]]).to_bytes(4)


def test_one_of_two_with_the_same_hash_gives_way() -> None:
    first, second = collision()
    other = bytes([192, 0, 2, 1])
    together = one_group([first, second, other], [80, 80, 80]).tolist()
    assert together[1] == together[0] + 1
    assert together[0] == one_group([first], [80])[0] == one_group([second], [80])[0]
    assert together[2] == one_group([other], [80])[0]


def test_the_same_hash_in_another_group_does_not_matter() -> None:
    first, second = collision()
    addresses = np.frombuffer(first + second, np.uint8).reshape(2, 4)
    slots = endpoint_slots(addresses, np.array([80, 80], np.uint16), np.array([0, 1, 2], np.uint64))
    assert slots[0] == slots[1]


def test_no_endpoints_no_numbers() -> None:
    empty = np.empty((0, 4), np.uint8)
    for offsets in ([0], [0, 0, 0]):
        slots = endpoint_slots(empty, np.empty(0, np.uint16), np.array(offsets, np.uint64))
        assert len(slots) == 0


@pytest.mark.parametrize(
    ("width", "ports", "offsets"),
    [
        (4, 2, [0, 3]),
        (4, 2, [1, 0]),
        (4, 2, [0, 2**64 - 1]),
        (4, 2, []),
        (4, 1, [0, 1]),
        (5, 2, [0, 2]),
    ],
    ids=["beyond", "descending", "far beyond", "none", "ports missing", "no address"],
)
def test_offsets_that_lead_elsewhere(width: int, ports: int, offsets: list[int]) -> None:
    addresses = np.zeros((2, width), np.uint8)
    with pytest.raises(ValueError, match=r"^group 0 has rows|^2 addresses of \d bytes"):
        endpoint_slots(addresses, np.zeros(ports, np.uint16), np.array(offsets, np.uint64))


def packed(ports: list[int]) -> bytes:
    return np.array(ports, np.uint16).tobytes()


@pytest.mark.parametrize("width", [4, 16])
def test_columns_of_groups_are_those_of_their_endpoints(width: int) -> None:
    octets = np.arange(5 * width, dtype=np.uint8).reshape(5, width)
    groups = [octets[:2].tobytes(), b"", octets[2:].tobytes()]
    of_ports = [[80, 81], [], [443, 0x1234, 65535]]
    offsets, ips, ports, slots = endpoint_columns(width, groups, list(map(packed, of_ports)))
    assert offsets.tolist() == [0, 2, 2, 5]
    assert ports.tolist() == [80, 81, 443, 0x1234, 65535]
    assert (slots == endpoint_slots(octets, ports, offsets)).all()
    if width == 4:
        assert ips.tolist() == [int.from_bytes(bytes(address)) for address in octets]
    else:
        assert (ips == octets).all()


def test_columns_of_nothing() -> None:
    for groups in ([], [b""]):
        assert [len(column) for column in endpoint_columns(4, groups, groups)] == [
            len(groups) + 1,
            *(0, 0, 0),
        ]


@pytest.mark.parametrize(
    ("width", "addresses", "ports"),
    [
        (5, [bytes(5)], [packed([80])]),
        (4, [bytes(4)], [packed([80, 80])]),
        (4, [bytes(4)], []),
        (4, [bytes(4), bytes(8)], [packed([80, 80]), packed([80])]),
    ],
    ids=["no address", "too many ports", "no ports", "another group's ports"],
)
def test_columns_need_a_port_for_each_address(
    width: int, addresses: list[bytes], ports: list[bytes]
) -> None:
    with pytest.raises(ValueError, match=r"^\d+ bytes of addresses|^group 0: not a port"):
        endpoint_columns(width, addresses, ports)
