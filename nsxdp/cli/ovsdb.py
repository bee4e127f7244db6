"""``nsxdp ovsdb``: any OVSDB database, in the manner of ovs-vsctl and ovsdb-client."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from nsxdp.cli import _ovsdb as at
from nsxdp.ovsdb import Client, OvsdbError, Row, Schema, Tls, Watch
from nsxdp.ovsdb.schema import ColumnType
from nsxdp.ovsdb.text import find_table, format_value, jsonable, parse_value

app = typer.Typer(
    help="""Any OVSDB database: read, change and watch its rows.

    A RECORD is a row's name, its UUID, the first digits of its UUID, or "." for the only row of a
    table. Tables and columns can be shortened: `nsxdp ovsdb list int` lists the Interfaces. Values
    are written as ovs-vsctl writes them: `5`, `true`, `br0`, `"two words"`, `[a, b]`,
    `{key=value}`.

    Of Open vSwitch, and of a cluster of OVN:

    ```
    nsxdp ovsdb get Bridge br0 datapath_id
    nsxdp ovsdb --db tcp:ovn1:6641,tcp:ovn2:6641,tcp:ovn3:6641 list Logical_Switch
    ```
    """,
    rich_markup_mode="markdown",
    no_args_is_help=True,
)

Table = Annotated[str, typer.Argument(metavar="TABLE", help="A table, such as Bridge.")]
Record = Annotated[
    str, typer.Argument(metavar="RECORD", help='A name, a UUID or its beginning, or ".".')
]
Json = Annotated[bool, typer.Option("--json", help="JSON, one line a row.")]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns", metavar="NAMES", help="These columns, with commas between them. Default: all."
    ),
]
IfExists = Annotated[bool, typer.Option("--if-exists", help="What isn't there is no error.")]

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda have, want: bool(have == want),
    "!=": lambda have, want: bool(have != want),
    "<": lambda have, want: bool(have < want),
    "<=": lambda have, want: bool(have <= want),
    ">": lambda have, want: bool(have > want),
    ">=": lambda have, want: bool(have >= want),
    "{>=}": lambda have, want: _includes(have, want),
}


@app.callback()
def _options(
    context: typer.Context,
    db: Annotated[
        str,
        typer.Option(
            envvar="NSXDP_OVSDB",
            metavar="REMOTE",
            help="The server: unix:FILE, tcp:HOST:PORT or ssl:HOST:PORT; of a cluster all, with "
            "commas. A FILE without / is in $OVS_RUNDIR, or /var/run/openvswitch.",
        ),
    ] = "unix:db.sock",
    database: Annotated[
        str,
        typer.Option(
            "--database",
            "-d",
            metavar="NAME",
            help="Which of the server's databases; without it, the only one.",
        ),
    ] = "",
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            "-t",
            min=0.01,
            metavar="SECONDS",
            help="For the connection, and again for each answer.",
        ),
    ] = 10.0,
    any_server: Annotated[
        bool,
        typer.Option(
            "--no-leader-only", help="Of a cluster, any server will do: it may be a little behind."
        ),
    ] = False,
    private_key: Annotated[
        Path | None,
        typer.Option("--private-key", "-p", metavar="FILE", help="Our key, in PEM, for ssl:."),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(
            "--certificate", "-c", metavar="FILE", help="Our certificate, in PEM, for ssl:."
        ),
    ] = None,
    ca_cert: Annotated[
        Path | None,
        typer.Option(
            "--ca-cert",
            "-C",
            metavar="FILE",
            help="The CA that signed the server's certificate, for ssl:.",
        ),
    ] = None,
) -> None:
    tls = None
    if private_key and certificate and ca_cert:
        tls = Tls(private_key, certificate, ca_cert)
    context.obj = at.Place(db, database, timeout, not any_server, tls)


@app.command("list")
def list_(
    context: typer.Context,
    table: Table,
    records: Annotated[
        list[str] | None, typer.Argument(metavar="RECORD", help="Which rows; none: all.")
    ] = None,
    columns: Columns = None,
    if_exists: IfExists = False,
    as_json: Json = False,
) -> None:
    """Show rows of a table.

    A table on a terminal, records as ovs-vsctl's in a pipe.

    ```
    nsxdp ovsdb list Bridge
    nsxdp ovsdb list Interface eth0 --columns name,ofport,statistics
    nsxdp ovsdb list Port --json
    ```
    """

    async def work(client: Client) -> None:
        known = at.table_of(client, table)
        names = at.columns_of(known, columns)
        if not records:
            rows = await at.select(client, known)
        else:
            found = at.find if if_exists else at.must_find
            rows = [row for r in records if (row := await found(client, known, r)) is not None]
        _show(client, known.name, rows, names, as_json=as_json)

    at.run(at.with_client(context.obj, work))


@app.command()
def find(
    context: typer.Context,
    table: Table,
    conditions: Annotated[
        list[str],
        typer.Argument(
            metavar="CONDITION",
            help="COLUMN[:KEY]=VALUE; also != < <= > >= and {>=} (has all).",
        ),
    ],
    columns: Columns = None,
    as_json: Json = False,
) -> None:
    """Show the rows that fulfil all conditions.

    ```
    nsxdp ovsdb find Interface type=internal "mtu>1400"
    nsxdp ovsdb find Interface external_ids:iface-id=default/web --columns name,ofport
    ```
    """

    async def work(client: Client) -> None:
        known = at.table_of(client, table)
        names = at.columns_of(known, columns)
        targets = [at.parse_target(known, text, tuple(_OPERATORS)) for text in conditions]
        wanted = [(t, parse_value(t.column, t.text, t.type)) for t in targets]
        rows = [
            row
            for row in await at.select(client, known)
            if all(_holds(row, target, value) for target, value in wanted)
        ]
        _show(client, known.name, rows, names, as_json=as_json)

    at.run(at.with_client(context.obj, work))


@app.command()
def get(
    context: typer.Context,
    table: Table,
    record: Record,
    columns: Annotated[
        list[str] | None,
        typer.Argument(metavar="COLUMN", help="COLUMN or COLUMN:KEY; none: the UUID."),
    ] = None,
    if_exists: IfExists = False,
    as_json: Json = False,
) -> None:
    """Show values of one row, one a line.

    ```
    nsxdp ovsdb get Bridge br0 datapath_id
    nsxdp ovsdb get Interface eth0 external_ids:iface-id
    ```
    """

    async def work(client: Client) -> None:
        known = at.table_of(client, table)
        row = await (at.find if if_exists else at.must_find)(client, known, record)
        if row is None:
            return
        for target in [at.parse_target(known, text) for text in columns or ["_uuid"]]:
            value = at.value_of(row, target.column.name)
            if target.key is not None:
                if target.key not in value and not if_exists:
                    raise OvsdbError(
                        f"no key {target.key} in {known.name}.{target.column.name} of {record}; "
                        f"there are: {', '.join(map(str, sorted(value))) or 'none'}"
                    )
                value = value.get(target.key)
            if as_json:
                at.print_json(jsonable(value))
            else:
                missing = target.key is not None and value is None
                typer.echo("" if missing else format_value(target.type, value))

    at.run(at.with_client(context.obj, work))


@app.command("set")
def set_(
    context: typer.Context,
    table: Table,
    record: Record,
    values: Annotated[
        list[str], typer.Argument(metavar="VALUE", help="COLUMN=VALUE or COLUMN:KEY=VALUE.")
    ],
    if_exists: IfExists = False,
) -> None:
    """Set columns, or single keys of maps, of one row; all at once or not at all.

    ```
    nsxdp ovsdb set Bridge br0 fail_mode=secure other_config:mac-table-size=4096
    nsxdp ovsdb set Bridge br0 "protocols=[OpenFlow13, OpenFlow15]"
    ```
    """

    async def work(client: Client) -> None:
        known = at.table_of(client, table)
        row = await (at.find if if_exists else at.must_find)(client, known, record)
        if row is None:
            return
        targets = [at.parse_target(known, text, ("=",)) for text in values]
        txn = client.transaction()
        at.change(txn, row, [(t, parse_value(t.column, t.text, t.type)) for t in targets])
        await client.commit(txn)

    at.run(at.with_client(context.obj, work))


@app.command()
def add(
    context: typer.Context,
    table: Table,
    record: Record,
    column: Annotated[str, typer.Argument(metavar="COLUMN", help="A set or a map.")],
    values: Annotated[list[str], typer.Argument(metavar="VALUE", help="VALUE or KEY=VALUE.")],
) -> None:
    """Add members to a set, or keys to a map; those that are there stay.

    ```
    nsxdp ovsdb add Bridge br0 protocols OpenFlow15
    nsxdp ovsdb add Interface eth0 external_ids owner=me
    ```
    """
    _mutate(context, table, record, column, values, "insert")


@app.command()
def remove(
    context: typer.Context,
    table: Table,
    record: Record,
    column: Annotated[str, typer.Argument(metavar="COLUMN", help="A set or a map.")],
    values: Annotated[list[str], typer.Argument(metavar="VALUE", help="VALUE, KEY or KEY=VALUE.")],
) -> None:
    """Remove members of a set, or keys of a map.

    Those that aren't there are no error.

    ```
    nsxdp ovsdb remove Bridge br0 protocols OpenFlow10
    nsxdp ovsdb remove Interface eth0 external_ids owner
    ```
    """
    _mutate(context, table, record, column, values, "delete")


@app.command()
def create(
    context: typer.Context,
    table: Table,
    values: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VALUE", help="COLUMN=VALUE or COLUMN:KEY=VALUE; others get defaults."
        ),
    ] = None,
) -> None:
    """Insert a row, and show its UUID.

    A table that isn't a root keeps only rows to which another row refers: use transact there.

    ```
    nsxdp ovsdb create Queue other_config:max-rate=1000000
    ```
    """

    async def work(client: Client) -> None:
        known = at.table_of(client, table)
        targets = [at.parse_target(known, text, ("=",)) for text in values or ()]
        row: dict[str, Any] = {}
        for target in targets:
            value = parse_value(target.column, target.text, target.type)
            if target.key is None:
                row[target.column.name] = value
            else:
                row.setdefault(target.column.name, {})[target.key] = value
        txn = client.transaction()
        inserted = txn.insert(known.name, row)
        typer.echo((await client.commit(txn))[inserted])

    at.run(at.with_client(context.obj, work))


@app.command()
def destroy(
    context: typer.Context,
    table: Table,
    records: Annotated[list[str], typer.Argument(metavar="RECORD", help="Which rows.")],
    if_exists: IfExists = False,
) -> None:
    """Delete rows; all of them or none.

    ```
    nsxdp ovsdb destroy --if-exists QoS 3f1d
    ```
    """

    async def work(client: Client) -> None:
        known = at.table_of(client, table)
        txn = client.transaction()
        for record in records:
            row = await (at.find if if_exists else at.must_find)(client, known, record)
            if row is not None:
                txn.delete(known.name, row)
        await client.commit(txn)

    at.run(at.with_client(context.obj, work))


@app.command()
def monitor(
    context: typer.Context,
    table: Table,
    columns: Columns = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="CONDITION",
            help="Only rows with COLUMN=VALUE; of several, with any.",
        ),
    ] = None,
    changes_only: Annotated[
        bool, typer.Option("--changes-only", help="Not what is there at the beginning.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show rows and then each change, until Ctrl-C; through restarts of the server too.

    A line begins with insert, modify or delete, and the row's UUID; of a change it has the columns
    that are different now.

    ```
    nsxdp ovsdb monitor Interface --columns name,link_state
    nsxdp ovsdb monitor Port --where name=eth0 --changes-only --json
    ```
    """

    async def work() -> None:
        async with await context.obj.client() as asking:
            known = at.table_of(asking, table)
        names = [n for n in at.columns_of(known, columns) if n != "_uuid"]
        targets = [at.parse_target(known, text, ("=",)) for text in where or ()]
        conditions = tuple(
            (t.column.name, "includes", {t.key: value})
            if t.key is not None
            else (t.column.name, "==", value)
            for t in targets
            for value in [parse_value(t.column, t.text, t.type)]
        )
        watch = Watch(known.name, names, conditions)  # type: ignore[arg-type]
        async with await context.obj.client([watch]) as client:
            feed = client.replica.changes()
            if not changes_only:
                for row in client.replica[known.name]:
                    _print_change(client, None, row, names, as_json=as_json)
            async for batch in feed:
                for change in batch.changes:
                    _print_change(client, change.old, change.new, names, as_json=as_json)

    at.run(work())


