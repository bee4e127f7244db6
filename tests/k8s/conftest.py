"""What these tests share: a consumer that follows a source, and an API server that lies."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any

import pytest
from aiohttp import web

from nsxdp.backoff import Backoff
from nsxdp.k8s.client import Client
from nsxdp.k8s.credentials import Access, Credentials
from nsxdp.k8s.errors import ObjectError
from nsxdp.k8s.objects import Object
from nsxdp.k8s.reflector import Reflector
from nsxdp.k8s.resources import SERVICES, Want
from nsxdp.k8s.source import Op, Source
from nsxdp.lab.errors import LabError

WAIT = 60.0


class Consumer:
    """Follows a source: what exists by its account, and each thing that it said."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.objects: dict[tuple[str, str], Any] = {}
        self.said: list[tuple[str, str, str]] = []
        self.synced: set[str] = set()
        self.errors: list[ObjectError] = []

    def keys(self, kind: str = "Service") -> set[str]:
        return {key for k, key in self.objects if k == kind}

    def get(self, key: str, kind: str = "Service") -> Any:
        return self.objects.get((kind, key))

    def forget(self) -> None:
        """Begin a new record of what is said."""
        self.said.clear()
        self.errors.clear()

    async def step(self) -> None:
        batch = await anext(aiter(self._source))
        for op, obj in batch.events:
            assert isinstance(obj, Object)
            self.said.append((op.value, batch.kind, obj.key))
            if op is Op.UPSERT:
                self.objects[batch.kind, obj.key] = obj
            else:
                del self.objects[batch.kind, obj.key]
        self.errors += batch.errors
        if batch.synced:
            self.synced.add(batch.kind)
        else:
            assert batch.kind not in self.synced, "a kind stays synced"

    async def until(self, holds: Callable[[], object]) -> None:
        """Follow until `holds` does."""
        try:
            async with asyncio.timeout(WAIT):
                while not holds():
                    await self.step()
        except TimeoutError:
            state = f"objects {sorted(self.objects)}, errors {self.errors}, synced {self.synced}"
            pytest.fail(f"it never came to that; said: {self.said}, {state}", pytrace=False)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FakeServer:
    """An API server that answers by a script: one handler for each request, the last for ever."""

    def __init__(self) -> None:
        self.script: list[Handler] = []
        self.requests: list[dict[str, str]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append({**request.query, "_path": request.path, "_method": request.method})
        handler = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return await handler(request)

    @property
    def lists(self) -> list[dict[str, str]]:
        return [r for r in self.requests if "watch" not in r]

    @property
    def watches(self) -> list[dict[str, str]]:
        return [r for r in self.requests if "watch" in r]

    @staticmethod
    def service(name: str, version: int = 1, **spec: Any) -> dict[str, Any]:
        return {
            "metadata": {"name": name, "namespace": "default", "resourceVersion": str(version)},
            "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}], **spec},
        }

    @staticmethod
    def page(
        *items: Any, version: int = 10, token: str = "", then: Callable[[], None] | None = None
    ) -> Handler:
        """A page of a list; a `token` says that it goes on."""

        async def handler(_: web.Request) -> web.StreamResponse:
            if then is not None:
                then()
            meta = {"resourceVersion": str(version), "continue": token}
            return web.json_response({"metadata": meta, "items": list(items)})

        return handler

    @staticmethod
    def watch(*lines: Any, hold: bool = True) -> Handler:
        """A watch that sends lines (objects as JSON, bytes as they are), and stays open."""

        async def handler(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            for line in lines:
                data = line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
                await response.write(data)
            if hold:
                await asyncio.sleep(WAIT)  # as long as the test lasts: it closes the connection
            return response

        return handler

    @staticmethod
    def fail(code: int, reason: str = "", message: str = "no", **headers: str) -> Handler:
        """An error as the API server words it."""

        async def handler(_: web.Request) -> web.StreamResponse:
            status = {"kind": "Status", "code": code, "reason": reason, "message": message}
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return web.json_response(status, status=code, headers=named)

        return handler

    @staticmethod
    def raw(body: bytes, length: int | None = None) -> Handler:
        """Any bytes; with a `length` that may promise more than comes."""

        async def handler(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            if length is not None:
                response.content_length = length
            await response.prepare(request)
            await response.write(body)
            if length is not None and request.transport is not None:
                request.transport.close()
            return response

        return handler

    @staticmethod
    async def stall(_: web.Request) -> web.StreamResponse:
        """Never answers."""
        await asyncio.sleep(WAIT)
        raise web.HTTPInternalServerError


@pytest.fixture
async def fake() -> AsyncIterator[FakeServer]:
    server = FakeServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
async def fake_client(fake: FakeServer) -> AsyncIterator[Client]:
    credentials = await Credentials.static(Access(fake.url, authorization="Bearer token"))
    async with Client(credentials) as client:
        yield client


def _reflector(client: Client, wants: Iterable[Want] = (Want(SERVICES),), **kw: Any) -> Reflector:
    """A reflector that doesn't take long to try again."""
    return Reflector(client, list(wants), backoff=Backoff(0.01, 0.1), **kw)


@pytest.fixture
def reflector() -> Callable[..., Reflector]:
    return _reflector


@pytest.fixture
def consumer() -> type[Consumer]:
    return Consumer


@pytest.fixture
def inside(apiserver: Any) -> Iterator[Any]:
    """The real API server, with the whole test in its network namespace."""
    deadline = time.monotonic() + WAIT
    while True:  # it says that it is ready, and then makes its own Service
        try:
            apiserver.request("GET", "/api/v1/namespaces/default/services/kubernetes")
            break
        except LabError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    with apiserver.netns.enter():
        yield apiserver


@pytest.fixture
async def client(inside: Any) -> AsyncIterator[Client]:
    """A client of the real API server, as its administrator."""
    credentials = await Credentials.from_kubeconfig(inside.kubeconfig)
    async with Client(credentials) as made:
        yield made
