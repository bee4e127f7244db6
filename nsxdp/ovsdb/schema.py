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

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NewType, cast

from nsxdp.ovsdb.errors import SchemaError

__all__ = [
    "AtomType",
    "BaseType",
    "Column",
    "ColumnType",
    "NamedUuid",
    "Schema",
    "TableSchema",
    "Uuid",
]

Uuid = NewType("Uuid", str)
"""A row's UUID as text, such as ``550e8400-e29b-41d4-a716-446655440000``."""

Json = Any
"""What `json` reads and writes."""

AtomType = Literal["integer", "real", "boolean", "string", "uuid"]

_ATOMS: dict[AtomType, tuple[tuple[type, ...], Any]] = {
    "integer": ((int,), 0),
    "real": ((float, int), 0.0),
    "boolean": ((bool,), False),
    "string": ((str,), ""),
    "uuid": ((str,), "00000000-0000-0000-0000-000000000000"),
}
"""For each atomic type: its types in JSON, and its default value."""


_MIN_INTEGER, _MAX_INTEGER = -(1 << 63), (1 << 63) - 1
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class NamedUuid:
    """A row that the same transaction inserts, where a UUID is asked for."""

    __slots__ = ()

    uuid_name: str


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

    def encode(self, value: Any) -> Json:
        """An atom's JSON.

        Raises
        ------
        ValueError
            It isn't of this type.
        """
        if self.type == "uuid":
            return _encode_uuid(value)
        types: Any = _ATOMS[self.type][0]
        if not isinstance(value, types) or (isinstance(value, bool) and self.type != "boolean"):
            raise ValueError(f"{value!r} is no {self.type}")
        if self.type == "string":
            _check_text(value)
        elif self.type == "real" and not math.isfinite(value):
            raise ValueError(f"{value!r} has no JSON")
        elif self.type == "integer" and not _MIN_INTEGER <= value <= _MAX_INTEGER:
            raise ValueError(f"{value!r} doesn't fit into 64 bits")
        if self.enum and value not in self.enum:
            allowed = ", ".join(sorted(map(str, self.enum)))
            raise ValueError(f"{value!r} is none of: {allowed}")
        if self.type != "boolean":
            size: float = len(value) if isinstance(value, str) else value
            what = " characters" if self.type == "string" else ""
            if self.minimum is not None and size < self.minimum:
                raise ValueError(f"{value!r} is below the minimum of {self.minimum}{what}")
            if self.maximum is not None and size > self.maximum:
                raise ValueError(f"{value!r} is above the maximum of {self.maximum}{what}")
        return value

    @property
    def default(self) -> Any:
        """What an atom is where nothing was said about it."""
        return _ATOMS[self.type][1]


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

    def encode(self, value: Any) -> Json:
        """A value's JSON.

        Raises
        ------
        ValueError
            It isn't of this type.
        """
        if self.value is not None:
            if not isinstance(value, Mapping):
                raise ValueError(f"{value!r} is no map")
            self._check_size(len(value))
            encode, encode_value = self.key.encode, self.value.encode
            return ["map", [[encode(k), encode_value(v)] for k, v in value.items()]]
        if self.max == 1:
            if value is not None:
                return self.key.encode(value)
            self._check_size(0)
            return ["set", []]
        if isinstance(value, str) or not isinstance(value, Iterable):
            value = (value,)
        elif isinstance(value, Mapping):
            raise ValueError(f"{value!r} is no set")
        value = tuple(value)
        atoms = [self.key.encode(atom) for atom in value]
        self._check_size(len(atoms))
        if len(value) > 1 and len(set(value)) < len(value):
            twice = next(atom for n, atom in enumerate(value) if atom in value[:n])
            raise ValueError(f"{twice!r} stands twice in a set")
        return ["set", atoms]

    def _check_size(self, size: int) -> None:
        if size < self.min:
            raise ValueError(f"needs at least {self.min} of {self.key.type}")
        if self.max is not None and size > self.max:
            raise ValueError(f"holds at most {self.max} of {self.key.type}, not {size}")


@dataclass(frozen=True, slots=True)
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

    def encode(self, value: Any) -> Json:
        """A value's JSON.

        Raises
        ------
        SchemaError
            It isn't of the column's type.
        """
        return self.encode_as(self.type, value)

    def encode_as(self, as_type: ColumnType, value: Any) -> Json:
        """JSON of a value of another type that has to do with this column, as `encode`."""
        try:
            return as_type.encode(value)
        except ValueError as error:
            raise SchemaError(f"{self.table}.{self.name}: {error}") from None


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
        except (AttributeError, KeyError, TypeError, ValueError) as error:
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
    if kind not in _ATOMS:
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
    enum = text["enum"]
    atoms = enum[1] if isinstance(enum, list) and enum[:1] == ["set"] else [enum]
    allowed = frozenset(_typed(atom, _ATOMS[base.type][0][0]) for atom in atoms)
    return BaseType(base.type, base.minimum, base.maximum, allowed, base.ref_table, base.ref_type)


def _typed(value: Json, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{value!r} is no {kind.__name__}")
    return value


def _check_text(value: str) -> None:
    if "\0" in value:
        raise ValueError(f"{value!r} has a null character, which OVSDB can't hold")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{value!r} has half of a surrogate pair") from None


def _encode_uuid(value: Any) -> Json:
    if isinstance(value, NamedUuid):
        return ["named-uuid", value.uuid_name]
    uuid = value if isinstance(value, str) else getattr(value, "uuid", None)
    if not isinstance(uuid, str) or not _UUID.fullmatch(uuid):
        raise ValueError(f"{value!r} is no UUID")
    return ["uuid", uuid]
