"""Indexes over the rows of a replicated table."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from nsxdp.ovsdb.errors import SchemaError
from nsxdp.ovsdb.row import Layout, Row
from nsxdp.ovsdb.schema import Uuid

__all__ = ["Index"]


class Index:
    """From a value to the rows that have it, kept up to date row by row.

    Parameters
    ----------
    layout
        Of the rows.
    spec
        A column's name, or ``COLUMN:KEY`` for one key of a map.  A set is entered under each
        member, a map under each key; an empty optional value isn't entered.
    """

    __slots__ = ("_key", "_many", "_position", "_uuids")

    def __init__(self, layout: Layout, spec: str) -> None:
        column, colon, key = spec.partition(":")
        if column not in layout.position:
            raise SchemaError(f"index {spec}: column {layout.table}.{column} isn't monitored")
        self._position = layout.position[column]
        self._key = key if colon else None
        declared = layout.columns[self._position].type
        if self._key is not None and not declared.is_map:
            raise SchemaError(f"index {spec}: column {layout.table}.{column} is no map")
        self._many = declared.is_map or declared.max != 1
        self._uuids: dict[Any, dict[Uuid, None]] = {}

    def get(self, value: Any) -> Collection[Uuid]:
        """The rows under a value, in the order in which they got it."""
        return self._uuids.get(value, ())

    def move(self, old: Row | None, new: Row | None) -> None:
        """Follow a row from what it was to what it is."""
        before = () if old is None else self._keys(old)
        after = () if new is None else self._keys(new)
        if before == after:
            return
        if old is not None:
            for key in before:
                if key not in after:
                    uuids = self._uuids[key]
                    del uuids[old.uuid]
                    if not uuids:
                        del self._uuids[key]
        if new is not None:
            for key in after:
                if key not in before:
                    self._uuids.setdefault(key, {})[new.uuid] = None

    def _keys(self, row: Row) -> Collection[Any]:
        value = row._values[self._position]
        if self._key is not None:
            return (value[self._key],) if self._key in value else ()
        if self._many:
            return frozenset(value)
        return () if value is None else (value,)
