"""A small REST client of the API server: typed objects in and out, errors that say what to do."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import aiohttp
import msgspec

from nsxdp.k8s.credentials import Access, Credentials
from nsxdp.k8s.decode import Decoder, Page, read_status
from nsxdp.k8s.errors import (
    KubernetesError,
    ProtocolError,
    UnreachableError,
    api_error,
)
from nsxdp.k8s.objects import Object
from nsxdp.k8s.rate import Rate
from nsxdp.k8s.resources import Resource, Want
from nsxdp.k8s.schemas import MESSAGES

__all__ = ["MAX_BODY", "Answer", "Client"]

MAX_BODY: Final = 256 << 20
"""The longest answer that is read, in bytes. A page of 500 objects has a few megabytes."""

_CONNECT_SECONDS: Final = 10.0
_MOST_ANSWERS: Final = 1000
"""So many answers are remembered while nobody is told of them."""

_JSON: Final = "application/json"
_PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
_VERBS: Final = {"POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}


def _keepalive_socket(info: aiohttp.AddrInfoType) -> socket.socket:
    """A socket that notices within half a minute that its peer's machine is gone.

    A watch may be silent for minutes; without this a dead machine or a firewall that forgot the
    connection looks like one where nothing happens.
    """
    family, kind, protocol, _, _ = info
    sock = socket.socket(family=family, type=kind, proto=protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000)
    return sock


class Answer(NamedTuple):
    """What became of a request.

    Attributes
    ----------
    method
        ``GET``.
    status
        ``200``; ``<error>`` where none came.
    seconds
        From the request to the answer's head.
    host
        The API server's ``HOST:PORT``.
    """

    method: str
    status: str
    seconds: float
    host: str


class Client:
    """A client of one API server. An asynchronous context manager.

    All requests raise `UnreachableError` without a connection, and an `ApiError` where the server
    refuses, of the class that its status has: `NotFoundError`, say.

    Parameters
    ----------
    user_agent
        What the server's logs and its priority levels know us by.
    rate
        How many requests may be sent; None: any number.
    """

    def __init__(
        self, credentials: Credentials, *, user_agent: str = "nsxdp", rate: Rate | None = None
    ) -> None:
        self._credentials = credentials
        self._user_agent = user_agent
        self._rate = rate
        self._session: aiohttp.ClientSession | None = None
        self._answers: list[Answer] = []
        self._told: Callable[[Answer], None] | None = None

    @property
    def server(self) -> str:
        """Where the API server is: ``https://host:port``."""
        return self._credentials.server

    def tell_answers(self, told: Callable[[Answer], None]) -> None:
        """Let 'told' know of each answer, the earlier ones first."""
        for answer in self._answers:
            told(answer)
        self._answers.clear()
        self._told = told

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # Watches hold their connections for good: a limit would only starve the others.
            connector=aiohttp.TCPConnector(limit=0, socket_factory=_keepalive_socket),
            headers={"User-Agent": self._user_agent},
            # Twice this is what may lie unread in the process for each watch.
            read_bufsize=256 << 10,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # --- One object -----------------------------------------------------------------------------

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Object:
        """One object; `NotFoundError` if there is none."""
        return await self._typed("GET", resource, resource.path(namespace, name))

    async def create(
        self, resource: Resource, obj: Object | Mapping[str, Any], namespace: str = ""
    ) -> Object:
        """Create an object, typed or as a plain mapping; give it as the server stored it."""
        if isinstance(obj, Object):
            namespace = namespace or obj.metadata.namespace
        return await self._typed("POST", resource, resource.path(namespace), obj)

    async def patch(
        self, resource: Resource, name: str, change: Mapping[str, Any], namespace: str = ""
    ) -> Object:
        """Apply a JSON merge patch (RFC 7396); give the object as it is then."""
        return await self._typed("PATCH", resource, resource.path(namespace, name), change)

    async def delete(self, resource: Resource, name: str, namespace: str = "") -> None:
        """Delete an object; `NotFoundError` if there is none."""
        await self._body("DELETE", resource.path(namespace, name), resource)

    async def version(self) -> str:
        """The API server's version: ``v1.36.3``. The quickest way to know that it answers."""
        body = await self._body("GET", "/version")
        try:
            return msgspec.json.decode(body, type=dict[str, str]).get("gitVersion", "unknown")
        except msgspec.DecodeError as error:
            raise ProtocolError(f"{self.server}/version: {error}: not an API server?") from None

    # --- Lists and watches ----------------------------------------------------------------------

    async def list(self, want: Want, *, page_size: int = 500) -> AsyncIterator[Page]:
        """All objects that `want` selects, page by page, as they are at one moment.

        Raises
        ------
        GoneError
            If the list took so long that the moment has been compacted away. Begin again.
        """
        decoder = Decoder(want.resource)
        token = ""
        while True:
            params = {"limit": str(page_size)}
            if token:
                params["continue"] = token
            page = decoder.page(await self.list_body(want, params))
            yield page
            if not page.meta.continue_:
                return
            if page.meta.continue_ == token:
                raise ProtocolError(f"the list of {want.resource.plural} does not go forward")
            token = page.meta.continue_

    async def list_body(
        self, want: Want, params: Mapping[str, str], *, read_timeout: float = 60.0
    ) -> bytes:
        """The bytes of one page of a list, for a `Decoder`: protobuf or JSON."""
        path = want.resource.path(want.namespace)
        return await self._body(
            "GET",
            path,
            want.resource,
            params={**_selectors(want), **params},
            accept=f"{_PROTOBUF},{_JSON}" if want.resource.type in MESSAGES else _JSON,
            timeout=_timeout(total=300.0, read=read_timeout),
        )

    @asynccontextmanager
    async def watch(
        self, want: Want, params: Mapping[str, str], *, idle_timeout: float = 180.0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a watch; gives the stream of its bytes, in chunks as they come.

        The stream ends when the server ends it, or nothing at all came for `idle_timeout` seconds,
        and raises UnreachableError when the connection breaks. A server that is silent may be gone,
        or have nothing to tell: of a kind in which nothing has changed since it was started it
        sends no bookmarks.
        """
        path = want.resource.path(want.namespace)
        query = {**_selectors(want), "watch": "1", **params}
        timeout = _timeout(total=None, read=idle_timeout)
        async with self._request("GET", path, want.resource, params=query, timeout=timeout) as got:
            yield self._chunks(got)

    async def _chunks(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except aiohttp.SocketTimeoutError:
            return
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._unreachable(error) from None

    # --- Requests -------------------------------------------------------------------------------

    async def _typed(
        self,
        method: str,
        resource: Resource,
        path: str,
        body: Object | Mapping[str, Any] | None = None,
    ) -> Object:
        data = msgspec.json.encode(body) if body is not None else None
        answer = await self._body(method, path, resource, data=data)
        try:
            return msgspec.json.decode(answer, type=resource.type)
        except msgspec.DecodeError as error:
            raise ProtocolError(f"{method} {path}: the answer: {error}") from None

    async def _body(
        self,
        method: str,
        path: str,
        resource: Resource | None = None,
        *,
        params: Mapping[str, str] | None = None,
        data: bytes | None = None,
        accept: str = _JSON,
        timeout: aiohttp.ClientTimeout | None = None,  # noqa: ASYNC109
    ) -> bytes:
        wait = timeout or _timeout(total=60.0, read=30.0)
        async with self._request(
            method, path, resource, params=params, data=data, accept=accept, timeout=wait
        ) as response:
            return await self._read(response)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        chunks = []
        size = 0
        try:
            async for chunk in response.content.iter_any():
                chunks.append(chunk)
                size += len(chunk)
                if size > MAX_BODY:
                    raise ProtocolError(f"{response.url.path}: an answer of over {MAX_BODY} bytes")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._unreachable(error) from None
        return b"".join(chunks)

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        resource: Resource | None,
        *,
        params: Mapping[str, str] | None = None,
        data: bytes | None = None,
        accept: str = _JSON,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request; once more with fresh credentials if the server says 401."""
        response = await self._send(method, path, params, data, accept, timeout)
        try:
            if response.status == 401 and await self._credentials.refresh():
                response.close()
                response = await self._send(method, path, params, data, accept, timeout)
            if response.status >= 300:
                raise await self._error(response, method, resource, params or {})
            yield response
        finally:
            if response.content.at_eof():
                response.release()
            else:  # an endless watch can't be read to its end to keep the connection
                response.close()

    async def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        data: bytes | None,
        accept: str,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("use the client as `async with Client(...) as client`")
        if self._rate is not None:
            await self._rate.take()
        access = await self._credentials.access()
        headers = {
            "Accept": accept,
            "Accept-Encoding": "gzip" if _compress(access) else "identity",
        }
        if access.authorization:
            headers["Authorization"] = access.authorization
        if data is not None:
            merge = "merge-patch+" if method == "PATCH" else ""
            headers["Content-Type"] = f"application/{merge}json"
        began = time.monotonic()
        status = "<error>"
        try:
            response = await self._session.request(
                method,
                access.server + path,
                params=params,
                data=data,
                headers=headers,
                ssl=access.ssl_context if access.ssl_context is not None else True,
                server_hostname=access.server_name,
                proxy=access.proxy,
                timeout=timeout,
                allow_redirects=False,
            )
            status = str(response.status)
            return response
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise self._unreachable(error) from None
        finally:
            self._note(Answer(method, status, time.monotonic() - began, _host(access)))

    def _note(self, answer: Answer) -> None:
        if self._told is not None:
            self._told(answer)
        elif len(self._answers) < _MOST_ANSWERS:
            self._answers.append(answer)

    async def _error(
        self,
        response: aiohttp.ClientResponse,
        method: str,
        resource: Resource | None,
        params: Mapping[str, str],
    ) -> KubernetesError:
        """What an answer other than 2xx means."""
        code = response.status
        try:
            body = await response.content.read(64 << 10)
        except (aiohttp.ClientError, OSError, TimeoutError):
            body = b""
        status = read_status(body)
        said = status.message or f"HTTP {code} {response.reason or ''}".strip()
        after = response.headers.get("Retry-After", "")
        wait = float(after) if after.isascii() and after.isdigit() else 0.0
        text = f"the API server {self.server}: {said}"
        if code == 401:
            text += ": are the credentials of this cluster, have they expired?"
        elif code == 403 and resource is not None:
            verb = _VERBS.get(method) or ("watch" if "watch" in params else "list")
            if method == "GET" and response.url.name != resource.plural:
                verb = "get"
            group = f".{resource.group}" if resource.group else ""
            text += f": RBAC must grant the verb {verb} on {resource.plural}{group}"
        return api_error(text, code=code, reason=status.reason, retry_after=wait)

    def _unreachable(self, error: BaseException) -> UnreachableError:
        """What an error of the connection means."""
        server = self.server
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            detail = getattr(error.certificate_error, "verify_message", "") or str(error)
            return UnreachableError(
                f"cannot trust the API server {server}: {detail}: is the certificate authority "
                "in the kubeconfig the one of this cluster?"
            )
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            return UnreachableError(f"cannot find the API server {server}: {error.os_error}")
        if isinstance(error, aiohttp.ClientConnectorError):
            reason = (error.os_error.strerror or str(error.os_error)).lower()
            if isinstance(error.os_error, ConnectionRefusedError):
                reason = "connection refused"
            return UnreachableError(
                f"cannot reach the API server {server}: {reason}: is it running, "
                "is --kubeconfig right?"
            )
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return UnreachableError(
                f"cannot reach the API server {server}: no answer in {_CONNECT_SECONDS:.0f} s: "
                "is it running, is --kubeconfig right?"
            )
        if isinstance(error, TimeoutError):
            return UnreachableError(f"the API server {server} stopped answering")
        if isinstance(error, ssl.SSLError | aiohttp.ClientSSLError):
            return UnreachableError(f"no TLS with the API server {server}: {error}")
        text = " ".join(str(error).split()) or type(error).__name__
        return UnreachableError(f"the connection to the API server {server} broke: {text}")


def _timeout(*, total: float | None, read: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=total, sock_connect=_CONNECT_SECONDS, sock_read=read)


def _selectors(want: Want) -> dict[str, str]:
    """The query parameters that select what is wanted."""
    query = {}
    if want.labels:
        query["labelSelector"] = want.labels
    if want.fields:
        query["fieldSelector"] = want.fields
    return query


def _host(access: Access) -> str:
    return access.server.partition("://")[2].partition("/")[0]


def _compress(access: Access) -> bool:
    """Whether to ask for gzip: it costs both ends more than a loopback or a LAN saves.

    A kubeconfig says so with ``disable-compression``; for a server on this machine it is clear.
    """
    host = access.server.partition("://")[2]
    return access.compress and not host.startswith(("127.", "localhost", "[::1]"))
