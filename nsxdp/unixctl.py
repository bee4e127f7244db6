"""Asks a running Open vSwitch daemon what ovs-appctl asks it: ``dpctl/dump-conntrack``, say.

The protocol is JSON-RPC 1.0 over the daemon's control socket, one request a connection here
(ovs-appctl(8), Open vSwitch's lib/unixctl.c).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import msgspec

from nsxdp.transport import Remote, RemoteError, open_stream

__all__ = ["RefusedError", "UnixctlError", "call", "control_socket"]

MAX_ANSWER: Final = 1 << 30
"""Bytes: a conntrack table of millions of connections."""

_CHUNK: Final = 1 << 20


class UnixctlError(Exception):
    """The daemon can't be asked, or refused; one line."""


class RefusedError(UnixctlError):
    """The daemon refused.

    Attributes
    ----------
    said
        Its own words.
    """

    def __init__(self, where: str, said: str) -> None:
        super().__init__(f"{where}: {said}")
        self.said = said


def control_socket(directory: Path, daemon: str = "ovs-vswitchd") -> Path:
    """The control socket of the 'daemon' that runs in Open vSwitch's run 'directory'.

    Parameters
    ----------
    directory
        Such as ``/var/run/openvswitch``.
    daemon
        ``ovs-vswitchd`` or ``ovsdb-server``.

    Raises
    ------
    UnixctlError
        There is no pidfile of it.
    """
    pidfile = directory / f"{daemon}.pid"
    try:
        return directory / f"{daemon}.{int(pidfile.read_text())}.ctl"
    except (OSError, ValueError) as error:
        raise UnixctlError(f"{pidfile}: {daemon} does not run here: {error}") from None


async def call(
    socket: Path, command: str, *arguments: str, seconds: float = 10.0, most: int = MAX_ANSWER
) -> str:
    """The daemon's answer to 'command', of at most 'most' bytes, within 'seconds'.

    Parameters
    ----------
    socket
        See `control_socket`.
    command, arguments
        As ``ovs-appctl`` takes them.

    Raises
    ------
    UnixctlError
        The daemon can't be reached, doesn't answer in time, or refuses.

    Examples
    --------
    >>> import asyncio
    >>> from nsxdp.lab import Node
    >>> from nsxdp.unixctl import call, control_socket
    >>> with Node() as node:
    ...     socket = control_socket(node.ovs.directory)
    ...     print(asyncio.run(call(socket, "version")))
    ovs-vswitchd (Open vSwitch) ...
    """
    where = f"unix:{socket}: {command}"
    request = msgspec.json.encode({"method": command, "params": arguments, "id": 0})
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await open_stream(Remote("unix", path=str(socket)), limit=_CHUNK)
            try:
                writer.write(request)
                answer = await _read(reader, most)
            finally:
                writer.close()
    except TimeoutError:
        raise UnixctlError(f"{where}: no answer within {seconds:g} s") from None
    except (RemoteError, OSError) as error:
        raise UnixctlError(f"{where}: {error}") from None
    except ValueError as error:
        raise UnixctlError(f"{where}: {error}") from None
    if answer.get("error") is not None:
        raise RefusedError(where, str(answer["error"]).strip())
    return str(answer.get("result") or "")


async def _read(reader: asyncio.StreamReader, most: int) -> dict[str, Any]:
    """One JSON object. It ends where it can be decoded: nothing delimits it."""
    data = bytearray()
    while chunk := await reader.read(_CHUNK):
        data += chunk
        if len(data) > most:
            raise ValueError(f"an answer of more than {most} bytes")
        if chunk.rstrip().endswith(b"}"):
            try:
                return msgspec.json.decode(data, type=dict[str, Any])
            except (msgspec.DecodeError, RecursionError):
                continue
    raise ValueError("an answer that is cut off")
