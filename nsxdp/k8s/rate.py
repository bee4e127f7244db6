"""No more than so many a second: a token bucket."""

from __future__ import annotations

import asyncio
import time

__all__ = ["Rate"]


class Rate:
    """Lets 'burst' through at once, and then 'each_second' a second.

    Parameters
    ----------
    each_second
        More than 0.
    burst
        At least 1.
    """

    def __init__(self, each_second: float, burst: float) -> None:
        self._each_second = each_second
        self._burst = max(burst, 1.0)
        self._tokens = self._burst
        self._filled = time.monotonic()

    async def take(self) -> None:
        """Wait until one more may come."""
        while True:
            moment = time.monotonic()
            gained = (moment - self._filled) * self._each_second
            self._tokens = min(self._burst, self._tokens + gained)
            self._filled = moment
            if self._tokens >= 1:
                self._tokens -= 1
                return
            await asyncio.sleep((1 - self._tokens) / self._each_second)
