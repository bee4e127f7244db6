"""A client's port serves both ways to an endpoint: by its Service, and by its own address."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from cluster import LINES, UDP, Cluster, of_family
from wired_policies import Policed

from nsxdp.lab import Pod

pytestmark = [pytest.mark.kernel, pytest.mark.datapath("system")]
"""The userspace datapath binds connections from Open vSwitch 3.3 on."""

PORTS = iter(range(41_000, 42_000))


@pytest.fixture(scope="module")
def policed(cluster: Cluster) -> Iterator[Cluster]:
    """The node agent's flows, those of policies among them."""
    Policed(cluster.node).sync()
    cluster.restart_agent()
    return cluster


def talks(pod: Pod, kind: socket.SocketKind, port: int, address: str, target: int) -> socket.socket:
    """A connection from 'port' of a pod, through which an answer came."""
    sock = pod.open_socket(kind, family=6 if ":" in address else 4)
    sock.settimeout(5.0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", port))
    sock.connect((address, target))
    answers(sock)
    return sock


def answers(sock: socket.socket) -> None:
    """Ask once more."""
    sock.sendall(b"hello\n")
    assert sock.recv(100)


@pytest.mark.parametrize("first", ["service", "endpoint"])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_by_the_service_and_directly(
    policed: Cluster, family: int, kind: socket.SocketKind, first: str
) -> None:
    protocol, target = ("TCP", LINES) if kind == socket.SOCK_STREAM else ("UDP", UDP)
    server = policed.servers[0]
    vips = policed.serve(
        f"same-{protocol.lower()}-{first}", server.addresses, target=target, protocol=protocol
    )
    ends = [(vips[family == 6], 80), (of_family([server], family)[0], target)]
    if first == "endpoint":
        ends.reverse()
    port = next(PORTS)
    with (
        talks(policed.client, kind, port, *ends[0]) as one,
        talks(policed.client, kind, port, *ends[1]) as other,
    ):
        answers(one)
        answers(other)
