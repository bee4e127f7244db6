"""A bridge that is wired by us, alone: pods, their node, and what is outside the cluster."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6TimeExceeded,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from wired import Tap, Wired, marked

from nsxdp.forwarding.host import ruleset
from nsxdp.lab import Netns, Node, Pod
from nsxdp.lab.tools import slowness

pytestmark = pytest.mark.kernel

HTTP, CLOSED = 8080, 9
HERE = {4: "192.0.2.1", 6: "2001:db8::1"}
OUTSIDE = {4: "192.0.2.77", 6: "2001:db8::77"}
NARROW = 1300
"""The MTU of the way to outside."""


class Place:
    """A node, two pods that serve, and a host outside the cluster.

    Attributes
    ----------
    client, server
        The pods.
    outside
        The host, which knows no way to pods.
    """

    def __init__(self) -> None:
        self.node = Node("here", fail_mode="secure")
        self.client, self.server = self.node.add_pod("client"), self.node.add_pod("server")
        self.wired = Wired(self.node)
        self.wired.sync()
        self.host = self.node.netns
        self.outside = Netns("outside")
        self.host.iproute(
            f"link add uplink mtu {NARROW} type veth peer name eth0 netns {self.outside.name}",
            f"addr add {HERE[4]}/24 dev uplink",
            f"addr add {HERE[6]}/64 dev uplink nodad",
            "link set uplink up",
        )
        self.outside.iproute(
            f"addr add {OUTSIDE[4]}/24 dev eth0",
            f"addr add {OUTSIDE[6]}/64 dev eth0 nodad",
            "link set eth0 up",
        )
        for netns, device in ((self.host, "uplink"), (self.outside, "eth0")):
            netns.run(["ethtool", "-K", device, "tx", "off"])
        rules = ruleset(self.node.bridge, self.wired.config, [])
        self.host.run(["nft", "-f", "-"], stdin=rules)
        for netns in (self.client, self.server, self.host, self.outside):
            netns.serve_http(HTTP)

    def close(self) -> None:
        self.outside.close()
        self.node.close()

    def address(self, who: Netns, family: int) -> str:
        if isinstance(who, Pod):
            return str(who.ip if family == 4 else who.ip6)
        if who is self.outside:
            return OUTSIDE[family]
        gateway = self.node.gateway if family == 4 else self.node.gateway6
        return str(gateway.ip if gateway else "")


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    made = Place()
    yield made
    made.close()


def seen_as(client: Netns, address: str) -> str:
    """The address that the server at 'address' takes the client's for."""
    host = f"[{address}]" if ":" in address else address
    return client.http_get(f"http://{host}:{HTTP}/client").rpartition(":")[0].strip("[]")


def test_pods_and_their_node_reach_each_other(place: Place, family: int) -> None:
    ends = (place.client, place.server, place.host)
    for client in ends:
        for server in ends:
            if client is not server:
                own = place.address(client, family)
                assert seen_as(client, place.address(server, family)) == own


def test_a_closed_port_is_told(place: Place, family: int) -> None:
    for server in (place.server, place.host, place.outside):
        with pytest.raises(ConnectionRefusedError):
            place.client.udp_ask(place.address(server, family), CLOSED)
    with pytest.raises(ConnectionRefusedError):
        place.host.udp_ask(place.address(place.server, family), CLOSED)


def test_the_outside_sees_the_node(place: Place, family: int) -> None:
    assert seen_as(place.client, OUTSIDE[family]) == HERE[family]


@pytest.mark.parametrize("what", ["solicitation", "advertisement"])
def test_what_neighbors_say_is_not_routed(place: Place, what: str) -> None:
    """No policy sees it, and options have room for anything."""
    gateway, mac = place.address(place.host, 6), place.node.mac
    me = Ether(src=place.client.mac, dst=mac) / IPv6(src=place.client.ip6, dst=OUTSIDE[6], hlim=255)
    asks = ICMPv6ND_NS(tgt=gateway) / ICMPv6NDOptSrcLLAddr(lladdr=place.client.mac)
    says = ICMPv6ND_NA(tgt=str(place.client.ip6)) / ICMPv6NDOptDstLLAddr(lladdr=place.client.mac)
    with Tap(place.client) as pod, Tap(place.outside) as outside:
        pod.send(me / (asks if what == "solicitation" else says))
        pod.send(me / UDP(sport=CLOSED, dport=CLOSED) / Raw(b"the end"))
        seen = outside.until(lambda packet: Raw in packet and bytes(packet[Raw]) == b"the end")
    routed = [p for p in seen if IPv6 in p and p[IPv6].src in (HERE[6], me[IPv6].src)]
    assert [p for p in routed if p[IPv6].hlim < 255] == seen[-1:]


def test_who_sends_too_much_is_told_how_much_it_may_be(place: Place, family: int) -> None:
    """Path MTU discovery, through the translation of the source."""
    level, discover, mtu = (
        (socket.IPPROTO_IP, 10, 14) if family == 4 else (socket.IPPROTO_IPV6, 23, 24)
    )
    client = place.client
    with client.open_socket(socket.SOCK_DGRAM, family=family) as sender, Tap(client) as tap:
        sender.setsockopt(level, discover, 2)
        sender.connect((OUTSIDE[family], HTTP))
        sender.send(bytes(1400))
        tap.until(too_big)
        with pytest.raises(OSError, match="Message too long"):
            sender.send(bytes(1400))
        assert sender.getsockopt(level, mtu) == NARROW


