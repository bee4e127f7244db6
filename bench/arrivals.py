"""When bytes arrive at a client's socket, by the kernel's clock: before the client knows."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple, Self

from bench.processes import tcp_ports
from nsxdp.lab.netns import Netns

__all__ = ["Arrivals"]

_IPV4: Final = 0x0800
_SO_RCVBUFFORCE: Final = 33
_SO_TIMESTAMPNS: Final = 35
"""Of Linux, asm-generic/socket.h."""

_TIMESPEC: Final = struct.Struct("qq")
_ETHERNET: Final = 14
_HEADERS: Final = 128
"""Bytes of a packet that are looked at."""

_BUFFER: Final = 8 << 20
"""Bytes of packets, and of what the kernel notes about each, that may wait to be looked at."""


class _Packet(NamedTuple):
    at: float
    port: int


class Arrivals:
    """Hears what a TCP server sends over the loopback of a namespace, from now on.

    A context manager.

    Parameters
    ----------
    netns
        The namespace.
    port
        The server's.
    """

    def __init__(self, netns: Netns, port: int) -> None:
        self._port = port
        with netns.enter():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_IPV4))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.setblocking(False)
        self._socket.bind(("lo", _IPV4))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def first(self, since: float, client: int) -> float:
        """When the first bytes since a moment came to a process, in Unix time; and forget all.

        'client' is its id. The API server is a client of itself, by the same loopback.
        """
        packets = list(self._packets())
        ports = tcp_ports(client)
        return min(packet.at for packet in packets if packet.at >= since and packet.port in ports)

    def _packets(self) -> Iterator[_Packet]:
        """Those with data that have come so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                data, extra, _, address = self._socket.recvmsg(_HEADERS, _HEADERS)
                if address[2] == socket.PACKET_OUTGOING:  # on the loopback, each comes in, too
                    continue
                header = 4 * (data[_ETHERNET] & 15)
                length = int.from_bytes(data[_ETHERNET + 2 : _ETHERNET + 4], "big") - header
                tcp = data[_ETHERNET + header :]
                if data[_ETHERNET + 9] != socket.IPPROTO_TCP or length <= 4 * (tcp[12] >> 4):
                    continue
                source, destination = struct.unpack_from(">HH", tcp)
                if source == self._port:
                    seconds, nanoseconds = _TIMESPEC.unpack_from(extra[0][2])
                    yield _Packet(seconds + nanoseconds / 1e9, destination)
