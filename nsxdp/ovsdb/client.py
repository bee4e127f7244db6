"""A client of one OVSDB database, which stays connected: replica and transactions.

::

    async with Client(remote, "Open_vSwitch", [Watch("Bridge", ["name", "ports"])]) as client:
        for bridge in client.replica["Bridge"].rows:
            print(bridge.name)
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, get_args

from nsxdp.ovsdb.errors import (
    DisconnectedError,
    NoSuchDatabaseError,
    OvsdbError,
    ProtocolError,
    RequestError,
    TryAgainError,
    UnreachableError,
)
from nsxdp.ovsdb.framing import MAX_MESSAGE
from nsxdp.ovsdb.jsonrpc import Connection
from nsxdp.ovsdb.replica import Monitor, Replica, Watch
from nsxdp.ovsdb.schema import Schema
from nsxdp.ovsdb.transaction import Results, Transaction
from nsxdp.transport import RemoteError, Tls, open_stream, parse_remote

__all__ = ["Backoff", "Client"]

log = logging.getLogger(__name__)

DEFAULT_PORT = 6640
"""IANA's port for OVSDB."""

_STREAM_LIMIT = 1 << 20
_CLOSE_TIMEOUT = 1.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before each further attempt, in seconds.

    The time doubles from ``first`` to ``last``; of each a random half to whole is waited, so that
    the clients of a server that was restarted don't come back all at once.
    """

    first: float = 0.1
    last: float = 8.0

    def delays(self) -> Iterator[float]:
        """The times, without an end."""
        ceiling = self.first
        while True:
            yield ceiling * random.uniform(0.5, 1.0)
            ceiling = min(ceiling * 2, self.last)


class Client:
    """A connection to one database, made again whenever it is lost.

    While it is lost the replica stays as it was last, and transactions wait; after it, the replica
    catches up and its observers see only what differs.

    Parameters
    ----------
    remote
        ``unix:FILE``, ``tcp:HOST[:PORT]`` or ``ssl:HOST[:PORT]``.
    database
        Such as ``Open_vSwitch``.
    watches
        What to replicate; none: transactions only.
    tls
        Our key and certificates, for ``ssl:``.
    timeout
        Seconds for the connection to be made, and again for each answer of the server.
    probe_interval
        Seconds of silence after which the server is asked whether it lives.
    max_message
        Bytes of the largest message that is accepted.

    Raises
    ------
    ValueError
        ``remote`` is no remote.
    """

    def __init__(
        self,
        remote: str,
        database: str,
        watches: Sequence[Watch] = (),
        *,
        tls: Tls | None = None,
        timeout: float = 30.0,
        probe_interval: float = 5.0,
        max_message: int = MAX_MESSAGE,
        backoff: Backoff | None = None,
    ) -> None:
        self.remote = parse_remote(remote, DEFAULT_PORT)
        self.database = database
        self.watches = tuple(watches)
        self.timeout = timeout
        self._tls = tls
        self._probe_interval = probe_interval
        self._max_message = max_message
        self._backoff = backoff or Backoff()
        self._replica: Replica | None = None
        self._connection: Connection | None = None
        self._reading: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._error: Exception | None = None

    async def __aenter__(self) -> Client:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect, read the schema and the watched tables, and stay connected from then on.

        Raises
        ------
        UnreachableError
            No connection could be made.
        NoSuchDatabaseError, SchemaError
            The server has no such database, or the database no such table or column.
        OvsdbError
            Anything else that is wrong with the server.
        """
        if self._keeper is not None:
            raise RuntimeError("the client is open")
        await self._connect()
        self._keeper = asyncio.create_task(self._keep(), name=f"ovsdb {self.remote}")

    async def close(self) -> None:
        """Disconnect, and end the replica's `changes`."""
        if self._keeper is not None:
            await _cancel(self._keeper)
            self._keeper = None
        await self._disconnect()
        if self._replica is not None:
            self._replica.close()

    @property
    def replica(self) -> Replica:
        """The watched tables."""
        if self._replica is None:
            raise RuntimeError("the client wasn't opened")
        return self._replica

    @property
    def schema(self) -> Schema:
        """The database's schema."""
        return self.replica.schema

    @property
    def connected(self) -> bool:
        """Whether the replica follows the server just now."""
        return self._ready.is_set()

    @property
    def error(self) -> Exception | None:
        """Why there is no connection just now, or why the last attempt to make one failed."""
        return None if self.connected else self._error

    async def wait_connected(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Wait until the replica follows the server.

        Raises
        ------
        UnreachableError
            It doesn't within ``timeout`` seconds (None: the client's timeout).
        """
        seconds = self.timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        except TimeoutError:
            why = f": {self._error}" if self._error else ""
            raise UnreachableError(
                f"{self.remote}: not connected for {seconds:g} s{why}"
            ) from self._error

    def transaction(self) -> Transaction:
        """A transaction to fill and to `commit`."""
        return Transaction(self.schema)

    async def commit(self, transaction: Transaction) -> Results:
        """Have a transaction take place.

        When this returns, the replica has what the transaction changed.

        Raises
        ------
        TransactionError
            It failed and nothing of it took place; `TryAgainError` where it was made for another
            state than there was.
        DisconnectedError
            The connection was lost before the answer came: it may have taken place or not.
        UnreachableError
            There was no connection.
        """
        await self.wait_connected()
        answer = await self._request("transact", transaction.params())
        return transaction.results(answer)

    async def transact(self, build: Callable[[Transaction], None], attempts: int = 10) -> Results:
        """Have a transaction take place, made anew by ``build`` where the state has changed.

        Raises
        ------
        TryAgainError
            The state changed under each of the ``attempts``.
        TransactionError, DisconnectedError, UnreachableError
            As `commit`.
        """
        delays = self._backoff.delays()
        for last in [False] * (attempts - 1) + [True]:
            transaction = self.transaction()
            build(transaction)
            try:
                return await self.commit(transaction)
            except TryAgainError:
                if last:
                    raise
            await asyncio.sleep(next(delays))
        raise ValueError("at least one attempt is needed")

    async def _keep(self) -> None:
        while True:
            await self._until_lost()
            await self._reconnect()

    async def _until_lost(self) -> None:
        assert self._reading is not None
        await asyncio.wait([self._reading])
        self._ready.clear()
        self._error = _failure(self._reading)
        log.warning("%s: %s", self.remote, self._error)
        if isinstance(self._error, ProtocolError):
            self.replica.forget_position()

    async def _reconnect(self) -> None:
        said = ""
        for delay in self._backoff.delays():
            await asyncio.sleep(delay)
            try:
                await self._connect()
            except Exception as error:  # whatever it was, the client must not stay without a keeper
                self._error = error
                if str(error) != said:
                    said = str(error)
                    unforeseen = None if isinstance(error, OvsdbError) else error
                    log.warning(
                        "%s: still disconnected: %s", self.remote, error, exc_info=unforeseen
                    )
            else:
                log.info("%s: connected again", self.remote)
                return

    async def _connect(self) -> None:
        await self._disconnect()
        try:
            reader, writer = await open_stream(
                self.remote, self._tls, self.timeout, limit=_STREAM_LIMIT
            )
        except RemoteError as error:
            raise UnreachableError(str(error)) from error
        connection = self._connection = Connection(
            reader,
            writer,
            self._notified,
            probe_interval=self._probe_interval,
            max_message=self._max_message,
        )
        self._reading = asyncio.create_task(connection.run(), name=f"ovsdb read {self.remote}")
        try:
            await self._begin()
        except BaseException:
            if self._replica is not None:
                self._replica.forget_position()
            await self._disconnect()
            raise
        self._error = None
        self._ready.set()

    async def _begin(self) -> None:
        schema = Schema.from_json(await self._get_schema())
        if self._replica is None:
            self._replica = Replica(schema, self.watches)
        else:
            self._replica.adopt(schema)
        if self.watches:
            await self._monitor(self._replica)

    async def _get_schema(self) -> Any:
        try:
            return await self._request("get_schema", [self.database])
        except RequestError as error:
            if error.error != "unknown database":
                raise
        known = await self._request("list_dbs", [])
        names = ", ".join(sorted(map(str, known))) if isinstance(known, list) else ""
        raise NoSuchDatabaseError(
            "get_schema",
            "unknown database",
            f"{self.remote} has no database {self.database} (it has: {names or 'none'})",
        )

    async def _monitor(self, replica: Replica) -> None:
        for method in get_args(Monitor):
            try:
                await self._request(
                    method,
                    replica.monitor_params(method, self.database),
                    partial(replica.reset, method),
                )
            except RequestError as error:
                if error.error != "unknown method" or method == "monitor":
                    raise
            else:
                return

    async def _request(
        self, method: str, params: Sequence[Any], accept: Callable[[Any], Any] | None = None
    ) -> Any:
        connection = self._connection
        if connection is None:
            raise DisconnectedError(f"{method}: {self.remote}: not connected")
        try:
            return await connection.request(method, params, accept, self.timeout)
        except DisconnectedError as error:
            raise DisconnectedError(f"{self.remote}: {error}") from error

    def _notified(self, method: str, params: Any) -> None:
        if method in ("update", "update2", "update3"):
            if isinstance(params, list) and params and params[0] == self.database:
                self.replica.update(method, params)
            else:
                raise ProtocolError(f"{method}: not of the monitor that was asked for")

    async def _disconnect(self) -> None:
        self._ready.clear()
        if self._reading is not None:
            await _cancel(self._reading)
        self._reading = None
        self._connection = None


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task], timeout=_CLOSE_TIMEOUT)
    if task.done() and not task.cancelled():
        task.exception()  # asyncio complains of those that nobody looked at


def _failure(task: asyncio.Task[None]) -> Exception:
    if task.cancelled():
        return DisconnectedError("closed")
    error = task.exception()
    return error if isinstance(error, Exception) else DisconnectedError(repr(error))
