"""A replica of chosen tables of a database, kept up to date by what the server sends.

Nothing here does I/O.  `Replica` makes the parameters of the monitor requests and takes the
server's answers and notifications: RFC 7047's ``monitor`` and the two later forms that
ovsdb-server(7) documents, ``monitor_cond`` and ``monitor_cond_since``, of which all three give the
same rows and the same changes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from nsxdp.ovsdb.condition import Wanted, encode_wanted
from nsxdp.ovsdb.errors import ProtocolError, SchemaError
from nsxdp.ovsdb.feed import Batch, Change, Feed
from nsxdp.ovsdb.schema import Json, Schema, TableSchema
from nsxdp.ovsdb.store import Row, Store, Table

__all__ = ["Monitor", "Notification", "Replica", "Watch"]

log = logging.getLogger(__name__)

Monitor = Literal["monitor_cond_since", "monitor_cond", "monitor"]
"""The ways to follow a database, the best one first."""


class _Reply(Struct, array_like=True, forbid_unknown_fields=True):
    """The reply to ``monitor_cond_since``."""

    found: bool
    txn_id: str
    updates: Raw


class _Update(Struct, array_like=True, forbid_unknown_fields=True):
    """The parameters of ``update`` and ``update2``."""

    monitor: Json
    updates: Raw


class _Update3(Struct, array_like=True, forbid_unknown_fields=True):
    """The parameters of ``update3``."""

    monitor: Json
    txn_id: str
    updates: Raw


_read_update = msgspec.json.Decoder(_Update).decode
_read_update3 = msgspec.json.Decoder(_Update3).decode

Notification = _Update | _Update3
"""What a server tells of changes, read as far as needed to see for whom it is."""

_NO_TRANSACTION = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Watch:
    """What to replicate of one table.

    Attributes
    ----------
    columns
        Names of columns; None: all of them.
    where
        Conditions of which at least one must hold for a row to be replicated; none: all rows; False
        is a condition that no row fulfils.  A server that only knows RFC 7047 sends all rows
        whatever is asked here.
    indexes
        What `Table.by` can look up: names of columns, and for one key of a map column
        ``COLUMN:KEY``, such as ``external_ids:iface-id``.
    """

    table: str
    columns: Sequence[str] | None = None
    where: Sequence[Wanted] = ()
    indexes: Sequence[str] = ()


class Replica:
    """The replicated tables of one database: ``replica["Interface"].by("name", "eth0")``.

    Parameters
    ----------
    schema
        The database's schema.
    watches
        What to replicate.

    Attributes
    ----------
    last_txn_id
        The last transaction that is in the replica, where the server tells.
    method
        How the server is followed, once it is.

    Raises
    ------
    SchemaError
        The database has no such table or column.
    """

    def __init__(self, schema: Schema, watches: Sequence[Watch]) -> None:
        self.schema = schema
        self.watches = tuple(watches)
        self.last_txn_id = _NO_TRANSACTION
        self.method: Monitor | None = None
        self._asked: dict[str, Sequence[Wanted]] = {}
        self._followed: dict[str, Sequence[Wanted]] = {}
        self._store = Store()
        self._tables: dict[str, Table] = {}
        self._observers: list[Callable[[Batch], None]] = []
        self._feeds: set[Feed] = set()
        self.adopt(schema)

    def __getitem__(self, table: str) -> Table:
        try:
            return self._tables[table]
        except KeyError:
            raise SchemaError(f"table {table} isn't monitored") from None

    def __iter__(self) -> Iterator[Table]:
        return iter(self._tables.values())

    def resolve(self, row: Row, column: str) -> list[Row]:
        """The rows that a column of ``row`` refers to, as far as they are replicated.

        Of a map whose values refer to rows, those; else those of its keys.

        Raises
        ------
        SchemaError
            The column refers to no table that is replicated.
        """
        declared = row._table.columns[row._table.position[column]].type
        value = row[column]
        base = declared.key
        if declared.value is not None and declared.value.ref_table:
            base, value = declared.value, value.values()
        if not base.ref_table:
            raise SchemaError(f"column {row._table.name}.{column} refers to no table")
        if declared.max == 1 and not declared.is_map:
            value = () if value is None else (value,)
        found = map(self[base.ref_table].get, value)
        return [row for row in found if row is not None]

    def subscribe(self, observer: Callable[[Batch], None]) -> Callable[[], None]:
        """Have ``observer`` called after each update; gives a function that ends it.

        It is called while the next update waits, so it must be short.
        """
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    def changes(self) -> Feed:
        """What happens from now on, batch by batch, to be iterated over with ``async for``."""
        feed = Feed(self._feeds.discard)
        self._feeds.add(feed)
        return feed

    def close(self) -> None:
        """End every `changes`; the rows stay as they are."""
        for feed in tuple(self._feeds):
            feed.close()

    # What follows is the client's side.

    def adopt(self, schema: Schema) -> None:
        """Go on with another version of the schema; rows stay until the next snapshot.

        Raises
        ------
        SchemaError
            The schema has no such table or column; the replica remains as it was.
        """
        if len({watch.table for watch in self.watches}) != len(self.watches):
            raise SchemaError("a table can be watched only once")
        tables: dict[str, Table] = {}
        try:
            for watch in self.watches:
                tables[watch.table] = self._table(schema, watch)
        except SchemaError:
            for table in _without(tables, self._tables):
                table.retire()
            raise
        gone = _without(self._tables, tables)
        self.schema = schema
        self._tables = tables
        if gone:
            self.last_txn_id = _NO_TRANSACTION
            rows = [Change(table.name, row.uuid, row, None) for table in gone for row in table]
            for table in gone:
                table.retire()
            self._report(rows)

    def _table(self, schema: Schema, watch: Watch) -> Table:
        """The table of a watch: the one that is there where rows mean the same."""
        known = schema.table(watch.table)
        encode_wanted(known, watch.where)
        names = _all_columns(known) if watch.columns is None else tuple(watch.columns)
        table = self._tables.get(watch.table)
        if table is not None and table.columns == tuple(map(known.column, names)):
            return table
        return Table(self._store, known, names, watch.indexes)

    def forget_position(self) -> None:
        """Have the next monitor request ask for a whole snapshot."""
        self.last_txn_id = _NO_TRANSACTION

    def monitor_params(self, method: Monitor, name: str) -> list[Json]:
        """The parameters of a monitor request; ``name`` will be in its notifications."""
        requests = {}
        for watch in self.watches:
            columns = list(self._tables[watch.table].position)
            request: dict[str, Json] = {"columns": columns}
            if watch.where and method != "monitor":
                request["where"] = encode_wanted(self.schema.table(watch.table), watch.where)
            requests[watch.table] = [request]
        params = [self.schema.name, name, requests]
        if method == "monitor_cond_since":
            # What the server sends since then is of rows that fulfil the conditions; those that do
            # and aren't here would be missing.
            params.append(_NO_TRANSACTION if self.unconfirmed() else self.last_txn_id)
        self._asked = {watch.table: watch.where for watch in self.watches}
        return params

    def set_where(self, table: str, where: Sequence[Wanted]) -> None:
        """Have the next monitor request ask for other rows.

        Raises
        ------
        SchemaError
            The table isn't watched, or has no such column.
        """
        known = self.schema.table(self[table].name)
        encode_wanted(known, where)
        self.watches = tuple(
            replace(watch, where=tuple(where)) if watch.table == table else watch
            for watch in self.watches
        )

    def change_params(self, name: str) -> tuple[list[Json], dict[str, Sequence[Wanted]]]:
        """Parameters of ``monitor_cond_change``, and what to `confirm` when it is answered."""
        wheres = self.unconfirmed()
        changes = {
            table: [{"where": encode_wanted(self.schema.table(table), where)}]
            for table, where in wheres.items()
        }
        return [name, name, changes], wheres

    def confirm(self, wheres: Mapping[str, Sequence[Wanted]]) -> None:
        """The server follows these conditions, and the replica has their rows."""
        self._followed.update(wheres)

    def unconfirmed(self) -> dict[str, Sequence[Wanted]]:
        """Tables with conditions that the server doesn't follow yet."""
        return {
            watch.table: watch.where
            for watch in self.watches
            if watch.table in self._followed and self._followed[watch.table] != watch.where
        }

    def reset(self, method: Monitor, result: bytes | bytearray | Raw) -> None:
        """Take the answer to a monitor request, as the server's JSON.

        Where it is a snapshot, the replica becomes it, and observers see what differs.

        Raises
        ------
        ProtocolError
            It is none.
        """
        if method == "monitor_cond_since":
            try:
                reply = msgspec.json.decode(result, type=_Reply)
            except msgspec.DecodeError as error:
                raise ProtocolError(
                    f"{method}: the reply isn't [found, txn-id, updates]: {error}"
                ) from None
            self._apply(reply.updates, diffs=True, snapshot=not reply.found)
            self.last_txn_id = reply.txn_id
        else:
            self._apply(result, diffs=method == "monitor_cond", snapshot=True)
        self._begun(method)

    def _begun(self, method: Monitor) -> None:
        self.method = method
        self.confirm(self._asked)

    @staticmethod
    def read(method: str, params: bytes | bytearray | Raw) -> Notification:
        """Read the parameters of an ``update``, ``update2`` or ``update3``, for `update`.

        Raises
        ------
        ProtocolError
            They are none.
        """
        try:
            return _read_update3(params) if method == "update3" else _read_update(params)
        except msgspec.DecodeError as error:
            raise ProtocolError(f"{method}: {error}") from None

    def update(self, method: str, notification: Notification) -> None:
        """Take an ``update``, ``update2`` or ``update3``.

        Raises
        ------
        ProtocolError
            It speaks of rows that aren't there.
        """
        self._apply(notification.updates, diffs=method != "update", snapshot=False)
        if isinstance(notification, _Update3):
            self.last_txn_id = notification.txn_id

    def _apply(self, updates: bytes | bytearray | Raw, *, diffs: bool, snapshot: bool) -> None:
        """All of 'updates' or, where a part of it is wrong, nothing."""
        observed = bool(self._observers or self._feeds)
        changed = self._store.apply(self._tables.values(), updates, diffs, snapshot, observed)
        if changed:
            self._report([Change(*change) for change in changed])

    def _report(self, changes: list[Change]) -> None:
        if not changes:
            return
        batch = Batch(tuple(changes))
        for observer in tuple(self._observers):
            try:
                observer(batch)
            except Exception:
                log.exception("%s: an observer of the replica failed", self.schema.name)
        for feed in self._feeds:
            feed.take(batch)


def _without(tables: Mapping[str, Table], others: Mapping[str, Table]) -> list[Table]:
    """Those tables that aren't among the others."""
    return [table for name, table in tables.items() if others.get(name) is not table]


def _all_columns(table: TableSchema) -> tuple[str, ...]:
    return tuple(name for name in table.columns if name not in ("_uuid", "_version"))
