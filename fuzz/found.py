"""Inputs that a target once failed on; each run starts with them."""

from __future__ import annotations

from typing import Final

FOUND: Final[dict[str, list[bytes]]] = {
    "desired": [
        bytes.fromhex("4f4d5f23"),  # a group without buckets: arithmetic on no pointer
    ],
}
