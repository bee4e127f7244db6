"""A database's schema, as types that convert between JSON and Python (RFC 7047, 3.2 and 5.1).

In Python a column's value is

====================================  ===========================
exactly one atom                      the atom
at most one atom                      the atom, or None
set of more                           `frozenset` of atoms
map                                   `dict`
====================================  ===========================

and an atom is an `int`, `float`, `bool`, `str` or, for a row's identity, a `Uuid`.
Where a UUID is asked for, anything with a ``uuid`` attribute, such as a row, may be given too, and
the insertion of a row in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NewType, cast

import msgspec

from nsxdp.ovsdb.encode import Encoder
from nsxdp.ovsdb.errors import ProtocolError, SchemaError
from nsxdp.ovsdb.store import Store, Table

__all__ = [
    "AtomType",
    "BaseType",
    "Column",
    "ColumnType",
    "Schema",
    "TableSchema",
    "Uuid",
]

Uuid = NewType("Uuid", str)
"""A row's UUID as text, such as ``550e8400-e29b-41d4-a716-446655440000``."""

Json = Any
"""What `json` reads and writes."""

AtomType = Literal["integer", "real", "boolean", "string", "uuid"]
"""RFC 7047's ``<atomic-type>``."""

_NO_UUID = "00000000-0000-0000-0000-000000000000"

_DEFAULTS: dict[AtomType, Any] = {
    "integer": 0,
    "real": 0.0,
    "boolean": False,
    "string": "",
    "uuid": _NO_UUID,
}
"""What an atom of each type is where nothing was said about it."""


@dataclass(frozen=True, slots=True)
class BaseType:
    """What the atoms of a column may be.

    Attributes
    ----------
    minimum, maximum
        Bounds of a number, or of a string's length in characters; None: unbounded.
    enum
        The only values that are allowed; empty: all are.
    ref_table
        The table whose rows these UUIDs name; empty: none.
    """

    type: AtomType
    minimum: float | None = None
    maximum: float | None = None
    enum: frozenset[Any] = frozenset()
    ref_table: str = ""
    ref_type: Literal["strong", "weak"] = "strong"

    @property
    def default(self) -> Any:
        """What an atom is where nothing was said about it."""
        return _DEFAULTS[self.type]


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A column's type: ``min`` to ``max`` keys, each with a value where it is a map.

    ``max`` is None where there is no bound.
    """

    key: BaseType
    value: BaseType | None = None
    min: int = 1
    max: int | None = 1

    @property
    def is_map(self) -> bool:
        """Keys with values."""
        return self.value is not None

    @property
    def is_scalar(self) -> bool:
        """Exactly one atom."""
        return self.value is None and self.min == 1 and self.max == 1

    @property
    def is_optional(self) -> bool:
        """One atom or none."""
        return self.value is None and self.min == 0 and self.max == 1

    @property
    def default(self) -> Any:
        """The value of a column that an insertion doesn't mention."""
        if self.value is not None:
            return {self.key.default: self.value.default} if self.min else {}
        if self.max == 1:
            return self.key.default if self.min else None
        return frozenset((self.key.default,)) if self.min else frozenset()


@dataclass(frozen=True)
class Column:
    """A column."""

    table: str
    name: str
    type: ColumnType
    ephemeral: bool = False
    mutable: bool = True

    @property
    def default(self) -> Any:
        """The value where an insertion doesn't mention the column."""
        return self.type.default

    @cached_property
    def encode(self) -> Encoder:
        """A function from a value to its JSON; it raises `SchemaError` where that doesn't fit."""
        return self.encode_as(self.type)

    @cached_property
    def encode_members(self) -> Encoder:
        """The same, of any number of the members of a set or a map."""
        return self.encode_as(ColumnType(self.type.key, self.type.value, 0, None))

    @cached_property
    def encode_keys(self) -> Encoder:
        """The same, of a set of keys of a map."""
        return self.encode_as(ColumnType(self.type.key, None, 0, None))

    def encode_as(self, kind: ColumnType) -> Encoder:
        """The same, of values of another type that have to do with this column."""
        return Encoder(f"{self.table}.{self.name}", kind)


