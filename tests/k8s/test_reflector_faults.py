"""The reflector against servers that lie, stall and break off: it goes on, and nothing is lost."""

import asyncio
import json
import time

import pytest
from aiohttp import web

from nsxdp.backoff import Backoff
from nsxdp.k8s import reflector as module
from nsxdp.k8s.objects import Service
from nsxdp.k8s.resources import SERVICES, Want

END = {"k8s.io/initial-events-end": "true"}


def added(obj):
    return {"type": "ADDED", "object": obj}


def modified(obj):
    return {"type": "MODIFIED", "object": obj}


def deleted(obj):
    return {"type": "DELETED", "object": obj}


def bookmark(version, annotations=None):
    meta = {"resourceVersion": str(version), "annotations": annotations or {}}
    return {"type": "BOOKMARK", "object": {"kind": "Service", "metadata": meta}}


def error(code, reason="", message="no"):
    status = {"kind": "Status", "status": "Failure", "code": code, "reason": reason}
    return {"type": "ERROR", "object": {**status, "message": message}}


@pytest.fixture
async def seen(fake_client, reflector, consumer):
    async with reflector(fake_client, page_size=2) as source:
        yield consumer(source)


async def test_resumes_where_it_was(fake, seen):
    """A watch that the server ends is opened again at the last event or bookmark: no list."""
    fake.script = [
        fake.page(fake.service("a"), version=10),
        fake.watch(added(fake.service("b", 11)), hold=False),
        fake.watch(bookmark(15), hold=False),
        fake.watch(added(fake.service("c", 16))),
    ]
    await seen.until(lambda: seen.get("default/c"))
    assert len(fake.lists) == 1
    assert [w["resourceVersion"] for w in fake.watches] == ["10", "11", "15"]
    assert all(w["allowWatchBookmarks"] == "true" for w in fake.watches)
    assert all(300 <= int(w["timeoutSeconds"]) <= 600 for w in fake.watches)


async def test_lists_anew_now_and_then(fake, fake_client, reflector, consumer):
    """A server whose watch has missed something, and whose list hasn't."""

    async def ends(request):
        # As a server does with a watch that has lasted as long as was asked for.
        await asyncio.sleep(float(request.query["timeoutSeconds"]))
        return await fake.watch(hold=False)(request)

    fake.script = [
        fake.page(fake.service("a"), fake.service("gone"), version=10),
        ends,
        fake.page(fake.service("a"), fake.service("missed", 12), version=13),
        fake.watch(),
    ]
    async with reflector(fake_client, relist=1.0) as source:
        seen = consumer(source)
        await seen.until(lambda: seen.keys() == {"default/a", "default/missed"})
    assert len(fake.lists) == 2
    assert len([said for said in seen.said if said[2] == "default/a"]) == 1


async def test_pages_follow_the_token_and_410_begins_again(fake, seen):
    fake.script = [
        fake.page(fake.service("a"), fake.service("old"), token="t1", version=10),
        fake.fail(410, "Expired"),
        fake.page(fake.service("a"), fake.service("b"), token="t2", version=20),
        fake.page(fake.service("c"), version=20),
        fake.watch(),
    ]
    await seen.until(lambda: seen.synced)
    assert seen.keys() == {"default/a", "default/b", "default/c"}
    # `a` hasn't changed between the lists, `old` had been delivered and is gone.
    assert sorted(seen.said) == [
        ("delete", "Service", "default/old"),
        ("upsert", "Service", "default/a"),
        ("upsert", "Service", "default/b"),
        ("upsert", "Service", "default/c"),
        ("upsert", "Service", "default/old"),
    ]
    assert [r.get("continue") for r in fake.lists] == [None, "t1", None, "t2"]
    assert {r["limit"] for r in fake.lists} == {"2"}


@pytest.mark.parametrize("in_stream", [True, False])
async def test_410_of_a_watch_lists_again(fake, seen, in_stream):
    gone = fake.watch(error(410, "Expired"), hold=False) if in_stream else fake.fail(410, "Gone")
    fake.script = [
        fake.page(fake.service("a", 1), fake.service("b", 2), version=10),
        gone,
        fake.page(fake.service("b", 2), fake.service("c", 12), version=20),
        fake.watch(),
    ]
    await seen.until(lambda: seen.get("default/c"))
    assert seen.said[2:] == [
        ("upsert", "Service", "default/c"),
        ("delete", "Service", "default/a"),
    ]


