"""How long to wait before the next attempt."""

from __future__ import annotations

import random

__all__ = ["Backoff"]


class Backoff:
    """Exponential backoff with jitter.

    The delays double from `first` to `last` seconds; each is drawn between half of that and all
    of it, so that a thousand nodes don't come back in step.
    """

    def __init__(self, first: float = 0.25, last: float = 30.0) -> None:
        self._first = first
        self._last = last
        self._next = first

    def reset(self) -> None:
        """Something worked: begin with the shortest delay again."""
        self._next = self._first

    def delay(self, at_least: float = 0.0) -> float:
        """Seconds to wait now; never less than `at_least` (a server's Retry-After)."""
        delay = self._next * random.uniform(0.5, 1.0)
        self._next = min(self._next * 2, self._last)
        # Who asks for a wait gets it, plus some jitter; but nobody may silence us for hours.
        if at_least > 0:
            delay = max(delay, min(at_least, 10 * self._last) * random.uniform(1.0, 1.1))
        return delay
