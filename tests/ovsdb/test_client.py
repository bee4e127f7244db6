"""The client against a real ovsdb-server, with ovs-vsctl as the second writer."""

from __future__ import annotations

import asyncio
import datetime
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nsxdp.backoff import Backoff
from nsxdp.ovsdb import (
    Batch,
    Client,
    NoSuchDatabaseError,
    SchemaError,
    Transaction,
    TransactionError,
    TryAgainError,
    UnreachableError,
    Watch,
)
from nsxdp.transport import Tls

WATCHES = (
    Watch("Open_vSwitch", ("bridges", "external_ids")),
    Watch("Bridge", ("name", "ports", "external_ids", "protocols"), indexes=("name", "ports")),
    Watch("Port", ("name", "interfaces", "tag"), indexes=("name", "interfaces")),
    Watch(
        "Interface",
        ("name", "ofport", "external_ids", "type"),
        indexes=("name", "external_ids:iface-id"),
    ),
)
FAST = Backoff(0.01, 0.1)
PATIENCE = 20.0

Eventually = Callable[[Callable[[], object], str], Any]


def names(batch: Batch, table: str) -> set[tuple[str | None, str | None]]:
    return {(c.old and c.old.name, c.new and c.new.name) for c in batch.of(table)}


async def test_a_second_writer_is_followed(server: Any) -> None:
    server.vsctl("--no-wait", "add-br", "br0")
    async with Client(server.remote, "Open_vSwitch", WATCHES) as client:
        replica = client.replica
        feed = replica.changes()
        [bridge] = replica["Bridge"].by("name", "br0")
        assert [row.name for row in replica.resolve(bridge, "ports")] == ["br0"]
        await asyncio.to_thread(
            server.vsctl,
            *("--no-wait", "add-port", "br0", "web0", "tag=5"),
            *("--", "set", "Interface", "web0", "external_ids:iface-id=default/web"),
        )
        async with asyncio.timeout(PATIENCE):
            batch = await anext(feed)
        assert names(batch, "Port") == {(None, "web0")}
        assert names(batch, "Bridge") == {("br0", "br0")}
        interface = replica["Interface"].one("external_ids:iface-id", "default/web")
        assert interface is not None
        assert (interface.name, interface.ofport) == ("web0", None)
        [port] = replica["Port"].by("interfaces", interface.uuid)
        assert port.tag == 5
        assert [b.name for b in replica["Bridge"].by("ports", port.uuid)] == ["br0"]
        await asyncio.to_thread(server.vsctl, "--no-wait", "del-br", "br0")
        async with asyncio.timeout(PATIENCE):
            batch = await anext(feed)
        assert names(batch, "Port") == {("br0", None), ("web0", None)}
        assert [len(table) for table in replica] == [1, 0, 0, 0]


async def test_a_transaction_is_in_the_replica_when_its_answer_is_there(server: Any) -> None:
    async with Client(server.remote, "Open_vSwitch", WATCHES) as client:
        txn = client.transaction()
        interface = txn.insert("Interface", {"name": "br0", "type": "internal"})
        port = txn.insert("Port", {"name": "br0", "interfaces": [interface]})
        bridge = txn.insert(
            "Bridge", {"name": "br0", "ports": port, "external_ids": {"a": "1", "b": "2"}}
        )
        root = txn.insert("Open_vSwitch", {"bridges": [bridge]})
        txn.comment("made by a test")
        results = await client.commit(txn)
        row = client.replica["Bridge"].get(results[bridge])
        assert row is not None
        assert (row.name, row.external_ids) == ("br0", {"a": "1", "b": "2"})
        assert [p.uuid for p in client.replica.resolve(row, "ports")] == [results[port]]

        txn = client.transaction()
        changed = txn.mutate(
            "Bridge",
            [("name", "==", "br0")],
            [("external_ids", "delete", ["a"]), ("external_ids", "insert", {"c": "3"})],
        )
        updated = txn.update("Port", results[port], {"tag": 7})
        nothing = txn.delete("Port", [("name", "==", "nobody")])
        selected = txn.select("Port", [("tag", "==", 7)], ["name", "tag"])
        results2 = await client.commit(txn)
        assert (results2[changed], results2[updated], results2[nothing]) == (1, 1, 0)
        assert [(r.uuid, r.name, r.tag) for r in results2[selected]] == [(results[port], "br0", 7)]
        row = client.replica["Bridge"].get(row.uuid)
        assert row is not None
        assert row.external_ids == {"b": "2", "c": "3"}
        assert server.vsctl("get", "Port", "br0", "tag").strip() == "7"

        txn = client.transaction()
        txn.mutate("Open_vSwitch", results[root], [("bridges", "delete", row)])
        await client.commit(txn)
        assert len(client.replica["Bridge"]) == 0