async def test_a_deletion_and_a_repetition_in_the_watch(fake, seen):
    fake.script = [
        fake.page(fake.service("a", 1), version=10),
        fake.watch(
            modified(fake.service("a", 1)),  # known already
            deleted(fake.service("never-seen", 11)),
            modified(fake.service("a", 12, sessionAffinity="ClientIP")),
            deleted(fake.service("a", 13)),
            added(fake.service("end", 14)),
        ),
    ]
    await seen.until(lambda: seen.get("default/end"))
    assert seen.said == [
        ("upsert", "Service", "default/a"),
        ("upsert", "Service", "default/a"),
        ("delete", "Service", "default/a"),
        ("upsert", "Service", "default/end"),
    ]


async def test_what_became_unreadable_stays_until_it_is_deleted(fake, seen):
    def unreadable(version):
        return fake.service("a", version) | {"spec": {"ports": "of a later version"}}

    fake.script = [
        fake.page(fake.service("a", 1), version=10),
        fake.watch(
            modified(unreadable(11)),
            added(fake.service("b", 12)),
            deleted(unreadable(13)),
            added(fake.service("end", 14)),
        ),
    ]
    await seen.until(lambda: seen.get("default/end"))
    assert seen.said == [
        ("upsert", "Service", "default/a"),
        ("upsert", "Service", "default/b"),
        ("delete", "Service", "default/a"),
        ("upsert", "Service", "default/end"),
    ]
    assert [error.key for error in seen.errors] == ["default/a"]


async def test_wrong_types_in_a_list_stop_nobody_else(fake, seen):
    fake.script = [
        fake.page(
            fake.service("good"),
            fake.service("bad", ports=[{"port": "http"}]),
            {"metadata": {"name": 7}},
            {"metadata": {"namespace": "default"}},
            "not an object",
            None,
            fake.service("also-good", ports=None, externalIPs=None),
        ),
        fake.watch(),
    ]
    await seen.until(lambda: seen.synced)
    assert seen.keys() == {"default/good", "default/also-good"}
    assert [str(e) for e in seen.errors] == [
        "Service default/bad: $.spec.ports[0].port: Expected `int`, got `str`",
        "Service (no name): $.metadata.name: Expected `str`, got `int`",
        "Service (no name): $.metadata.name: an object must have a name",
        "Service (no name): Expected `object`, got `str`",
        "Service (no name): Expected `object`, got `null`",
    ]


async def test_wrong_types_in_a_watch_leave_the_last_good_state(fake, seen):
    fake.script = [
        fake.page(fake.service("a", 1), version=10),
        fake.watch(
            modified(fake.service("a", 11, ports=[{"port": 70000}])),
            added(fake.service("b", 12)),
            bookmark(13),
            hold=False,
        ),
        fake.fail(410, "Expired"),
        # It is still bad in the next list: it has not vanished.
        fake.page(fake.service("a", 11, ports=[{"port": 70000}]), fake.service("c", 14)),
        fake.watch(),
    ]
    await seen.until(lambda: seen.get("default/c"))
    assert seen.get("default/a").spec.ports[0].port == 80
    assert ("delete", "Service", "default/a") not in seen.said
    assert ("delete", "Service", "default/b") in seen.said
    expected = "Service default/a: $.spec.ports[0].port: Expected `int` <= 65535"
    assert {str(e) for e in seen.errors} == {expected}


@pytest.mark.parametrize(
    "line",
    [
        b"this is no JSON\n",
        b'{"type":"ADDED"}\n',
        b'{"type":"ADDED","object":{"metadata":\n',
        b"[" * 100_000 + b"\n",
        b'{"type":"ERROR","object":"x"}\n',
        b'{"type":"BOOKMARK","object":[]}\n',
        b"\xff\xfe\n",
    ],
    ids=["text", "no-object", "cut", "deep", "odd-error", "odd-bookmark", "not-utf8"],
)
async def test_a_broken_line_is_not_trusted(fake, seen, line):
    """After a line that can't be read, a list says what is true."""
    fake.script = [
        fake.page(fake.service("a", 1), version=10),
        fake.watch(line),
        fake.page(fake.service("b", 2), version=20),
        fake.watch(),
    ]
    await seen.until(lambda: seen.get("default/b"))
    assert seen.keys() == {"default/b"}


async def test_a_deeply_nested_object_is_passed_over(fake, seen):
    deep = b'{"type":"ADDED","object":{"metadata":{"name":"x"},"odd":' + b"[" * 50_000
    fake.script = [
        fake.page(),
        fake.watch(deep + b"]" * 50_000 + b"}}\n", added(fake.service("b", 2))),
        fake.page(fake.service("c", 2)),
        fake.watch(),
    ]
    await seen.until(lambda: seen.keys() & {"default/b", "default/c"})


