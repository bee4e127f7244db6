"""What the commands of ``nsxdp ovsdb`` share: where the database is, rows, and how they look."""

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from nsxdp.ovsdb import (
    Client,
    OvsdbError,
    Row,
    SchemaError,
    Session,
    Tls,
    Transaction,
    Watch,
)
from nsxdp.ovsdb.schema import Column, ColumnType, TableSchema
from nsxdp.ovsdb.session import parse_remotes
from nsxdp.ovsdb.text import find_column, find_table, format_value, jsonable, parse_atom

T = TypeVar("T")

_out = Console()
_err = Console(stderr=True)
_PREFIX = re.compile(r"[0-9a-fA-F]{4}[0-9a-fA-F-]*")
_CONDITION = re.compile(
    r"""([\w-]+)(?::("(?:[^"\\]|\\.)*"|[^=!<>{}]+))?(=|!=|<=|>=|<|>|\{>=\})(.*)""", re.DOTALL
)
_WITHOUT = "Open_vSwitch"


@dataclass(frozen=True)
class Place:
    """Which database of which server, as the options say."""

    remote: str
    database: str
    timeout: float
    leader_only: bool
    tls: Tls | None

    async def session(self) -> Session:
        """A connection to the first remote that accepts one."""
        errors = []
        for remote in parse_remotes(self.remote):
            try:
                return await Session.open(remote, tls=self.tls, timeout=self.timeout)
            except OvsdbError as error:
                errors.append(str(error))
        raise OvsdbError("; ".join(errors))

    async def name(self) -> str:
        """The database: the one that was asked for, or the only one that there is."""
        if self.database:
            return self.database
        async with await self.session() as session:
            names = [n for n in await session.list_dbs() if not n.startswith("_")]
        if len(names) == 1 or _WITHOUT in names:
            return _WITHOUT if _WITHOUT in names else names[0]
        raise OvsdbError(f"choose one by --database: {', '.join(names) or 'there is none'}")

    async def client(self, watches: Sequence[Watch] = ()) -> Client:
        """A client, to be opened."""
        return Client(
            self.remote,
            await self.name(),
            watches,
            tls=self.tls,
            timeout=self.timeout,
            leader_only=self.leader_only,
        )


@contextlib.contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Failures become one line on stderr and exit status 1."""
    try:
        yield
    except (OvsdbError, ValueError) as error:
        _err.print(f"nsxdp ovsdb: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from error


def run(work: Awaitable[T]) -> T:
    """Do it, with failures in one line; Ctrl-C ends it quietly."""

    async def awaited() -> T:
        return await work

    with errors_in_one_line():
        try:
            return asyncio.run(awaited())
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


async def with_client(place: Place, work: Callable[[Client], Awaitable[T]]) -> T:
    """Do it with a client that is open meanwhile."""
    async with await place.client() as client:
        return await work(client)


async def select(client: Client, table: TableSchema, where: Any = ()) -> list[Row]:
    """Rows with all their columns, by their names."""
    txn = client.transaction()
    selected = txn.select(table.name, where)
    rows = (await client.commit(txn))[selected]
    key = _name_column(table)
    return sorted(rows, key=lambda row: (str(row[key]) if key else "", row.uuid))


async def find(client: Client, table: TableSchema, record: str) -> Row | None:
    """The row that is meant: by its name, its UUID or the beginning of one; ``.``: the only one.

    Raises
    ------
    OvsdbError
        Several rows are.
    """
    rows = await select(client, table)
    name = _name_column(table)
    found = [row for row in rows if name and row[name] == record]
    if not found and record == ".":
        found = rows
    if not found and _PREFIX.fullmatch(record):
        found = [row for row in rows if row.uuid.startswith(record.lower())]
    if len(found) > 1:
        raise OvsdbError(f"{len(found)} rows of table {table.name} are {record}: give a UUID")
    return found[0] if found else None


async def must_find(client: Client, table: TableSchema, record: str) -> Row:
    """As `find`, where there must be one."""
    row = await find(client, table, record)
    if row is None:
        raise OvsdbError(
            f"no row {record} in table {table.name}; see them with: nsxdp ovsdb list {table.name}"
        )
    return row


def _name_column(table: TableSchema) -> str | None:
    """The column by whose values people call rows."""
    alone = [index[0] for index in table.indexes if len(index) == 1]
    for name in ("name", *alone):
        column = table.columns.get(name)
        if column is not None and column.type.is_scalar and column.type.key.type == "string":
            return name
    return None


@dataclass(frozen=True)
class Target:
    """``COLUMN`` or ``COLUMN:KEY``, and what may follow it."""

    column: Column
    key: Any
    operator: str = ""
    text: str = ""

    @property
    def type(self) -> ColumnType:
        """Of the value: of one key's, where there is a key."""
        base = self.column.type.value
        return self.column.type if self.key is None or base is None else ColumnType(base)


