"""Every truncation and changed byte of a message of every kind: a text, or an error."""

from __future__ import annotations

from contextlib import suppress

from fuzz import seeds
from nsxdp.openflow import codec
from nsxdp.openflow.errors import DecodeError


def printed(message: bytes) -> None:
    with suppress(DecodeError):
        assert codec.message_format(message)


def test_truncations() -> None:
    for message in seeds.kinds():
        for length in range(8, len(message)):
            printed(message[:2] + length.to_bytes(2, "big") + message[4:length])


def test_changed_bytes() -> None:
    for message in seeds.kinds():
        for at in range(len(message)):
            for value in (0x01, 0x80, 0xFF):
                printed(message[:at] + bytes([value]) + message[at + 1 :])
