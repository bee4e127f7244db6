"""The end of a process: who started it asks for it by a signal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine

__all__ = ["until_signalled"]


async def until_signalled(work: Coroutine[None, None, None]) -> None:
    """Let 'work' go on until it ends, or SIGTERM or SIGINT cancel it."""
    loop = asyncio.get_running_loop()
    running = loop.create_task(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        if not running.cancelled():
            raise
