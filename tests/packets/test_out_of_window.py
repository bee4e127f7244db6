"""TCP segments that connection tracking takes for invalid, in connections to Services (KP-54)."""

from __future__ import annotations

import socket

import pytest
from cluster import LINES, Cluster, of_family
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from nsxdp.lab import Netns
from nsxdp.lab.tools import slowness

BRIDGES = ("switching", pytest.param("wired", marks=pytest.mark.kernel))

_ETH_P_ALL = 3
_BEHIND = 100_000
"""So far behind what was acknowledged: outside of any window."""


@pytest.fixture(params=["client", "host"])
def client(request: pytest.FixtureRequest, cluster: Cluster) -> Netns:
    """A pod, or the node itself."""
    found: Netns = getattr(cluster, request.param)
    return found


def tap(host: Netns) -> socket.socket:
    """All frames at a pod's interface."""
    with host.enter():
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    made.bind(("eth0", 0))
    made.settimeout(5 * slowness())
    return made


def ask(old: socket.socket) -> str:
    old.send(b"hello\n")
    return old.recv(100).decode().strip()


def test_kp54_segment_outside_of_the_window_resets_no_connection(
    cluster: Cluster, client: Netns, family: int
) -> None:
    """It can't be translated. To a client who got it untranslated, from an address that it doesn't
    know, it would be of no connection: the client's reset would end the endpoint's.
    """
    server = cluster.servers[0]
    name = f"window-{client.short}-{family}"
    vip = cluster.serve(name, of_family([server], family), target=LINES)[family == 6]
    with tap(server) as frames, client.open_socket(family=family) as old:

        def next_frame(*, to_client: bool) -> Packet:
            while True:
                frame = Ether(frames.recv(65536))
                if TCP in frame and (frame[TCP].sport if to_client else frame[TCP].dport) == LINES:
                    return frame

        old.settimeout(5 * slowness())
        old.connect((vip, 80))
        assert ask(old) == server.short
        answer = next_frame(to_client=True)
        while not answer[TCP].payload:
            answer = next_frame(to_client=True)
        end = answer[TCP].seq + len(answer[TCP].payload)
        while next_frame(to_client=False)[TCP].ack != end & 0xFFFF_FFFF:
            pass
        answer[TCP].seq = (answer[TCP].seq - _BEHIND) & 0xFFFF_FFFF
        del answer[TCP].chksum
        if family == 4:
            del answer[IP].chksum
        frames.send(bytes(answer))
        assert "R" not in next_frame(to_client=False)[TCP].flags
        assert ask(old) == server.short
