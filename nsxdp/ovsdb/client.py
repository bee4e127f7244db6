"""A client of one OVSDB database, which stays connected: replica and transactions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from types import TracebackType
from typing import get_args

import msgspec
from msgspec import Raw

from nsxdp.backoff import Backoff
from nsxdp.ovsdb.condition import Wanted
from nsxdp.ovsdb.errors import (
    DatabaseChangedError,
    DisconnectedError,
    OvsdbError,
    ProtocolError,
    RequestError,
    TryAgainError,
    UnreachableError,
    UnsuitableError,
)
from nsxdp.ovsdb.framing import MAX_MESSAGE
from nsxdp.ovsdb.lock import Lock, lock_of
from nsxdp.ovsdb.replica import Monitor, Replica, Watch
from nsxdp.ovsdb.schema import Schema
from nsxdp.ovsdb.session import Session, parse_remotes
from nsxdp.ovsdb.status import MONITOR, Position, Status
from nsxdp.ovsdb.transaction import Results, Transaction
from nsxdp.transport import Remote, Tls

__all__ = ["Client"]

log = logging.getLogger(__name__)


class Client:
    """A connection to one database, made again whenever it is lost.

    While it is lost the replica stays as it was last, and transactions wait; after it, the replica
    catches up and its observers see only what differs.  Of several remotes, the next one is tried
    when one fails or will no longer do.

    Parameters
    ----------
    remote
        ``unix:FILE``, ``tcp:HOST[:PORT]`` or ``ssl:HOST[:PORT]``; those of a cluster with commas
        between them, or as a list.
    database
        Such as ``Open_vSwitch``.
    watches
        What to replicate; none: transactions only.
    leader_only
        Of a cluster, talk to the server that leads it: only there is what we see never old.
    tls
        Our key and certificates, for ``ssl:``.
    timeout
        Seconds for the connection to be made, and again for each answer of the server.
    probe_interval
        Seconds of silence after which the server is asked whether it lives.
    max_message
        Bytes of the largest message that is accepted.
    backoff
        How long to wait between attempts to connect.

    Attributes
    ----------
    remotes
        The servers, in the order in which they are tried.
    database, watches, timeout, leader_only
        As they were given.

    Raises
    ------
    ValueError
        ``remote`` is no remote.

    Examples
    --------
    >>> import asyncio
    >>> from nsxdp.lab import Node
    >>> from nsxdp.ovsdb import Client, Watch
    >>> watches = [Watch("Bridge", ["name", "external_ids"], indexes=["name"])]
    >>> async def main(remote):
    ...     async with Client(remote, "Open_vSwitch", watches) as client:
    ...         bridge = client.replica["Bridge"].one("name", "br-int")
    ...         txn = client.transaction()
    ...         txn.update("Bridge", bridge, {"external_ids": {"owner": "me"}})
    ...         await client.commit(txn)
    ...         print(client.replica["Bridge"].one("name", "br-int").external_ids["owner"])
    >>> with Node() as node:
    ...     asyncio.run(main(node.ovsdb))
    me
    """

    def __init__(
        self,
        remote: str | Sequence[str],
        database: str,
        watches: Sequence[Watch] = (),
        *,
        leader_only: bool = True,
        tls: Tls | None = None,
        timeout: float = 30.0,
        probe_interval: float = 5.0,
        max_message: int = MAX_MESSAGE,
        backoff: Backoff = Backoff(0.1, 8.0),
    ) -> None:
        self.remotes = parse_remotes(remote)
        self.database = database
        self.watches = tuple(watches)
        self.timeout = timeout
        self.leader_only = leader_only
        self._place = 0
        self._position = Position()
        self._tls = tls
        self._probe_interval = probe_interval
        self._max_message = max_message
        self._backoff = backoff
        self._replica: Replica | None = None
        self._session: Session | None = None
        self._status: Status | None = None
        self._locks: dict[str, Lock] = {}
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

        Where a cluster is about to elect its leader, that is waited for.

        Raises
        ------
        UnreachableError
            No connection could be made to any of the remotes.
        UnsuitableError
            No server of the cluster would do within the client's timeout.
        NoSuchDatabaseError, SchemaError
            The server has no such database, or the database no such table or column.
        OvsdbError
            Anything else that is wrong with the server.
        """
        if self._keeper is not None:
            raise RuntimeError("the client is open")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.timeout
        for delay in self._backoff.delays():
            errors = await self._try_all()
            if not errors:
                break
            unsuitable = any(isinstance(error, UnsuitableError) for error in errors)
            if not unsuitable or loop.time() + delay > deadline:
                raise _of_all(errors)
            await asyncio.sleep(delay)
        self._keeper = asyncio.create_task(self._keep(), name=f"ovsdb {self.database}")

    async def close(self) -> None:
        """Disconnect, and end the replica's `changes`."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            self._keeper = None
        await self._disconnect()
        if self._replica is not None:
            self._replica.close()

    @property
    def remote(self) -> Remote:
        """The server that we are connected to, or try next."""
        return self.remotes[self._place]

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
        if self.connected:
            return
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

        When this returns, the replica has what the transaction changed.  If it is cancelled, the
        server is told, and forgets the transaction unless it took place already.

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
        if not self.connected:
            await self.wait_connected()
        session = self._live()
        patience = transaction.patience
        try:
            answer = await session.request("transact", transaction.params(), patience=patience)
        except DisconnectedError:
            if session.lost and session is self._session:
                self._lose()  # so that who tries again waits for the next connection
            raise
        return transaction.results(answer)

    async def transact(
        self, build: Callable[[Transaction], Awaitable[None] | None], attempts: int = 10
    ) -> Results:
        """Have a transaction take place, made anew by ``build`` where the state has changed.

        Parameters
        ----------
        build
            Reads rows of the replica, by `Transaction.read` where the transaction depends on what
            they hold, and adds operations.
        attempts
            How often it is made at most.

        Raises
        ------
        TryAgainError
            The state changed under each of the ``attempts``.
        TransactionError, DisconnectedError, UnreachableError
            As `commit`.
        """
        delays = self._backoff.delays()
        for last in [False] * (attempts - 1) + [True]:
            await self.wait_connected()
            transaction = self.transaction()
            built = build(transaction)
            if built is not None:
                await built
            try:
                return await self.commit(transaction)
            except TryAgainError:
                if last:
                    raise
            await asyncio.sleep(next(delays))
        raise ValueError("at least one attempt is needed")

    async def set_condition(self, table: str, where: Sequence[Wanted]) -> None:
        """Replicate other rows of a table from now on.

        When this returns, the replica has the rows that fulfil ``where``, and no others; without
        a connection it will have them with the next one.

        Parameters
        ----------
        where
            As in `Watch`.

        Raises
        ------
        SchemaError
            The table isn't watched, or has no such column.
        """
        self.replica.set_where(table, where)
        if self.connected:
            await self._change_conditions(self._live(), self.replica)

    def lock(self, name: str) -> Lock:
        """A lock of the server, to be acquired: ``async with client.lock("nsxdp"): ...``."""
        return self._locks.get(name) or Lock(self, name)

    async def begin_lock(self, lock: Lock, *, steal: bool) -> None:
        """Ask for a lock: what `Lock.acquire` needs."""
        await self.wait_connected()
        if lock.name in self._locks:
            if lock.held and not steal:
                return
            await self._live().unlock(lock.name)
            lock.set_held(False)
        self._locks[lock.name] = lock
        await self._live().lock(lock.name, lock.set_held, steal=steal)

    async def end_lock(self, lock: Lock) -> None:
        """Give a lock back: what `Lock.release` needs."""
        if self._locks.pop(lock.name, None) is None:
            return
        lock.set_held(False)
        if self._session is not None and self.connected:
            await self._session.unlock(lock.name)

    async def _keep(self) -> None:
        while True:
            await self._until_lost()
            await self._reconnect()

    async def _until_lost(self) -> None:
        error = await asyncio.shield(self._live().ended)
        self._lose()
        self._error = error
        log.warning("%s: %s", self.remote, self._error)
        if isinstance(self._error, ProtocolError):
            self.replica.forget_position()
        if not isinstance(self._error, DatabaseChangedError):
            self._next_remote()

    async def _reconnect(self) -> None:
        said = ""
        for delay in self._backoff.delays():
            await asyncio.sleep(delay)
            errors = await self._try_all()
            if not errors:
                log.info("%s: connected again", self.remote)
                return
            self._error = _of_all(errors)
            if str(self._error) != said:
                said = str(self._error)
                unforeseen = None if isinstance(self._error, OvsdbError) else self._error
                log.warning("still disconnected: %s", said, exc_info=unforeseen)

    async def _try_all(self) -> list[Exception]:
        """Connect to one of the remotes; if there is none to connect to: why not."""
        errors: list[Exception] = []
        for _ in self.remotes:
            try:
                await self._connect()
            except Exception as error:  # whatever it was, the client must not stay without a keeper
                errors.append(error)
                self._next_remote()
            else:
                return []
        return errors

    def _next_remote(self) -> None:
        self._place = (self._place + 1) % len(self.remotes)

    async def _connect(self) -> None:
        await self._disconnect()
        self._session = await Session.open(
            self.remote,
            self._notified,
            tls=self._tls,
            timeout=self.timeout,
            probe_interval=self._probe_interval,
            max_message=self._max_message,
        )
        try:
            await self._begin(self._session)
        except BaseException as error:
            if self._replica is not None and isinstance(error, ProtocolError):
                self._replica.forget_position()
            await self._disconnect()
            raise
        self._error = None
        self._ready.set()

    async def _begin(self, session: Session) -> None:
        if await session.set_db_change_aware():
            await self._begin_status(session)
        schema = Schema.from_json(await session.get_schema(self.database))
        if self._replica is None:
            self._replica = Replica(schema, self.watches)
        else:
            self._replica.adopt(schema)
        if self.watches:
            await self._monitor(session, self._replica)
        for lock in self._locks.values():
            await session.lock(lock.name, lock.set_held)

    async def _begin_status(self, session: Session) -> None:
        status = Status(self.database, self._position, leader_only=self.leader_only)
        self._status = status
        try:
            await session.request("monitor_cond", status.monitor_params(), status.reset, raw=True)
        except RequestError as error:
            if error.error not in ("unknown database", "unknown method"):
                raise
            self._status = None
            return
        try:
            status.check()
        except UnsuitableError as error:
            raise UnsuitableError(f"{self.remote}: {error}") from None

    async def _monitor(self, session: Session, replica: Replica) -> None:
        for method in get_args(Monitor):
            try:
                await session.request(
                    method,
                    replica.monitor_params(method, self.database),
                    partial(replica.reset, method),
                    raw=True,
                )
            except RequestError as error:
                if error.error != "unknown method" or method == "monitor":
                    raise
            else:
                break
        await self._change_conditions(session, replica)  # those that came meanwhile

    async def _change_conditions(self, session: Session, replica: Replica) -> None:
        params, wheres = replica.change_params(self.database)
        if not wheres or replica.method == "monitor":
            return
        try:
            await session.request("monitor_cond_change", params)
        except BaseException:
            # Nobody knows which rows the server takes for known to us.
            replica.forget_position()
            raise
        replica.confirm(wheres)

    def _live(self) -> Session:
        if self._session is None:
            raise DisconnectedError(f"{self.remote}: not connected")
        return self._session

    def _notified(self, method: str, params: Raw) -> None:
        if method in ("update", "update2", "update3"):
            notification = Replica.read(method, params)
            if notification.monitor == self.database and self._replica is not None:
                self._replica.update(method, notification)
            elif notification.monitor == MONITOR and self._status is not None:
                self._status.update(method, notification)
            else:
                raise ProtocolError(f"{method}: not of the monitor that was asked for")
        elif method == "monitor_canceled":
            raise DatabaseChangedError(f"the server ended the monitor: {self.database} has changed")
        elif method in ("locked", "stolen"):
            lock = self._locks.get(lock_of(msgspec.json.decode(params)))
            if lock is not None:
                lock.set_held(method == "locked")

    def _lose(self) -> None:
        self._ready.clear()
        for lock in self._locks.values():
            lock.set_held(False)

    async def _disconnect(self) -> None:
        self._lose()
        if self._session is not None:
            await self._session.close()
        self._session = None
        self._status = None


def _of_all(errors: list[Exception]) -> Exception:
    """The error that tells the most of those that the remotes gave."""
    telling = [error for error in errors if not isinstance(error, UnreachableError)]
    wanting = [error for error in telling if not isinstance(error, UnsuitableError)]
    for found in (wanting, telling):
        if found:
            return found[0]
    return errors[0] if len(errors) == 1 else UnreachableError("; ".join(map(str, errors)))
