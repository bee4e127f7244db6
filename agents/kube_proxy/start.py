"""The process: it asks for the Services before it has all that it needs to serve them."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from importlib import import_module
from typing import Final

from nsxdp.logs import get_logger
from nsxdp_agents.kube_proxy.options import Options
from nsxdp_agents.kube_proxy.source import StartError, open_client, open_source, wants_of

__all__ = ["run"]

log = get_logger(__name__)

_SHARE_SECONDS: Final = 0.0005
"""How long the thread that imports may keep the one that hears the API server waiting."""


async def run(
    options: Options, until_changed: Callable[[], Coroutine[None, None, None]] | None = None
) -> None:
    """Run the proxy until SIGTERM or SIGINT. What is on the switch stays there.

    'until_changed' returns when the configuration is another one.

    Raises
    ------
    StartError
        The bridge or the credentials can't be used: nothing was changed on the switch. Or the
        configuration was changed.
    """
    loop = asyncio.get_running_loop()
    running = loop.create_task(_run(options))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    changed = loop.create_task(until_changed()) if until_changed else None
    if changed is not None:
        changed.add_done_callback(lambda _: running.cancel())
    try:
        await running
    except asyncio.CancelledError:
        if not running.cancelled():
            raise
    if changed is not None:
        if changed.done():
            await changed
            raise StartError("the configuration was changed: start anew")
        changed.cancel()
    log.info("stopped: what is on the switch stays there and goes on working")


async def _run(options: Options) -> None:
    """Run the proxy until cancelled.

    The API server needs about as long for its lists as the import of all else: so both at once.
    """
    async with AsyncExitStack() as stack:
        client = await open_client(options, stack)
        source = open_source(options, client, wants_of(options))
        await stack.enter_async_context(source)
        with _sharing():
            app = await asyncio.to_thread(import_module, "nsxdp_agents.kube_proxy.app")
        await app.serve(options, client, source)


@contextmanager
def _sharing() -> Iterator[None]:
    """Let threads take turns quickly."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SHARE_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
