"""A host's little servers: they answer with the host's name, so that a client learns who served it.

    python -m nsxdp.lab.server --name web-1 --http 80 --udp 53 --tcp 7

prints ``ready`` when all ports listen, on IPv4 and IPv6. Only the standard library is used: the
program is run by its path, without the rest of nsxdp, and starts in a few hundredths of a second.
"""

import argparse
import asyncio
import contextlib
import functools
import signal
import socket
from collections.abc import Callable
from typing import cast

_BACKLOG = 4096
_LONGEST_REQUEST = 65536


def client_text(peer: tuple[object, ...]) -> str:
    """A socket's address as people write it: ``10.0.0.1:80``, ``[fd00::1]:80``."""
    host, port = str(peer[0]), peer[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Http(asyncio.Protocol):
    """Answers one request a connection, as a benchmark's new connections want it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer when the request's head is complete."""
        self.data += data
        if b"\r\n\r\n" not in self.data:
            if len(self.data) > _LONGEST_REQUEST:
                self.transport.abort()
            return
        peer = client_text(self.transport.get_extra_info("peername"))
        path = [*self.data.split(b" ", 2), b"", b""][1]
        body = f"{peer if path == b'/client' else self.name}\n".encode()
        head = (
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n"
            f"Server: {self.name}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class Lines(asyncio.Protocol):
    """Answers every line of a long connection with the host's name, ``client`` with the peer's."""

    def __init__(self, name: str) -> None:
        self.answer = f"{name}\n".encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """One answer for every newline."""
        *lines, _ = data.split(b"\n")
        self.transport.writelines(map(self._answer, lines))

    def _answer(self, line: bytes) -> bytes:
        if line != b"client":
            return self.answer
        return f"{client_text(self.transport.get_extra_info('peername'))}\n".encode()


class Datagrams(asyncio.DatagramProtocol):
    """Answers every datagram with the host's name, ``client`` with the sender's address."""

    def __init__(self, name: str) -> None:
        self.name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        """Answer to where it came from."""
        text = client_text(addr) if data.strip() == b"client" else self.name
        self.transport.sendto(f"{text}\n".encode(), addr)


def listen(
    family: socket.AddressFamily, kind: socket.SocketKind, port: int, protocol: int = 0
) -> socket.socket:
    """A socket bound to `port` on every address of `family`."""
    try:
        with contextlib.ExitStack() as undo:
            bound = undo.enter_context(socket.socket(family, kind, protocol))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.setblocking(False)
            bound.bind(("", port))
            undo.pop_all()
    except OSError as error:
        raise SystemExit(f"port {port}: {error.strerror}") from error
    return bound


async def serve(
    name: str, http: list[int], tcp: list[int], udp: list[int], sctp: list[int]
) -> None:
    """Serve until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    factories: list[tuple[Callable[[str], asyncio.Protocol], int, list[int]]] = [
        (Http, socket.IPPROTO_TCP, http),
        (Lines, socket.IPPROTO_TCP, tcp),
        (Lines, socket.IPPROTO_SCTP, sctp),
    ]
    for family in (socket.AF_INET, socket.AF_INET6):
        for answering, protocol, ports in factories:
            for port in ports:
                stream = listen(family, socket.SOCK_STREAM, port, protocol)
                factory = functools.partial(answering, name)
                await loop.create_server(factory, sock=stream, backlog=_BACKLOG)
        for port in udp:
            datagrams = listen(family, socket.SOCK_DGRAM, port)
            await loop.create_datagram_endpoint(lambda: Datagrams(name), sock=datagrams)
    print("ready", flush=True)
    await stop.wait()


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="nsxdp.lab.server", description=__doc__.splitlines()[0])
    parser.add_argument("--name", required=True, help="what to answer")
    for option in ("--http", "--tcp", "--udp", "--sctp"):
        parser.add_argument(option, type=int, action="append", default=[], metavar="PORT")
    chosen = parser.parse_args()
    asyncio.run(serve(chosen.name, chosen.http, chosen.tcp, chosen.udp, chosen.sctp))


if __name__ == "__main__":
    main()
