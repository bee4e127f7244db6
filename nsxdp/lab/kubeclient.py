"""The lab's own way to talk to its API server: single requests, and thousands of objects at once.

The project's Kubernetes code is not used here on purpose: it is what the lab is there to test.
"""

import asyncio
import http.client
import json
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp

from nsxdp.lab.errors import LabError
from nsxdp.lab.netns import Netns

Object = Mapping[str, Any]
"""A Kubernetes object as JSON has it."""

_CONNECTIONS = 32
# 422: a Service's address is found taken, by itself, before its name is.
_MAY_BE_THERE = (http.client.CONFLICT, http.client.UNPROCESSABLE_ENTITY)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Resource:
    """How a kind is spelled in a path."""

    prefix: str
    plural: str
    namespaced: bool
    verbs: frozenset[str]

    def collection(self, namespace: str | None = None) -> str:
        """Path of all objects of the kind, or of those in one namespace."""
        inside = f"/namespaces/{quote(namespace)}" if self.namespaced and namespace else ""
        return f"{self.prefix}{inside}/{self.plural}"

    def path(self, item: Object) -> str:
        """Path of one object."""
        return f"{self.collection(namespace_of(item))}/{quote(item['metadata']['name'])}"


def namespace_of(item: Object) -> str:
    """The object's namespace, ``default`` if it doesn't say."""
    return str(item["metadata"].get("namespace") or "default")


class KubeClient:
    """Requests to the API server at `host`:`port` from inside `netns`."""

    def __init__(self, netns: Netns, host: str, port: int, tls: ssl.SSLContext) -> None:
        self._netns = netns
        self._host = host
        self._port = port
        self._tls = tls
        self._resources: dict[tuple[str, str], Resource] = {}

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        timeout: float = 30.0,
        content_type: str = "application/json",
    ) -> Any:
        """One request; what is answered, from JSON where it is JSON.

        Raises
        ------
        OSError
            If the server can't be reached.
        LabError
            With what the server says, if it refuses.
        """
        with self._netns.enter():
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=timeout, context=self._tls
            )
            try:
                data = None if body is None else json.dumps(body)
                connection.request(method, path, data, {"Content-Type": content_type})
                answer = connection.getresponse()
                text = answer.read().decode()
            finally:
                connection.close()
        if answer.status >= http.client.BAD_REQUEST:
            raise LabError(f"{method} {path}: {answer.status} {_message(text)}")
        is_json = answer.headers.get_content_type() == "application/json"
        return json.loads(text) if is_json else text

    def resource(self, api_version: str, kind: str) -> Resource:
        """How `kind` of `api_version` is spelled, as the server itself says."""
        if (api_version, kind) not in self._resources:
            prefix = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
            for entry in self.request("GET", prefix)["resources"]:
                if "/" not in entry["name"]:
                    self._resources[api_version, entry["kind"]] = Resource(
                        prefix, entry["name"], entry["namespaced"], frozenset(entry["verbs"])
                    )
        try:
            return self._resources[api_version, kind]
        except KeyError:
            raise LabError(f"the API server has no kind {kind} in {api_version}") from None

    def apply(self, items: Iterable[Object]) -> None:
        """Create objects, or replace those that are there: many at a time, in no certain order."""

        async def put(session: aiohttp.ClientSession, item: Object) -> None:
            resource = self.resource(item["apiVersion"], item["kind"])
            body = json.dumps(item).encode()
            where = resource.collection(namespace_of(item))
            status, text = await self._send(session, "POST", where, body)
            if status in _MAY_BE_THERE:
                again, answer = await self._send(session, "PUT", resource.path(item), body)
                if again != http.client.NOT_FOUND:
                    status, text = again, answer
            if status >= http.client.BAD_REQUEST:
                raise LabError(f"{resource.path(item)}: {status} {_message(text)}")

        known = list(items)
        for version, kind in {(item["apiVersion"], item["kind"]) for item in known}:
            self.resource(version, kind)
        self._in_bulk(put, known)

    def delete(self, items: Iterable[Object]) -> None:
        """Delete objects; those that are not there are no error."""
        paths = [self.resource(item["apiVersion"], item["kind"]).path(item) for item in items]
        self.delete_paths(paths)

    def delete_paths(self, paths: Iterable[str]) -> None:
        """Delete what is at these paths, many at a time."""

        async def delete(session: aiohttp.ClientSession, path: str) -> None:
            body = b'{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0}'
            status, text = await self._send(session, "DELETE", path, body)
            if status >= http.client.BAD_REQUEST and status != http.client.NOT_FOUND:
                raise LabError(f"DELETE {path}: {status} {_message(text)}")

        self._in_bulk(delete, list(paths))

    async def _send(
        self, session: aiohttp.ClientSession, method: str, path: str, body: bytes
    ) -> tuple[int, str]:
        async with session.request(
            method,
            f"https://{self._host}:{self._port}{path}",
            data=body,
            headers={"Content-Type": "application/json"},
        ) as answer:
            return answer.status, await answer.text()

    def _in_bulk(
        self, act: Callable[[aiohttp.ClientSession, _T], Awaitable[None]], items: list[_T]
    ) -> None:
        """Run `act` on all `items`, a bounded number at once; the first error ends it."""
        waiting = iter(items)

        async def worker(session: aiohttp.ClientSession) -> None:
            for item in waiting:
                await act(session, item)

        async def work() -> None:
            connector = aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=self._tls)
            timeout = aiohttp.ClientTimeout(total=60)
            async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
                workers = min(_CONNECTIONS, len(items))
                async with asyncio.TaskGroup() as group:
                    for _ in range(workers):
                        group.create_task(worker(session))

        if items:
            _in_a_thread_inside(self._netns, work)


def _in_a_thread_inside(netns: Netns, work: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine on an event loop of its own: the caller may have one that runs already."""
    failures: list[BaseException] = []

    async def run() -> None:
        await work()

    def body() -> None:
        try:
            with netns.enter():
                asyncio.run(run())
        except BaseExceptionGroup as group:
            failures.append(group.exceptions[0])
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=body, name="kubeclient")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip()


def tls_context(authority: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS as a client of the lab's server."""
    context = ssl.create_default_context(cafile=str(authority))
    context.load_cert_chain(certificate, key)
    return context
