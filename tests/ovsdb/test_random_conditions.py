"""Random transactions while conditions change, and python-ovs's own replica beside ours."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ovs.db import idl as python_ovs
from ovs.poller import Poller

from nsxdp.ovsdb import Batch, Client, Row, TransactionError, Wanted, Watch

PATIENCE = 30.0
COLUMNS = ("name", "integer", "optional", "integers", "strings", "map", "boolean", "real")

small = st.integers(0, 4)
key = st.sampled_from(["a", "b", "c"])
values = st.fixed_dictionaries(
    {},
    optional={
        "integer": small,
        "optional": st.none() | small,
        "integers": st.frozensets(small, max_size=3),
        "strings": st.frozensets(key, max_size=3),
        "map": st.dictionaries(key, key, max_size=3),
        "boolean": st.booleans(),
        "real": st.sampled_from([0.0, -1.5, 1e15]),
    },
)
operation = st.one_of(
    st.tuples(st.just("insert"), values),
    st.tuples(st.just("update"), small, values),
    st.tuples(st.just("delete"), small),
)
wanted = st.one_of(
    st.booleans(),
    st.tuples(st.just("integer"), st.sampled_from(["==", "!=", "<", ">="]), small),
    st.tuples(st.just("optional"), st.sampled_from(["==", "<"]), small),
    st.tuples(
        st.just("integers"),
        st.sampled_from(["==", "includes", "excludes"]),
        st.frozensets(small, min_size=1, max_size=2),
    ),
    st.tuples(
        st.just("map"),
        st.sampled_from(["includes", "excludes"]),
        st.dictionaries(key, key, min_size=1, max_size=2),
    ),
    st.tuples(st.just("boolean"), st.just("=="), st.booleans()),
)
wheres = st.lists(wanted, max_size=2)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("transact"), st.lists(operation, min_size=1, max_size=3)),
        st.tuples(st.just("condition"), wheres),
        st.tuples(st.just("both"), st.lists(operation, min_size=1, max_size=3), wheres),
    ),
    min_size=1,
    max_size=8,
)


class Names:
    """Each row that is ever inserted has a name of its own."""

    count = 0

    @classmethod
    def next(cls) -> str:
        cls.count += 1
        return f"row {cls.count}"


async def change(client: Client, operations: list[Any]) -> None:
    rows = sorted(client.replica["T"].uuids)
    txn = client.transaction()
    for kind, *arguments in operations:
        if kind == "insert":
            txn.insert("T", {"name": Names.next()} | arguments[0])
        elif rows:
            row = rows[arguments[0] % len(rows)]
            if kind == "update":
                txn.update("T", row, arguments[1])
            else:
                txn.delete("T", row)
    with suppress(TransactionError):  # such as a change of a deleted row
        await client.commit(txn)


async def empty(client: Client) -> None:
    txn = client.transaction()
    txn.delete("T", ())
    await client.commit(txn)


async def selected(client: Client, where: list[Wanted]) -> dict[Any, Row]:
    """What the server selects by each of the conditions, together."""
    txn = client.transaction()
    asked = [
        txn.select("T", () if condition is True else [condition], COLUMNS)
        for condition in where or [True]
        if condition is not False
    ]
    results = await client.commit(txn)
    return {row.uuid: row for one in asked for row in results[one]}


async def replay(remote: str, steps: list[Any]) -> None:
    everything = Watch("T", COLUMNS)
    async with (
        asyncio.timeout(PATIENCE),
        Client(remote, "Types", [everything]) as writer,
        Client(remote, "Types", [Watch("T", COLUMNS, indexes=("name",))]) as reader,
    ):
        table = reader.replica["T"]
        told: dict[Any, Row] = {}

        def follow(batch: Batch) -> None:
            for change in batch.changes:
                assert told.get(change.uuid) == change.old
                if change.new is None:
                    del told[change.uuid]
                else:
                    told[change.uuid] = change.new

        reader.replica.subscribe(follow)
        where: list[Wanted] = []
        for kind, *arguments in steps:
            if kind == "transact":
                await change(writer, arguments[0])
            else:
                where = arguments[-1]
                following = reader.set_condition("T", where)
                if kind == "both":
                    await asyncio.gather(following, change(writer, arguments[0]))
                else:
                    await following
            rows = await selected(reader, where)
            assert {row.uuid: row for row in table} == rows == told
            assert all(table.by("name", row.name) == [row] for row in rows.values())
        await empty(writer)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_the_replica_has_the_rows_of_its_condition(types_server: Any, steps: Any) -> None:
    asyncio.run(replay(types_server.remote, steps))


class PythonOvs:
    """The replica of python-ovs, which knows the database by its own code."""

    def __init__(self, remote: str, schema: dict[str, Any]) -> None:
        helper = python_ovs.SchemaHelper(None, json.loads(json.dumps(schema)))
        helper.register_columns("T", list(COLUMNS))
        self.idl = python_ovs.Idl(remote, helper)

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            self.idl.run()
            if holds():
                return
            assert time.monotonic() < deadline, f"python-ovs has {self.rows()}"
            poller = Poller()
            self.idl.wait(poller)
            poller.timer_wait(20)
            poller.block()

    def rows(self) -> dict[str, dict[str, Any]]:
        return {
            str(uuid): {name: self._value(getattr(row, name)) for name in COLUMNS}
            for uuid, row in self.idl.tables["T"].rows.items()
        }

    @staticmethod
    def _value(value: Any) -> Any:
        return sorted(value) if isinstance(value, list) else value


def as_python_ovs_has_it(row: Row) -> dict[str, Any]:
    """An optional value is a list of at most one there, and a set a list."""
    values = {name: row[name] for name in COLUMNS}
    optional = values["optional"]
    return values | {
        "optional": [] if optional is None else [optional],
        "integers": sorted(values["integers"]),
        "strings": sorted(values["strings"]),
        "map": dict(values["map"]),
    }


@pytest.fixture
def second(types_server: Any, every_type: dict[str, Any]) -> Any:
    made = PythonOvs(types_server.remote, every_type)
    made.until(made.idl.has_ever_connected)
    yield made
    made.idl.close()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(transactions=st.lists(st.lists(operation, min_size=1, max_size=4), max_size=5))
def test_python_ovs_has_the_same_rows(
    types_server: Any, second: PythonOvs, transactions: list[Any]
) -> None:
    async def run() -> dict[str, Any]:
        async with (
            asyncio.timeout(PATIENCE),
            Client(types_server.remote, "Types", [Watch("T", COLUMNS)]) as client,
        ):
            await empty(client)
            for operations in transactions:
                await change(client, operations)
            return {row.uuid: as_python_ovs_has_it(row) for row in client.replica["T"]}

    ours = asyncio.run(run())
    second.until(lambda: second.rows() == ours)
