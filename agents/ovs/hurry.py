"""Daemons run before others, as long as they work in short stretches (sched(7)).

A pod that starts waits for its port and its flows, just when the runtime has all processors busy.
ovs-vswitchd's threads wait for each other (ovsrcu_synchronize() of its lib/ovs-rcu.c), so all of
them have what its first one has. A thread that works without a pause has no hurry, and gets in
line: one that forwards packets in Open vSwitch's own datapath, say.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from nsxdp.logs import get_logger
from nsxdp_agents.common.realtime import PAUSE, put_first, put_in_line

__all__ = ["hurry"]

log = get_logger(__name__)

_LOOK: Final = 0.25
"""Seconds between two looks at what threads have done."""

_MOST: Final = 0.9
"""Of the time between two looks: who worked for longer had no pause."""


class Process(Protocol):
    """A daemon that may be started again."""

    @property
    def pid(self) -> int | None: ...


async def hurry(daemons: Collection[Process], priority: int) -> None:
    """Give the daemons' threads a real-time priority, and look after them, until cancelled.

    Who looks after them has it too. Where that isn't allowed, all go on without.

    Parameters
    ----------
    priority
        1 to 99; 0: none.
    """
    threads: dict[Path, _Thread] = {}
    while priority:
        pids = [os.getpid(), *(daemon.pid for daemon in daemons if daemon.pid is not None)]
        threads = {path: threads.get(path) or _Thread(path) for path in _threads(pids)}
        try:
            for thread in threads.values():
                thread.look(priority)
        except PermissionError as error:
            log.info("no real-time priority", wanted=priority, reason=str(error))
            return
        await asyncio.sleep(_LOOK)


def _threads(pids: Iterable[int]) -> Iterator[Path]:
    """The directories of all threads that processes have (proc_pid_task(5))."""
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            yield from Path(f"/proc/{pid}/task").iterdir()


class _Thread:
    """A thread, and what it did until the last look."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._hurries = False
        self._again = self._at = time.monotonic()
        self._ran = math.inf  # until it is known

    def look(self, priority: int) -> None:
        """Let it run before others, or not, by what it did since the last time."""
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            ran = self._seconds_run()
            now = time.monotonic()
            if ran - self._ran > _MOST * (now - self._at):
                self._again = now + PAUSE
            self._at, self._ran = now, ran
            self._let(now >= self._again, priority)

    def _seconds_run(self) -> float:
        """How long it had a processor (proc_pid_schedstat(5))."""
        return int((self._directory / "schedstat").read_text().split()[0]) / 1e9

    def _let(self, hurry: bool, priority: int) -> None:
        if hurry != self._hurries:
            thread = int(self._directory.name)
            if hurry:
                put_first(priority, thread)
            else:
                put_in_line(thread)
            self._hurries = hurry