async def test_an_endless_line_is_given_up(fake, seen, monkeypatch):
    monkeypatch.setattr(module, "MAX_LINE", 1 << 20)
    fake.script = [
        fake.page(version=10),
        fake.watch(*[b"x" * (256 << 10)] * 6),
        fake.page(fake.service("a"), version=20),
        fake.watch(),
    ]
    await seen.until(lambda: seen.get("default/a"))
    assert len(fake.lists) == 2


async def test_lines_in_pieces(fake, seen):
    """The stream is cut anywhere; the last line only counts when it is complete."""
    whole = b"".join(
        json.dumps(added(fake.service(f"s{i}", 20 + i))).encode() + b"\n" for i in range(5)
    )
    pieces = [whole[i : i + 37] for i in range(0, len(whole), 37)]

    async def drip(request):
        response = await fake.watch(*[], hold=False)(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(0)
        await response.write(b'{"type":"ADDED","object":{"metadata":{"name":"half')
        return response

    fake.script = [fake.page(version=10), drip, fake.watch()]
    await seen.until(lambda: len(fake.watches) == 2 or seen.get("default/s4"))
    await seen.until(lambda: seen.get("default/s4"))
    assert seen.keys() == {f"default/s{i}" for i in range(5)}
    assert not seen.errors


@pytest.mark.parametrize(
    "body", [b'{"items":[', b"<html>", b"[]", b'{"items":[],"metadata":{}}', b'{"items":3}']
)
async def test_a_broken_list_is_tried_again(fake, seen, body):
    fake.script = [fake.raw(body), fake.page(fake.service("a")), fake.watch()]
    await seen.until(lambda: seen.synced)
    assert seen.keys() == {"default/a"}


async def test_a_truncated_list_is_tried_again(fake, seen):
    body = b'{"metadata":{"resourceVersion":"1"},"items":[]}'
    fake.script = [fake.raw(body, length=1000), fake.page(fake.service("a")), fake.watch()]
    await seen.until(lambda: seen.synced)
    assert seen.keys() == {"default/a"}


async def test_a_list_that_goes_in_circles_is_given_up(fake, seen):
    fake.script = [
        fake.page(fake.service("a"), token="t"),
        fake.page(fake.service("a"), token="t"),
        fake.page(fake.service("b")),
        fake.watch(),
    ]
    await seen.until(lambda: seen.synced)
    assert seen.keys() == {"default/b"}


@pytest.mark.parametrize("code", [429, 500, 503])
async def test_errors_are_tried_again(fake, seen, code):
    fake.script = [
        fake.fail(code),
        fake.fail(code, Retry_After="0"),
        fake.page(fake.service("a"), version=10),
        fake.fail(code),
        fake.watch(added(fake.service("b", 11)), error(code), hold=False),
        fake.watch(added(fake.service("c", 12))),
    ]
    await seen.until(lambda: seen.get("default/c"))
    assert [w["resourceVersion"] for w in fake.watches] == ["10", "10", "11"]


async def test_a_stalled_list_and_a_stalled_watch(fake, fake_client, reflector, consumer):
    fake.script = [
        fake.stall,
        fake.page(fake.service("a"), version=10),
        fake.watch(added(fake.service("b", 11))),
        fake.watch(added(fake.service("c", 12))),
    ]
    async with reflector(fake_client, idle_timeout=0.2, read_timeout=0.2) as source:
        seen = consumer(source)
        await seen.until(lambda: seen.get("default/c"))
        assert [w["resourceVersion"] for w in fake.watches[:2]] == ["10", "11"]


async def test_a_silent_watch_is_opened_anew_without_a_word(
    fake, fake_client, reflector, consumer, caplog
):
    """Nothing to tell is no failure; whether the server is gone shows when it is asked."""
    fake.script = [
        fake.page(fake.service("a"), version=10),
        fake.watch(added(fake.service("b", 11))),
        fake.watch(added(fake.service("c", 12))),
    ]
    async with reflector(fake_client, idle_timeout=0.2) as source:
        seen = consumer(source)
        await seen.until(lambda: seen.get("default/c"))
    assert "cannot follow" not in caplog.text


async def test_watches_that_end_at_once_do_not_make_it_spin(fake, seen):
    fake.script = [fake.page(version=10), *[fake.watch(hold=False)] * 5]
    fake.script += [fake.watch(added(fake.service("a", 11)))]
    await seen.until(lambda: seen.get("default/a"))
    assert len(fake.lists) == 1


async def test_a_quiet_watch_is_no_failure(fake, fake_client, consumer, monkeypatch):
    """Watches in which nothing happened don't make the delays grow."""
    asked = []

    class Noting(Backoff):
        def delay(self, failures, at_least=0.0):
            asked.append(failures)
            return super().delay(failures, at_least)

    async def quiet(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(0.1)
        return response

    monkeypatch.setattr(module, "_STEADY_SECONDS", 0.05)
    ends = fake.watch(hold=False)
    fake.script = [fake.page(version=10), ends, ends, quiet, ends]
    fake.script += [fake.watch(added(fake.service("a", 11)))]
    wants = [Want(SERVICES)]
    async with module.Reflector(fake_client, wants, backoff=Noting(0.01, 0.1)) as source:
        seen = consumer(source)
        await seen.until(lambda: seen.get("default/a"))
    assert asked == [1, 2, 1]


async def test_streaming_list(fake, fake_client, reflector, consumer):
    """KEP-3157: what exists comes as events, ended by a bookmark; a relist gives differences."""
    fake.script = [
        fake.watch(added(fake.service("a", 1)), added(fake.service("b", 2)), hold=False),
        fake.watch(
            added(fake.service("b", 2)),
            added(fake.service("c", 3)),
            bookmark(5),
            bookmark(10, END),
            modified(fake.service("c", 11)),
            hold=False,
        ),
        fake.watch(error(410), hold=False),
        fake.watch(added(fake.service("d", 12)), bookmark(20, END)),
    ]
    async with reflector(fake_client, streaming=True) as source:
        seen = consumer(source)
        await seen.until(lambda: seen.keys() == {"default/d"})
    assert seen.said[:6] == [
        ("upsert", "Service", "default/a"),
        ("upsert", "Service", "default/b"),
        ("upsert", "Service", "default/c"),
        ("delete", "Service", "default/a"),
        ("upsert", "Service", "default/c"),
        ("upsert", "Service", "default/d"),
    ]
    assert sorted(seen.said[6:]) == [
        ("delete", "Service", "default/b"),
        ("delete", "Service", "default/c"),
    ]
    first, second, third, fourth = fake.watches
    assert first["sendInitialEvents"] == second["sendInitialEvents"] == "true"
    assert first["resourceVersionMatch"] == "NotOlderThan"
    assert third["resourceVersion"] == "11"
    assert "sendInitialEvents" not in third
    assert fourth["sendInitialEvents"] == "true"
    assert not fake.lists


async def test_a_slow_consumer_holds_the_server_back(fake, fake_client, reflector, consumer):
    """The queue is bounded: what isn't taken stays in the socket, and nothing is lost."""
    written = 0
    total = 400
    padding = {"padding": "x" * 50_000}

    async def flood(request):
        nonlocal written
        response = await fake.watch(hold=False)(request)
        for i in range(total):
            obj = fake.service(f"s{i}", 100 + i)
            obj["metadata"]["annotations"] = padding
            await response.write(json.dumps(added(obj)).encode() + b"\n")
            written = i + 1
        await asyncio.sleep(30)
        return response

    fake.script = [fake.page(version=10), flood]
    async with reflector(fake_client, queue_size=1) as source:
        seen = consumer(source)
        await seen.until(lambda: seen.synced)
        before = -1
        while written != before:  # until the server can't go on
            before = written
            await asyncio.sleep(0.2)
        assert 0 < written < total
        await seen.until(lambda: len(seen.objects) == total)


async def test_a_bug_reaches_the_consumer(fake, fake_client, reflector, consumer, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    fake.script = [fake.page(fake.service("a"))]
    monkeypatch.setattr(module.Inventory, "listed", broken)
    async with reflector(fake_client) as source:
        with pytest.raises(ZeroDivisionError):
            await consumer(source).step()


async def test_unreachable_says_so_once(reflector, consumer, fake, fake_client, caplog):
    """One clear line for an error that stays, not one for each attempt."""
    fake.script = [
        *[fake.fail(500, message="etcd is away")] * 4,
        fake.page(fake.service("a")),
        fake.watch(bookmark(11), added(fake.service("b", 12))),
    ]
    with caplog.at_level("INFO"):
        async with reflector(fake_client) as source:
            seen = consumer(source)
            await seen.until(lambda: seen.get("default/b"))
    assert caplog.text.count("etcd is away") == 1
    assert caplog.text.count("following again") == 1


async def test_kp_10_an_empty_list_is_synced(fake, fake_client, reflector):
    """KP-10: that nothing exists is news too; and a batch says when its bytes came."""
    fake.script = [fake.page(), fake.watch()]
    began = time.monotonic()
    async with reflector(fake_client) as source:
        batch = await anext(source)
    assert (batch.kind, batch.events, batch.synced) == ("Service", [], True)
    assert began < batch.received_at <= time.monotonic()


async def test_objects_are_typed(fake, seen):
    fake.script = [fake.page(fake.service("a")), fake.watch()]
    await seen.until(lambda: seen.synced)
    assert isinstance(seen.get("default/a"), Service)
