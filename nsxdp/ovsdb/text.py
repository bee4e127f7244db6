"""Values, records and columns in ovs-vsctl's syntax (ovs-vsctl(8), "Database Values").

An atom is written bare where it is a word (``br0``, ``5``, ``true``), and else as a JSON string; a
set as ``[a, b]``, where the brackets may be left out; a map as ``{key=value}``, likewise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from nsxdp.ovsdb.errors import SchemaError
from nsxdp.ovsdb.schema import BaseType, Column, ColumnType, Schema, TableSchema

__all__ = ["find_column", "find_table", "format_value", "parse_atom", "parse_value"]

_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<punct>[][{}=,])|(?P<word>[^][{}=,"\s]+))"""
)
_WORDS = {"true": True, "false": False}


def format_value(kind: ColumnType, value: Any) -> str:
    """A value as ovs-vsctl shows it.

    Examples
    --------
    >>> from nsxdp.ovsdb.schema import BaseType, ColumnType
    >>> from nsxdp.ovsdb.text import format_value
    >>> names = ColumnType(BaseType("string"), None, 0, None)
    >>> format_value(names, frozenset({"br0", "two words"}))
    '[br0, "two words"]'
    """
    if kind.value is not None:
        items = [(_atom(kind.key, k), _atom(kind.value, value[k])) for k in sorted(value)]
        return "{" + ", ".join(f"{k}={v}" for k, v in items) + "}"
    if kind.max == 1:
        return "[]" if value is None else _atom(kind.key, value)
    return "[" + ", ".join(_atom(kind.key, atom) for atom in sorted(value)) + "]"


def parse_value(column: Column, text: str, kind: ColumnType | None = None) -> Any:
    """Read a value.

    Parameters
    ----------
    column
        For which it is: it is named in errors.
    text
        In ovs-vsctl's syntax.
    kind
        What to read instead of what the column holds.

    Raises
    ------
    SchemaError
        The text is no value of the type; where it is one, the value may still not fit the column.
    """
    kind = kind or column.type
    where = f"{column.table}.{column.name}"
    if kind.value is None and kind.max == 1 and not text.lstrip().startswith("["):
        return parse_atom(column, kind.key, text)
    tokens = _tokens(where, text)
    opening, closing = "{}" if kind.value is not None else "[]"
    if tokens and tokens[0] == opening:
        if tokens[-1] != closing:
            raise SchemaError(f"{where}: {text!r}: {closing} is missing at the end")
        tokens = tokens[1:-1]
    members = list(_split(where, text, tokens))
    if kind.value is None:
        if any(len(member) != 1 for member in members):
            raise SchemaError(f"{where}: {text!r} is no set: write its members as [A, B]")
        atoms = [parse_atom(column, kind.key, member[0]) for member in members]
        if kind.max != 1:
            return atoms
        if len(atoms) > 1:
            raise SchemaError(f"{where}: {text!r}: holds at most one")
        return atoms[0] if atoms else None
    pairs: dict[Any, Any] = {}
    for member in members:
        if len(member) != 3 or member[1] != "=":
            raise SchemaError(f"{where}: {text!r} is no map: write its members as KEY=VALUE")
        key = parse_atom(column, kind.key, member[0])
        if key in pairs:
            raise SchemaError(f"{where}: {text!r}: {key!r} stands twice in a map")
        pairs[key] = parse_atom(column, kind.value, member[2])
    return pairs


def parse_atom(column: Column, base: BaseType, text: str) -> Any:
    """Read one atom; as `parse_value`."""
    text = text.strip()
    try:
        if text.startswith('"'):
            text = json.loads(text)
            if not isinstance(text, str):
                raise ValueError(text)
            if base.type == "string":
                return text
        if base.type == "integer":
            return int(text)
        if base.type == "real":
            return float(text)
        if base.type == "boolean":
            return _WORDS[text]
        if base.type == "uuid" and not _UUID.fullmatch(text):
            raise ValueError(text)
    except (KeyError, ValueError):
        raise SchemaError(f"{column.table}.{column.name}: {text!r} is no {base.type}") from None
    return text


def find_table(schema: Schema, name: str) -> TableSchema:
    """The table of that name, of which the case, ``-`` for ``_`` and the end may be left.

    Raises
    ------
    SchemaError
        There is none, or several.
    """
    return schema.table(_find(name, schema.tables, f"database {schema.name}", "table"))


def find_column(table: TableSchema, name: str) -> Column:
    """The column of that name; as `find_table`."""
    return table.column(_find(name, table.columns, f"table {table.name}", "column"))


def _find(name: str, known: Iterable[str], where: str, what: str) -> str:
    names = list(known)
    if name in names:
        return name
    wanted = _folded(name)
    for found in (
        [n for n in names if _folded(n) == wanted],
        [n for n in names if _folded(n).startswith(wanted)],
    ):
        if len(found) == 1:
            return found[0]
        if found:
            raise SchemaError(f"{where}: {name} may be: {', '.join(sorted(found))}")
    has = ", ".join(n for n in sorted(names) if not n.startswith("_"))
    raise SchemaError(f"{where} has no {what} {name} (it has: {has})")


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")


def _atom(base: BaseType, value: Any) -> str:
    if base.type == "boolean":
        return "true" if value else "false"
    if base.type == "real":
        return f"{value:.15g}"
    if base.type != "string":
        return str(value)
    if _BARE.fullmatch(value) and value not in _WORDS and not _UUID.fullmatch(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def _tokens(where: str, text: str) -> list[str]:
    tokens = []
    position = 0
    end = len(text.rstrip())
    while position < end:
        found = _TOKEN.match(text, position)
        if found is None:
            raise SchemaError(f"{where}: {text!r}: what is at character {position}?")
        tokens.append(found[0].strip())
        position = found.end()
    return tokens


def _split(where: str, text: str, tokens: list[str]) -> Iterable[list[str]]:
    """Members of a set or a map: ``A = B`` with commas, or in ovs-vsctl's way blanks, between."""
    member: list[str] = []
    for token in tokens:
        if token in "[]{}":
            raise SchemaError(f"{where}: {text!r}: {token} must stand in quotes")
        joined = bool(member) and (token == "=" or member[-1] == "=")
        if token == "," or (member and not joined):
            if not member:
                raise SchemaError(f"{where}: {text!r}: nothing stands before a comma")
            yield member
            member = []
        if token != ",":
            member.append(token)
    if member:
        yield member


def jsonable(value: Any) -> Any:
    """A value in the shape that scripts like: sets as sorted lists, maps as objects."""
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return {str(key): value[key] for key in sorted(value)}
    return value