@app.command()
def transact(
    context: typer.Context,
    operations: Annotated[
        str, typer.Argument(metavar="OPERATIONS", help="JSON; - is standard input.")
    ],
) -> None:
    """Have RFC 7047's operations take place, and show their results as JSON.

    OPERATIONS is one operation, a list of them, or the parameters of a "transact" request, with the
    database's name before them. The exit status is 1 where one of them failed.

    ```
    nsxdp ovsdb transact '[{"op":"select","table":"Bridge","where":[]}]'
    ```
    """

    async def work() -> Any:
        text = sys.stdin.read() if operations == "-" else operations
        try:
            params = json.loads(text)
        except ValueError as error:
            raise OvsdbError(f"the operations are no JSON: {error}") from None
        if isinstance(params, dict):
            params = [params]
        if not isinstance(params, list):
            raise OvsdbError("operations are written as a list of objects")
        if not params or not isinstance(params[0], str):
            params = [await context.obj.name(), *params]
        async with await context.obj.session() as session:
            return await session.request("transact", params)

    results = at.run(work())
    at.print_json(results)
    if any(isinstance(result, dict) and "error" in result for result in results):
        raise typer.Exit(1)


@app.command()
def dump(
    context: typer.Context,
    table: Annotated[
        str | None, typer.Argument(metavar="TABLE", help="One table; none: all.")
    ] = None,
    columns: Columns = None,
    as_json: Json = False,
) -> None:
    """Show all that the database holds, as it is at one moment.

    ```
    nsxdp ovsdb dump --json > before.json
    nsxdp ovsdb dump Interface --columns name,error
    ```
    """

    async def work(client: Client) -> None:
        names = [at.table_of(client, table).name] if table else sorted(client.schema.tables)
        txn = client.transaction()
        selected = {name: txn.select(name) for name in names}
        results = await client.commit(txn)
        for name, operation in selected.items():
            found: list[Row] = results[operation]
            rows = sorted(found, key=lambda row: row.uuid)
            known = client.schema.table(name)
            if rows and not as_json and not sys.stdout.isatty():
                typer.echo(f"{name} table")
            _show(client, name, rows, at.columns_of(known, columns), as_json=as_json, named=True)
            if rows and not as_json:
                typer.echo()

    at.run(at.with_client(context.obj, work))


