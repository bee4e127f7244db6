"""A process that is woken goes on at once, though others have the processors (sched(7)).

An event of the API server comes just when that, its clients and the switch are busy: who has to
wait in line for a processor waits for longer than all of its own work takes.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import get_native_id
from typing import Final, TypeVar

from nsxdp.logs import get_logger
from nsxdp_agents.common.options import REALTIME_PRIORITY

__all__ = ["PAUSE", "ShortWork", "next_step", "put_first", "put_in_line", "realtime"]

log = get_logger(__name__)

_T = TypeVar("_T")

_STRETCH: Final = 20_000
"""Microseconds of work without a pause: who works for longer has no hurry, and gets in line."""

_LONG: Final = 0.03
"""Seconds after which work isn't short."""

PAUSE: Final = 1.0
"""Seconds after which it counts as one that waits for events again."""

_POLICY: Final = os.SCHED_RR | os.SCHED_RESET_ON_FORK
"""What is made from a thread with a real-time priority has none by itself."""

_here: Final = threading.local()
"""Its `turn` is that of this thread."""


@contextmanager
def realtime(priority: int) -> Iterator[None]:
    """Let this thread, which is the process's first and has a running loop, run before those of
    no real-time priority, and with it those of `asyncio.to_thread`. Who may not goes on without,
    and who didn't ask for it isn't told.

    One thread of Python's goes on at a time: one that has no processor, and the interpreter's lock,
    keeps all others waiting, whatever their priority.

    The kernel tells of too long a stretch (RLIMIT_RTTIME), and these threads are like others for a
    while. Other threads and all processes that are made from them are always so, but for those of
    `ShortWork`.

    Parameters
    ----------
    priority
        1 to 99; 0: none.
    """
    if priority <= 0:
        yield
        return
    loop = asyncio.get_running_loop()
    threads = [get_native_id()]
    in_use = True
    limits = resource.getrlimit(resource.RLIMIT_RTTIME)

    def begin() -> None:
        # At each signal the kernel moves the limit.
        resource.setrlimit(resource.RLIMIT_RTTIME, (_STRETCH, limits[1]))
        for thread in threads:
            put_first(priority, thread)

    def join() -> None:
        if in_use:
            threads.append(get_native_id())
            with suppress(OSError):
                put_first(priority)

    def end(*_: object) -> None:
        for thread in threads:
            put_in_line(thread)

    def again() -> None:
        if in_use:
            with suppress(OSError):
                begin()

    before = signal.getsignal(signal.SIGXCPU)
    # The loop is woken, whichever thread gets the signal, and so the first one looks at it.
    loop.add_signal_handler(signal.SIGXCPU, loop.call_later, PAUSE, again)
    signal.signal(signal.SIGXCPU, end)
    try:
        begin()
    except (OSError, ValueError) as error:
        in_use = False
        tell = log.debug if priority == REALTIME_PRIORITY else log.warning
        tell("no real-time priority", wanted=priority, reason=str(error))
    else:
        loop.set_default_executor(ThreadPoolExecutor(initializer=join))
    try:
        yield
    finally:
        in_use = False
        end()
        resource.setrlimit(resource.RLIMIT_RTTIME, limits)
        loop.remove_signal_handler(signal.SIGXCPU)
        signal.signal(signal.SIGXCPU, before)


class ShortWork:
    """Threads that run before others too, if they may, for work that is always short.

    A step of it that takes long all the same is others' equal until `next_step`. It waits for
    somebody who has no processor, and more so the more it hurries: who has a real-time priority and
    waits to write to a tree of the kernel's (kernfs; a new interface writes hundreds of times) lets
    nobody begin to read it, and all who wanted to must get a processor before it may write again
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
        turn = _Turn(self._priority)
        loop = asyncio.get_running_loop()
        doing = loop.run_in_executor(self._threads, turn.do, work)
        try:
            while not (await asyncio.wait([doing], timeout=_LONG))[0]:
                turn.end()
        finally:
            doing.cancel()  # it may not have begun
        return doing.result()


def next_step() -> None:
    """Say that this thread has done a step of `ShortWork`, and that the next one may be short.

    In other threads this does nothing.
    """
    turn: _Turn | None = getattr(_here, "turn", None)
    if turn is not None:
        turn.begin()


class _Turn:
    """Who does some work."""

    def __init__(self, priority: int) -> None:
        self._priority = priority
        self._thread = 0

    def do(self, work: Callable[[], _T]) -> _T:
        """Do the work in this thread, before others' if it may."""
        _here.turn = self
        self.begin()
        self._thread = get_native_id()
        try:
            return work()
        finally:
            self._thread = 0
            self.begin()
            _here.turn = None

    def begin(self) -> None:
        """Let this thread run before others', if it may."""
        if self._priority:
            with suppress(OSError):
                put_first(self._priority)

    def end(self) -> None:
        """Let the thread that does the work be one like others."""
        if self._thread:
            put_in_line(self._thread)


def put_first(priority: int, thread: int = 0) -> None:
    """Let a thread run before those of no real-time priority; 0: this one."""
    os.sched_setscheduler(thread, _POLICY, os.sched_param(priority))


def put_in_line(thread: int) -> None:
    """Let a thread be one like others."""
    with suppress(ProcessLookupError):
        os.sched_setscheduler(thread, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
