"""How long to wait before the next attempt."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Backoff"]


@dataclass(frozen=True)
class Backoff:
    """Exponential backoff with jitter, in seconds.

    The delays double from ``first`` to ``last``; of each a random half to whole is waited, so that
    the clients of a server that was restarted don't come back in step.
    """

    first: float = 0.25
    last: float = 30.0

    def delay(self, failures: int, at_least: float = 0.0) -> float:
        """The wait after so many failures in a row.

        It is never less than `at_least`, a server's Retry-After; but nobody may silence us for
        hours.
        """
        longest: float = min(self.last, self.first * 2.0 ** min(failures - 1, 30))
        delay = longest * random.uniform(0.5, 1.0)
        if at_least > 0:
            delay = max(delay, min(at_least, 10 * self.last) * random.uniform(1.0, 1.1))
        return delay

    def delays(self) -> Iterator[float]:
        """The waits after each failure, without an end."""
        return map(self.delay, itertools.count(1))