@app.command("list-dbs")
def list_dbs(context: typer.Context) -> None:
    """Show the names of the server's databases.

    ```
    nsxdp ovsdb list-dbs
    ```
    """
    place: at.Place = context.obj

    async def work() -> list[str]:
        async with await place.session() as session:
            return await session.list_dbs()

    typer.echo("\n".join(at.run(work())))


@app.command()
def schema(
    context: typer.Context,
    table: Annotated[
        str | None, typer.Argument(metavar="TABLE", help="One table's columns.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show tables, or the columns of one of them with what they may hold.

    ```
    nsxdp ovsdb schema
    nsxdp ovsdb schema Bridge
    ```
    """

    async def work() -> None:
        async with await context.obj.session() as session:
            text = await session.get_schema(await context.obj.name())
        if as_json:
            at.print_json(text)
            return
        known = Schema.from_json(text)
        if table is None:
            for name in sorted(known.tables):
                typer.echo(name)
            return
        found = find_table(known, table)
        for name in at.columns_of(found, None)[1:]:
            column = found.column(name)
            notes = "" if column.mutable else ", never changes"
            typer.echo(f"{name:<24} {_type_text(column.type)}{notes}")

    at.run(work())


@app.command()
def lock(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The lock's name.")],
    steal: Annotated[bool, typer.Option("--steal", help="Take it from who holds it.")] = False,
) -> None:
    """Hold a lock of the server until Ctrl-C; says when it is ours, and when it no longer is.

    ```
    nsxdp ovsdb lock upgrade
    ```
    """

    async def work(client: Client) -> None:
        held = client.lock(name)
        held.subscribe(lambda ours: typer.echo("locked" if ours else "lost"))
        await held.acquire(steal=steal)
        while True:
            await held.wait(held=False)
            await held.wait(held=True)

    at.run(at.with_client(context.obj, work))


def _mutate(
    context: typer.Context, table: str, record: str, column: str, values: list[str], mutator: Any
) -> None:
    async def work(client: Client) -> None:
        known = at.table_of(client, table)
        found = at.parse_target(known, column).column
        kind = ColumnType(found.type.key, found.type.value, 0, None)
        text = ", ".join(values)
        if mutator == "delete" and found.type.is_map and "=" not in text:
            kind = ColumnType(found.type.key, None, 0, None)
        row = await at.must_find(client, known, record)
        txn = client.transaction()
        txn.mutate(known.name, row, [(found.name, mutator, parse_value(found, text, kind))])
        await client.commit(txn)

    at.run(at.with_client(context.obj, work))


def _show(
    client: Client,
    table: str,
    rows: list[Row],
    columns: list[str],
    *,
    as_json: bool,
    named: bool = False,
) -> None:
    if not as_json:
        if rows:
            at.print_rows(client.schema.table(table), rows, columns)
        return
    for row in rows:
        at.print_json(({"table": table} if named else {}) | at.as_json(row, columns))


def _print_change(
    client: Client, old: Row | None, new: Row | None, columns: list[str], *, as_json: bool
) -> None:
    row = new or old
    assert row is not None
    kind = "insert" if old is None else "delete" if new is None else "modify"
    if old is not None and new is not None:
        columns = [column for column in columns if old[column] != new[column]]
    if as_json:
        change: dict[str, Any] = {"change": kind, "uuid": row.uuid}
        at.print_json(change | at.as_json(row, columns))
        return
    table = client.schema.table(row._table.name)
    said = [f"{column}={at.shown(table, row, column)}" for column in columns]
    typer.secho(f"{kind} {row.uuid} " + " ".join(said), fg=_COLOURS[kind])


_COLOURS = {"insert": "green", "delete": "red", "modify": "yellow"}


def _holds(row: Row, target: at.Target, want: Any) -> bool:
    have = at.value_of(row, target.column.name)
    if target.key is not None:
        have = have.get(target.key)
    if isinstance(have, frozenset):
        want = frozenset(want)
    if have is None and target.operator not in ("=", "!="):
        return False
    try:
        return _OPERATORS[target.operator](have, want)
    except TypeError:
        raise OvsdbError(
            f"{target.column.table}.{target.column.name}: can't be compared by {target.operator}"
        ) from None


def _includes(have: Any, want: Any) -> bool:
    if isinstance(have, frozenset):
        return have.issuperset(want)
    if isinstance(want, dict):
        return bool(want.items() <= have.items())
    return bool(have == want)


def _type_text(kind: ColumnType) -> str:
    text = _base_text(kind.key)
    if kind.value is not None:
        return f"map of {text} to {_base_text(kind.value)}"
    if kind.max == 1:
        return text if kind.min else f"optional {text}"
    return f"set of {kind.min} to {'any number' if kind.max is None else kind.max} {text}"


def _base_text(base: Any) -> str:
    if base.enum:
        return " | ".join(map(str, sorted(base.enum)))
    if base.ref_table:
        return f"{base.ref_table} ({base.ref_type} reference)"
    if base.minimum is not None or base.maximum is not None:
        low = "" if base.minimum is None else base.minimum
        high = "" if base.maximum is None else base.maximum
        return f"{base.type} {low}..{high}"
    return str(base.type)
