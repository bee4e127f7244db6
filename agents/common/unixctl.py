"""Lets people ask an agent by ``ovs-appctl -t AGENT COMMAND``, as they ask Open vSwitch's daemons.

The protocol is JSON-RPC 1.0 over a control socket (ovs-appctl(8)). Where the socket is, a pidfile
tells, in Open vSwitch's run directory.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

import nsxdp
from nsxdp.logs import get_logger

__all__ = ["Command", "as_json", "read_cookie", "serving"]

log = get_logger(__name__)

Command = Callable[[tuple[str, ...]], Awaitable[str]]
"""What a command prints, given its arguments. Raises `ValueError` for arguments it can't use."""

_MOST: Final = 64 << 10
"""Bytes of a request."""

_SECONDS: Final = 60.0

_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What JSON that isn't one is to its decoder."""


class _Request(Struct):
    method: str
    params: tuple[str, ...] = ()
    id: Any = None


@asynccontextmanager
async def serving(
    directory: Path, daemon: str, commands: Mapping[str, Command]
) -> AsyncIterator[None]:
    """Answer 'commands', ``list-commands`` and ``version``, as long as it is entered.

    Where that can't be, it is a warning in the log: nothing else depends on it.

    Parameters
    ----------
    directory
        Open vSwitch's run directory, such as ``/var/run/openvswitch``.
    daemon
        What ``ovs-appctl -t`` calls it.
    """

    async def listed(_: tuple[str, ...]) -> str:
        return "\n".join(["The available commands are:", *(f"  {name}" for name in sorted(known))])

    async def version(_: tuple[str, ...]) -> str:
        return f"{daemon} (nsxdp) {nsxdp.__version__}"

    known: dict[str, Command] = {"list-commands": listed, "version": version, **commands}

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_SECONDS):
                writer.write(await _answer(known, await _read(reader)))
                await writer.drain()
        writer.close()

    socket = directory / f"{daemon}.{os.getpid()}.ctl"
    pidfile = directory / f"{daemon}.pid"
    server = None
    stack = ExitStack()
    try:
        socket.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(connected, str(socket), limit=_MOST)
        finally:
            os.umask(mask)
        held = stack.enter_context(pidfile.open("w"))
        # Who reads it sees by the lock that it isn't left of a process that ended.
        fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held.write(f"{os.getpid()}\n")
        held.flush()
    except OSError as error:
        log.warning("ovs-appctl can't ask this agent", reason=str(error))
    try:
        yield
    finally:
        if server is not None:
            server.close()
            for file in (socket, pidfile):
                file.unlink(missing_ok=True)
        stack.close()


def as_json(answer: object) -> str:
    """An answer for programs; ``null``: it isn't known."""
    return msgspec.json.encode(answer).decode()


def read_cookie(command: str, arguments: tuple[str, ...]) -> int:
    """The one argument of a 'command', a flow's cookie.

    Raises
    ------
    ValueError
        It is something else.
    """
    try:
        (text,) = arguments
        return int(text, 0)
    except ValueError:
        raise ValueError(f"{command} takes a flow's cookie, such as 0x6f01000000000001") from None


async def _read(reader: asyncio.StreamReader) -> bytes:
    """One JSON object: it ends where it can be decoded, for nothing delimits it."""
    data = b""
    while len(data) <= _MOST and (chunk := await reader.read(_MOST)):
        data += chunk
        with suppress(*_UNREADABLE):
            msgspec.json.decode(data)
            break
    return data


async def _answer(known: Mapping[str, Command], data: bytes) -> bytes:
    """The answer to one request."""
    number: Any = None
    try:
        request = msgspec.json.decode(data, type=_Request)
        number = request.id
        command = known.get(request.method)
        if command is None:
            raise ValueError(f'"{request.method}" is not a valid command (use "list-commands")')
        text = await command(request.params)
    except (ValueError, *_UNREADABLE) as error:
        return msgspec.json.encode({"result": None, "error": f"{error}\n", "id": number})
    return msgspec.json.encode({"result": f"{text}\n" if text else "", "error": None, "id": number})
