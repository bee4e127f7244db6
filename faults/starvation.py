"""Whether the switch gets a processor: where the machine has none to spare, packets are lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["Starvation", "waited"]

_PERIOD: Final = 0.5
_SHARE: Final = 0.5
"""Of a period for which a process must wait; where every other one idles it is a tenth."""


def waited(pid: int) -> float:
    """For how many seconds a process's first thread could have run and had no processor.

    On the userspace datapath it is ovs-vswitchd's first thread that forwards.

    Examples
    --------
    >>> import os
    >>> from faults.starvation import waited
    >>> waited(os.getpid()) < 3600
    True
    """
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


class Starvation:
    """Notes when a process, which may come back as another one, had to wait for long.

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
                now = pid, time.time(), waited(pid)
            except (OSError, LookupError):
                last = None  # It has been killed, and isn't back yet.
                continue
            if last and last[0] == pid and now[2] - last[2] > _SHARE * (now[1] - last[1]):
                self.seen.append(now[1])
            last = now
