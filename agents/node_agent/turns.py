"""One after the other, of those that are about the same thing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["Turns"]


class Turns:
    """Locks by name, which are there as long as somebody needs them.

    Examples
    --------
    >>> import asyncio
    >>> from nsxdp_agents.node_agent.turns import Turns
    >>> async def main():
    ...     turns = Turns()
    ...     async with turns.of("a"), turns.of("b"):
    ...         print(len(turns))
    ...     print(len(turns))
    >>> asyncio.run(main())
    2
    0
    """

    def __init__(self) -> None:
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}

    def __len__(self) -> int:
        return len(self._turns)

    @asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[None]:
        """Wait until nobody else has 'name', and have it for the length of ``async with``."""
        lock, users = self._turns.get(name, (None, 0))
        if lock is None:
            lock = asyncio.Lock()
        self._turns[name] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            _, users = self._turns[name]
            if users == 1:
                del self._turns[name]
            else:
                self._turns[name] = (lock, users - 1)
