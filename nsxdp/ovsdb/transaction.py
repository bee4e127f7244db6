"""Transactions (RFC 7047, 4.1.3 and 5.2): what to do, as operations, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar, get_args

import msgspec

from nsxdp.ovsdb.condition import Where, encode_where
from nsxdp.ovsdb.encode import Encoder
from nsxdp.ovsdb.errors import ProtocolError, SchemaError, TransactionError, TryAgainError
from nsxdp.ovsdb.lock import Lock
from nsxdp.ovsdb.schema import (
    BaseType,
    Column,
    ColumnType,
    Json,
    NamedUuid,
    Schema,
    TableSchema,
    Uuid,
)
from nsxdp.ovsdb.store import Row, Store, Table

__all__ = ["Insert", "Mutation", "Mutator", "Operation", "Results", "Transaction"]

Mutator = Literal["+=", "-=", "*=", "/=", "%=", "insert", "delete"]

Mutation = tuple[str, Mutator, Any]
"""Column, mutator, value; such as ``("external_ids", "insert", {"iface-id": "default/web"})``."""

_MUTATORS = frozenset(get_args(Mutator))

_Result = TypeVar("_Result")

_TRY_AGAIN = frozenset(("timed out", "not leader", "cluster error"))
"""Errors that say nothing against the transaction itself: a ``wait`` found another state than
it wanted, or a cluster was without a leader."""


_IMMUTABLE = "{}.{}: can't be changed once its row is there; insert another row instead"


class Operation(Generic[_Result]):
    """One operation; `Results` gives what came of it."""

    __slots__ = ("_index",)

    def __init__(self, index: int) -> None:
        self._index = index

    def read(self, result: Mapping[str, Json]) -> _Result:
        """What came of it, from the server's answer."""
        raise NotImplementedError


class _Nothing(Operation[None]):
    def read(self, result: Mapping[str, Json]) -> None:  # noqa: ARG002
        return None


class _Count(Operation[int]):
    def read(self, result: Mapping[str, Json]) -> int:
        return int(result["count"])


class Insert(Operation[Uuid], NamedUuid):
    """A row that will be; other operations of its transaction may refer to it."""

    __slots__ = ("uuid_name",)

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.uuid_name = f"row{index}"

    def read(self, result: Mapping[str, Json]) -> Uuid:
        return Uuid(result["uuid"][1])


class _Select(Operation[list[Row]]):
    __slots__ = ("_table",)

    def __init__(self, index: int, table: TableSchema, columns: tuple[str, ...]) -> None:
        super().__init__(index)
        self._table = Table(Store(), table, columns)

    def read(self, result: Mapping[str, Json]) -> list[Row]:
        rows = []
        for row in result["rows"]:
            columns = msgspec.json.encode({name: row[name] for name in self._table.position})
            rows.append(self._table.parse(row["_uuid"][1], columns))
        return rows


class Results:
    """What came of a transaction's operations: ``results[operation]``.

    A UUID for an insertion; the number of rows for update, mutate and delete; rows for select.
    """

    __slots__ = ("_results",)

    def __init__(self, results: list[Mapping[str, Json]]) -> None:
        self._results = results

    def __getitem__(self, operation: Operation[_Result]) -> _Result:
        result = self._results[operation._index]
        try:
            return operation.read(result)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ProtocolError(f"transact: {result!r} is no result of its operation") from error


