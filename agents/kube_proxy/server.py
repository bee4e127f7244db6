"""The proxy's two HTTP servers: health, and metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from nsxdp_agents.kube_proxy.health import Health
from nsxdp_agents.kube_proxy.metrics import Metrics
from nsxdp_agents.kube_proxy.options import Options, parse_bind_address

__all__ = ["serve"]

log = structlog.get_logger(__name__)

_REQUEST_TIMEOUT = 10.0


@asynccontextmanager
async def serve(options: Options, health: Health, metrics: Metrics) -> AsyncIterator[None]:
    """Serve /healthz and /livez, and /metrics and /proxyMode, at the addresses of 'options'.

    An address that can't be bound is an error in the log, not the end of the proxy: Services
    matter more.
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

    runners = [
        await _start(
            "--healthz-bind-address",
            options.healthz_bind_address,
            [web.get("/healthz", healthz), web.get("/livez", livez)],
        ),
        await _start(
            "--metrics-bind-address",
            options.metrics_bind_address,
            [
                web.get("/metrics", exposition),
                web.get("/proxyMode", proxy_mode),
                web.get("/healthz", healthz),
                web.get("/livez", livez),
            ],
        ),
    ]
    try:
        yield
    finally:
        for runner in runners:
            if runner is not None:
                await runner.cleanup()


async def _start(flag: str, address: str, routes: list[web.RouteDef]) -> web.AppRunner | None:
    bind = parse_bind_address(address)
    if bind is None:
        return None
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(
        app, access_log=None, handle_signals=False, keepalive_timeout=_REQUEST_TIMEOUT
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, *bind).start()
    except OSError as error:
        log.error(f"{flag} {address} can't be served: {error.strerror}")
        await runner.cleanup()
        return None
    return runner
