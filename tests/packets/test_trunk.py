"""Pods with a VLAN each, on the trunk to a platform that switches and routes (NSX)."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
from cluster import HTTP, LINES, Cluster
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw
from wired import Tap, Wired, marked

from nsxdp.lab import OVS, Netns, Pod
from nsxdp.lab.programs import Server
from nsxdp.lab.tools import slowness

EVERYBODY = "ff:ff:ff:ff:ff:ff"
FAR = {4: "10.9.9.9", 6: "fd00:9::9"}
"""Of a pod of another node, as far as this one can tell."""
ROUTER = "02:50:56:00:00:01"


class Platform:
    """Three pods of a node, each on a segment of its own, and the router between these.

    Attributes
    ----------
    router
        Has a device for each segment, named by its VLAN.
    one, two, three
        The pods.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        node = cluster.node
        self._closing = contextlib.ExitStack()
        self.router = self._closing.enter_context(Netns("router"))
        switch = self._closing.enter_context(OVS(self.router))
        self.one, self.two, self.three = cluster.client, cluster.other, cluster.servers[0]
        self.vlans = {pod.short: 11 + n for n, pod in enumerate(node.pods.values())}
        for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            self.router.sysctl(key, 1)
        switch.add_bridge("segments")
        node.netns.iproute(f"link add trunk type veth peer name trunk netns {self.router.name}")
        for netns in (node.netns, self.router):
            netns.iproute("link set trunk arp off up")
            netns.run(["ethtool", "-K", "trunk", "tx", "off"])
        switch.vsctl("add-port", "segments", "trunk")
        self.router.iproute(f"addr add {FAR[4]}/32 dev lo", f"addr add {FAR[6]}/128 dev lo nodad")
        for pod in (self.one, self.two, self.three):
            self._attach(pod, switch)
        node.ovs.vsctl(
            *("add-port", node.bridge, "trunk", "--", "set", "interface", "trunk"),
            "external_ids:nsxdp-role=uplink",
        )
        self.wired = Wired(node, "nsx", uplink=node.ovs.ofport("trunk"))
        self.wired.vlans = self.vlans
        self.wired.sync()
        Server(self.router, "far", http=[HTTP], tcp=[LINES])
        Server(self.one, "one", http=[HTTP])
        Server(self.two, "two", http=[HTTP], tcp=[LINES])
        # nsx-kube-proxy has to hear of the pods' new addresses.
        cluster.restart_agent()

    def close(self) -> None:
        self._closing.close()

    def _attach(self, pod: Pod, switch: OVS) -> None:
        """Have the pod on a segment, with the router as its gateway."""
        vlan = self.vlans[pod.short]
        device, cidr, cidr6 = f"seg{vlan}", f"10.1.{vlan}", f"fd00:1:{vlan}:"
        switch.vsctl(
            *("add-port", "segments", device, f"tag={vlan}", "--"),
            *("set", "interface", device, "type=internal", f'mac="{ROUTER[:-2]}{vlan:02x}"'),
        )
        self.router.iproute(
            f"addr add {cidr}.1/24 dev {device}",
            f"addr add {cidr6}:1/64 dev {device} nodad",
            f"link set {device} up",
        )
        pod.iproute(
            "addr flush dev eth0 scope global",
            f"addr add {cidr}.5/24 dev eth0",
            f"addr add {cidr6}:5/64 dev eth0 nodad",
            f"route replace default via {cidr}.1",
            f"route replace default via {cidr6}:1",
        )
        pod.ip, pod.ip6 = f"{cidr}.5", f"{cidr6}:5"
        node = self.cluster.node
        node.ovs.vsctl(
            *("set", "interface", pod.port),
            f'external_ids:ip_addresses="{",".join(pod.addresses)}"',
        )

    def serve(self, name: str, *ends: str, target: int = HTTP) -> dict[int, str]:
        """A Service with these endpoints' addresses."""
        return dict(zip((4, 6), self.cluster.serve(name, ends, target=target), strict=True))


