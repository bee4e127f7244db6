"""A server that nobody could reach is there again: who waits to try once more hears of it."""

from __future__ import annotations

import asyncio
import time
from typing import Final

__all__ = ["Reach"]

_REST_SECONDS: Final = 5.0
"""A server that answers, and breaks off, again and again, is news no more often than this."""


class Reach:
    """Shared by all who talk to one server, each with delays of its own between attempts."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()
        self._told = 0.0

    def answered(self) -> None:
        """It has answered somebody: all that wait now go on."""
        now = time.monotonic()
        if self._waiting and now - self._told > _REST_SECONDS:
            self._told = now
            for told in self._waiting:
                if not told.done():
                    told.set_result(None)

    async def wait(self, seconds: float) -> bool:
        """Wait for so long, or until it has answered somebody. Returns whether it has."""
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(told)
        try:
            async with asyncio.timeout(seconds):
                await told
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(told)
        return True