def parse_target(table: TableSchema, text: str, operators: Sequence[str] = ()) -> Target:
    """Read ``COLUMN[:KEY]``, or, where there are ``operators``, ``COLUMN[:KEY]=VALUE``.

    Raises
    ------
    OvsdbError
        It is none, or the table has no such column.
    """
    if operators:
        parsed = _CONDITION.fullmatch(text)
        if not parsed or parsed[3] not in operators:
            raise OvsdbError(f"{text!r}: write COLUMN[:KEY]VALUE with one of {' '.join(operators)}")
        name, key, operator, value = parsed.groups()
    else:
        name, _, key = text.partition(":")
        operator = value = ""
    column = find_column(table, name)
    if not key:
        return Target(column, None, operator, value)
    if not column.type.is_map:
        raise SchemaError(f"{table.name}.{column.name} is no map: it has no key {key}")
    return Target(column, parse_atom(column, column.type.key, key), operator, value)


def columns_of(table: TableSchema, names: str | None) -> list[str]:
    """The columns that an option names, or all of them."""
    if names:
        return [find_column(table, name.strip()).name for name in names.split(",")]
    return ["_uuid", *sorted(n for n in table.columns if not n.startswith("_"))]


def table_of(client: Client, name: str) -> TableSchema:
    """The table that is meant."""
    return find_table(client.schema, name)


def value_of(row: Row, column: str) -> Any:
    """What a row holds, its UUID included."""
    return row.uuid if column == "_uuid" else row[column]


def shown(table: TableSchema, row: Row, column: str) -> str:
    """What a row holds, in ovs-vsctl's syntax."""
    if column == "_uuid":
        return row.uuid
    return format_value(table.column(column).type, row[column])


def as_json(row: Row, columns: Iterable[str]) -> dict[str, Any]:
    """A row for scripts."""
    return {column: jsonable(value_of(row, column)) for column in columns}


def print_json(value: Any) -> None:
    """One line of JSON."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def print_rows(table: TableSchema, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """A table on a terminal; else ovs-vsctl's records, which scripts know."""
    if not sys.stdout.isatty():
        for number, row in enumerate(rows):
            if number:
                typer.echo()
            for column in columns:
                typer.echo(f"{column:<20}: {shown(table, row, column)}")
        return
    if len(rows) == 1:
        single = RichTable(title=table.name, title_justify="left", show_header=False)
        single.add_column(style="cyan")
        single.add_column(overflow="fold")
        for column in columns:
            single.add_row(column, _text(table, rows[0], column))
        _out.print(single)
        return
    # Columns in which no row says anything only take the room of the others.
    said = [c for c in columns if any(shown(table, row, c) not in _EMPTY for row in rows)]
    many = RichTable(title=f"{table.name}: {len(rows)} rows", title_justify="left")
    for column in said:
        many.add_column(column, overflow="fold")
    for row in rows:
        many.add_row(*(_text(table, row, column) for column in said))
    _out.print(many)


_EMPTY = ("[]", "{}", '""')


def _text(table: TableSchema, row: Row, column: str) -> Text:
    text = shown(table, row, column)
    if column == "_uuid":
        return Text(text[:8], style="dim")
    return Text(text, style="dim" if text in _EMPTY else "")


def change(txn: Transaction, row: Row, targets: Sequence[tuple[Target, Any]]) -> None:
    """Set columns, and single keys of maps, of a row."""
    table = row._table.name
    whole = {target.column.name: value for target, value in targets if target.key is None}
    if whole:
        txn.update(table, row, whole)
    for target, value in targets:
        if target.key is not None:
            name = target.column.name
            mutations: Any = [(name, "delete", [target.key]), (name, "insert", {target.key: value})]
            txn.mutate(table, row, mutations)
