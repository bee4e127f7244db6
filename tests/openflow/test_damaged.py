"""What is shown of damaged messages is what ovs-ofctl shows of them."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Iterator

import pytest
from oracle import Oracle
from samples import MESSAGES

from nsxdp.openflow import codec

_NAME = re.compile(r"(?<=\*\*\*decode error: )[\w<>]+")


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle()


def _shortened(message: bytes) -> Iterator[bytes]:
    """'message' cut off everywhere, its length being what is left."""
    for n in range(8, len(message)):
        yield message[:2] + struct.pack("!H", n) + message[4:n]


def _changed(message: bytes) -> Iterator[bytes]:
    """'message' with each of its bytes but the version and the length changed."""
    for i in [1, *range(4, len(message))]:
        old = message[i]
        for new in {0, 1, 0xFF, old ^ 0x80, (old + 1) & 0xFF, old ^ 4} - {old}:
            yield message[:i] + bytes([new]) + message[i + 1 :]


def _same(ours: str, theirs: str) -> bool:
    """Some errors of properties have no name in ovs-ofctl, which prints "<invalid>" then."""
    return ours == theirs or _NAME.sub("<invalid>", ours) == theirs


@pytest.mark.parametrize(
    "fields",
    [
        "80001804ffffff00 80001a02ffff 80001401ff",
        "80001401ff",
        "80001401ff 80001a02ffff 80001401ff",
        "80001404ffffffff",
    ],
)
def test_the_fields_of_a_selection_method(oracle: Oracle, fields: str) -> None:
    """They are printed in one order, whatever the message's is, and may not be repeated."""
    given = bytes.fromhex(fields)
    method = b"hash".ljust(16, b"\0")
    size = 40 + len(given)
    selection = struct.pack("!HHIII16sQ", 0xFFFF, size, 0x154D, 1, 0, method, 0) + given
    selection += bytes(-size % 8)
    group = struct.pack("!HBxIHHI", 0, 1, 5, 0, 0, 0xFFFFFFFF) + selection
    message = struct.pack("!BBHI", 6, 15, 8 + len(group), 0) + group
    assert codec.message_print(message) == oracle.print(message).rstrip(" \n")


def test_messages_that_are_too_short(oracle: Oracle) -> None:
    messages = list(dict.fromkeys(m for x in MESSAGES for m in _shortened(x.encode())))
    for message, theirs in zip(messages, oracle.print_all(messages), strict=True):
        assert _same(codec.message_print(message), theirs), message.hex()


def test_messages_with_a_wrong_byte(oracle: Oracle) -> None:
    """99 of 100 are the same: docs/differences.md says which the others are."""
    messages = list(dict.fromkeys(m for x in MESSAGES for m in _changed(x.encode())))
    messages = random.Random(1).sample(messages, 12_000)
    different = [
        message
        for message, theirs in zip(messages, oracle.print_all(messages), strict=True)
        if not _same(codec.message_print(message), theirs)
    ]
    assert len(different) < len(messages) // 50, [message.hex() for message in different[:20]]
