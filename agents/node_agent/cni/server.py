"""The socket on which nsx-cni asks: who may, how many at once, how long.

A runtime that goes away while we work for it doesn't stop the work: it will come back
and ask for the pod to be deleted, and must find it as a whole or not at all.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct, field

from nsxdp.logs import get_logger
from nsxdp.netns import is_netns
from nsxdp_agents.node_agent.cni.errors import CniError, Code
from nsxdp_agents.node_agent.cni.request import Command, Request, read_request, spoken
from nsxdp_agents.node_agent.cni.wire import Frame, WireError, answer, receive, send

__all__ = ["Handler", "Server"]

log = get_logger(__name__)

Handler = Callable[[Request, int | None], Awaitable[bytes]]
"""Does what a request wants, with the container's network namespace, an open file; gives the JSON
that the runtime gets, which may be empty. Raises `CniError`."""

Observer = Callable[[str, int, float], None]
"""Told of each request that was answered: the command, the error code (0: none), the seconds."""

_MOST_PEERS: Final = 512
"""That are served at once. Others wait, in the socket's backlog, and nsx-cni for its timeout."""

_BACKLOG: Final = 4096

_REQUEST_SECONDS: Final = 10.0
"""Within which a peer must have sent all of its request, and taken all of the answer."""

_LACKING: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""What may be why nobody can be accepted (accept(2))."""

_PAUSE_SECONDS: Final = 0.1
"""Until it is tried again, unless a peer goes before."""

_PEERCRED: Final = struct.Struct("=iII")
"""struct ucred: process, user, group."""


class _Error(Struct, omit_defaults=True):
    """The CNI's error."""

    cni_version: str = field(name="cniVersion")
    code: int
    msg: str
    details: str = ""


class Server:
    """Serves one socket, as long as it is entered.

    Parameters
    ----------
    path
        The socket's file. One that is left of an agent that ended is replaced.
    handler
        Does what is asked.
    observer
        Told of each request.
    """

    def __init__(self, path: Path, handler: Handler, observer: Observer) -> None:
        self._path = path
        self._handler = handler
        self._observer = observer
        self._peers: set[asyncio.Task[None]] = set()
        self._accepting = False
        self._ending = False
        self._lacking = False

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve; what is being done at the end is done first, as `finish` does.

        Raises
        ------
        OSError
            The socket can't be made.
        """
        self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.setblocking(False)
            mask = os.umask(0o177)  # for root alone, from the beginning
            try:
                listener.bind(str(self._path))
            finally:
                os.umask(mask)
            listener.listen(_BACKLOG)
            self._listener = listener
            self._accept_more()
            try:
                yield
            finally:
                await self.finish()

    async def finish(self, seconds: float | None = None) -> None:
        """Serve nobody who comes from now on, and wait for who is served, for so long at most."""
        if not self._ending:
            self._ending = True
            self._accept_no_more()
            self._path.unlink(missing_ok=True)
        if self._peers:
            await asyncio.wait(self._peers, timeout=seconds)

    def _accept_more(self) -> None:
        if not (self._accepting or self._ending):
            asyncio.get_running_loop().add_reader(self._listener, self._accept)
            self._accepting = True

    def _accept_no_more(self) -> None:
        if self._accepting:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._accepting = False

    def _accept(self) -> None:
        while len(self._peers) < _MOST_PEERS:
            try:
                peer, _ = self._listener.accept()
            except BlockingIOError:  # none is left
                self._lacking = False
                return
            except OSError as error:
                if error.errno in _LACKING:
                    self._pause(error)
                return  # or it has gone already
            peer.setblocking(False)
            serving = asyncio.create_task(self._serve(peer))
            self._peers.add(serving)
            serving.add_done_callback(self._gone)
        self._accept_no_more()

    def _pause(self, error: OSError) -> None:
        """Accept nobody for a moment: who waits would wake us at once, again and again."""
        if not self._lacking:
            log.warning("runtimes have to wait", reason=error.strerror)
        self._lacking = True
        self._accept_no_more()
        asyncio.get_running_loop().call_later(_PAUSE_SECONDS, self._accept_more)

    def _gone(self, serving: asyncio.Task[None]) -> None:
        self._peers.discard(serving)
        self._accept_more()

    async def _serve(self, peer: socket.socket) -> None:
        """Serve one peer; whatever it does, the others don't notice."""
        with peer:
            try:
                _check_peer(peer)
                async with asyncio.timeout(_REQUEST_SECONDS):
                    frame = await receive(peer)
            except TimeoutError:
                log.warning("a peer's request did not come", seconds=_REQUEST_SECONDS)
                return
            except WireError as error:
                log.warning("a peer sent no request", reason=str(error))
                return
            try:
                message = await self._answer(frame)
            finally:
                frame.close()
            try:
                async with asyncio.timeout(_REQUEST_SECONDS):
                    await send(peer, message)
            except (WireError, TimeoutError) as error:
                log.info("nobody waited for the answer", reason=str(error))

    async def _answer(self, frame: Frame) -> bytes:
        """Do what is asked: the message of the answer."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        command = "?"
        code = 0
        try:
            request = read_request(frame.variables, frame.config)
            command = request.command.value
            _check_netns(request, frame.netns)
            message = answer(await self._handler(request, frame.netns), ok=True)
        except CniError as error:
            code = int(error.code)
            said = _Error(spoken(frame.config), code, error.message, error.details)
            message = answer(msgspec.json.encode(said), ok=False)
            log.warning(
                "a runtime's request failed",
                command=command,
                code=code,
                reason=error.message,
                details=error.details,
            )
        except Exception as error:  # the runtime has to know, and the agent to go on
            code = int(Code.FAILED)
            log.exception("a runtime's request failed", command=command)
            text = f"nsx-node-agent failed, its log tells why: {error!r}"
            said = _Error(spoken(frame.config), code, text)
            message = answer(msgspec.json.encode(said), ok=False)
        self._observer(command, code, loop.time() - started)
        return message


def _check_netns(request: Request, netns: int | None) -> None:
    """See that the file that came with a request is what it should be.

    A DEL has no need of one, and where one was mounted and isn't any more, an empty file is left.
    """
    needs = request.command in (Command.ADD, Command.CHECK)
    if needs and netns is not None and not is_netns(netns):
        raise CniError(
            Code.BAD_ENVIRONMENT, f"CNI_NETNS={request.sandbox}: is no network namespace"
        )


def _check_peer(peer: socket.socket) -> None:
    """See that it is root's: the socket's mode says so, and so does who made the connection."""
    data = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size)
    process, user, _ = _PEERCRED.unpack(data)
    if user != 0:
        raise WireError(f"process {process} is of user {user}, and must be root's")
