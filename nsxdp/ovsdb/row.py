"""Rows, as one sees them."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from nsxdp.ovsdb.reader import RowReader
from nsxdp.ovsdb.schema import Column, TableSchema, Uuid

__all__ = ["Layout", "Row"]


class Layout:
    """Which columns the rows of a table have here, and in which order.

    Attributes
    ----------
    table
        The table's name.
    columns
        The columns, in the order of the values of a `Row`.
    position
        From a column's name to its place.
    defaults
        What a column holds that an insertion didn't mention.
    reader
        From updates to rows.
    """

    __slots__ = ("columns", "defaults", "position", "reader", "table")

    def __init__(self, table: TableSchema, names: tuple[str, ...]) -> None:
        self.table = table.name
        self.columns: tuple[Column, ...] = tuple(table.column(name) for name in names)
        self.position = {name: index for index, name in enumerate(names)}
        self.defaults: tuple[Any, ...] = tuple(column.default for column in self.columns)
        self.reader = RowReader(self, Row)

    def like(self, other: Layout) -> bool:
        """Whether values of one layout mean the same in the other."""
        return self.table == other.table and self.columns == other.columns


class Row:
    """One row as it was at one time: it never changes.

    Columns are attributes (``row.external_ids``) and items (``row["external_ids"]``).  ``row.uuid``
    is its identity.  Two rows are equal when they are the same row with the same values.
    """

    __slots__ = ("_layout", "_values", "uuid")

    def __init__(self, layout: Layout, uuid: Uuid, values: tuple[Any, ...]) -> None:
        self._layout = layout
        self._values = values
        self.uuid = uuid

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(error.args[0]) from None

    def __getitem__(self, name: str) -> Any:
        position = self._layout.position.get(name)
        if position is None:
            raise KeyError(f"column {self._layout.table}.{name} isn't monitored")
        value = self._values[position]
        return MappingProxyType(value) if type(value) is dict else value

    def _asdict(self) -> dict[str, Any]:
        """Columns and their values; named as in `collections.namedtuple`, to not hide a column."""
        return {name: self[name] for name in self._layout.position}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Row):
            return NotImplemented
        return (
            self.uuid == other.uuid
            and self._values == other._values
            and self._layout.position == other._layout.position
        )

    def __hash__(self) -> int:
        return hash(self.uuid)

    def __repr__(self) -> str:
        columns = ", ".join(
            f"{name}={value!r}"
            for name, value in zip(self._layout.position, self._values, strict=True)
        )
        return f"{self._layout.table}({self.uuid}: {columns})"
