"""A process that is woken goes on at once, though others have the processors (sched(7)).

An event of the API server comes just when that, its clients and the switch are busy: who has to
wait in line for a processor waits for longer than all of its own work takes.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from nsxdp.logs import get_logger

__all__ = ["PAUSE", "realtime"]

log = get_logger(__name__)

_STRETCH: Final = 20_000
"""Microseconds of work without a pause: who works for longer has no hurry, and gets in line."""

PAUSE: Final = 1.0
"""Seconds after which it counts as one that waits for events again."""

_POLICY: Final = os.SCHED_RR | os.SCHED_RESET_ON_FORK


@contextmanager
def realtime(priority: int, *, quietly: bool = False) -> Iterator[None]:
    """Let this thread, which is the process's first and has a running loop, run before those of
    no real-time priority. Who may not goes on without.

    The kernel tells of too long a stretch (RLIMIT_RTTIME), and the thread is one like others for a
    while. Threads and processes that are made from it are always so.

    Parameters
    ----------
    priority
        1 to 99; 0: none.
    quietly
        Whether it needn't be said where it isn't allowed.
    """
    loop = asyncio.get_running_loop()

    def begin() -> None:
        _, most = resource.getrlimit(resource.RLIMIT_RTTIME)
        # At each signal the kernel moves the limit.
        resource.setrlimit(resource.RLIMIT_RTTIME, (_STRETCH, most))
        os.sched_setscheduler(0, _POLICY, os.sched_param(priority))

    def pause(*_: object) -> None:
        _end()
        loop.call_soon_threadsafe(loop.call_later, PAUSE, again)

    def again() -> None:
        if in_use:
            with suppress(OSError):
                begin()

    in_use = priority > 0
    if not in_use:
        yield
        return
    before = signal.signal(signal.SIGXCPU, pause)
    try:
        begin()
    except (OSError, ValueError) as error:
        in_use = False
        tell = log.debug if quietly else log.warning
        tell("no real-time priority", wanted=priority, reason=str(error))
    try:
        yield
    finally:
        in_use = False
        _end()
        signal.signal(signal.SIGXCPU, before)


def _end() -> None:
    """Be one like others."""
    os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
