"""A replica of chosen tables of a database, kept up to date by what the server sends.

Nothing here does I/O.  `Replica` makes the parameters of the monitor requests and takes the
server's answers and notifications: RFC 7047's ``monitor`` and the two later forms that
ovsdb-server(7) documents, ``monitor_cond`` and ``monitor_cond_since``, of which all three give the
same rows and the same changes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec

from nsxdp.ovsdb.condition import Wanted, encode_wanted
from nsxdp.ovsdb.errors import ProtocolError, SchemaError
from nsxdp.ovsdb.feed import Batch, Change, Feed
from nsxdp.ovsdb.index import Index
from nsxdp.ovsdb.row import Layout, Row
from nsxdp.ovsdb.schema import Json, Schema, TableSchema, Uuid

__all__ = ["SHAPES", "Monitor", "Replica", "Table", "Watch"]

log = logging.getLogger(__name__)

Monitor = Literal["monitor_cond_since", "monitor_cond", "monitor"]
"""The ways to follow a database, the best one first."""

_Staged = list[tuple[Uuid, Row | None, Row | None]]
"""Rows: their UUIDs, what they were, what they become."""

_Rows = dict[str, dict[str, msgspec.Raw]]
SHAPES: dict[Monitor, Any] = {
    "monitor_cond_since": tuple[bool, str, _Rows],
    "monitor_cond": _Rows,
    "monitor": _Rows,
}
"""How a reply is best read for `Replica.reset`: each row's JSON becomes a row, and is forgotten,
before the next one's does."""

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


