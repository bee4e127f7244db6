"""Waits that end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from nsxdp.backoff import Backoff

__all__ = ["until_done", "until_set"]


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


async def until_done(
    attempt: Callable[[], Awaitable[str]],
    tell: Callable[[str], None],
    backoff: Backoff = Backoff(),
) -> None:
    """Try until it is done.

    Parameters
    ----------
    attempt
        Why it can't be done; empty: it is done.
    tell
        Is told of that, once of each reason that isn't the one before.
    backoff
        Intervals between attempts.

    Examples
    --------
    >>> import asyncio
    >>> from nsxdp.backoff import Backoff
    >>> from nsxdp_agents.common.wait import until_done
    >>> reasons = iter(["no such file", "no such file", "read-only", ""])
    >>> async def attempt() -> str:
    ...     return next(reasons)
    >>> asyncio.run(until_done(attempt, print, Backoff(0.01, 0.01)))
    no such file
    read-only
    """
    said = ""
    for delay in backoff.delays():
        problem = await attempt()
        if not problem:
            return
        if problem != said:
            tell(problem)
        said = problem
        await asyncio.sleep(delay)
