"""Conditions, which choose rows (RFC 7047, 5.1, ``<condition>``)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

from nsxdp.ovsdb.errors import SchemaError
from nsxdp.ovsdb.schema import ColumnType, Json, TableSchema
from nsxdp.ovsdb.store import Row

__all__ = ["Condition", "Function", "Wanted", "Where", "encode_wanted", "encode_where"]

Function = Literal["==", "!=", "<", "<=", ">", ">=", "includes", "excludes"]
"""RFC 7047's ``<function>``: how a column is compared with a value."""

Condition = tuple[str, Function, Any]
"""Column, function, value; such as ``("name", "==", "br0")``."""

Wanted = Condition | bool
"""A condition of which rows to replicate; True: every row, False: none (an extension of OVS)."""

Where = Row | str | Sequence[Condition]
"""A row, a row's UUID, or conditions that all must hold; none: every row."""


def encode_where(table: TableSchema, where: Where) -> list[Json]:
    """The JSON of conditions, which all must hold.

    Raises
    ------
    SchemaError
        No such column or function, or a value that doesn't fit the column.
    """
    if isinstance(where, Row):
        where = where.uuid
    if isinstance(where, str):
        return [["_uuid", "==", table.column("_uuid").encode(where)]]
    return [_encode(table, condition) for condition in where]


def encode_wanted(table: TableSchema, where: Sequence[Wanted]) -> list[Json]:
    """The JSON of conditions of which one must hold; as `encode_where`."""
    return [w if isinstance(w, bool) else _encode(table, w) for w in where] or [True]


def _encode(table: TableSchema, condition: Condition) -> Json:
    name, function, value = condition
    column = table.column(name)
    if function not in get_args(Function):
        raise SchemaError(f"{table.name}.{name}: {function!r} is no function of RFC 7047")
    ordered = function in ("<", "<=", ">", ">=")
    declared = column.type
    if ordered and not (
        (declared.is_scalar or declared.is_optional) and declared.key.type in ("integer", "real")
    ):
        raise SchemaError(f"{table.name}.{name}: {function!r} needs a column of one number")
    if ordered and declared.is_optional:
        return [name, function, column.encode_as(ColumnType(declared.key))(value)]
    if isinstance(value, Iterable) and not isinstance(value, str):
        # A condition may name fewer or more members than a row of the table may have.
        return [name, function, column.encode_members(value)]
    return [name, function, column.encode(value)]
