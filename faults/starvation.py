"""Whether the switch gets a processor: where the machine has none to spare, packets are lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.processes import waited

__all__ = ["Starvation"]

_PERIOD: Final = 0.5
_SHARE: Final = 0.5
"""Of a period for which a process must wait; where every other one idles it is a tenth."""


class Starvation:
    """Notes when a process, which may come back as another one, had to wait for long.

    Its first thread, that is: on the userspace datapath ovs-vswitchd's first thread forwards.

    Attributes
    ----------
    seen
        When (seconds since the epoch): the ends of such periods.
    """

    def __init__(self, pid: Callable[[], int]) -> None:
        self._pid = pid
        self.seen: list[float] = []

    def watch(self, stop: threading.Event) -> None:
        """Look again and again, until told to stop."""
        last: tuple[int, float, float] | None = None
        while not stop.wait(_PERIOD):
            try:
                pid = self._pid()
                now = pid, time.time(), waited(Path(f"/proc/{pid}"))
            except (OSError, LookupError):
                last = None  # It has been killed, and isn't back yet.
                continue
            if last and last[0] == pid and now[2] - last[2] > _SHARE * (now[1] - last[1]):
                self.seen.append(now[1])
            last = now
