"""The proxy's two HTTP servers: health, and metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from nsxdp.logs import get_logger
from nsxdp_agents.common.http import Server, serving
from nsxdp_agents.kube_proxy.config import written
from nsxdp_agents.kube_proxy.events import Events
from nsxdp_agents.kube_proxy.health import Health
from nsxdp_agents.kube_proxy.metrics import Metrics
from nsxdp_agents.kube_proxy.options import Options
from nsxdp_agents.kube_proxy.zpages import pages

__all__ = ["CannotServeError", "serve"]

log = get_logger(__name__)

_NO_SNIFFING: Final = {"X-Content-Type-Options": "nosniff"}


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

    def checked(kind: str, *, with_node: bool) -> tuple[int, web.Response]:
        metrics.checked("sync", kind, good=health.healthy)
        if with_node:
            metrics.checked("node", kind, good=health.eligible)
        status, body = health.answer(with_node=with_node)
        return status, web.Response(
            status=status, text=body, content_type="application/json", headers=_NO_SNIFFING
        )

    async def healthz(_: web.Request) -> web.Response:
        status, response = checked("healthz", with_node=True)
        metrics.healthz.labels(str(status)).inc()
        return response

    async def livez(_: web.Request) -> web.Response:
        status, response = checked("livez", with_node=False)
        metrics.livez.labels(str(status)).inc()
        return response

    def exposition(registry: CollectorRegistry) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def show(_: web.Request) -> web.Response:
            body = generate_latest(registry)
            return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

        return show

    async def proxy_mode(_: web.Request) -> web.Response:
        return web.Response(text="openvswitch", headers=_NO_SNIFFING)

    async def configuration(_: web.Request) -> web.Response:
        return web.json_response({"kubeproxy.config.k8s.io": written(options)})

    asked = [web.get("/healthz", healthz), web.get("/livez", livez)]
    servers = [
        Server("healthz", options.healthz_bind_address or "", asked),
        Server(
            "metrics",
            options.metrics_bind_address or "",
            [
                web.get("/metrics", exposition(metrics.registry)),
                web.get("/metrics/slis", exposition(metrics.slis)),
                web.get("/proxyMode", proxy_mode),
                web.get("/configz", configuration),
                *asked,
                *_profiling(options),
                *pages(options),
            ],
        ),
    ]

    def cannot(server: Server, problem: str) -> None:
        events.cannot_serve(server.name, problem)
        if options.bind_address_hard_fail:
            raise CannotServeError(problem)

    async with serving(servers, cannot):
        yield


def _profiling(options: Options) -> list[web.RouteDef]:
    """What shows what the process does, if that is wanted: few need what it imports."""
    if not options.profiling:
        return []
    from nsxdp_agents.kube_proxy.profiling import profiling

    return profiling()
