"""Who has a real-time priority has it while it waits for events, not while it works for long."""

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial

from proxying import Agent, policy

from nsxdp_agents.common.realtime import PAUSE, ShortWork, next_step, realtime
from nsxdp_agents.common.tools import run

_SECONDS = 10.0


def work_until_ordinary() -> None:
    began = time.monotonic()
    while policy() != os.SCHED_OTHER:
        assert time.monotonic() - began < _SECONDS


def wait_until_ordinary() -> None:
    """As `work_until_ordinary`, without work."""
    began = time.monotonic()
    while policy() != os.SCHED_OTHER:
        assert time.monotonic() - began < _SECONDS
        time.sleep(0.001)


def two_steps() -> int:
    """A long step, and how the thread gets processors in the next one."""
    wait_until_ordinary()
    next_step()
    return policy()


async def test_who_works_for_long_is_ordinary_for_a_while() -> None:
    with realtime(1):
        assert policy() == os.SCHED_RR
        for _ in range(2):
            work_until_ordinary()
            await asyncio.sleep(PAUSE)  # its own timer comes first
            assert policy() == os.SCHED_RR
    assert policy() == os.SCHED_OTHER


async def test_threads_that_are_waited_for_have_it_with_the_first_one() -> None:
    with realtime(1):
        assert await asyncio.to_thread(policy) == os.SCHED_RR
        await asyncio.to_thread(work_until_ordinary)
        assert policy() == os.SCHED_OTHER
        await asyncio.sleep(PAUSE)
        assert policy() == await asyncio.to_thread(policy) == os.SCHED_RR
    assert await asyncio.to_thread(policy) == os.SCHED_OTHER


async def test_a_tool_has_none() -> None:
    shown = partial(run, "sh", "-c", "chrt -p $$", package="util-linux")
    with realtime(1):
        assert "SCHED_OTHER" in await asyncio.to_thread(shown)


async def test_short_work_has_it_too_until_it_is_long() -> None:
    with realtime(1), closing(ShortWork(1, "short", 2)) as threads:
        assert await threads.do(policy) == os.SCHED_RR
        await threads.do(wait_until_ordinary)
        assert await threads.do(policy) == os.SCHED_RR
        assert await threads.do(two_steps) == os.SCHED_RR
    with closing(ShortWork(1, "short", 0)) as threads:
        assert await threads.do(policy) == os.SCHED_OTHER


async def test_without_a_priority() -> None:
    with realtime(0):
        assert policy() == os.SCHED_OTHER


def test_the_agent_has_one_unless_told_otherwise(start: Callable[..., Agent]) -> None:
    agent = start("--realtime-priority=0")
    assert policy(agent.process.pid) == os.SCHED_OTHER
    agent.stop()
    agent = start("--realtime-priority=3")
    assert os.sched_getparam(agent.process.pid).sched_priority == 3
