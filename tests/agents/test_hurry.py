"""Daemons run before others, but not while they work without a pause."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from proxying import policy, until

from nsxdp_agents.ovs.hurry import hurry

_SECONDS = 20.0

Started = Callable[[str], "subprocess.Popen[bytes]"]

IDLE = "import signal; print(flush=True); signal.pause()"
BUSY = """
import signal
signal.signal(signal.SIGUSR1, lambda *_: signal.pause())
print(flush=True)
while True:
    pass
"""


@pytest.fixture
def started() -> Iterator[Started]:
    """Starts a program of Python, which tells with a line that it is at work."""
    with contextlib.ExitStack() as stack:

        def start(program: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline()
            return process

        yield start


@contextlib.asynccontextmanager
async def hurrying(*processes: subprocess.Popen[bytes]) -> AsyncIterator[None]:
    task = asyncio.create_task(hurry(processes, 1))
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


async def until_it_is(wanted: int, pid: int) -> None:
    await asyncio.to_thread(until, "it has its policy", lambda: policy(pid) == wanted)


async def test_who_waits_for_work_runs_before_others(started: Started) -> None:
    idle = started(IDLE)
    async with hurrying(idle):
        await until_it_is(os.SCHED_RR, idle.pid)


async def test_who_works_without_a_pause_gets_in_line_until_it_pauses(started: Started) -> None:
    busy = started(BUSY)
    async with hurrying(busy):
        await until_it_is(os.SCHED_RR, busy.pid)
        await until_it_is(os.SCHED_OTHER, busy.pid)
        busy.send_signal(signal.SIGUSR1)
        await until_it_is(os.SCHED_RR, busy.pid)


async def test_one_that_ended_does_not_matter_to_others(started: Started) -> None:
    ended, idle = started(IDLE), started(IDLE)
    ended.kill()
    ended.wait()
    async with hurrying(ended, idle):
        await until_it_is(os.SCHED_RR, idle.pid)


async def test_without_a_priority_there_is_nothing_to_do(started: Started) -> None:
    idle = started(IDLE)
    await asyncio.wait_for(hurry([idle], 0), _SECONDS)
    assert policy(idle.pid) == os.SCHED_OTHER
