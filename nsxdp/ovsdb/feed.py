"""Changes of a replica, on their way to who wants to know of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

from nsxdp.ovsdb.schema import Uuid
from nsxdp.ovsdb.store import Row

__all__ = ["Batch", "Change", "Feed"]


class Change(NamedTuple):
    """What happened to one row.

    Attributes
    ----------
    table
        The table's name.
    uuid
        The row's.
    old
        The row as it was; None: it was inserted.
    new
        The row as it is; None: it was deleted.
    """

    table: str
    uuid: Uuid
    old: Row | None
    new: Row | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes that took place together."""

    changes: tuple[Change, ...]

    def of(self, table: str) -> list[Change]:
        """The changes of one table."""
        return [change for change in self.changes if change.table == table]


class Feed:
    """An asynchronous iterator of `Batch`.

    Batches that weren't fetched become one: it tells what each row was before all of them and
    what it is now.  So a slow reader misses nothing that still holds, and what waits for it is
    bounded by the rows that there are.  Made by `Replica.changes`.

    Examples
    --------
    >>> import asyncio
    >>> from nsxdp.lab import Node
    >>> from nsxdp.ovsdb import Client, Watch
    >>> async def main(node):
    ...     async with Client(node.ovsdb, "Open_vSwitch", [Watch("Port", ["name"])]) as client:
    ...         with client.replica.changes() as feed:
    ...             await asyncio.to_thread(node.add_pod, "web")
    ...             async for batch in feed:
    ...                 return [change.new.name for change in batch.of("Port")]
    >>> with Node() as node:
    ...     asyncio.run(main(node))
    ['web']
    """

    def __init__(self, closed: Callable[[Feed], None]) -> None:
        self._pending: dict[tuple[str, Uuid], Change] = {}
        self._wake = asyncio.Event()
        self._closed: Callable[[Feed], None] | None = closed

    def close(self) -> None:
        """Take no more; what waits can still be fetched, then iteration ends."""
        if self._closed is not None:
            self._closed(self)
            self._closed = None
            self._wake.set()

    def __enter__(self) -> Feed:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __aiter__(self) -> Feed:
        return self

    async def __anext__(self) -> Batch:
        while not self._pending:
            if self._closed is None:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        batch = Batch(tuple(self._pending.values()))
        self._pending.clear()
        return batch

    def take(self, batch: Batch) -> None:
        """Put a batch to those that wait."""
        for change in batch.changes:
            key = (change.table, change.uuid)
            earlier = self._pending.pop(key, None)
            if earlier is not None:
                change = Change(change.table, change.uuid, earlier.old, change.new)
                if change.old == change.new:
                    continue
            self._pending[key] = change
        if self._pending:
            self._wake.set()
