"""Peers that lie, hang, babble and vanish."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nsxdp.backoff import Backoff
from nsxdp.ovsdb import (
    Client,
    DisconnectedError,
    OvsdbError,
    Replica,
    Schema,
    Session,
    Transaction,
    Watch,
)
from nsxdp.ovsdb.errors import ProtocolError, RequestError
from nsxdp.ovsdb.replica import Monitor

FAST = Backoff(0.01, 0.05)
PATIENCE = 20.0
WATCHES = (Watch("Open_vSwitch", ("external_ids",)),)

Eventually = Callable[[Callable[[], object], str], Any]


def says(*replies: bytes) -> Callable[..., Any]:
    """A server that answers whatever comes with these, and then closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in replies:
            await reader.read(1 << 16)
            writer.write(reply)
            await writer.drain()
        writer.close()

    return serve


OLD = b'{"id":0,"result":null,"error":"unknown method"}'
"""A server that doesn't know set_db_change_aware."""


@pytest.mark.parametrize(
    ("replies", "text"),
    [
        ([b""], "the server closed the connection"),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "doesn't speak JSON-RPC: .*HTTP"),
        ([b"\x06\x00\x00\x10\x00\x00\x00\x01"], "doesn't speak JSON-RPC"),
        ([b'{"id":0,"result":{"name":'], "the server closed the connection"),
        ([b'{"id":0,"result":[}'], "sent JSON that can't be read"),
        ([b'{"id":0,"result":"\xff\xfe"}'], "sent JSON that can't be read"),
        ([b'{"id":0,"method":5}'], "sent JSON that can't be read"),
        ([b'{"a":' * 100_000 + b"1" + b"}" * 100_000], "sent JSON that can't be read"),
        ([b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"], "sent JSON that can't be read"),
        ([b'{"id":5,"result":{},"error":null}'], "answers a request that wasn't made: 5"),
        ([b'{"id":"x","result":{},"error":null}'], "answers a request that wasn't made: 'x'"),
        ([OLD, b'{"id":1,"result":{},"error":null}'], "schema: KeyError: 'name'"),
        ([OLD, b'{"id":1,"result":null,"error":null}'], "schema: TypeError"),
        ([OLD, b'{"id":1,"error":{"error":"sorry","details":"no"}}'], "get_schema: sorry: no"),
        ([OLD, b'{"id":1,"error":["what"]}'], "get_schema: .*what"),
        ([b'{"id":null,"method":"update3","params":["Open_vSwitch"]}'], "update3: Expected"),
        ([b'{"id":null,"method":"update2","params":["x",{}]}'], "not of the monitor"),
        ([b'{"x":"' + 300 * b"x"], "more than 100 bytes"),
    ],
)
async def test_a_peer_that_is_no_ovsdb_server(listen: Any, replies: list[bytes], text: str) -> None:
    limit = 100 if len(replies[0]) in range(250, 1000) else 1 << 20
    async with listen(says(*replies)) as remote:
        with pytest.raises(OvsdbError, match=text):
            async with asyncio.timeout(PATIENCE):
                await Client(remote, "Open_vSwitch", max_message=limit).open()


async def test_a_peer_that_says_nothing(listen: Any) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with listen(serve) as remote:
        with pytest.raises(
            DisconnectedError, match=r"set_db_change_aware: no answer within 0\.1 s"
        ):
            await Client(remote, "Open_vSwitch", timeout=0.1).open()
        with pytest.raises(DisconnectedError, match=r"the server is silent for 0\.1 s"):
            await Client(remote, "Open_vSwitch", probe_interval=0.05).open()


async def test_a_living_server_is_asked_and_answers(
    server: Any, proxy: Any, listen: Any, eventually: Eventually
) -> None:
    between = proxy(server.remote)
    async with (
        listen(between.serve) as remote,
        Client(remote, "Open_vSwitch", WATCHES, probe_interval=0.05) as client,
    ):
        await eventually(lambda: between.seen.count("echo") >= 5, "five probes")
        assert client.connected
        assert between.seen.count("get_schema") == 1


async def test_the_server_s_questions_are_answered(server: Any, proxy: Any, listen: Any) -> None:
    answers: asyncio.Queue[Any] = asyncio.Queue()
    between = proxy(server.remote)

    def respond(message: dict[str, Any]) -> bytes | None:
        if "method" in message:
            return None
        answers.put_nowait(message)
        return b""

    between.respond = respond
    async with listen(between.serve) as remote, Client(remote, "Open_vSwitch", WATCHES):
        between.send(b'{"id":"a","method":"echo","params":[1,{"b":[]}]}')
        between.send(b'{"id":7,"method":"steal","params":[]}')
        async with asyncio.timeout(PATIENCE):
            assert await answers.get() == {"id": "a", "result": [1, {"b": []}], "error": None}
            assert await answers.get() == {"id": 7, "result": None, "error": "unknown method"}


async def test_a_peer_that_asks_and_never_reads_is_left(listen: Any) -> None:
    hung = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ask = b'{"id":1,"method":"echo","params":["%s"]}' % (b"x" * 100_000)
        with suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(ask)
                await writer.drain()
        hung.set()

    async with listen(serve) as remote, asyncio.timeout(PATIENCE):
        session = await Session.open(remote, probe_interval=0.01)
        error = await session.ended
        assert "asks and doesn't read our answers" in str(error)
        with pytest.raises(DisconnectedError, match="x: the connection was lost: the server asks"):
            await session.request("x", [])
        await hung.wait()


@pytest.mark.parametrize(
    "lie",
    [
        {"Open_vSwitch": {"0" * 36: {"modify": {"external_ids": ["map", []]}}}},
        {"Open_vSwitch": {"0" * 36: {"insert": {"external_ids": "x"}}}},
        {"Bridge": {"0" * 36: {"insert": {}}}},
        5,
    ],
)
async def test_after_a_lie_the_replica_is_taken_anew(
    server: Any, proxy: Any, listen: Any, lie: Any, eventually: Eventually
) -> None:
    server.vsctl("--no-wait", "set", "Open_vSwitch", ".", "external_ids:a=1")
    between = proxy(server.remote)
    async with (
        listen(between.serve) as remote,
        Client(remote, "Open_vSwitch", WATCHES, backoff=FAST) as client,
    ):
        feed = client.replica.changes()
        params = ["Open_vSwitch", "1" * 36, lie]
        between.send(json.dumps({"id": None, "method": "update3", "params": params}).encode())
        await eventually(lambda: between.seen.count("get_schema") == 2, "a new connection")
        await client.wait_connected(PATIENCE)
        server.vsctl("--no-wait", "set", "Open_vSwitch", ".", "external_ids:a=2")
        async with asyncio.timeout(PATIENCE):
            batch = await anext(feed)
        [change] = batch.changes
        assert change.old is not None
        assert change.new is not None
        assert (change.old.external_ids, change.new.external_ids) == ({"a": "1"}, {"a": "2"})


async def test_a_server_that_only_knows_older_monitors(
    server: Any, proxy: Any, listen: Any
) -> None:
    server.vsctl("--no-wait", "set", "Open_vSwitch", ".", "external_ids:a=1")
    for unknown in (["monitor_cond_since"], ["monitor_cond_since", "monitor_cond"]):
        between = proxy(server.remote)
        unknown = [*unknown, "set_db_change_aware"]

        def respond(message: dict[str, Any], unknown: list[str] = unknown) -> Any:
            if message.get("method") in unknown:
                return {"id": message["id"], "result": None, "error": "unknown method"}
            return None

        between.respond = respond
        async with listen(between.serve) as remote:
            async with Client(remote, "Open_vSwitch", WATCHES) as client:
                [row] = client.replica["Open_vSwitch"].rows
                assert row.external_ids["a"] == "1"
                feed = client.replica.changes()
                server.vsctl("--no-wait", "set", "Open_vSwitch", ".", "external_ids:b=2")
                async with asyncio.timeout(PATIENCE):
                    [change] = (await anext(feed)).changes
                assert change.new is not None
                assert change.new.external_ids == {"a": "1", "b": "2"}
                server.vsctl("--no-wait", "remove", "Open_vSwitch", ".", "external_ids", "b")
            asked = [method for method in between.seen if method.startswith("monitor")]
            assert asked[-1] == ("monitor" if "monitor_cond" in unknown else "monitor_cond")


async def test_the_outcome_of_a_transaction_may_be_unknown(
    server: Any, proxy: Any, listen: Any
) -> None:
    between = proxy(server.remote)

    def respond(message: dict[str, Any]) -> bytes | None:
        if message.get("method") == "transact":
            between.disconnect()
            return b""
        return None

    between.respond = respond
    async with (
        listen(between.serve) as remote,
        Client(remote, "Open_vSwitch", WATCHES, backoff=FAST) as client,
    ):
        with pytest.raises(DisconnectedError, match="transact: the connection was lost"):
            await client.commit(client.transaction())
        await client.wait_connected(PATIENCE)


@pytest.mark.parametrize(
    "answer", [None, {}, [], [None], [{"uuid": 5}, {}], [{"uuid": ["uuid"]}, {}]]
)
async def test_an_answer_that_is_none(every_type: dict[str, Any], answer: Any) -> None:
    txn = Transaction(Schema.from_json(every_type))
    row = txn.insert("T", {})
    txn.comment("two")
    with pytest.raises(ProtocolError, match="transact: "):
        _ = txn.results(answer)[row]


def test_a_result_is_of_its_own_transaction(every_type: dict[str, Any]) -> None:
    txn, other = (
        Transaction(Schema.from_json(every_type)),
        Transaction(Schema.from_json(every_type)),
    )
    for _ in range(2):
        stray = other.insert("T", {})
    row = txn.insert("T", {})
    results = txn.results([{"uuid": ["uuid", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"]}])
    assert results[row] == "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
    with pytest.raises(IndexError, match="another transaction"):
        _ = results[stray]


async def test_a_refused_request_names_the_method(server: Any) -> None:
    async with Client(server.remote, "Open_vSwitch", WATCHES) as client:
        with pytest.raises(RequestError, match=r"^frobnicate: unknown method$"):
            await client._live().request("frobnicate", [])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["set", "map", "T"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["T", "U", "new", "old", "initial", "insert", "modify", "name", "map"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(value=json_values, method=st.sampled_from(["update", "update2", "update3"]))
def test_no_update_crashes_the_replica(every_type: dict[str, Any], value: Any, method: str) -> None:
    replica = Replica(Schema.from_json(every_type), [Watch("T")])
    for params in (
        value,
        ["Types", value],
        ["Types", "x", {"T": value}],
        ["x", {"T": {"U": value}}],
    ):
        text = msgspec.json.encode(params)
        with suppress(ProtocolError):
            replica.update(method, replica.read(method, text))
        for monitor in get_args(Monitor):
            with suppress(ProtocolError):
                replica.reset(monitor, text)
