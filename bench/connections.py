"""Both ends of a benchmark's connections: programs of the standard library alone, run by path.

    python connections.py serve 8080 5001
    python connections.py connect 1.5 10.96.0.10:80
    python connections.py send 1.5 10.96.0.10:81

- ``serve ACCEPT SINK`` closes what is connected to the first port, and reads what is sent to the
  second one; it says ``ready``.
- ``connect SECONDS ADDRESS:PORT...`` opens and resets connections, in turn to each address, from
  as many processes as there are to be connections under way; it says how many a second.
- ``send SECONDS ADDRESS:PORT...`` sends as much as it can on one connection; it says how many
  bytes a second reached the other end.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import sys
import threading
import time
from typing import Final, NoReturn

_AT_ONCE: Final = 16
_BLOCK: Final = 1 << 18
_RESET: Final = struct.pack("ii", 1, 0)
_MOST_PENDING: Final = 4096

Address = tuple[str, int]


def serve(accepting: int, sinking: int) -> NoReturn:
    """Take connections until killed."""
    accepts, sinks = _listen(accepting), _listen(sinking)
    threading.Thread(target=_sink, args=[sinks], daemon=True).start()
    print("ready", flush=True)
    while True:
        # A descriptor is enough of a connection that is closed at once.
        descriptor, _ = accepts._accept()  # type: ignore[attr-defined]
        os.close(descriptor)


def _listen(port: int) -> socket.socket:
    return socket.create_server(("", port), backlog=_MOST_PENDING)


def _sink(listening: socket.socket) -> None:
    """Read connections to their ends, and tell each how much that was."""
    block = bytearray(_BLOCK)
    while True:
        connection, _ = listening.accept()
        with connection:
            total = 0
            while got := connection.recv_into(block):
                total += got
            connection.send(total.to_bytes(8))


def connect(seconds: float, addresses: list[Address]) -> None:
    """Open connections for so long, and print how many it were a second."""
    ready, go = os.pipe(), os.pipe()
    children = []
    for number in range(_AT_ONCE):
        if not (child := os.fork()):
            os.write(ready[1], b".")
            os.read(go[0], 1)
            counted = _connections(seconds, addresses[number % len(addresses) :] + addresses)
            os.write(ready[1], counted.to_bytes(8))
            os._exit(0)
        children.append(child)
    for _ in children:
        os.read(ready[0], 1)
    begin = time.perf_counter()
    os.write(go[1], b"." * len(children))
    total = 0
    for _ in children:
        total += int.from_bytes(os.read(ready[0], 8))
    print(total, time.perf_counter() - begin)
    for child in children:
        os.waitpid(child, 0)


def _connections(seconds: float, addresses: list[Address]) -> int:
    end = time.perf_counter() + seconds
    for number, address in enumerate(itertools.cycle(addresses)):
        if time.perf_counter() >= end:
            return number
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            client.connect(address)
    raise AssertionError("unreachable")


def send(seconds: float, address: Address) -> None:
    """Send for so long, and print how many bytes arrived and in what time."""
    block = bytes(_BLOCK)
    with socket.create_connection(address) as client:
        begin = time.perf_counter()
        while time.perf_counter() < begin + seconds:
            client.sendall(block)
        client.shutdown(socket.SHUT_WR)
        arrived = int.from_bytes(client.recv(8, socket.MSG_WAITALL))
        print(arrived, time.perf_counter() - begin)


def main(verb: str, first: str, *rest: str) -> None:
    """Run as a program."""
    if verb == "serve":
        serve(int(first), int(rest[0]))
    pairs = (text.rpartition(":") for text in rest)
    addresses = [(host, int(port)) for host, _, port in pairs]
    if verb == "connect":
        connect(float(first), addresses)
    else:
        send(float(first), addresses[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