class Transaction:
    """Operations that take place all together or not at all.

    Each method adds an operation, and gives it as a handle for `Results`.  All raise `SchemaError`
    for tables, columns and values that the database doesn't know.  Made by `Client.transaction`,
    sent by `Client.commit`; the operations are those of RFC 7047, 5.2.

    Attributes
    ----------
    schema
        The database's.
    operations
        Their JSON, in their order.
    patience
        Seconds that the operations may wait, all together; None: for ever.

    Examples
    --------
    >>> import asyncio
    >>> from nsxdp.lab import Node
    >>> from nsxdp.ovsdb import Client
    >>> async def main(remote):
    ...     async with Client(remote, "Open_vSwitch") as client:
    ...         txn = client.transaction()
    ...         bridges = txn.select("Bridge", [("name", "==", "br-int")], ["name", "fail_mode"])
    ...         changed = txn.mutate(
    ...             "Bridge",
    ...             [("name", "==", "br-int")],
    ...             [("other_config", "insert", {"mac-table-size": "4096"})],
    ...         )
    ...         results = await client.commit(txn)
    ...         print(results[bridges][0].fail_mode, results[changed])
    >>> with Node() as node:
    ...     asyncio.run(main(node.ovsdb))
    standalone 1
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.operations: list[dict[str, Json]] = []
        self.patience: float | None = 0.0
        self._read: set[tuple[str, str]] = set()

    def __len__(self) -> int:
        return len(self.operations)

    def insert(self, table: str, row: Mapping[str, Any]) -> Insert:
        """Insert a row; columns that ``row`` doesn't name get their defaults."""
        operation = Insert(len(self.operations))
        columns = _row(self.schema.table(table), row)
        self._add("insert", {"table": table, "row": columns, "uuid-name": operation.uuid_name})
        return operation

    def update(self, table: str, where: Where, row: Mapping[str, Any]) -> Operation[int]:
        """Set columns of all rows that ``where`` chooses; gives how many there were."""
        known = self.schema.table(table)
        where_json = encode_where(known, where)
        columns = _row(known, row, change=True)
        return _Count(self._add("update", {"table": table, "where": where_json, "row": columns}))

    def mutate(self, table: str, where: Where, mutations: Sequence[Mutation]) -> Operation[int]:
        """Change columns of all rows that ``where`` chooses, each from what it holds.

        Parameters
        ----------
        where
            A row, a row's UUID, or conditions that all must hold.
        mutations
            Column, mutator, value: ``("external_ids", "insert", {"owner": "me"})``.  Mutators are
            those of RFC 7047, 5.1: ``insert``, ``delete``, ``+=``, ``-=``, ``*=``, ``/=``, ``%=``.
        """
        known = self.schema.table(table)
        where_json = encode_where(known, where)
        changes = [_mutation(known, mutation) for mutation in mutations]
        content = {"table": table, "where": where_json, "mutations": changes}
        return _Count(self._add("mutate", content))

    def delete(self, table: str, where: Where) -> Operation[int]:
        """Delete all rows that ``where`` chooses; gives how many there were."""
        where_json = encode_where(self.schema.table(table), where)
        return _Count(self._add("delete", {"table": table, "where": where_json}))

    def select(
        self, table: str, where: Where = (), columns: Sequence[str] | None = None
    ) -> Operation[list[Row]]:
        """Read rows; of all columns where ``columns`` is None."""
        known = self.schema.table(table)
        if columns is None:
            columns = [name for name in known.columns if not name.startswith("_")]
        where_json = encode_where(known, where)
        operation = _Select(len(self.operations), known, tuple(columns))
        self._add("select", {"table": table, "where": where_json, "columns": ["_uuid", *columns]})
        return operation

    def wait(
        self,
        table: str,
        where: Where,
        rows: Sequence[Mapping[str, Any]],
        *,
        columns: Sequence[str],
        until: Literal["==", "!="] = "==",
        timeout: float | None = 0.0,
    ) -> Operation[None]:
        """Go on only when the rows that ``where`` chooses have, in ``columns``, the values of
        ``rows``; if they don't within ``timeout`` seconds, the commit raises `TryAgainError`.

        A ``timeout`` of None waits for ever, or until the commit is cancelled.  Only the first
        operations of a transaction can wait: the server undoes what came before, and begins anew.
        """
        known = self.schema.table(table)
        if until not in ("==", "!="):
            raise SchemaError(f"{until!r} is nothing to wait for: it must be '==' or '!='")
        content: dict[str, Json] = {
            "table": table,
            "where": encode_where(known, where),
            "columns": [known.column(name).name for name in columns],
            "until": until,
            "rows": [_row(known, row) for row in rows],
        }
        if timeout is not None:
            content["timeout"] = round(timeout * 1000)
        if self.patience is not None:
            self.patience = None if timeout is None else self.patience + timeout
        return _Nothing(self._add("wait", content))

    def verify(self, row: Row, *columns: str) -> Operation[None]:
        """Go on only when these columns of a row are still as we know them."""
        values = {name: row[name] for name in columns}
        return self.wait(row._table.name, row, [values], columns=columns)

    def read(self, row: Row, column: str) -> Any:
        """The value of a column of a row of the replica, on which this transaction depends.

        It takes place only where the column still has that value.
        """
        if (row.uuid, column) not in self._read:
            self._read.add((row.uuid, column))
            self.verify(row, column)
        return row[column]

    def commit(self, *, durable: bool) -> Operation[None]:
        """Have the answer wait until the transaction is on disk, where ``durable`` says so."""
        return _Nothing(self._add("commit", {"durable": durable}))

    def abort(self) -> Operation[None]:
        """Have the server undo it all: the commit raises `TransactionError` with ``aborted``."""
        return _Nothing(self._add("abort", {}))

    def comment(self, text: str) -> Operation[None]:
        """Have the server log a text with the transaction."""
        return _Nothing(self._add("comment", {"comment": text}))

    def assert_lock(self, lock: Lock | str) -> Operation[None]:
        """Go on only while we hold a lock; else the commit raises ``not owner``."""
        name = lock if isinstance(lock, str) else lock.name
        return _Nothing(self._add("assert", {"lock": name}))

    def params(self) -> list[Json]:
        """The parameters of the ``transact`` request."""
        return [self.schema.name, *self.operations]

    def results(self, answer: Json) -> Results:
        """Read the server's answer.

        Raises
        ------
        TransactionError
            An operation, or the commit, failed.
        ProtocolError
            It is no answer to this transaction.
        """
        if not isinstance(answer, list):
            raise ProtocolError(f"transact: {answer!r} is no list of results")
        for index, result in enumerate(answer):
            if isinstance(result, dict) and "error" in result:
                raise self._failed(index, result)
        results = answer[: len(self.operations)]
        if len(results) < len(self.operations) or not all(isinstance(r, dict) for r in results):
            raise ProtocolError("transact: not every operation has a result")
        return Results(results)

    def _failed(self, index: int, result: Mapping[str, Json]) -> TransactionError:
        error = str(result["error"])
        operation = self.operations[index] if index < len(self.operations) else None
        kind = TryAgainError if error in _TRY_AGAIN else TransactionError
        return kind(error, str(result.get("details", "")), index, operation)

    def _add(self, op: str, content: dict[str, Json]) -> int:
        self.operations.append({"op": op, **content})
        return len(self.operations) - 1