@pytest.fixture(scope="module")
def platform(cluster: Cluster) -> Iterator[Platform]:
    made = Platform(cluster)
    yield made
    made.close()


def address(pod: Pod, family: int) -> str:
    return str(pod.ip if family == 4 else pod.ip6)


def seen_as(client: Netns, ip: str, port: int = HTTP) -> str:
    host = f"[{ip}]" if ":" in ip else ip
    return client.http_get(f"http://{host}:{port}/client").rpartition(":")[0].strip("[]")


def name_at(client: Netns, ip: str, port: int = HTTP) -> str:
    return client.http_get(f"http://[{ip}]:{port}/" if ":" in ip else f"http://{ip}:{port}/")


def test_pods_reach_the_platform_and_each_other_by_it(platform: Platform, family: int) -> None:
    one, two = (address(pod, family) for pod in (platform.one, platform.two))
    assert seen_as(platform.one, FAR[family]) == one
    assert seen_as(platform.router, one) == f"{one.rpartition('.' if family == 4 else ':')[0]}" + (
        ".1" if family == 4 else ":1"
    )
    with Tap(platform.router, f"seg{platform.vlans[platform.one.short]}") as segment:
        assert seen_as(platform.one, two) == one
        # It left the node, and came back.
        segment.until(lambda p: p.haslayer("TCP") and two in (source(p), destination(p)))


def source(packet: Packet) -> str:
    return str(packet[IP].src if IP in packet else packet[IPv6].src if IPv6 in packet else "")


def destination(packet: Packet) -> str:
    return str(packet[IP].dst if IP in packet else packet[IPv6].dst if IPv6 in packet else "")


def test_services(platform: Platform, family: int) -> None:
    """On the same node, elsewhere, and the client itself."""
    one, two = platform.one, platform.two
    vip = platform.serve("all", *FAR.values(), *one.addresses, *two.addresses)[family]
    for client in (one, two):
        assert {name_at(client, vip, 80) for _ in range(25)} == {"far", "one", "two"}


def test_the_platform_knows_endpoints_alone(platform: Platform, family: int) -> None:
    """Also of the answers between two pods of one node."""
    one, two = platform.one, platform.two
    vip = platform.serve("near", *two.addresses)[family]
    taps = [Tap(platform.router, f"seg{platform.vlans[pod.short]}") for pod in (one, two)]
    assert seen_as(one, vip, 80) == address(one, family)
    for tap, pod in zip(taps, (one, two), strict=True):
        with tap:
            with pytest.raises(ConnectionRefusedError):
                pod.udp_ask(FAR[family], 9)
            seen = tap.until(lambda packet: UDP in packet)
            assert any(packet.haslayer("TCP") for packet in seen)
            assert vip not in {end for p in seen for end in (source(p), destination(p))}


def test_connections_outlive_restarts_of_either_owner(platform: Platform, family: int) -> None:
    vip = platform.serve("lasting", *platform.two.addresses, target=LINES)[family]
    with platform.one.enter():
        connection = socket.create_connection((vip, 80), timeout=10 * slowness())
    with connection:
        for restart in (platform.wired.sync, platform.cluster.restart_agent, None):
            connection.send(b"hello\n")
            assert connection.recv(100) == b"two\n"
            if restart is not None:
                restart()
    assert platform.wired.sync().messages == 0


# What isn't as it has to be.


def datagram(platform: Platform, family: int, payload: bytes) -> Packet:
    """From the first pod to the router."""
    pod = platform.one
    mac = f"{ROUTER[:-2]}{platform.vlans[pod.short]:02x}"
    ip = IP(src=pod.ip, dst=FAR[4]) if family == 4 else IPv6(src=pod.ip6, dst=FAR[6])
    return Ether(src=pod.mac, dst=mac) / ip / UDP(sport=7, dport=7) / Raw(payload)


def on_trunk(platform: Platform, *packets: Packet) -> list[Packet]:
    """What comes by the trunk of these frames that the first pod sends, the last of which does."""
    with Tap(platform.one) as pod, Tap(platform.router, "trunk") as trunk:
        pod.send(*packets)
        end = bytes(packets[-1][Raw])
        return trunk.until(lambda packet: Raw in packet and bytes(packet[Raw]) == end)


