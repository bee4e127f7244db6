"""A cluster of three servers: whoever dies, the client follows those that live."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nsxdp.backoff import Backoff
from nsxdp.ovsdb import (
    Batch,
    Client,
    DisconnectedError,
    OvsdbError,
    Schema,
    Session,
    Transaction,
    TransactionError,
    TryAgainError,
    UnsuitableError,
    Watch,
)
from nsxdp.ovsdb.status import Position, Status

PATIENCE = 40.0
FAST = Backoff(0.02, 0.2)
WATCH = Watch("T", ("name", "integer"), indexes=("name",))

Eventually = Callable[[Callable[[], object], str], Any]


class Cluster:
    """Three servers of a database ``Types``."""

    def __init__(self, server: Any, directory: Path, schema: Path) -> None:
        self.servers: list[Any] = []
        for number in range(3):
            home = directory / f"s{number}"
            home.mkdir()
            join = self.servers[0] if number else None
            member = server(home, schema, clustered=True, join=join and join.raft, name="Types")
            member.start()
            # One that dies while it joins is none of the cluster.
            member.run("ovsdb-client", "--timeout=20", "wait", member.remote, "Types", "connected")
            self.servers.append(member)
        self.remotes = ",".join(member.remote for member in self.servers)

    def at(self, client: Client) -> Any:
        """The server that a client talks to."""
        return next(s for s in self.servers if s.remote == str(client.remote))

    def stop(self) -> None:
        for member in self.servers:
            member.stop()


@pytest.fixture
def cluster(tmp_path: Path, every_type: dict[str, Any], ovsdb_server: Any) -> Iterator[Cluster]:
    schema = tmp_path / "types.ovsschema"
    schema.write_text(json.dumps(every_type))
    cluster = Cluster(ovsdb_server, tmp_path, schema)
    yield cluster
    cluster.stop()


async def insert(client: Client, name: str) -> None:
    """Insert a row, once, whatever happens to the server meanwhile."""

    def build(txn: Transaction) -> None:
        if client.replica["T"].one("name", name) is None:
            txn.insert("T", {"name": name})

    while True:
        try:
            await client.transact(build, attempts=100)
        except DisconnectedError:
            continue  # it may have taken place: the replica knows once there is a connection
        except TransactionError as error:
            if client.leader_only or "identical values" not in error.details:
                raise  # a follower's replica may not have it yet, but its index has
        return


async def test_the_client_follows_the_leader_and_nothing_is_lost(cluster: Cluster) -> None:
    answers: list[tuple[str, Any]] = []
    async with (
        asyncio.timeout(PATIENCE),
        Client(cluster.remotes, "Types", [WATCH], backoff=FAST, timeout=PATIENCE) as client,
    ):
        told: dict[str, int] = {}

        def count(batch: Batch) -> None:
            for change in batch.changes:
                assert change.old is None, "nothing that was there goes or changes"
                assert change.new is not None
                told[change.new.name] = told.get(change.new.name, 0) + 1

        client.replica.subscribe(count)
        for number in range(300):  # a short history is forgotten by servers that join
            await insert(client, f"before {number}")
        reset = client.replica.reset
        client.replica.reset = (  # type: ignore[method-assign]
            lambda method, result: (
                answers.append((method, msgspec.json.decode(result))),
                reset(method, result),
            )
        )
        leader = cluster.at(client)
        writing = [asyncio.create_task(insert(client, f"while {n}")) for n in range(20)]
        leader.stop()
        await asyncio.gather(*writing)
        assert cluster.at(client) is not leader
        await insert(client, "after")
        wanted = {f"before {n}" for n in range(300)} | {f"while {n}" for n in range(20)} | {"after"}
        assert sorted(client.replica["T"].column("name")) == sorted(wanted)
        assert told == dict.fromkeys(wanted, 1)
        assert answers
        assert all(
            method == "monitor_cond_since" and found is True for method, (found, _, _) in answers
        ), "the monitor goes on where it was"

        # The old leader comes back as a follower, and the next one dies.
        leader.start()
        second = cluster.at(client)
        second.stop()
        await insert(client, "again")
        assert cluster.at(client) is not second
        assert set(client.replica["T"].column("name")) == wanted | {"again"}


async def test_a_follower_will_do_where_it_may(cluster: Cluster) -> None:
    async with (
        asyncio.timeout(PATIENCE),
        Client(cluster.remotes, "Types", [WATCH], timeout=PATIENCE) as at_leader,
    ):
        follower = next(s for s in cluster.servers if s is not cluster.at(at_leader))
        with pytest.raises(UnsuitableError, match="the server doesn't lead the cluster of Types"):
            await Client(follower.remote, "Types", [WATCH], timeout=0.2).open()
        async with Client(follower.remote, "Types", [WATCH], leader_only=False) as client:
            await insert(client, "by a follower")
            assert client.replica["T"].column("name") == ["by a follower"]
            await insert(at_leader, "by the leader")
            feed = client.replica.changes()
            while len(client.replica["T"]) < 2:
                await anext(feed)


async def test_a_server_without_its_cluster_is_left(
    cluster: Cluster, eventually: Eventually
) -> None:
    async with (
        asyncio.timeout(2 * PATIENCE),
        Client(
            cluster.remotes, "Types", [WATCH], leader_only=False, backoff=FAST, timeout=PATIENCE
        ) as client,
    ):
        here = cluster.at(client)
        others = [s for s in cluster.servers if s is not here]
        for server in others:
            server.stop()
        await eventually(
            lambda: isinstance(client.error, OvsdbError) and not client.connected,
            "the loss of the majority",
        )
        for server in others:
            server.start()
        await insert(client, "together again")


def status(**columns: Any) -> bytes:
    row = {
        "name": "Types",
        "model": "clustered",
        "connected": True,
        "leader": True,
        "schema": "{}",
        "cid": ["uuid", "550e8400-e29b-41d4-a716-446655440000"],
        "index": 10,
    }
    uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
    return msgspec.json.encode({"Database": {uuid: {"initial": row | columns}}})


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"connected": False}, "is cut off from the cluster of Types"),
        ({"leader": False}, "doesn't lead the cluster of Types"),
        ({"schema": ["set", []]}, "hasn't joined the cluster of Types yet"),
        ({"index": 9}, "is behind its cluster: at entry 9, where 10 was seen"),
    ],
)
def test_servers_that_will_not_do(columns: dict[str, Any], says: str) -> None:
    position = Position()
    first = Status("Types", position, leader_only=True)
    first.reset(status())
    first.check()
    second = Status("Types", position, leader_only=True)
    second.reset(status(**columns))
    with pytest.raises(UnsuitableError, match=says):
        second.check()
    another = {"cid": ["uuid", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"], "index": 1}
    third = Status("Types", position, leader_only=False)
    third.reset(status(**another, leader=False))
    third.check()  # another cluster has a history of its own


async def test_a_cluster_without_a_leader_is_waited_for(cluster: Cluster) -> None:
    for server in cluster.servers[1:]:
        server.stop()
    client = Client(cluster.servers[0].remote, "Types", [WATCH], backoff=FAST, timeout=PATIENCE)
    client.leader_only = False
    async with asyncio.timeout(PATIENCE):
        # A leader notices after a while that it is alone.
        async with await Session.open(cluster.servers[0].remote) as session:
            await cut_off(session)
        opening = asyncio.create_task(client.open())
        done, _ = await asyncio.wait([opening], timeout=0.2)
        assert not done
        for server in cluster.servers[1:]:
            server.start()
        await opening
        await client.close()


async def cut_off(session: Session) -> None:
    alone: Any = ["_Server", {"op": "wait", "table": "Database", "until": "=="}]
    alone[1] |= {"where": [["name", "==", "Types"]], "columns": ["connected"]}
    alone[1] |= {"rows": [{"connected": False}]}
    await session.request("transact", alone)


async def test_no_leader_is_no_fault_of_the_transaction(every_type: dict[str, Any]) -> None:
    for error in ("not leader", "cluster error"):
        with pytest.raises(TryAgainError, match=error):
            Transaction(Schema.from_json(every_type)).results([{"error": error}])
