"""An HTTP server at an address that may be taken: it is tried again."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from nsxdp.logs import get_logger
from nsxdp_agents.common.options import parse_bind_address

__all__ = ["Server", "serving"]

log = get_logger(__name__)

_REQUEST_TIMEOUT: Final = 10.0
_RETRY_SECONDS: Final = 5.0
_ALL: Final = frozenset({"0.0.0.0", "::"})


class Server:
    """One server.

    Parameters
    ----------
    name
        ``healthz`` or ``metrics``; the option for its address is called after it.
    address
        ``HOST:PORT``; empty: none.
    routes
        What it answers.
    """

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
            await _site(runner, *bind).start()
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


def _site(runner: web.AppRunner, host: str, port: int) -> web.BaseSite:
    """Where to listen: at "all addresses" of one family also at those of the other.

    So programs in Go do, kube-proxy among them: IPv6 load balancers ask 0.0.0.0:10256 for health.
    """
    if host in _ALL and socket.has_dualstack_ipv6():
        both = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return web.SockSite(runner, both)
    return web.TCPSite(runner, host, port)


@asynccontextmanager
async def serving(
    servers: Sequence[Server], cannot: Callable[[Server, str], None] | None = None
) -> AsyncIterator[None]:
    """Have servers serve. One that can't is an error in the log, and is tried again.

    'cannot' is told of that before: it may raise.
    """
    try:
        for server in servers:
            if problem := await server.start():
                if cannot is not None:
                    cannot(server, problem)
                log.error(problem)
                server.try_again()
        yield
    finally:
        for server in servers:
            await server.stop()
