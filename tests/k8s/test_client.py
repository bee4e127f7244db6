"""The REST client and the Events, against a real API server."""

import asyncio

import pytest

from nsxdp.k8s import events as module
from nsxdp.k8s import rate
from nsxdp.k8s.client import Client
from nsxdp.k8s.credentials import Access, Credentials
from nsxdp.k8s.errors import ConflictError, InvalidError, NotFoundError, ProtocolError
from nsxdp.k8s.events import EventRecorder, reference
from nsxdp.k8s.objects import ObjectMeta, Service, ServicePort, ServiceSpec
from nsxdp.k8s.reflector import Reflector
from nsxdp.k8s.resources import EVENTS, NODES, SERVICES, Want

WEB = Service(
    api_version="v1",
    kind="Service",
    metadata=ObjectMeta(name="web", namespace="default"),
    spec=ServiceSpec(ports=(ServicePort(port=80),)),
)


async def test_create_get_patch_delete(client):
    made = await client.create(SERVICES, WEB)
    assert isinstance(made, Service)
    assert made.spec.cluster_ip.startswith("10.")
    with pytest.raises(ConflictError, match='"web" already exists'):
        await client.create(SERVICES, WEB)
    change = {"spec": {"sessionAffinity": "ClientIP"}}
    await client.patch(SERVICES, "web", change, "default")
    got = await client.get(SERVICES, "web", "default")
    assert isinstance(got, Service)
    assert got.spec.session_affinity_config is not None
    assert got.spec.session_affinity_config.client_ip.timeout_seconds == 10800
    with pytest.raises(InvalidError, match="sessionAffinity"):
        await client.patch(SERVICES, "web", {"spec": {"sessionAffinity": "x"}}, "default")
    await client.delete(SERVICES, "web", "default")
    with pytest.raises(NotFoundError):
        await client.get(SERVICES, "web", "default")


async def test_a_mapping_is_as_good_and_lists_are_paged(client):
    for name in ("a", "b", "c"):
        await client.create(NODES, {"metadata": {"name": name}})
    pages = [page async for page in client.list(Want(NODES), page_size=2)]
    assert [[node.name for node in page.items] for page in pages] == [["a", "b"], ["c"]]


async def test_what_is_no_api_server(fake, fake_client):
    fake.script = [fake.raw(b"<html>")]
    with pytest.raises(ProtocolError, match="not an API server"):
        await fake_client.version()


async def events(client):
    pages = [page async for page in client.list(Want(EVENTS))]
    found = [event for page in pages for event in page.items]
    return [event for event in found if event.reporting_controller == "test"]


async def stored(client):
    """The Events, as soon as there are any: as a watch tells."""
    async with Reflector(client, [Want(EVENTS)]) as source:
        async with asyncio.timeout(30):
            async for _ in source:
                if found := await events(client):
                    return found
    raise AssertionError


async def test_the_same_event_becomes_a_series(client):
    web = await client.create(SERVICES, WEB)
    about = reference("Service", web)
    async with EventRecorder(client, "test", "node-1") as recorder:
        recorder.record(about, "Failed", "no luck", action="Listen", warning=True)
        await stored(client)
        for _ in range(3):
            recorder.record(about, "Failed", "no luck", action="Listen", warning=True)
        recorder.record(about, "Worked", "x" * 5000, action="Listen")
    failed, worked = sorted(await events(client), key=lambda event: event.reason)
    assert (failed.type, failed.note, failed.regarding.name) == ("Warning", "no luck", "web")
    assert failed.regarding.uid == web.metadata.uid
    assert failed.series.count == 4
    assert (worked.type, worked.series, len(worked.note)) == ("Normal", None, 1024)


async def test_an_event_that_the_server_forgot_begins_anew(client):
    about = reference("Service", await client.create(SERVICES, WEB))
    async with EventRecorder(client, "test", "node-1") as recorder:
        recorder.record(about, "Failed", "no luck", action="Listen")
        (first,) = await stored(client)
        await client.delete(EVENTS, first.name, "default")
        recorder.record(about, "Failed", "no luck", action="Listen")
    (again,) = await events(client)
    assert again.series.count == 2


async def test_recording_never_waits_nor_fails(fake, fake_client, monkeypatch):
    """A server that doesn't answer costs the Events, not the agent."""
    monkeypatch.setattr(module, "QUEUE", 4)
    fake.script = [fake.fail(500)]
    about = reference("Service", WEB)
    async with EventRecorder(fake_client, "test", "node-1") as recorder:
        for i in range(100):
            recorder.record(about, "Failed", f"number {i}", action="Listen")
    assert 4 <= len(fake.requests) <= 5


async def test_no_more_requests_than_allowed(fake, monkeypatch):
    """Two at once, and then four a second, by a clock that only waiting moves."""
    now = 100.0

    async def sleep(seconds):
        nonlocal now
        now += seconds

    monkeypatch.setattr(rate.time, "monotonic", lambda: now)
    monkeypatch.setattr(rate.asyncio, "sleep", sleep)
    fake.script = [fake.raw(b'{"gitVersion": "v1"}')]
    credentials = await Credentials.static(Access(fake.url))
    async with Client(credentials, rate=rate.Rate(4.0, 2)) as client:
        for _ in range(10):
            await client.version()
    assert len(fake.requests) == 10
    assert now == pytest.approx(102.0)
