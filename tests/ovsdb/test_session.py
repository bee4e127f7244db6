"""Locks, cancelled transactions, conditions that change, databases that change under a client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nsxdp.backoff import Backoff
from nsxdp.ovsdb import (
    Client,
    DisconnectedError,
    LockError,
    NoSuchDatabaseError,
    ProtocolError,
    Schema,
    SchemaError,
    Session,
    Transaction,
    TransactionError,
    Watch,
)

PATIENCE = 20.0
FAST = Backoff(0.01, 0.1)
WATCH = Watch("T", ("name", "integer", "map"), indexes=("name",))

Eventually = Callable[[Callable[[], object], str], Any]


@pytest.fixture
def types_db(tmp_path: Path, every_type: dict[str, Any], ovsdb_server: Any) -> Any:
    schema = tmp_path / "types.ovsschema"
    schema.write_text(json.dumps(every_type))
    server = ovsdb_server(tmp_path, schema)
    server.start()
    yield server
    server.stop()


async def add(client: Client, *names: str) -> None:
    txn = client.transaction()
    for number, name in enumerate(names):
        txn.insert("T", {"name": name, "integer": number})
    await client.commit(txn)


async def test_databases_and_schemas_are_listed(types_server: Any) -> None:
    async with await Session.open(types_server.remote) as session:
        assert await session.list_dbs() == ["Types", "_Server"]
        assert (await session.get_schema("Types"))["name"] == "Types"
        with pytest.raises(NoSuchDatabaseError, match=r"it has: Types, _Server\)"):
            await session.get_schema("Typos")


class TestLocks:
    async def test_one_holds_it_and_the_next_one_waits(self, types_db: Any) -> None:
        async with (
            asyncio.timeout(PATIENCE),
            Client(types_db.remote, "Types") as one,
            Client(types_db.remote, "Types") as two,
        ):
            seen: list[bool] = []
            second = two.lock("x")
            second.subscribe(seen.append)
            async with one.lock("x") as first:
                assert first.held
                assert repr(first) == "Lock('x', held)"
                with pytest.raises(LockError, match="lock x: another client holds it for 0"):
                    await second.acquire(timeout=0.05)
                txn = two.transaction()
                txn.assert_lock(second)
                with pytest.raises(TransactionError, match="not owner"):
                    await two.commit(txn)
                txn = one.transaction()
                txn.assert_lock(first)
                await one.commit(txn)
            await second.wait(held=True)
            assert seen == [True]
            assert not first.held

    async def test_stolen_and_given_back(self, types_db: Any) -> None:
        async with (
            asyncio.timeout(PATIENCE),
            Client(types_db.remote, "Types") as one,
            Client(types_db.remote, "Types") as two,
        ):
            first, second = one.lock("x"), two.lock("x")
            await first.acquire()
            await second.acquire(steal=True)
            await first.wait(held=False)
            await second.release()
            await first.wait(held=True)
            await first.acquire()
            assert one.lock("x") is first

    async def test_asked_for_again_after_a_lost_connection(self, types_db: Any) -> None:
        async with (
            asyncio.timeout(PATIENCE),
            Client(types_db.remote, "Types", [WATCH], backoff=FAST) as client,
        ):
            lock = client.lock("x")
            await lock.acquire()
            types_db.stop()
            await lock.wait(held=False)
            types_db.start()
            await lock.wait(held=True)

    async def test_an_answer_that_says_nothing(
        self, types_db: Any, proxy: Any, listen: Any
    ) -> None:
        between = proxy(types_db.remote)
        between.respond = lambda m: (
            {"id": m["id"], "result": {"locked": 5}, "error": None}
            if m.get("method") == "lock"
            else None
        )
        async with listen(between.serve) as remote, Client(remote, "Types") as client:
            with pytest.raises(ProtocolError, match=r"lock: .* doesn't say whether it is locked"):
                await client.lock("x").acquire()


class TestWaiting:
    async def test_a_transaction_waits_for_a_row(self, types_db: Any) -> None:
        async with (
            asyncio.timeout(PATIENCE),
            Client(types_db.remote, "Types", [WATCH]) as one,
            Client(types_db.remote, "Types", [WATCH]) as two,
        ):
            txn = one.transaction()
            row = [{"name": "a", "integer": 0}]
            txn.wait("T", [("name", "==", "a")], row, columns=["name", "integer"], timeout=None)
            mutated = txn.mutate("T", [("name", "==", "a")], [("integer", "+=", 5)])
            committing = asyncio.create_task(one.commit(txn))
            await add(two, "a")
            assert (await committing)[mutated] == 1
            assert one.replica["T"].column("integer") == [5]

    async def test_who_waits_no_longer_cancels(self, types_db: Any) -> None:
        async with (
            asyncio.timeout(PATIENCE),
            Client(types_db.remote, "Types", [WATCH]) as client,
        ):
            txn = client.transaction()
            row = [{"name": "a"}]
            txn.wait("T", [("name", "==", "a")], row, columns=["name"], timeout=None)
            txn.delete("T", ())
            committing = asyncio.create_task(client.commit(txn))
            await asyncio.sleep(0)
            await client.commit(client.transaction())
            committing.cancel()
            await asyncio.wait([committing])
            await add(client, "a")
            assert client.replica["T"].column("name") == ["a"], "it would have been deleted"

    async def test_patience_is_the_operations_own(self, types_db: Any) -> None:
        async with Client(types_db.remote, "Types", timeout=0.3) as client:
            txn = client.transaction()
            txn.wait("T", (), [{"name": "x"}], columns=["name"], timeout=0.5)
            assert txn.patience == 0.5
            with pytest.raises(TransactionError, match="timed out"):
                await client.commit(txn)
            txn = client.transaction()
            txn.abort()
            with pytest.raises(TransactionError, match="aborted"):
                await client.commit(txn)
            txn = client.transaction()
            txn.insert("T", {"name": "durable"})
            txn.commit(durable=True)
            await client.commit(txn)


async def test_a_transaction_depends_on_what_it_read(types_db: Any, eventually: Eventually) -> None:
    async with (
        asyncio.timeout(PATIENCE),
        Client(types_db.remote, "Types", [WATCH], backoff=FAST) as one,
        Client(types_db.remote, "Types", [WATCH], backoff=FAST) as two,
    ):
        await add(one, "a")

        async def increment(client: Client, txn: Transaction) -> None:
            await client.wait_connected()
            row = client.replica["T"].one("name", "a")
            assert row is not None
            assert txn.read(row, "integer") == txn.read(row, "integer")
            txn.update("T", row, {"integer": txn.read(row, "integer") + 1})
            assert len(txn) == 2, "it is verified once"

        txn = two.transaction()
        txn.wait("T", [("name", "==", "a")], [{"name": "a"}], columns=["name"], timeout=5)
        await two.commit(txn)
        await asyncio.gather(
            *(
                client.transact(lambda txn, client=client: increment(client, txn), 100)
                for client in (one, two) * 10
            )
        )
        # The last of them may have been the other client's.
        await eventually(lambda: one.replica["T"].column("integer") == [20], "all were counted")


class TestConditions:
    async def test_the_replica_follows(self, types_db: Any) -> None:
        async with (
            asyncio.timeout(PATIENCE),
            Client(types_db.remote, "Types", [WATCH]) as writer,
            Client(types_db.remote, "Types", [Watch("T", ("name",), where=[False])]) as client,
        ):
            await add(writer, "a", "b", "c")
            table = client.replica["T"]
            assert table.column("name") == []
            await client.set_condition("T", [("integer", "==", 0), ("integer", "==", 2)])
            assert sorted(table.column("name")) == ["a", "c"]
            await client.set_condition("T", [("integer", ">", 0)])
            assert sorted(table.column("name")) == ["b", "c"]
            await client.set_condition("T", [])
            assert sorted(table.column("name")) == ["a", "b", "c"]
            with pytest.raises(SchemaError, match="table U isn't monitored"):
                await client.set_condition("U", [])
            with pytest.raises(SchemaError, match="needs a column of one number"):
                await client.set_condition("T", [("map", "<", {})])

    async def test_what_changes_while_there_is_no_connection(
        self, types_db: Any, eventually: Eventually
    ) -> None:
        watch = Watch("T", ("name",), where=[("name", "==", "a")])
        async with (
            asyncio.timeout(PATIENCE),
            Client(types_db.remote, "Types", [watch], backoff=FAST) as client,
        ):
            await add(client, "a", "b")
            types_db.stop()
            await eventually(lambda: not client.connected, "the loss of the server")
            await client.set_condition("T", [("name", "==", "b")])
            types_db.start()
            await client.wait_connected(PATIENCE)
            assert client.replica["T"].column("name") == ["b"]

    async def test_a_lost_answer(self, types_db: Any, proxy: Any, listen: Any) -> None:
        between = proxy(types_db.remote)

        def respond(message: dict[str, Any]) -> bytes | None:
            if message.get("method") == "monitor_cond_change":
                between.disconnect()
                return b""
            return None

        between.respond = respond
        async with (
            asyncio.timeout(PATIENCE),
            listen(between.serve) as remote,
            Client(remote, "Types", [Watch("T", ("name",), where=[False])], backoff=FAST) as client,
        ):
            await add(client, "a", "b")
            with pytest.raises(DisconnectedError, match="monitor_cond_change: "):
                await client.set_condition("T", [("name", "==", "b")])
            feed = client.replica.changes()
            while client.replica["T"].column("name") != ["b"]:
                await anext(feed)


class TestDatabaseChanges:
    async def test_converted(self, types_db: Any, every_type: dict[str, Any]) -> None:
        columns = every_type["tables"]["T"]["columns"] | {"added": {"type": "string"}}
        table = every_type["tables"]["T"] | {"columns": columns}
        changed = every_type | {"version": "1.3.0", "tables": {"T": table}}
        async with (
            asyncio.timeout(PATIENCE),
            Client(types_db.remote, "Types", [WATCH], backoff=FAST) as client,
        ):
            await add(client, "a")
            feed = client.replica.changes()
            async with await Session.open(types_db.remote) as session:
                await session.set_db_change_aware()
                await session.request("convert", ["Types", changed])
            while client.schema.version != "1.3.0" or not client.connected:
                await asyncio.wait([asyncio.ensure_future(anext(feed))], timeout=0.01)
            assert client.replica["T"].column("name") == ["a"]
            txn = client.transaction()
            txn.update("T", (), {"added": "x"})
            await client.commit(txn)

    async def test_removed_and_added_again(self, types_db: Any, eventually: Eventually) -> None:
        ctl = f"{types_db.directory}/ovsdb-server.ctl"
        async with (
            asyncio.timeout(PATIENCE),
            Client(types_db.remote, "Types", [WATCH], backoff=FAST) as client,
        ):
            await add(client, "a")
            await asyncio.to_thread(
                types_db.run, "ovs-appctl", "-t", ctl, "ovsdb-server/remove-db", "Types"
            )
            await eventually(
                lambda: isinstance(client.error, NoSuchDatabaseError), "the database's removal"
            )
            await asyncio.to_thread(
                types_db.run, "ovs-appctl", "-t", ctl, "ovsdb-server/add-db", types_db.database
            )
            await client.wait_connected(PATIENCE)
            assert client.replica["T"].column("name") == ["a"]


class TestValuesAreChecked:
    @pytest.mark.parametrize(
        ("row", "says"),
        [
            ({"integer": 1 << 63}, "doesn't fit into 64 bits"),
            ({"real": float("nan")}, "nan has no JSON"),
            ({"string": "a\0"}, "has a null character"),
            ({"string": "\ud800"}, "half of a surrogate pair"),
            ({"integers": [1, 1]}, r"T\.integers: 1 stands twice in a set"),
            ({"ref": "x"}, "'x' is no UUID"),
            ({"_uuid": "x"}, "can't be written"),
        ],
    )
    def test_before_they_are_sent(
        self, every_type: dict[str, Any], row: dict[str, Any], says: str
    ) -> None:
        txn = Transaction(Schema.from_json(every_type))
        with pytest.raises(SchemaError, match=says):
            txn.insert("T", row)

    @pytest.mark.parametrize(
        ("mutation", "says"),
        [
            (("string", "insert", "x"), "needs a set or a map"),
            (("map", "+=", 1), r"T\.map: '\+=' needs a column of numbers"),
            (("real", "%=", 1.0), "needs a column of integers"),
            (("integer", "/=", 0), "division by zero"),
        ],
    )
    def test_mutations_too(self, every_type: dict[str, Any], mutation: Any, says: str) -> None:
        txn = Transaction(Schema.from_json(every_type))
        with pytest.raises(SchemaError, match=says):
            txn.mutate("T", (), [mutation])
