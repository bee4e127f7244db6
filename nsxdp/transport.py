"""Addresses as Open vSwitch writes them, and byte streams to them.

OpenFlow and OVSDB servers are both named by a *remote*::

    unix:FILE         a Unix domain socket; a relative FILE is below Open vSwitch's run directory
    tcp:HOST[:PORT]   plain TCP
    ssl:HOST[:PORT]   TLS, with a private key and a certificate of our own

An IPv6 HOST may stand in brackets, and must where a PORT follows.  See ovsdb(7) and
ovs-vswitchd.conf.db(5).
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

__all__ = [
    "Remote",
    "RemoteError",
    "Tls",
    "open_protocol",
    "open_stream",
    "parse_remote",
]

_Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)
_Result = TypeVar("_Result")

CONNECT_TIMEOUT = 10.0
"""Seconds for a connection, with its TLS handshake, to be made."""


class RemoteError(ConnectionError):
    """A remote can't be reached, or doesn't accept us.  The message names it and the way out."""


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a server listens; ``str()`` is what `parse_remote` reads.

    Attributes
    ----------
    kind
        How one speaks to it.
    path
        The socket's file, where ``kind`` is unix; of an abstract one, ``@`` and its name.
    host, port
        The TCP port's address, where it isn't.
    """

    kind: Literal["unix", "tcp", "ssl"]
    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if self.kind == "unix":
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.kind}:{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of an ``ssl:`` connection, all PEM, as ``ovs-vsctl set-ssl`` takes them.

    Like Open vSwitch, we ask that the peer's certificate is signed by ``ca_cert`` and don't compare
    its name with the address: the authority is a private one.

    Attributes
    ----------
    private_key, certificate
        Ours.
    ca_cert
        Of the authority that signed the peer's certificate.
    """

    private_key: Path
    certificate: Path
    ca_cert: Path

    def context(self) -> ssl.SSLContext:
        """Read the files; what asyncio takes as ``ssl``.

        Raises
        ------
        RemoteError
            One of the files can't be read or isn't what it should be.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        for path in (self.private_key, self.certificate, self.ca_cert):
            if not os.access(path, os.R_OK):
                raise RemoteError(f"{path}: no such file, or no permission to read it")
        try:
            context.load_verify_locations(self.ca_cert)
        except ssl.SSLError as error:
            raise RemoteError(f"{self.ca_cert}: not a CA certificate in PEM: {error}") from error
        try:
            context.load_cert_chain(self.certificate, self.private_key)
        except ssl.SSLError as error:
            raise RemoteError(
                f"{self.certificate}, {self.private_key}: not a certificate and its key: {error}"
            ) from error
        return context


def parse_remote(text: str, default_port: int = 0) -> Remote:
    """Read a remote.

    Parameters
    ----------
    text
        ``unix:FILE``, ``tcp:HOST[:PORT]`` or ``ssl:HOST[:PORT]``.
    default_port
        The port where none is written; 0: it must be.

    Raises
    ------
    ValueError
        It is none of these.

    Examples
    --------
    >>> from nsxdp.transport import parse_remote
    >>> parse_remote("ssl:[fd00::1]", 6640)
    Remote(kind='ssl', path='', host='fd00::1', port=6640)
    >>> print(parse_remote("tcp:10.0.0.1:6653"))
    tcp:10.0.0.1:6653
    """
    kind, _, rest = text.partition(":")
    if kind == "unix":
        if not rest:
            raise ValueError(f"{text!r}: a socket's file must follow 'unix:'")
        if not rest.startswith(("/", "@")):
            rest = str(Path(os.environ.get("OVS_RUNDIR", "/var/run/openvswitch")) / rest)
        return Remote("unix", path=rest)
    if kind not in ("tcp", "ssl"):
        raise ValueError(f"{text!r}: must start with 'unix:', 'tcp:' or 'ssl:'")
    if rest.startswith("["):
        host, bracket, port = rest[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError(f"{text!r}: an IPv6 address is written [ADDRESS]:PORT")
        port = port[1:]
    elif rest.count(":") > 1:
        host, port = rest, ""
    else:
        host, _, port = rest.partition(":")
    if not host:
        raise ValueError(f"{text!r}: has no host")
    if not port and not default_port:
        raise ValueError(f"{text!r}: has no port")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{text!r}: the port must be a number from 1 to 65535")
    return Remote("tcp" if kind == "tcp" else "ssl", host=host, port=int(port or default_port))


async def open_protocol(
    remote: Remote,
    factory: Callable[[], _Protocol],
    tls: Tls | None = None,
    connect_timeout: float = CONNECT_TIMEOUT,
) -> tuple[asyncio.Transport, _Protocol]:
    """Connect an asyncio protocol to a remote.

    Parameters
    ----------
    factory
        Makes the protocol, as for ``loop.create_connection``.
    tls
        Our files; needed where the remote is an ``ssl:``.
    connect_timeout
        Seconds for the connection to be made, with its TLS handshake.

    Raises
    ------
    RemoteError
        Not connected within ``connect_timeout`` seconds, for whatever reason.
    """
    loop = asyncio.get_running_loop()
    transport: asyncio.BaseTransport
    if remote.kind == "unix":
        transport, protocol = await _within(
            remote, connect_timeout, loop.create_unix_connection(factory, _unix_path(remote))
        )
    else:
        transport, protocol = await _within(
            remote,
            connect_timeout,
            loop.create_connection(factory, remote.host, remote.port, **_ssl(remote, tls)),
        )
    return cast(asyncio.Transport, transport), protocol


async def open_stream(
    remote: Remote,
    tls: Tls | None = None,
    connect_timeout: float = CONNECT_TIMEOUT,
    limit: int = 1 << 16,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect a reader and a writer to a remote.

    Parameters
    ----------
    tls
        Our files; needed where the remote is an ``ssl:``.
    connect_timeout
        Seconds for the connection to be made, with its TLS handshake.
    limit
        Of the reader's buffer, in bytes.

    Raises
    ------
    RemoteError
        Not connected within ``connect_timeout`` seconds, for whatever reason.
    """
    if remote.kind == "unix":
        return await _within(
            remote, connect_timeout, asyncio.open_unix_connection(_unix_path(remote), limit=limit)
        )
    return await _within(
        remote,
        connect_timeout,
        asyncio.open_connection(remote.host, remote.port, limit=limit, **_ssl(remote, tls)),
    )


def _unix_path(remote: Remote) -> str:
    """The path as the kernel takes it: '@' is the abstract namespace."""
    return "\0" + remote.path[1:] if remote.path.startswith("@") else remote.path


def _ssl(remote: Remote, tls: Tls | None) -> dict[str, Any]:
    if remote.kind == "tcp":
        return {}
    if tls is None:
        raise RemoteError(f"{remote}: needs a private key, a certificate and a CA certificate")
    return {"ssl": tls.context(), "server_hostname": remote.host}


async def _within(remote: Remote, seconds: float, connect: Awaitable[_Result]) -> _Result:
    try:
        async with asyncio.timeout(seconds):
            return await connect
    except TimeoutError as error:
        raise RemoteError(f"{remote}: not connected within {seconds:g} s") from error
    except FileNotFoundError as error:
        raise RemoteError(f"{remote}: no such socket: is its server running?") from error
    except ConnectionRefusedError as error:
        raise RemoteError(f"{remote}: connection refused: is its server running?") from error
    except PermissionError as error:
        raise RemoteError(f"{remote}: permission denied: run as root") from error
    except ssl.SSLCertVerificationError as error:
        raise RemoteError(
            f"{remote}: the server's certificate isn't signed by our CA: {error.verify_message}"
        ) from error
    except ssl.SSLError as error:
        raise RemoteError(f"{remote}: TLS: {error.reason or error}") from error
    except OSError as error:
        raise RemoteError(f"{remote}: {error.strerror or error}") from error
