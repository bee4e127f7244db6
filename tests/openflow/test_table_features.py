"""What tables can do, printed as ovs-ofctl ofp-print prints it."""

from __future__ import annotations

import random
import struct
from contextlib import suppress

import pytest
from oracle import Oracle, pad

from nsxdp.openflow.codec import message_format
from nsxdp.openflow.errors import DecodeError
from nsxdp.openflow.messages import OtherReply, OtherRequest

TABLE_FEATURES = 12

INSTRUCTIONS, NEXT_TABLES, WRITE_ACTIONS, APPLY_ACTIONS = range(0, 8, 2)
MATCH, WILDCARDS, WRITE_SETFIELD, APPLY_SETFIELD = range(8, 16, 2)
MISS = 1
"""Added to a property's type: for packets that match no flow."""
EXPERIMENTER = 0xFFFE

WIDTHS = {0: 4, 3: 6, 4: 6, 5: 2, 6: 2, 7: 1, 10: 1, 11: 4, 12: 4, 13: 2, 14: 2, 26: 16, 38: 8}
FIELDS = [0x80000000 | number << 9 | n_bytes for number, n_bytes in WIDTHS.items()]
FIELDS += [0x00010004 | register << 9 for register in range(16)]
"""Headers of OXM and NXM."""
MASKABLE = [field for field in FIELDS if field & 0xFF in (6, 16) or field < 0x80000000]
EVICTION, VACANCY = 1 << 2, 1 << 3


def prop(kind: int, data: bytes = b"") -> bytes:
    return pad(struct.pack("!HH", kind, 4 + len(data)) + data)


def ids(*types: int) -> bytes:
    """Of actions or instructions."""
    return b"".join(struct.pack("!HH", kind, 4) for kind in types)


def masked(field: int) -> int:
    """The header of a field with a mask: the value is as long again."""
    return (field | 0x100) + (field & 0xFF)


def headers(*fields: int) -> bytes:
    return struct.pack(f"!{len(fields)}I", *fields)


REQUIRED = {
    INSTRUCTIONS: ids(1, 4),
    NEXT_TABLES: b"\1\2\3",
    WRITE_ACTIONS: ids(0),
    APPLY_ACTIONS: ids(0),
    MATCH: headers(FIELDS[3]),
    WILDCARDS: headers(FIELDS[3]),
    WRITE_SETFIELD: b"",
    APPLY_SETFIELD: b"",
}


def table(
    number: int,
    properties: dict[int, bytes],
    name: bytes = b"",
    command: int = 0,
    metadata: tuple[int, int] = (0, 0),
    capabilities: int = 0,
    max_entries: int = 0,
    more: bytes = b"",
) -> bytes:
    """A ``struct ofp_table_features`` with 'properties', and 'more' after them."""
    body = b"".join(prop(kind, data) for kind, data in properties.items()) + more
    head = struct.pack("!HBBI32s", 64 + len(body), number, command, 0, name)
    return head + struct.pack("!QQII", *metadata, capabilities, max_entries) + body


def reply(*tables: bytes) -> bytes:
    return OtherReply(TABLE_FEATURES, b"".join(tables)).encode()


def random_fields(rng: random.Random) -> bytes:
    chosen = rng.sample(FIELDS, rng.choice([0, 1, 3, 10, len(FIELDS)]))
    return headers(*sorted(chosen) if rng.random() < 0.5 else chosen)


def random_properties(rng: random.Random) -> dict[int, bytes]:
    """All that have to be there, and some of those for packets that match no flow."""
    found = {}
    for kind in REQUIRED:
        for miss in (0, MISS) if rng.random() < 0.3 and kind not in (MATCH, WILDCARDS) else (0,):
            if kind == NEXT_TABLES:
                first = rng.randrange(255)
                data = bytes(rng.choice([range(first, 255), [first], [], [first, 3, 4, 9]]))
            elif kind == INSTRUCTIONS:
                data = ids(*rng.sample(range(1, 7), rng.randrange(7)))
            elif kind in (WRITE_ACTIONS, APPLY_ACTIONS):
                data = ids(*rng.sample(range(29), rng.choice([0, 1, 5, 29])))
                data += rng.choice([b"", bytes.fromhex("ffff 0008 00002320")])
            else:
                data = random_fields(rng)
                if kind == MATCH:
                    data += headers(*(masked(field) for field in rng.sample(MASKABLE, 3)))
                data += rng.choice([b"", bytes.fromhex("ffff0008 4f4e4600")])
            found[kind + miss] = data
    if rng.random() < 0.2:
        # Write-Actions and Apply-Actions alike, as most switches have them.
        found[APPLY_ACTIONS], found[APPLY_SETFIELD] = found[WRITE_ACTIONS], found[WRITE_SETFIELD]
    return found