def too_big(packet: Packet) -> bool:
    """Fragmentation needed, or packet too big."""
    return (ICMP in packet and (packet[ICMP].type, packet[ICMP].code) == (3, 4)) or packet.haslayer(
        "ICMPv6PacketTooBig"
    )


def test_fragments_pass(place: Place, family: int) -> None:
    with (
        place.server.open_socket(socket.SOCK_DGRAM, family=family) as server,
        place.client.open_socket(socket.SOCK_DGRAM, family=family) as client,
    ):
        server.bind(("", 7000))
        server.settimeout(10 * slowness())
        for size in (4000, 8000):
            client.sendto(bytes(size), (place.address(place.server, family), 7000))
            assert len(server.recv(65536)) == size


# Routing.


def datagram(place: Place, family: int, hops: int, *, to: str, payload: bytes) -> Packet:
    """From the client to the server, by way of whom 'to' is."""
    source, destination = (place.address(pod, family) for pod in (place.client, place.server))
    ip = (
        IP(src=source, dst=destination, ttl=hops)
        if family == 4
        else IPv6(src=source, dst=destination, hlim=hops)
    )
    return Ether(src=place.client.mac, dst=to) / ip / UDP(sport=7, dport=7) / Raw(payload)


def hops_of(packet: Packet) -> int:
    return int(packet[IP].ttl if IP in packet else packet[IPv6].hlim)


def arrived(place: Place, *packets: Packet) -> list[Packet]:
    """What arrives at the server of these, the last of which does."""
    end = bytes(packets[-1][Raw])
    with Tap(place.client) as client, Tap(place.server) as server:
        client.send(*packets)
        seen = server.until(lambda packet: Raw in packet and bytes(packet[Raw]) == end)
    return [packet for packet in seen if UDP in packet]


def test_a_switched_packet_is_as_it_was(place: Place, family: int) -> None:
    sent = datagram(place, family, 1, to=place.server.mac, payload=b"switched")
    (packet,) = arrived(place, sent)
    assert (packet.src, packet.dst, hops_of(packet)) == (place.client.mac, place.server.mac, 1)


def test_a_router_takes_a_hop(place: Place, family: int) -> None:
    sent = datagram(place, family, 64, to=place.node.mac, payload=b"routed")
    (packet,) = arrived(place, sent)
    assert (packet.src, packet.dst, hops_of(packet)) == (place.node.mac, place.server.mac, 63)


def test_the_last_hop_is_told(place: Place, family: int) -> None:
    last = datagram(place, family, 1, to=place.node.mac, payload=b"too far")
    good = datagram(place, family, 2, to=place.node.mac, payload=b"just")
    with Tap(place.client) as tap:
        assert marked(arrived(place, last, good)) == [b"just"]
        error = tap.until(lambda p: ICMPv6TimeExceeded in p or (ICMP in p and p[ICMP].type == 11))
    ip = error[-1][IP] if family == 4 else error[-1][IPv6]
    assert ip.src == place.address(place.host, family)


def test_what_is_larger_than_its_device_may_send_goes_nowhere(place: Place, family: int) -> None:
    """A pod that has made its own end's MTU larger: the node's end hasn't."""
    place.client.iproute("link set eth0 mtu 9000")
    large = datagram(place, family, 64, to=place.server.mac, payload=bytes(4000))
    good = datagram(place, family, 64, to=place.server.mac, payload=b"small")
    # Linux tells who sends past its network stack that the other end took nothing.
    with Tap(place.server) as tap:
        with Tap(place.client) as client, contextlib.suppress(OSError):
            client.send(large)
        with Tap(place.client) as client:
            client.send(good)
        assert marked(tap.until(lambda packet: Raw in packet)) == [b"small"]
    place.client.iproute("link set eth0 mtu 1500")


# Changes.


def test_a_port_that_is_not_known_is_isolated(place: Place, family: int) -> None:
    pod = place.node.add_pod("late")
    server = place.address(place.server, family)
    with Tap(pod) as tap, Tap(place.server) as other:
        tap.send(
            Ether(src=pod.mac, dst=place.server.mac)
            / (IP(src=pod.ip, dst=server) if family == 4 else IPv6(src=pod.ip6, dst=server))
            / UDP(sport=7, dport=7)
            / Raw(b"too early")
        )
        place.wired.sync()
        assert seen_as(pod, server) == place.address(pod, family)
        came = other.until(lambda packet: packet.haslayer("TCP"))
        assert b"too early" not in marked(came)
    place.node.del_pod(pod)
    place.wired.sync()


def test_connections_outlive_the_owner_and_other_pods(place: Place, family: int) -> None:
    server = place.address(place.server, family)
    with place.client.enter():
        connection = socket.create_connection((server, HTTP), timeout=10 * slowness())
    with connection:
        assert place.wired.sync().messages == 0
        pod = place.node.add_pod("passing")
        assert place.wired.sync().messages > 0
        place.node.del_pod(pod)
        assert place.wired.sync().messages > 0
        connection.send(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert b"200" in connection.recv(65536)


def test_a_restarted_switch_has_all_of_it_again(place: Place, family: int) -> None:
    flows = place.wired.sync().diff
    place.node.ovs.restart_vswitchd()
    commit = place.wired.sync()
    assert flows is not None
    assert commit.messages == flows.flows_right
    own = place.address(place.client, family)
    assert seen_as(place.client, place.address(place.server, family)) == own
    assert seen_as(place.client, OUTSIDE[family]) == HERE[family]