async def test_a_failed_operation_is_named(server: Any) -> None:
    server.vsctl("--no-wait", "add-br", "br0")
    async with Client(server.remote, "Open_vSwitch", WATCHES) as client:
        [bridge] = client.replica["Bridge"].rows
        txn = client.transaction()
        txn.comment("fails in its second operation")
        txn.mutate("Bridge", bridge, [("flood_vlans", "insert", 5), ("flood_vlans", "+=", 4095)])
        with pytest.raises(TransactionError, match=r"^constraint violation: .*operation 1: ") as e:
            await client.commit(txn)
        assert (e.value.error, e.value.index) == ("constraint violation", 1)
        assert e.value.operation is not None
        assert e.value.operation["op"] == "mutate"

        txn = client.transaction()
        txn.insert("Open_vSwitch", {})
        with pytest.raises(TransactionError, match=r"to contain 2 rows.*\(at commit\)") as e:
            await client.commit(txn)
        assert (e.value.index, e.value.operation) == (1, None)
        [same] = client.replica["Bridge"].rows
        assert same == bridge


async def test_a_transaction_made_for_another_state_is_made_anew(server: Any) -> None:
    server.vsctl("--no-wait", "set", "Open_vSwitch", ".", "external_ids:n=0")

    def increment(client: Client, txn: Transaction) -> None:
        [root] = client.replica["Open_vSwitch"].rows
        txn.verify(root, "external_ids")
        number = str(int(root.external_ids["n"]) + 1)
        txn.update("Open_vSwitch", root, {"external_ids": {**root.external_ids, "n": number}})

    async with (
        Client(server.remote, "Open_vSwitch", WATCHES, backoff=FAST) as one,
        Client(server.remote, "Open_vSwitch", WATCHES, backoff=FAST) as two,
    ):
        stale = one.transaction()
        increment(one, stale)
        await two.transact(lambda txn: increment(two, txn))
        with pytest.raises(TryAgainError, match="timed out"):
            await one.commit(stale)
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(
                *(
                    client.transact(lambda txn, client=client: increment(client, txn), 100)
                    for client in (one, two) * 10
                )
            )
        assert server.vsctl("get", "Open_vSwitch", ".", "external_ids:n").strip() == '"21"'


async def test_a_restart_of_the_server_shows_only_what_differs(
    server: Any, eventually: Eventually
) -> None:
    server.vsctl("--no-wait", "add-br", "br0", "--", "add-port", "br0", "p0")
    async with Client(server.remote, "Open_vSwitch", WATCHES, backoff=FAST) as client:
        feed = client.replica.changes()
        kept = client.replica["Port"].one("name", "p0")
        server.stop()
        await eventually(lambda: not client.connected, "the loss of the server")
        assert len(client.replica["Bridge"]) == 1
        server.run(
            "ovsdb-tool",
            "transact",
            str(server.database),
            '["Open_vSwitch", {"op": "update", "table": "Bridge", "where": [],'
            ' "row": {"external_ids": ["map", [["while", "away"]]]}}]',
        )
        server.start()
        await client.wait_connected(PATIENCE)
        async with asyncio.timeout(PATIENCE):
            batch = await anext(feed)
        [change] = batch.changes
        assert change.new is not None
        assert (change.table, change.new.external_ids) == ("Bridge", {"while": "away"})
        assert client.replica["Port"].one("name", "p0") == kept
        server.vsctl("--no-wait", "del-port", "p0")
        async with asyncio.timeout(PATIENCE):
            assert names(await anext(feed), "Port") == {("p0", None)}


