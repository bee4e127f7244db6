"""Health check node ports: which load balancers ask whether this node serves a Service (KP-42).

A Service of type LoadBalancer whose external traffic policy is Local has such a port on every node.
The answer is 200 where the node has ready endpoints of it and the proxy keeps up, else 503.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Final, NamedTuple

from aiohttp import web

from nsxdp.logs import get_logger
from nsxdp.pipeline.node import Address
from nsxdp.services.addresses import Family

__all__ = ["Check", "ServiceHealth"]

log = get_logger(__name__)

_RETRY_SECONDS: Final = 5.0
_REQUEST_TIMEOUT: Final = 10.0
_EVERYWHERE: Final = {Family.IPV4: "0.0.0.0", Family.IPV6: "::"}

_Key = tuple[str, Family]


class Check(NamedTuple):
    """The port at which is asked, and how many ready endpoints the node has."""

    port: int
    endpoints: int


class _Server(NamedTuple):
    port: int
    hosts: frozenset[str | None]
    runner: web.AppRunner


class ServiceHealth:
    """Serves the health check node ports of this node's Services.

    A port that can't be bound is an error in the log, and tried again.

    Parameters
    ----------
    healthy
        Whether the proxy keeps up.
    cannot_serve
        Told of a Service (``namespace/name``) whose port can't be bound, the port, and why.
    """

    def __init__(
        self,
        healthy: Callable[[], bool],
        cannot_serve: Callable[[str, int, str], None] = lambda *_: None,
    ) -> None:
        self._healthy = healthy
        self._cannot_serve = cannot_serve
        self._checks: dict[_Key, Check] = {}
        self._addresses: frozenset[Address] = frozenset()
        self._servers: dict[_Key, _Server] = {}
        self._complained: set[tuple[_Key, int]] = set()
        self._due = asyncio.Event()

    def set(self, service: str, family: Family, check: Check | None) -> None:
        """What is to be answered for 'service' (``namespace/name``) now; None: nothing."""
        key = service, family
        before = self._checks.get(key)
        if check is not None:
            self._checks[key] = check
        else:
            self._checks.pop(key, None)
        if (before and before.port) != (check and check.port):
            self._due.set()

    def set_addresses(self, addresses: frozenset[Address]) -> None:
        """Listen at these addresses of the node; none: at all that it has."""
        if addresses != self._addresses:
            self._addresses = addresses
            self._due.set()

    async def run(self) -> None:
        """Listen at what is wanted, until cancelled."""
        loop = asyncio.get_running_loop()
        again: asyncio.TimerHandle | None = None
        try:
            while True:
                await self._due.wait()
                self._due.clear()
                if again is not None:
                    again.cancel()
                if not await self._listen():
                    again = loop.call_later(_RETRY_SECONDS, self._due.set)
        finally:
            if again is not None:
                again.cancel()
            for server in self._servers.values():
                await server.runner.cleanup()

    async def _listen(self) -> bool:
        """Have exactly the servers that are wanted; whether all could be started."""
        for key, server in tuple(self._servers.items()):
            check = self._checks.get(key)
            if check is None or (server.port, server.hosts) != (check.port, self._hosts(key)):
                del self._servers[key]
                await server.runner.cleanup()
        complete = True
        for key, check in tuple(self._checks.items()):
            if key not in self._servers:
                complete = await self._start(key, check.port) and complete
        return complete

    def _hosts(self, key: _Key) -> frozenset[str | None]:
        """At which of its addresses the node is asked for a Service; None: at all of them.

        Those of the other family tell of it, too, unless it is of both and has one more answer.
        """
        service, own = key
        families = [f for f in Family if f is own or (service, f) not in self._checks]
        hosts = frozenset[str | None](
            str(address) for address in self._addresses if Family(address.version) in families
        )
        everywhere = _EVERYWHERE[own] if families == [own] else None
        return hosts or frozenset([everywhere])

    async def _start(self, key: _Key, port: int) -> bool:
        async def answer(_: web.Request) -> web.Response:
            return self._answer(key)

        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        runner = web.AppRunner(
            app, access_log=None, handle_signals=False, keepalive_timeout=_REQUEST_TIMEOUT
        )
        await runner.setup()
        hosts = self._hosts(key)
        try:
            for host in hosts:
                await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            if (key, port) not in self._complained:
                self._complained.add((key, port))
                log.error(
                    "a health check node port can't be served",
                    service=key[0],
                    port=port,
                    reason=error.strerror,
                )
                self._cannot_serve(key[0], port, str(error.strerror))
            return False
        self._complained.discard((key, port))
        self._servers[key] = _Server(port, hosts, runner)
        return True

    def _answer(self, key: _Key) -> web.Response:
        healthy = self._healthy()
        check = self._checks.get(key)
        endpoints = check.endpoints if check else 0
        namespace, _, name = key[0].partition("/")
        body = {
            "service": {"namespace": namespace, "name": name},
            "localEndpoints": endpoints,
            "serviceProxyHealthy": healthy,
        }
        return web.Response(
            status=200 if endpoints and healthy else 503,
            body=json.dumps(body).encode(),
            headers={
                "Content-Type": "application/json",
                "X-Content-Type-Options": "nosniff",
                "X-Load-Balancing-Endpoint-Weight": str(endpoints),
            },
        )