def random_tables(rng: random.Random) -> list[bytes]:
    """Tables of which many are as the one before, in all or in something."""
    tables: list[bytes] = []
    properties = random_properties(rng)
    capabilities = 0
    for number in sorted(rng.sample(range(255), rng.choice([1, 2, 7]))):
        if rng.random() < 0.4:
            fresh = random_properties(rng)
            kept = rng.choice([set(), {MATCH, WILDCARDS}, set(properties) - {MATCH, WILDCARDS}])
            properties = {
                kind: (properties if kind in kept else fresh).get(kind, b"")
                for kind in sorted((set(properties) & kept) | (set(fresh) - kept))
            }
            capabilities = rng.choice([0, EVICTION, VACANCY, EVICTION | VACANCY, 1 << 7])
        tables.append(
            table(
                number,
                properties if rng.random() < 0.95 else {},
                name=rng.choice([b"", b"", b"ServiceLB", b"x" * 31]),
                capabilities=capabilities,
                metadata=(capabilities << 40, 0),
                max_entries=rng.choice([0, 1_000_000]),
            )
        )
    return tables


@pytest.mark.parametrize("seed", range(40))
def test_prints_as_ofp_print(seed: int, oracle: Oracle) -> None:
    message = reply(*random_tables(random.Random(seed)))
    assert message_format(message) == oracle.print(message).rstrip()


def test_a_request_that_sets_features(oracle: Oracle) -> None:
    for command in range(4):
        wanted = table(3, REQUIRED, name=b"Classifier", command=command)
        message = OtherRequest(TABLE_FEATURES, wanted).encode()
        assert message_format(message) == oracle.print(message).rstrip()


def test_what_nobody_knows_is_left_out(oracle: Oracle) -> None:
    unknown = bytes.fromhex("8000fe04 f00dfe04") + headers(FIELDS[3])
    message = reply(
        table(0, {**REQUIRED, MATCH: unknown, MATCH + MISS: b"\1", EXPERIMENTER: bytes(8)})
    )
    assert message_format(message) == oracle.print(message).rstrip()


WRONG = [
    (
        "property 0 has a wrong value",
        table(1, {**REQUIRED, INSTRUCTIONS: bytes.fromhex("0001 0003")}),
    ),
    (
        "property 0 has a wrong value",
        table(1, {**REQUIRED, INSTRUCTIONS: bytes.fromhex("0001 0005")}),
    ),
    ("property 2 has a wrong value", table(1, {**REQUIRED, NEXT_TABLES: b"\xff"})),
    ("property 4 has a wrong value", table(1, {**REQUIRED, WRITE_ACTIONS: b"\0\0"})),
    ("property 8 has a wrong value", table(1, {**REQUIRED, MATCH: b"\x80\0\x0a"})),
    ("property 8 has a wrong value", table(1, {**REQUIRED, MATCH: bytes.fromhex("ffff0008")})),
    (
        "property 10 has a wrong value",
        table(1, {**REQUIRED, WILDCARDS: headers(masked(FIELDS[1]))}),
    ),
    (
        "property 12 has a wrong value",
        table(1, {**REQUIRED, WRITE_SETFIELD: headers(masked(FIELDS[1]))}),
    ),
    ("property 14 has one like it before it", table(1, REQUIRED, more=prop(APPLY_SETFIELD))),
    ("lack a property", table(1, {INSTRUCTIONS: b""})),
    ("property of 9 bytes", table(1, REQUIRED, more=struct.pack("!HHI", 20, 9, 0))),
    ("features of table 255", table(255, {})),
    ("unknown command 4 of features", table(0, {}, command=4)),
    ("56 bytes", struct.pack("!H", 56) + table(0, {})[2:]),
    ("72 bytes", struct.pack("!H", 72) + table(0, {})[2:]),
]


@pytest.mark.parametrize(("reason", "wrong"), WRONG)
def test_what_no_table_can_do_is_refused(reason: str, wrong: bytes, oracle: Oracle) -> None:
    message = reply(table(0, REQUIRED), wrong)
    assert "decode error" in oracle.print(message)
    with pytest.raises(DecodeError, match=reason) as caught:
        message_format(message)
    assert caught.value.position >= 16 + len(table(0, REQUIRED))


def test_every_truncation_and_changed_byte() -> None:
    message = reply(*random_tables(random.Random(3)))
    for end in range(16, len(message)):
        _survives(message[:2] + struct.pack("!H", end) + message[4:end])
    for at in range(len(message)):
        _survives(message[:at] + bytes([message[at] ^ 0x81]) + message[at + 1 :])


def _survives(message: bytes) -> None:
    with suppress(DecodeError):
        assert message_format(message)