async def test_after_a_lost_connection_a_cluster_sends_only_what_was_missed(
    clustered_server: Any, proxy: Any, listen: Any
) -> None:
    server = clustered_server
    between = proxy(server.remote)
    answers: list[Any] = []

    async with (
        listen(between.serve) as remote,
        Client(remote, "Open_vSwitch", WATCHES, backoff=FAST) as client,
    ):
        txn = client.transaction()
        # A server forgets its history where it would be larger than the database itself.
        managers = [txn.insert("Manager", {"target": f"ptcp:{n}"}) for n in range(200)]
        txn.insert("Open_vSwitch", {"manager_options": managers})
        await client.commit(txn)
        txn = client.transaction()
        txn.update("Open_vSwitch", (), {"external_ids": {"a": "1"}})
        await client.commit(txn)
        feed = client.replica.changes()
        client.replica.reset = (  # type: ignore[method-assign]
            lambda method, result, reset=client.replica.reset: (
                answers.append(msgspec.json.decode(result)),
                reset(method, result),
            )
        )
        position = client.replica.last_txn_id
        between.disconnect()
        server.vsctl("--no-wait", "set", "Open_vSwitch", ".", "external_ids:b=2")
        async with asyncio.timeout(PATIENCE):
            batch = await anext(feed)
        [change] = batch.changes
        assert change.old is not None
        assert change.new is not None
        assert (change.old.external_ids, change.new.external_ids) == (
            {"a": "1"},
            {"a": "1", "b": "2"},
        )
        [(found, txn_id, updates)] = answers
        assert found is True
        assert txn_id == client.replica.last_txn_id != position
        [row] = updates["Open_vSwitch"].values()
        assert list(row) == ["modify"]


async def test_only_rows_that_fulfil_a_condition_are_replicated(server: Any) -> None:
    server.vsctl("--no-wait", "add-br", "br0", "--", "add-br", "br1")
    watch = Watch("Bridge", ("name",), where=[("name", "==", "br1")])
    async with Client(server.remote, "Open_vSwitch", [watch]) as client:
        assert client.replica["Bridge"].column("name") == ["br1"]
    either = Watch("Bridge", ("name",), where=[("name", "==", "br1"), ("name", "==", "br0")])
    async with Client(server.remote, "Open_vSwitch", [either]) as client:
        assert sorted(client.replica["Bridge"].column("name")) == ["br0", "br1"]


async def test_all_columns_where_none_are_named(server: Any) -> None:
    server.vsctl("--no-wait", "add-br", "br0")
    async with Client(server.remote, "Open_vSwitch", [Watch("Interface")]) as client:
        [row] = client.replica["Interface"].rows
        assert row.statistics == {}
        assert row.type == "internal"
        with pytest.raises(AttributeError, match=r"column Interface\.colour isn't monitored"):
            _ = row.colour


async def test_requests_are_pipelined(server: Any, proxy: Any, listen: Any) -> None:
    between = proxy(server.remote)
    async with (
        listen(between.serve) as remote,
        Client(remote, "Open_vSwitch", WATCHES) as client,
    ):
        held: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

        def hold(message: dict[str, Any]) -> bytes | None:
            if message.get("method") == "transact":
                held.put_nowait(message)
                return b""
            return None

        between.respond = hold
        commits = [asyncio.create_task(client.commit(client.transaction())) for _ in range(50)]
        async with asyncio.timeout(PATIENCE):
            messages = [await held.get() for _ in range(50)]
        for message in reversed(messages):
            between.send(b'{"id":%d,"result":[],"error":null}' % message["id"])
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*commits)


async def test_requests_beyond_a_bound_wait_for_the_answers_of_others(
    server: Any, proxy: Any, listen: Any
) -> None:
    between = proxy(server.remote)
    async with (
        listen(between.serve) as remote,
        Client(remote, "Open_vSwitch", WATCHES) as client,
    ):
        asked: list[int] = []
        many = asyncio.Event()
        held = True

        def answer(message: dict[str, Any]) -> bytes | None:
            if message.get("method") != "transact":
                return None
            asked.append(message["id"])
            if len(asked) == 1024:
                many.set()
            return b"" if held else b'{"id":%d,"result":[],"error":null}' % message["id"]

        between.respond = answer
        commits = [asyncio.create_task(client.commit(client.transaction())) for _ in range(3000)]
        async with asyncio.timeout(PATIENCE):
            await many.wait()
            commits[2000].cancel()  # which waits to be sent
            with pytest.raises(asyncio.CancelledError):
                await commits[2000]
            assert len(asked) == 1024
            held = False
            for number in tuple(asked):
                between.send(b'{"id":%d,"result":[],"error":null}' % number)
            await asyncio.gather(*(commits[:2000] + commits[2001:]))
            await client.commit(client.transaction())
        assert asked == sorted(set(asked))
        assert len(asked) == 3000