class Table:
    """The replicated rows of one table."""

    __slots__ = ("_indexes", "_rows", "layout", "name")

    def __init__(self, layout: Layout, indexes: Sequence[str]) -> None:
        self.name = layout.table
        self.layout = layout
        self._rows: dict[Uuid, Row] = {}
        self._indexes = {spec: Index(layout, spec) for spec in indexes}

    @property
    def rows(self) -> Collection[Row]:
        """All rows."""
        return self._rows.values()

    @property
    def uuids(self) -> Collection[Uuid]:
        """The UUIDs of all rows, in the order of `rows` and `column`."""
        return self._rows.keys()

    def column(self, name: str) -> list[Any]:
        """The values of one column, in the order of `rows`.

        Raises
        ------
        SchemaError
            The column isn't monitored.
        """
        position = self.layout.position.get(name)
        if position is None:
            raise SchemaError(f"column {self.name}.{name} isn't monitored")
        return [row._values[position] for row in self._rows.values()]

    def get(self, uuid: str) -> Row | None:
        """The row of that UUID."""
        return self._rows.get(Uuid(uuid))

    def by(self, index: str, value: Any) -> list[Row]:
        """The rows that an index has under a value.

        ``index`` is one that `Watch` declared.  A column that holds a set is found by each of its
        members, so ``by("ports", uuid)`` gives the bridges that have that port.

        Raises
        ------
        SchemaError
            No such index was declared.
        """
        try:
            found = self._indexes[index].get(value)
        except KeyError:
            declared = ", ".join(self._indexes) or "none"
            raise SchemaError(
                f"table {self.name} has no index {index} (it has: {declared})"
            ) from None
        return [self._rows[uuid] for uuid in found]

    def one(self, index: str, value: Any) -> Row | None:
        """As `by`, where there is at most one; if there are several, any."""
        return next(iter(self.by(index, value)), None)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, uuid: object) -> bool:
        return uuid in self._rows

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def _put(self, staged: _Staged) -> None:
        indexes = tuple(self._indexes.values())
        rows = self._rows
        for uuid, old, new in staged:
            for index in indexes:
                index.move(old, new)
            if new is None:
                del rows[uuid]
            else:
                rows[uuid] = new


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
        declared = row._layout.columns[row._layout.position[column]].type
        value = row[column]
        base = declared.key
        if declared.value is not None and declared.value.ref_table:
            base, value = declared.value, value.values()
        if not base.ref_table:
            raise SchemaError(f"column {row._layout.table}.{column} refers to no table")
        if declared.max == 1 and not declared.is_map:
            value = () if value is None else (value,)
        rows = self[base.ref_table]._rows
        return [rows[uuid] for uuid in value if uuid in rows]

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
        layouts = {}
        for watch in self.watches:
            table = schema.table(watch.table)
            names = _all_columns(table) if watch.columns is None else tuple(watch.columns)
            layouts[watch.table] = Layout(table, names)
            encode_wanted(table, watch.where)
        if len(layouts) != len(self.watches):
            raise SchemaError("a table can be watched only once")
        tables = {
            watch.table: self._tables[watch.table]
            if watch.table in self._tables
            and self._tables[watch.table].layout.like(layouts[watch.table])
            else Table(layouts[watch.table], watch.indexes)
            for watch in self.watches
        }
        gone = [table for name, table in self._tables.items() if tables[name] is not table]
        self.schema = schema
        self._tables = tables
        if gone:
            self.last_txn_id = _NO_TRANSACTION
            self._report(
                [Change(table.name, row.uuid, row, None) for table in gone for row in table]
            )

    def forget_position(self) -> None:
        """Have the next monitor request ask for a whole snapshot."""
        self.last_txn_id = _NO_TRANSACTION

    def monitor_params(self, method: Monitor, name: str) -> list[Json]:
        """The parameters of a monitor request; ``name`` will be in its notifications."""
        requests = {}
        for watch in self.watches:
            columns = list(self._tables[watch.table].layout.position)
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

    def reset(self, method: Monitor, result: Json) -> None:
        """Take the answer to a monitor request.

        Where it is a snapshot, the replica becomes it, and observers see what differs.

        Raises
        ------
        ProtocolError
            It is none.
        """
        if method != "monitor_cond_since":
            self._apply(result, diffs=method == "monitor_cond", snapshot=True)
            self._begun(method)
            return
        if (
            not isinstance(result, list | tuple)
            or len(result) != 3
            or not isinstance(result[1], str)
        ):
            raise ProtocolError(f"{method}: the reply isn't [found, txn-id, updates]")
        found, txn_id, updates = result
        self._apply(updates, diffs=True, snapshot=found is not True)
        self.last_txn_id = txn_id
        self._begun(method)

    def _begun(self, method: Monitor) -> None:
        self.method = method
        self.confirm(self._asked)

    def update(self, method: str, params: Json) -> None:
        """Take an ``update``, ``update2`` or ``update3`` notification.

        Raises
        ------
        ProtocolError
            It is none, or speaks of rows that aren't there.
        """
        length = 3 if method == "update3" else 2
        if not isinstance(params, list) or len(params) != length:
            raise ProtocolError(f"{method}: needs {length} parameters")
        self._apply(params[-1], diffs=method != "update", snapshot=False)
        if method == "update3":
            if not isinstance(params[1], str):
                raise ProtocolError(f"{method}: {params[1]!r} is no transaction id")
            self.last_txn_id = params[1]

    def _apply(self, updates: Json, *, diffs: bool, snapshot: bool) -> None:
        """All of 'updates' or, where a part of it is wrong, nothing."""
        if not isinstance(updates, dict):
            raise ProtocolError("table updates are no object")
        staged: list[tuple[Table, _Staged]] = []
        for name, rows in updates.items():
            table = self._tables.get(name)
            if table is None:
                raise ProtocolError(f"an update of table {name}, which isn't monitored")
            staged.append((table, table.layout.reader.stage(table._rows, rows, diffs, snapshot)))
        if snapshot:
            for name, table in self._tables.items():
                present = updates.get(name, {})
                gone: _Staged = [
                    (u, row, None) for u, row in table._rows.items() if u not in present
                ]
                staged.append((table, gone))
        for table, rows in staged:
            table._put(rows)
        if self._observers or self._feeds:
            self._report([Change(table.name, *row) for table, rows in staged for row in rows])

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


def _all_columns(table: TableSchema) -> tuple[str, ...]:
    return tuple(name for name in table.columns if name not in ("_uuid", "_version"))
