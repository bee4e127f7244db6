"""How what arrives at a socket comes to a protocol of asyncio."""

from __future__ import annotations

import asyncio
from typing import Final

__all__ = ["Received"]

_BUFFER: Final = 256 * 1024
"""Bytes that are read at once."""


class Received(asyncio.BufferedProtocol):
    """A protocol that is told what was received, by way of one buffer of its own.

    asyncio reads into a new object of 256 KiB each time, however little there is: memory that the
    kernel has to give and to take back, which costs ten times as much as to read an answer.
    """

    def __init__(self) -> None:
        self._received = memoryview(bytearray(_BUFFER))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio names it
        return self._received

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self._received[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Take what came next."""
        raise NotImplementedError