def _row(table: TableSchema, row: Mapping[str, Any], *, change: bool = False) -> Json:
    encoded = {}
    for name, value in row.items():
        column = table.column(name)
        if name in ("_uuid", "_version"):
            raise SchemaError(f"{table.name}.{name}: can't be written: the server gives it")
        if change and not column.mutable:
            raise SchemaError(_IMMUTABLE.format(table.name, name))
        encoded[name] = column.encode(value)
    return encoded


def _mutation(table: TableSchema, mutation: Mutation) -> Json:
    name, mutator, value = mutation
    column = table.column(name)
    if mutator not in _MUTATORS:
        raise SchemaError(f"{table.name}.{name}: {mutator!r} is no mutator of RFC 7047")
    if not column.mutable:
        raise SchemaError(_IMMUTABLE.format(table.name, name))
    return [name, mutator, _mutation_encoder(column, mutator, value)(value)]


def _mutation_encoder(column: Column, mutator: Mutator, value: Any) -> Encoder:
    """For the value that a mutator takes: fewer or more members than the column may be meant, and
    keys alone are enough to delete from a map.
    """
    declared = column.type
    where = f"{column.table}.{column.name}"
    if mutator in ("insert", "delete"):
        if declared.is_scalar:
            raise SchemaError(f"{where}: {mutator!r} needs a set or a map; update it instead")
        if mutator == "delete" and not isinstance(value, Mapping):
            return column.encode_keys
        return column.encode_members
    if declared.is_map or declared.key.type not in ("integer", "real"):
        raise SchemaError(f"{where}: {mutator!r} needs a column of numbers")
    if mutator == "%=" and declared.key.type == "real":
        raise SchemaError(f"{where}: '%=' needs a column of integers")
    if mutator in ("/=", "%=") and value == 0:
        raise SchemaError(f"{where}: division by zero")
    return column.encode_as(ColumnType(BaseType(declared.key.type)))
