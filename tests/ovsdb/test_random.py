"""Random transactions: the replica is always what ``select`` says."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nsxdp.ovsdb import Batch, Client, Transaction, TransactionError, Watch

PATIENCE = 30.0

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
integer = st.integers(-(2**63), 2**63 - 1)
small = st.integers(0, 5)
key = st.sampled_from(["a", "b", "c", 'q"u}o{t\\e'])
place = st.integers(0, 3)
"""A row, by its place among those that there are."""

columns = st.fixed_dictionaries(
    {},
    optional={
        "integer": integer,
        "real": st.floats(-1e6, 1e6).map(lambda x: math.floor(x * 64) / 64),
        "boolean": st.booleans(),
        "string": text,
        "optional": st.none() | small,
        "integers": st.frozensets(small, max_size=5),
        "strings": st.frozensets(key, max_size=3),
        "map": st.dictionaries(key, text, max_size=3),
        "one": st.dictionaries(key, small, max_size=1),
        "ref": st.none() | place,
        "refs": st.frozensets(place, max_size=3),
        "named": st.dictionaries(key, place, max_size=3),
        "color": st.none() | st.sampled_from(["red", "green", "blue"]),
    },
)
mutation = st.one_of(
    st.tuples(st.just("integers"), st.sampled_from(["insert", "delete"]), st.frozensets(small)),
    st.tuples(st.just("integers"), st.sampled_from(["+=", "*="]), st.integers(1, 3)),
    st.tuples(st.just("strings"), st.sampled_from(["insert", "delete"]), st.frozensets(key)),
    st.tuples(st.just("map"), st.just("insert"), st.dictionaries(key, text, max_size=3)),
    st.tuples(st.just("map"), st.just("delete"), st.frozensets(key)),
    st.tuples(st.just("map"), st.just("delete"), st.dictionaries(key, text, max_size=3)),
    st.tuples(st.just("integer"), st.sampled_from(["-=", "/=", "%="]), st.integers(1, 9)),
)
operation = st.one_of(
    st.tuples(st.just("insert"), columns),
    st.tuples(st.just("update"), place, columns),
    st.tuples(st.just("mutate"), place, mutation),
    st.tuples(st.just("delete"), place),
)
transactions = st.lists(st.lists(operation, min_size=1, max_size=4), min_size=1, max_size=6)


class Runner:
    """Fills transactions with operations on the rows that a client knows."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.names = 0

    async def run(self, operations: list[Any]) -> None:
        rows = sorted(self.client.replica["T"].uuids)
        txn = self.client.transaction()
        for kind, *arguments in operations:
            if kind == "insert":
                self.names += 1
                txn.insert("T", {"name": f"row {self.names}"} | self._refer(rows, arguments[0]))
            elif rows:
                self._change(txn, kind, rows[arguments[0] % len(rows)], rows, arguments)
        with suppress(TransactionError):  # such as an overflow; then nothing has happened
            await self.client.commit(txn)

    def _change(
        self, txn: Transaction, kind: str, row: Any, rows: list[Any], arguments: list[Any]
    ) -> None:
        if kind == "update":
            txn.update("T", row, self._refer(rows, arguments[1]))
        elif kind == "mutate":
            txn.mutate("T", row, [arguments[1]])
        else:
            txn.delete("T", row)

    def _refer(self, rows: list[Any], values: dict[str, Any]) -> dict[str, Any]:
        """Places of rows become the rows' UUIDs."""

        def at(number: int) -> Any:
            return rows[number % len(rows)]

        values = dict(values)
        for name in {"ref", "refs", "named"} & values.keys():
            value = values.pop(name)
            if not rows or value is None:
                continue
            if name == "ref":
                values[name] = at(value)
            elif name == "refs":
                values[name] = frozenset(map(at, value))
            else:
                values[name] = {k: at(v) for k, v in value.items()}
        return values


async def selected(client: Client) -> dict[Any, Any]:
    txn = client.transaction()
    everything = txn.select("T")
    return {row.uuid: row for row in (await client.commit(txn))[everything]}


async def replay(remote: str, transactions: list[Any]) -> None:
    watch = Watch("T", indexes=("name", "integers", "map:a", "optional"))
    async with (
        asyncio.timeout(PATIENCE),
        Client(remote, "Types", [watch]) as writer,
        Client(remote, "Types", [watch]) as reader,
    ):
        told = {row.uuid: row for row in reader.replica["T"]}

        def follow(batch: Batch) -> None:
            for change in batch.changes:
                assert told.get(change.uuid) == change.old
                if change.new is None:
                    del told[change.uuid]
                else:
                    told[change.uuid] = change.new

        reader.replica.subscribe(follow)
        runner = Runner(writer)
        for operations in transactions:
            await runner.run(operations)
        for client in (writer, reader):
            rows = await selected(client)
            table = client.replica["T"]
            assert {row.uuid: row for row in table} == rows
            for row in rows.values():
                assert table.by("name", row.name) == [row]
                for number in range(6):
                    assert (row in table.by("integers", number)) == (number in row.integers)
                    assert (row in table.by("optional", number)) == (row.optional == number)
                if "a" in row.map:
                    assert row in table.by("map:a", row.map["a"])
        assert told == await selected(reader)
        txn = writer.transaction()
        txn.delete("T", ())
        await writer.commit(txn)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(transactions=transactions)
@pytest.mark.parametrize(
    "unknown", [(), ("monitor_cond_since",), ("monitor_cond_since", "monitor_cond")]
)
def test_the_replica_is_what_select_says(
    types_server: Any, proxy: Any, tmp_path: Any, listening: Any, unknown: Any, transactions: Any
) -> None:
    """For each kind of monitor, those that the server is said not to know left out."""

    def respond(message: dict[str, Any]) -> Any:
        if message.get("method") in unknown:
            return {"id": message["id"], "result": None, "error": "unknown method"}
        return None

    async def run() -> None:
        between = proxy(types_server.remote)
        between.respond = respond
        async with listening(tmp_path / "proxy.sock", between.serve) as remote:
            await replay(remote, transactions)

    asyncio.run(run())
