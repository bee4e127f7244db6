"""The agent's two HTTP servers: health, and metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from nsxdp_agents.common.http import Server, serving
from nsxdp_agents.node_agent.cni.errors import CniError
from nsxdp_agents.node_agent.metrics import Metrics
from nsxdp_agents.node_agent.options import Options, written

__all__ = ["serve"]


@asynccontextmanager
async def serve(
    options: Options, metrics: Metrics, readiness: Callable[[], CniError | None]
) -> AsyncIterator[None]:
    """Serve /healthz and /livez, and /metrics and its like, at the addresses of 'options'.

    The agent is alive as long as it answers; it is healthy while pods can be added. An address that
    can't be bound is an error in the log and tried again: pods matter more.
    """

    async def healthz(_: web.Request) -> web.Response:
        problem = readiness()
        if problem is None:
            return web.Response(text="ok\n")
        return web.Response(status=503, text=f"{problem.message}\n")

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def exposition(_: web.Request) -> web.Response:
        await metrics.refresh()
        body = generate_latest(metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def configuration(_: web.Request) -> web.Response:
        return web.json_response(written(options))

    asked = [web.get("/healthz", healthz), web.get("/livez", livez)]
    servers = [
        Server("healthz", options.healthz_bind_address, asked),
        Server(
            "metrics",
            options.metrics_bind_address,
            [web.get("/metrics", exposition), web.get("/configz", configuration), *asked],
        ),
    ]
    async with serving(servers):
        yield
