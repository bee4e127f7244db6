"""One connection to a server of OVSDB, to ask what isn't of one database alone."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from types import TracebackType
from typing import Any

from msgspec import Raw

from nsxdp.ovsdb.errors import (
    NoSuchDatabaseError,
    ProtocolError,
    RequestError,
    UnreachableError,
)
from nsxdp.ovsdb.framing import MAX_MESSAGE
from nsxdp.ovsdb.jsonrpc import Connection
from nsxdp.ovsdb.schema import Json
from nsxdp.transport import Remote, RemoteError, Tls, open_protocol, parse_remote

__all__ = ["DEFAULT_PORT", "Session", "parse_remotes"]

DEFAULT_PORT = 6640
"""IANA's port for OVSDB."""


def parse_remotes(remotes: str | Sequence[str]) -> tuple[Remote, ...]:
    """Read remotes: one, several with commas between them, or a list.

    Raises
    ------
    ValueError
        One of them is no remote, or there is none.
    """
    texts = remotes.split(",") if isinstance(remotes, str) else remotes
    if not texts:
        raise ValueError("at least one remote is needed, such as unix:db.sock")
    return tuple(parse_remote(text.strip(), DEFAULT_PORT) for text in texts)


class Session:
    """A connection, from its beginning to its end.  Made by `Session.open`.

    Attributes
    ----------
    remote
        The server.
    ended
        Done when the connection is lost: its result is the error.

    Examples
    --------
    >>> import asyncio
    >>> from nsxdp.lab import Node
    >>> from nsxdp.ovsdb import Session
    >>> async def main(remote):
    ...     async with await Session.open(remote) as session:
    ...         print(await session.list_dbs())
    >>> with Node() as node:
    ...     asyncio.run(main(node.ovsdb))
    ['Open_vSwitch', '_Server']
    """

    def __init__(self, remote: Remote, connection: Connection, timeout: float) -> None:
        self.remote = remote
        self.timeout = timeout
        self._connection = connection
        self.ended = connection.ended

    @classmethod
    async def open(
        cls,
        remote: Remote | str,
        notified: Callable[[str, Raw], None] = lambda *_: None,
        *,
        tls: Tls | None = None,
        timeout: float = 30.0,  # noqa: ASYNC109 - of each answer, too
        probe_interval: float = 5.0,
        max_message: int = MAX_MESSAGE,
    ) -> Session:
        """Connect.

        Parameters
        ----------
        notified
            Called with the method and the parameters of each notification of the server.
        tls
            Our files, for an ``ssl:`` remote.
        timeout
            Seconds for the connection to be made, and again for each answer.
        probe_interval
            Seconds of silence after which the server is asked whether it lives.
        max_message
            Bytes of the largest message that is accepted.

        Raises
        ------
        UnreachableError
            No connection could be made.
        """
        if isinstance(remote, str):
            remote = parse_remote(remote, DEFAULT_PORT)

        def connection() -> Connection:
            return Connection(
                remote, notified, probe_interval=probe_interval, max_message=max_message
            )

        try:
            _, made = await open_protocol(remote, connection, tls, timeout)
        except RemoteError as error:
            raise UnreachableError(str(error)) from error
        return cls(remote, made, timeout)

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def lost(self) -> bool:
        """Whether there is nobody any more to ask."""
        return self._connection.lost

    async def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def request(
        self,
        method: str,
        params: Sequence[Any] | Raw,
        accept: Callable[[Any], Any] | None = None,
        *,
        patience: float | None = 0.0,
        raw: bool = False,
    ) -> Coroutine[None, None, Any]:
        """Ask the server, and wait for its answer.

        Parameters
        ----------
        params
            What `json` writes, or JSON.
        accept
            Takes the result before the next message is looked at; what it gives is returned.
        patience
            Seconds that the server may take beyond what is usual; None: for ever.
        raw
            Whether the result is wanted as JSON.

        Raises
        ------
        RequestError
            The server refused.
        DisconnectedError
            The connection was lost before the answer came, or it didn't come in time.
        """
        seconds = None if patience is None else self.timeout + patience
        return self._connection.request(method, params, accept, seconds, raw=raw)

    async def list_dbs(self) -> list[str]:
        """The names of the server's databases, sorted."""
        names = await self.request("list_dbs", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ProtocolError(f"{self.remote}: list_dbs: {names!r:.100} is no list of names")
        return sorted(names)

    async def get_schema(self, database: str) -> Json:
        """A database's schema, for `Schema.from_json`.

        Raises
        ------
        NoSuchDatabaseError
            The server has none of that name; the message lists what it has.
        """
        try:
            return await self.request("get_schema", [database])
        except RequestError as error:
            if error.error != "unknown database":
                raise
        raise await self.no_such_database(database)

    async def no_such_database(self, database: str) -> NoSuchDatabaseError:
        """An error that tells which databases there are instead."""
        names = ", ".join(await self.list_dbs())
        return NoSuchDatabaseError(
            "get_schema",
            "unknown database",
            f"{self.remote} has no database {database} (it has: {names or 'none'})",
        )

    async def set_db_change_aware(self) -> bool:
        """Stay connected while databases come, go and change; False: the server is too old."""
        return await self._is_known("set_db_change_aware", [True])

    async def lock(self, name: str, accept: Callable[[bool], None], *, steal: bool = False) -> None:
        """Ask for a lock; ``accept`` is told, before anything that follows, whether we have it."""
        method = "steal" if steal else "lock"
        await self.request(method, [name], partial(_locked, method, accept))

    async def unlock(self, name: str) -> None:
        """Give a lock back, or no longer wait for it."""
        await self.request("unlock", [name])

    async def monitor_cancel(self, monitor: Json) -> None:
        """End a monitor."""
        await self.request("monitor_cancel", [monitor])

    async def _is_known(self, method: str, params: Sequence[Any]) -> bool:
        try:
            await self.request(method, params)
        except RequestError as error:
            if error.error == "unknown method":
                return False
            raise
        return True


def _locked(method: str, accept: Callable[[bool], None], result: Json) -> None:
    locked = result.get("locked") if isinstance(result, dict) else None
    if type(locked) is not bool:
        raise ProtocolError(f"{method}: {result!r:.100} doesn't say whether it is locked")
    accept(locked)
