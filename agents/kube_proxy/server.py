"""The proxy's two HTTP servers: health, and metrics."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from nsxdp.logs import get_logger
from nsxdp_agents.kube_proxy.config import written
from nsxdp_agents.kube_proxy.events import Events
from nsxdp_agents.kube_proxy.health import Health
from nsxdp_agents.kube_proxy.metrics import Metrics
from nsxdp_agents.kube_proxy.options import Options, parse_bind_address
from nsxdp_agents.kube_proxy.profiling import profiling

__all__ = ["CannotServeError", "serve"]

log = get_logger(__name__)

_REQUEST_TIMEOUT: Final = 10.0
_RETRY_SECONDS: Final = 5.0


class CannotServeError(Exception):
    """An address can't be bound, and that shall be the end; one line."""


@asynccontextmanager
async def serve(
    options: Options, health: Health, metrics: Metrics, events: Events
) -> AsyncIterator[None]:
    """Serve /healthz and /livez, and /metrics and its like, at the addresses of 'options'.

    An address that can't be bound is an error in the log and tried again, and not the end of the
    proxy: Services matter more, unless 'options' say otherwise.

    Raises
    ------
    CannotServeError
        They do, and an address can't be bound.
    """

    async def healthz(_: web.Request) -> web.Response:
        status, body = health.answer(with_node=True)
        metrics.healthz.labels(str(status)).inc()
        return web.Response(status=status, text=body, content_type="application/json")

    async def livez(_: web.Request) -> web.Response:
        status, body = health.answer(with_node=False)
        metrics.livez.labels(str(status)).inc()
        return web.Response(status=status, text=body, content_type="application/json")

    async def exposition(_: web.Request) -> web.Response:
        body = generate_latest(metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def proxy_mode(_: web.Request) -> web.Response:
        return web.Response(text="openvswitch")

    async def configuration(_: web.Request) -> web.Response:
        return web.json_response({"kubeproxy.config.k8s.io": written(options)})

    asked = [web.get("/healthz", healthz), web.get("/livez", livez)]
    servers = [
        _Server("healthz", options.healthz_bind_address or "", asked),
        _Server(
            "metrics",
            options.metrics_bind_address or "",
            [
                web.get("/metrics", exposition),
                web.get("/proxyMode", proxy_mode),
                web.get("/configz", configuration),
                *asked,
                *(profiling() if options.profiling else ()),
            ],
        ),
    ]
    try:
        for server in servers:
            problem = await server.start()
            if problem:
                events.cannot_serve(server.name, problem)
                if options.bind_address_hard_fail:
                    raise CannotServeError(problem)
                log.error(problem)
                server.try_again()
        yield
    finally:
        for server in servers:
            await server.stop()


class _Server:
    """One server: 'name' is ``healthz`` or ``metrics``; an empty 'address': none."""

    def __init__(self, name: str, address: str, routes: list[web.RouteDef]) -> None:
        self.name = name
        self._address = address
        self._routes = routes
        self._runner: web.AppRunner | None = None
        self._trying: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Begin to serve; gives why that can't be, empty if it can."""
        bind = parse_bind_address(self._address)
        if bind is None:
            return ""
        app = web.Application()
        app.add_routes(self._routes)
        runner = web.AppRunner(
            app, access_log=None, handle_signals=False, keepalive_timeout=_REQUEST_TIMEOUT
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, *bind).start()
        except OSError as error:
            await runner.cleanup()
            reason = os.strerror(error.errno) if error.errno else str(error)
            return f"--{self.name}-bind-address {self._address} can't be served: {reason}"
        self._runner = runner
        return ""

    def try_again(self) -> None:
        """Go on trying to serve."""
        self._trying = asyncio.create_task(self._try())

    async def _try(self) -> None:
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            if not await self.start():
                log.info(f"--{self.name}-bind-address {self._address} is served now")
                return

    async def stop(self) -> None:
        """Serve no longer."""
        if self._trying is not None:
            self._trying.cancel()
            await asyncio.gather(self._trying, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