class TestErrors:
    """One line that says what is wrong and what to do."""

    async def test_no_such_socket(self, tmp_path: Path) -> None:
        with pytest.raises(UnreachableError, match=r"no\.sock: no such socket: is its server runn"):
            await Client(f"unix:{tmp_path}/no.sock", "Open_vSwitch").open()

    async def test_refused(self) -> None:
        with pytest.raises(UnreachableError, match="connection refused"):
            await Client("tcp:127.0.0.1:1", "Open_vSwitch").open()

    async def test_no_such_database(self, server: Any) -> None:
        with pytest.raises(
            NoSuchDatabaseError,
            match=r"has no database Openvswitch \(it has: Open_vSwitch, _Server\)$",
        ):
            await Client(server.remote, "Openvswitch").open()

    async def test_no_such_table_or_column(self, server: Any) -> None:
        with pytest.raises(SchemaError, match=r"database Open_vSwitch \(schema 8.*no table Brigde"):
            await Client(server.remote, "Open_vSwitch", [Watch("Brigde")]).open()
        with pytest.raises(SchemaError, match="table Bridge has no column nam"):
            await Client(server.remote, "Open_vSwitch", [Watch("Bridge", ("nam",))]).open()

    async def test_values_that_do_not_fit(self, server: Any) -> None:
        async with Client(server.remote, "Open_vSwitch") as client:
            txn = client.transaction()
            with pytest.raises(SchemaError, match=r"Interface\.ofport_request: 70000 is above"):
                txn.insert("Interface", {"name": "x", "ofport_request": 70000})
            with pytest.raises(SchemaError, match="table Interface has no column nmae"):
                txn.insert("Interface", {"nmae": "x"})
            with pytest.raises(SchemaError, match="'~=' is no mutator"):
                txn.mutate("Port", (), [("tag", "~=", 1)])  # type: ignore[list-item]
            assert len(txn) == 0

    async def test_no_remote(self) -> None:
        with pytest.raises(ValueError, match="must start with 'unix:', 'tcp:' or 'ssl:'"):
            Client("/var/run/openvswitch/db.sock", "Open_vSwitch")

    async def test_not_open(self, server: Any) -> None:
        client = Client(server.remote, "Open_vSwitch")
        with pytest.raises(RuntimeError, match="wasn't opened"):
            _ = client.replica
        async with client:
            with pytest.raises(RuntimeError, match="is open"):
                await client.open()

    async def test_a_lost_server_is_said_where_a_transaction_waits(
        self, server: Any, eventually: Eventually
    ) -> None:
        async with Client(server.remote, "Open_vSwitch", timeout=0.3, backoff=FAST) as client:
            txn = client.transaction()
            server.stop()
            await eventually(lambda: not client.connected, "the loss of the server")
            with pytest.raises(
                UnreachableError, match=r"not connected for .* s: .*(refused|no such)"
            ):
                await client.commit(txn)
            assert isinstance(client.error, UnreachableError)


async def test_closing_ends_what_follows_the_replica(server: Any) -> None:
    async with Client(server.remote, "Open_vSwitch", WATCHES) as client:
        feed = client.replica.changes()
        waiting = asyncio.ensure_future(anext(feed, None))
    async with asyncio.timeout(PATIENCE):
        assert await waiting is None
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not [task for task in others if "ovsdb" in task.get_name()]


def authority(directory: Path) -> Tls:
    """A self-signed certificate, which is its own authority, for both ends."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (directory / "key.pem").chmod(stat.S_IRUSR)
    (directory / "cert.pem").write_bytes(certificate.public_bytes(pem))
    return Tls(directory / "key.pem", directory / "cert.pem", directory / "cert.pem")


async def test_tcp_and_tls(server: Any, tmp_path: Path) -> None:
    tls = authority(tmp_path)
    server.remotes += [
        f"--private-key={tls.private_key}",
        f"--certificate={tls.certificate}",
        f"--ca-cert={tls.ca_cert}",
    ]
    for kind in ("tcp", "ssl"):
        server.remotes.append(f"--remote=p{kind}:0:127.0.0.1")
        server.restart()
        server.remotes.pop()
        port = re.findall(r"0:127\.0\.0\.1: listening on port (\d+)", server.log.read_text())[-1]
        remote = f"{kind}:127.0.0.1:{port}"
        async with Client(remote, "Open_vSwitch", WATCHES, tls=tls) as client:
            txn = client.transaction()
            row = txn.insert("Open_vSwitch", {"external_ids": {"via": kind}})
            results = await client.commit(txn)
            assert [r.uuid for r in client.replica["Open_vSwitch"]] == [results[row]]
            txn = client.transaction()
            txn.delete("Open_vSwitch", results[row])
            await client.commit(txn)
