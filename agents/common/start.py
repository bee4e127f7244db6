"""The life of an agent's process: until a signal, or until the configuration is another one."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine

from nsxdp.k8s.backoff import Backoff
from nsxdp.k8s.client import Client
from nsxdp.k8s.errors import UnreachableError
from nsxdp.logs import get_logger

__all__ = ["StartError", "reach", "until_ended"]

log = get_logger(__name__)

_Nothing = Coroutine[None, None, None]


class StartError(Exception):
    """The agent can't start; the message is one line with the way out."""


async def until_ended(work: _Nothing, until_changed: Callable[[], _Nothing] | None = None) -> None:
    """Let 'work' go on until SIGTERM or SIGINT cancel it, or until it ends.

    'until_changed' returns when the configuration is another one.

    Raises
    ------
    StartError
        The configuration was changed.
    """
    loop = asyncio.get_running_loop()
    running = loop.create_task(work)
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


async def reach(client: Client) -> None:
    """Wait until the API server answers: on a node that has just booted it may take a while."""
    backoff = Backoff()
    said = ""
    while True:
        try:
            await client.version()
        except UnreachableError as error:
            if str(error) != said:
                said = str(error)
                log.warning("waiting for the API server", reason=said)
            await asyncio.sleep(backoff.delay())
        else:
            return