def test_what_a_pod_sends_has_its_vlan(platform: Platform, family: int) -> None:
    seen = on_trunk(platform, datagram(platform, family, b"good"))
    # The kernel keeps a frame's VLAN apart from what it shows: another sees it by its segment.
    assert marked(seen) == [b"good"]
    with (
        Tap(platform.router, f"seg{platform.vlans[platform.one.short]}") as own,
        Tap(platform.router, f"seg{platform.vlans[platform.two.short]}") as other,
    ):
        on_trunk(platform, datagram(platform, family, b"mine"))
        own.until(lambda packet: Raw in packet and bytes(packet[Raw]) == b"mine")
        with pytest.raises(ConnectionRefusedError):
            platform.two.udp_ask(FAR[family], 9)
        assert b"mine" not in marked(other.until(lambda p: UDP in p))


@pytest.mark.parametrize(
    "what",
    ["MAC", "address", "VLAN", "ARP", "advertisement of a router", "of another", "from another"],
)
def test_what_a_pod_may_not_send(platform: Platform, family: int, what: str) -> None:
    bad = datagram(platform, family, b"bad")
    two = platform.two
    match what:
        case "MAC":
            bad.src = two.mac
        case "address":
            bad.payload.src = address(two, family)
        case "VLAN":
            tagged = Dot1Q(vlan=platform.vlans[two.short]) / bad.payload
            bad = Ether(src=bad.src, dst=bad.dst) / tagged
        case "ARP":
            bad = Ether(src=bad.src, dst=EVERYBODY) / ARP(
                op=2, hwsrc=bad.src, psrc=two.ip, hwdst=EVERYBODY, pdst=two.ip
            )
        case "advertisement of a router":
            ip = IPv6(src="fe80::7", dst="ff02::1", hlim=255)
            bad = Ether(src=bad.src, dst="33:33:00:00:00:01") / ip / ICMPv6ND_RA()
        case _:
            one = platform.one
            src, about = (one.ip6, two.ip6) if what == "of another" else (two.ip6, one.ip6)
            ip = IPv6(src=src, dst="ff02::1", hlim=255)
            mac = ICMPv6NDOptDstLLAddr(lladdr=bad.src)
            bad = Ether(src=bad.src, dst="33:33:00:00:00:01") / ip
            bad = bad / ICMPv6ND_NA(tgt=about, O=1) / mac
    seen = on_trunk(platform, bad, datagram(platform, family, b"the end"))
    theirs = [p for p in seen if p.src in (platform.one.mac, two.mac)]
    # The pod's kernel may ask for routers at any time.
    assert [p for p in theirs if ICMPv6ND_RS not in p] == seen[-1:]


@pytest.mark.parametrize("vlan", ["another's", "nobody's", "none"])
def test_what_comes_with_another_vlan_is_not_for_a_pod(
    platform: Platform, family: int, vlan: str
) -> None:
    """Also if it has the pod's addresses."""
    one, two = platform.one, platform.two

    def frame(tag: int | None, payload: bytes) -> Packet:
        ip = IP(src=FAR[4], dst=one.ip) if family == 4 else IPv6(src=FAR[6], dst=one.ip6)
        inner = ip / UDP(sport=7, dport=7) / Raw(payload)
        return Ether(src=ROUTER, dst=one.mac) / (Dot1Q(vlan=tag) / inner if tag else inner)

    tags = {"another's": platform.vlans[two.short], "nobody's": 99, "none": None}
    with Tap(platform.router, "trunk") as trunk, Tap(one) as pod:
        trunk.send(frame(tags[vlan], b"bad"), frame(platform.vlans[one.short], b"good"))
        seen = pod.until(lambda packet: Raw in packet and bytes(packet[Raw]) == b"good")
    assert marked(seen) == [b"good"]
    assert not any(p.haslayer(Dot1Q) for p in seen)
