"""The process: it asks for the Services before it has all that it needs to serve them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from importlib import import_module
from typing import Final

from nsxdp_agents.common.start import until_ended
from nsxdp_agents.kube_proxy.options import Options
from nsxdp_agents.kube_proxy.source import open_client, open_source, wants_of

__all__ = ["run"]

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
    await until_ended(_run(options), until_changed)


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
