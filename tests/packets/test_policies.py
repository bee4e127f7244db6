"""Policies on a bridge that is wired by us: real connections, which pass or don't."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.packet import Packet
from wired import Tap, marked
from wired_policies import Policed

from nsxdp.k8s.objects import ObjectMeta
from nsxdp.k8s.policy_objects import (
    LabelSelector,
    NetworkPolicy,
    NetworkPolicyIngressRule,
    NetworkPolicyPeer,
    NetworkPolicyPort,
    NetworkPolicySpec,
)
from nsxdp.lab import Netns, Node, Pod
from nsxdp.lab.tools import slowness

pytestmark = pytest.mark.kernel

HTTP, DATAGRAMS = 8080, 7000


def only(port: int | None, *apps: str) -> NetworkPolicy:
    """To the server, these pods may connect, at one port; None: in any way."""
    peers = tuple(
        NetworkPolicyPeer(pod_selector=LabelSelector(match_labels={"app": app})) for app in apps
    )
    ports = () if port is None else (NetworkPolicyPort(port=port),)
    rule = NetworkPolicyIngressRule(from_=peers, ports=ports)
    spec = NetworkPolicySpec(LabelSelector(match_labels={"app": "server"}), (rule,))
    return NetworkPolicy(metadata=ObjectMeta(namespace="default", name="only"), spec=spec)


class Place:
    """A node with a server and two clients."""

    def __init__(self) -> None:
        self.node = Node("policed", fail_mode="secure")
        self.server, self.friend, self.stranger = map(
            self.node.add_pod, ("server", "friend", "stranger")
        )
        self.server.serve_http(HTTP)
        self.wired = Policed(self.node)

    def sync(self, *policies: NetworkPolicy, known: bool = True) -> None:
        self.wired.policies, self.wired.known = policies, known
        self.wired.sync()

    def reaches(self, client: Netns, address: str) -> bool:
        """Whether a client gets an answer: what is dropped, nobody answers."""
        with client.open_socket(family=6 if ":" in address else 4) as sock:
            sock.settimeout(1.5 * slowness())
            try:
                sock.connect((address, HTTP))
            except TimeoutError:
                return False
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return bool(sock.recv(1))


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    place = Place()
    with place.node:
        yield place


def both(pod: Pod) -> list[str]:
    return [*map(str, pod.addresses)]


def test_who_is_allowed_connects_and_nobody_else(place: Place) -> None:
    place.sync()
    for address in both(place.server):
        assert place.reaches(place.stranger, address)
    place.sync(only(HTTP, "friend"))
    for address in both(place.server):
        assert place.reaches(place.friend, address)
        assert not place.reaches(place.stranger, address)
        assert place.reaches(place.node.netns, address), "the node itself"
    place.sync(only(HTTP + 1, "friend"))
    assert not place.reaches(place.friend, both(place.server)[0])


def test_a_connection_goes_on_when_a_policy_forbids_it(place: Place) -> None:
    place.sync()
    address = both(place.server)[0]
    with place.stranger.open_socket() as sock:
        sock.settimeout(10 * slowness())
        sock.connect((address, HTTP))
        sock.sendall(b"GET / HTTP/1.0\r\n")
        place.sync(only(HTTP, "friend"))
        assert not place.reaches(place.stranger, address)
        sock.sendall(b"\r\n")
        assert sock.recv(1)


def test_a_pod_that_is_not_known_yet_reaches_nobody(place: Place) -> None:
    place.sync(known=False)
    for address in both(place.server):
        assert not place.reaches(place.friend, address)
    place.sync()
    for address in both(place.server):
        assert place.reaches(place.friend, address)


@pytest.mark.parametrize("family", [4, 6])
def test_fragments_are_judged_as_the_datagram_that_they_make(place: Place, family: int) -> None:
    """None of them slips past a policy, whose connection conntrack doesn't know."""
    place.sync(only(None, "friend"))
    address = both(place.server)[family == 6]
    with ExitStack() as stack:
        server, friend, stranger = (
            stack.enter_context(netns.open_socket(socket.SOCK_DGRAM, family=family))
            for netns in (place.server, place.friend, place.stranger)
        )
        server.bind(("", DATAGRAMS))
        server.settimeout(10 * slowness())
        with Tap(place.server) as tap:
            for size in (4000, 8000):
                stranger.sendto(bytes(size), (address, DATAGRAMS))
                friend.sendto(bytes(size), (address, DATAGRAMS))
                assert server.recvfrom(65536)[1][0] == str(place.friend.addresses[family == 6])
            friend.sendto(b"last", (address, DATAGRAMS))
            seen = tap.until(lambda packet: marked([packet]) == [b"last"])
    senders = {sent_by(packet) for packet in seen if is_fragment(packet)}
    assert str(place.friend.addresses[family == 6]) in senders
    assert not senders & set(both(place.stranger))


def is_fragment(packet: Packet) -> bool:
    """Neighbor discovery goes on beside them."""
    if IPv6 in packet:
        return IPv6ExtHdrFragment in packet
    return IP in packet and bool(packet[IP].flags.MF or packet[IP].frag)


def sent_by(packet: Packet) -> str:
    """The address of who sent a fragment."""
    return str((packet.getlayer(IP) or packet.getlayer(IPv6)).src)
