"""Waits that end."""

from __future__ import annotations

import asyncio

__all__ = ["until_set"]


async def until_set(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait until 'event' is set, for that long at most (None: for ever); whether it is.

    Examples
    --------
    >>> import asyncio
    >>> from nsxdp_agents.common.wait import until_set
    >>> asyncio.run(until_set(asyncio.Event(), 0.01))
    False
    """
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