@dataclass(frozen=True, slots=True)
class TableSchema:
    """A table: its columns by name, with ``_uuid`` and ``_version`` among them."""

    name: str
    columns: Mapping[str, Column]
    is_root: bool = False
    max_rows: int | None = None
    indexes: tuple[tuple[str, ...], ...] = ()

    def column(self, name: str) -> Column:
        """The column of that name.

        Raises
        ------
        SchemaError
            There is none.
        """
        try:
            return self.columns[name]
        except KeyError:
            raise SchemaError(f"table {self.name} has no column {name}") from None


@dataclass(frozen=True, slots=True)
class Schema:
    """A database's schema."""

    name: str
    version: str
    tables: Mapping[str, TableSchema]
    checksum: str = ""

    def table(self, name: str) -> TableSchema:
        """The table of that name.

        Raises
        ------
        SchemaError
            There is none.
        """
        try:
            return self.tables[name]
        except KeyError:
            raise SchemaError(
                f"database {self.name} (schema {self.version}) has no table {name}"
            ) from None

    @classmethod
    def from_json(cls, text: Json) -> Schema:
        """Read what ``get_schema`` gives.

        Raises
        ------
        SchemaError
            It is no schema.
        """
        where = "schema"
        try:
            name = _typed(text["name"], str)
            tables = {}
            for table_name, table in text["tables"].items():
                where = f"schema {name}: table {table_name}"
                columns = _implicit_columns(table_name)
                for column_name, column in table["columns"].items():
                    where = f"schema {name}: column {table_name}.{column_name}"
                    columns[column_name] = Column(
                        table_name,
                        column_name,
                        _column_type(column["type"]),
                        ephemeral=bool(column.get("ephemeral", False)),
                        mutable=bool(column.get("mutable", True)),
                    )
                tables[table_name] = TableSchema(
                    table_name,
                    columns,
                    is_root=bool(table.get("isRoot", False)),
                    max_rows=table.get("maxRows"),
                    indexes=tuple(tuple(index) for index in table.get("indexes", ())),
                )
            return cls(name, str(text.get("version", "")), tables, str(text.get("cksum", "")))
        except (AttributeError, KeyError, ProtocolError, TypeError, ValueError) as error:
            raise SchemaError(f"{where}: {type(error).__name__}: {error}") from error


def _implicit_columns(table: str) -> dict[str, Column]:
    uuid = ColumnType(BaseType("uuid"))
    return {name: Column(table, name, uuid, mutable=False) for name in ("_uuid", "_version")}


def _column_type(text: Json) -> ColumnType:
    if isinstance(text, str):
        return ColumnType(_base_type(text))
    maximum = text.get("max", 1)
    return ColumnType(
        _base_type(text["key"]),
        _base_type(text["value"]) if "value" in text else None,
        _typed(text.get("min", 1), int),
        None if maximum == "unlimited" else _typed(maximum, int),
    )


def _base_type(text: Json) -> BaseType:
    if isinstance(text, str):
        text = {"type": text}
    kind = text["type"]
    if kind not in _DEFAULTS:
        raise ValueError(f"unknown type {kind!r}")
    suffix = {"integer": "Integer", "real": "Real"}.get(kind, "Length")
    base = BaseType(
        cast(AtomType, kind),
        minimum=text.get(f"min{suffix}"),
        maximum=text.get(f"max{suffix}"),
        ref_table=text.get("refTable", ""),
        ref_type=text.get("refType", "strong"),
    )
    if "enum" not in text:
        return base
    return replace(base, enum=_read_enum(base, text["enum"]))


def _read_enum(base: BaseType, text: Json) -> frozenset[Any]:
    """The atoms of an ``enum``, which is written as a set of such a column is."""
    column = Column("", "enum", ColumnType(base, None, 0, None))
    table = Table(Store(), TableSchema("", {column.name: column}), [column.name])
    row = table.parse(_NO_UUID, msgspec.json.encode({column.name: text}))
    return cast(frozenset[Any], row[column.name])


def _typed(value: Json, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{value!r} is no {kind.__name__}")
    return value
