"""Who has a real-time priority has it while it waits for events, not while it works for long."""

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import closing

from proxying import Agent, policy

from nsxdp_agents.common.realtime import PAUSE, ShortWork, realtime

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


async def test_who_works_for_long_is_ordinary_for_a_while() -> None:
    with realtime(1):
        assert policy() == os.SCHED_RR
        for _ in range(2):
            work_until_ordinary()
            await asyncio.sleep(PAUSE)  # its own timer comes first
            assert policy() == os.SCHED_RR
        assert await asyncio.to_thread(policy) == os.SCHED_OTHER
    assert policy() == os.SCHED_OTHER


async def test_short_work_has_it_too_until_it_is_long() -> None:
    with realtime(1), closing(ShortWork(1, "short", 2)) as threads:
        assert await threads.do(policy) == os.SCHED_RR
        await threads.do(wait_until_ordinary)
        assert await threads.do(policy) == os.SCHED_RR
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
