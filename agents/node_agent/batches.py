"""Many who ask at the same time are served together.

While a batch is under way, what comes gathers for the next: alone, nobody waits for others; two
hundred at once share one write, or one transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from nsxdp.logs import get_logger

__all__ = ["Asked", "Batches", "settle"]

log = get_logger(__name__)

_T = TypeVar("_T")

Asked = list[tuple[_T, asyncio.Future[None]]]
"""What is asked for, and for each who waits for it."""


class Batches(Generic[_T]):
    """Gathers what is asked for into batches, one of which is under way at a time.

    Parameters
    ----------
    work
        Does a batch, and settles all of its futures. What it raises, those fail with that it
        didn't settle.
    """

    def __init__(self, work: Callable[[Asked[_T]], Awaitable[None]]) -> None:
        self._work = work
        self._pending: Asked[_T] = []
        self._working: asyncio.Task[None] | None = None

    @property
    def is_last(self) -> bool:
        """Whether nothing has gathered for another batch."""
        return not self._pending

    async def do(self, item: _T) -> None:
        """Wait until 'item' is done; raises what it failed with."""
        done = asyncio.get_running_loop().create_future()
        self._pending.append((item, done))
        if self._working is None:
            self._working = asyncio.create_task(self._run())
        await done

    async def finish(self) -> None:
        """Wait until all that was asked for is done."""
        if self._working is not None:
            await self._working

    async def _run(self) -> None:
        try:
            while self._pending:
                batch, self._pending = self._pending, []
                try:
                    await self._work(batch)
                except Exception as error:  # who asked has to know, and the next batch its turn
                    if all(done.done() for _, done in batch):
                        log.exception("what follows a batch failed")
                    settle(batch, error)
        finally:
            self._working = None


def settle(batch: Asked[_T], error: Exception | None) -> None:
    """Tell all who still wait for a batch that it is done, or why not."""
    for _, done in batch:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
