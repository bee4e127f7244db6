"""Locks of a server (RFC 7047, 4.1.8 to 4.1.10): at most one client holds each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Protocol

from nsxdp.ovsdb.errors import LockError, ProtocolError

__all__ = ["Lock"]


class Locker(Protocol):
    """Who asks the server."""

    def begin_lock(self, lock: Lock, *, steal: bool) -> Awaitable[None]: ...
    def end_lock(self, lock: Lock) -> Awaitable[None]: ...


class Lock:
    """A lock of the server, or our place in the queue for it.  Made by `Client.lock`.

    A lost connection loses the lock; it is asked for again with each new one.  Whether we hold it
    at the moment at which a transaction takes place, only `Transaction.assert_lock` can tell.

    Examples
    --------
    >>> import asyncio
    >>> from nsxdp.lab import Node
    >>> from nsxdp.ovsdb import Client
    >>> async def main(remote):
    ...     async with Client(remote, "Open_vSwitch") as client, client.lock("nsxdp") as lock:
    ...         txn = client.transaction()
    ...         txn.assert_lock(lock)
    ...         await client.commit(txn)
    ...         print(lock)
    >>> with Node() as node:
    ...     asyncio.run(main(node.ovsdb))
    Lock('nsxdp', held)
    """

    __slots__ = ("_changed", "_held", "_locker", "_observers", "name")

    def __init__(self, locker: Locker, name: str) -> None:
        self.name = name
        self._locker = locker
        self._held = False
        self._changed = asyncio.Event()
        self._observers: list[Callable[[bool], None]] = []

    def __repr__(self) -> str:
        return f"Lock({self.name!r}, {'held' if self._held else 'not held'})"

    @property
    def held(self) -> bool:
        """Whether we hold it, as far as we know."""
        return self._held

    def subscribe(self, observer: Callable[[bool], None]) -> Callable[[], None]:
        """Have ``observer`` told whenever we get or lose it; gives a function that ends it."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    async def acquire(self, *, steal: bool = False, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Ask for the lock and wait until we hold it.

        Parameters
        ----------
        steal
            Take it from who holds it now; else wait until it is free.
        timeout
            Seconds to wait; None: for ever.  We stay in the queue when they are over.

        Raises
        ------
        LockError
            It isn't ours within ``timeout``.
        """
        await self._locker.begin_lock(self, steal=steal)
        try:
            async with asyncio.timeout(timeout):
                await self.wait(held=True)
        except TimeoutError:
            raise LockError(
                f"lock {self.name}: another client holds it for {timeout:g} s"
            ) from None

    async def wait(self, *, held: bool) -> None:
        """Wait until we hold it, or until we don't."""
        while self._held != held:
            self._changed.clear()
            await self._changed.wait()

    async def release(self) -> None:
        """Give it back, or leave the queue."""
        await self._locker.end_lock(self)

    async def __aenter__(self) -> Lock:
        await self.acquire()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.release()

    def set_held(self, held: bool) -> None:
        """What the server says."""
        if held == self._held:
            return
        self._held = held
        self._changed.set()
        for observer in tuple(self._observers):
            observer(held)


def lock_of(params: object) -> str:
    """The lock that a ``locked`` or ``stolen`` notification is about."""
    if isinstance(params, list) and len(params) == 1 and isinstance(params[0], str):
        return params[0]
    raise ProtocolError(f"locked or stolen: {params!r:.100} is no name of a lock")
