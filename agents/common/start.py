"""The life of an agent's process: until a signal, or until the configuration is another one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack

from nsxdp.k8s.client import Client
from nsxdp.k8s.credentials import Credentials, Files
from nsxdp.k8s.errors import KubernetesError, UnreachableError
from nsxdp.k8s.rate import Rate
from nsxdp.logs import get_logger
from nsxdp_agents.common.signals import until_signalled
from nsxdp_agents.common.wait import until_done

__all__ = ["StartError", "open_client", "reach", "until_ended"]

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
    changed = asyncio.create_task(until_changed()) if until_changed else None

    async def unless_changed() -> None:
        running = asyncio.current_task()
        if changed is not None and running is not None:
            changed.add_done_callback(lambda _: running.cancel())
        await work

    await until_signalled(unless_changed())
    if changed is not None:
        if changed.done():
            await changed
            raise StartError("the configuration was changed: start anew")
        changed.cancel()
    log.info("stopped: what is on the switch stays there and goes on working")


async def open_client(
    stack: AsyncExitStack,
    user_agent: str,
    *,
    kubeconfig: str,
    otherwise: str,
    server: str = "",
    files: Files | None = None,
    rate: Rate | None = None,
) -> Client:
    """The API server, which nobody has asked for anything yet.

    Parameters
    ----------
    kubeconfig, server
        As of `Credentials.find`; empty: not said.
    files
        With which the server is spoken to, if not with a kubeconfig.
    otherwise
        What to do instead, where no kubeconfig is said: the end of the error's sentence.

    Raises
    ------
    StartError
        There is nothing to ask it with.
    """
    try:
        if files is not None:
            credentials = await Credentials.from_files(server, files)
        else:
            credentials = await Credentials.find(kubeconfig or None, server=server)
    except KubernetesError as error:
        other = "" if kubeconfig else f", or {otherwise}"
        raise StartError(f"{error}{other}") from error
    return await stack.enter_async_context(Client(credentials, user_agent=user_agent, rate=rate))


async def reach(client: Client, *, patient: bool = True) -> None:
    """See that the API server answers. Who is 'patient' waits for one that isn't there yet.

    Raises
    ------
    StartError
        It doesn't, or refuses.
    """

    async def attempt() -> str:
        try:
            await client.version()
        except UnreachableError as error:  # a node that has just booted may lack it for a while
            if not patient:
                raise
            return str(error)
        return ""

    try:
        await until_done(attempt, lambda why: log.warning("waiting for the API server", reason=why))
    except KubernetesError as error:
        raise StartError(str(error)) from error
