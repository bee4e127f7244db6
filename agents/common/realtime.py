"""A process that is woken goes on at once, though others have the processors (sched(7)).

An event of the API server comes just when that, its clients and the switch are busy: who has to
wait in line for a processor waits for longer than all of its own work takes.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import get_native_id
from typing import Final, TypeVar

from nsxdp.logs import get_logger
from nsxdp_agents.common.options import REALTIME_PRIORITY

__all__ = ["PAUSE", "POLICY", "ShortWork", "realtime"]

log = get_logger(__name__)

_T = TypeVar("_T")

_STRETCH: Final = 20_000
"""Microseconds of work without a pause: who works for longer has no hurry, and gets in line."""

_LONG: Final = 0.03
"""Seconds after which work isn't short."""

PAUSE: Final = 1.0
"""Seconds after which it counts as one that waits for events again."""

POLICY: Final = os.SCHED_RR | os.SCHED_RESET_ON_FORK
"""What is made from a thread with a real-time priority has none by itself."""


@contextmanager
def realtime(priority: int) -> Iterator[None]:
    """Let this thread, which is the process's first and has a running loop, run before those of
    no real-time priority. Who may not goes on without, and who didn't ask for it isn't told.

    The kernel tells of too long a stretch (RLIMIT_RTTIME), and the thread is one like others for a
    while. Threads and processes that are made from it are always so, but for those of
    `ShortWork`.

    Parameters
    ----------
    priority
        1 to 99; 0: none.
    """
    loop = asyncio.get_running_loop()

    def begin() -> None:
        _, most = resource.getrlimit(resource.RLIMIT_RTTIME)
        # At each signal the kernel moves the limit.
        resource.setrlimit(resource.RLIMIT_RTTIME, (_STRETCH, most))
        os.sched_setscheduler(0, POLICY, os.sched_param(priority))

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
    limits = resource.getrlimit(resource.RLIMIT_RTTIME)
    before = signal.signal(signal.SIGXCPU, pause)
    try:
        begin()
    except (OSError, ValueError) as error:
        in_use = False
        tell = log.debug if priority == REALTIME_PRIORITY else log.warning
        tell("no real-time priority", wanted=priority, reason=str(error))
    try:
        yield
    finally:
        in_use = False
        _end()
        resource.setrlimit(resource.RLIMIT_RTTIME, limits)
        signal.signal(signal.SIGXCPU, before)


class ShortWork:
    """Threads that run before others too, if they may, for work that is always short.

    Work that takes long all the same is others' equal until it is done. It waits for somebody who
    has no processor, and more so the more it hurries: who has a real-time priority and waits to
    write to a tree of the kernel's (kernfs; a new interface writes hundreds of times) lets nobody
    begin to read it, and all who wanted to must get a processor before it may write again
    (kernel/locking/rwsem.c, rwsem_try_write_lock()).

    Parameters
    ----------
    threads
        The most of them.
    name
        What they are called, with a number.
    priority
        1 to 99; 0: none.
    """

    def __init__(self, threads: int, name: str, priority: int) -> None:
        self._threads = ThreadPoolExecutor(threads, name)
        self._priority = priority

    def close(self) -> None:
        """Wait for the threads."""
        self._threads.shutdown()

    async def do(self, work: Callable[[], _T]) -> _T:
        """Do 'work' in a thread. Who is cancelled doesn't wait for it."""
        loop = asyncio.get_running_loop()
        turn = _Turn(self._priority)
        late = loop.call_later(_LONG, turn.end)
        try:
            return await loop.run_in_executor(self._threads, turn.do, work)
        finally:
            late.cancel()


class _Turn:
    """Who does some work."""

    def __init__(self, priority: int) -> None:
        self._priority = priority
        self._thread = 0
        self._late = False

    def do(self, work: Callable[[], _T]) -> _T:
        """Do the work in this thread, before others' if it may, and if it isn't late."""
        self._thread = get_native_id()
        if self._late:
            _end()
        elif self._priority:
            with suppress(OSError):
                os.sched_setscheduler(0, POLICY, os.sched_param(self._priority))
        return work()

    def end(self) -> None:
        """Let the thread be one like others."""
        self._late = True
        if self._thread:
            _end(self._thread)


def _end(thread: int = 0) -> None:
    """Let a thread be one like others; 0: this one."""
    os.sched_setscheduler(thread, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
