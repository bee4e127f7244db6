"""SpoofGuard: what a pod may not send reaches nobody."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scapy.layers.dhcp import BOOTP
from scapy.layers.dhcp6 import DHCP6_Advertise
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import ARP, LLC, STP, Dot1Q, Ether
from scapy.packet import Packet, Raw
from wired import Tap, Wired, marked

from nsxdp.lab import Node, Pod

pytestmark = pytest.mark.kernel

EVERYBODY = "ff:ff:ff:ff:ff:ff"
NOBODY = "0a:58:0a:f4:00:77"
STRANGERS = {4: "10.244.0.77", 6: "fd00:244::77"}
OUTSIDE = {4: "203.0.113.9", 6: "2001:db8:113::9"}


class Bridge:
    """A wired node with three pods, and what is seen at each port."""

    def __init__(self) -> None:
        self.node = Node("here", fail_mode="secure")
        self.sender, self.victim, self.other = map(self.node.add_pod, ("bad", "victim", "third"))
        Wired(self.node).sync()
        self.mac = self.node.mac

    def ip(self, pod: Pod, family: int) -> str:
        return str(pod.ip if family == 4 else pod.ip6)

    def udp(
        self,
        family: int,
        payload: bytes,
        *,
        src: str = "",
        dst: str = "",
        mac: str = "",
        to: str = "",
        sport: int = 7,
        dport: int = 7,
    ) -> Packet:
        """A datagram from the sender to the victim, unless told otherwise."""
        kind = IP if family == 4 else IPv6
        return (
            Ether(src=mac or self.sender.mac, dst=to or self.victim.mac)
            / kind(src=src or self.ip(self.sender, family), dst=dst or self.ip(self.victim, family))
            / UDP(sport=sport, dport=dport)
            / Raw(payload)
        )

    def reach(self, *packets: Packet) -> dict[str, list[Packet]]:
        """What each port sees, of these frames that the sender sends, and of a good one to each."""
        taps = {
            "victim": Tap(self.victim),
            "other": Tap(self.other),
            "node": Tap(self.node.netns, self.node.bridge),
        }
        goals = {
            "victim": (self.victim.mac, self.victim.ip),
            "other": (self.other.mac, self.other.ip),
            "node": (self.mac, str(self.node.gateway.ip) if self.node.gateway else ""),
        }
        with Tap(self.sender) as sender:
            sender.send(*packets)
            for to, dst in goals.values():
                sender.send(self.udp(4, b"the end", to=to, dst=str(dst)))
            seen = {
                name: tap.until(lambda packet: Raw in packet and b"the end" in bytes(packet[Raw]))
                for name, tap in taps.items()
            }
        for tap in taps.values():
            tap.__exit__()
        return {name: packets[:-1] for name, packets in seen.items()}


@pytest.fixture(scope="module")
def bridge() -> Iterator[Bridge]:
    made = Bridge()
    yield made
    made.node.close()


def not_asked(bridge: Bridge, seen: dict[str, list[Packet]]) -> dict[str, list[Packet]]:
    """Of what was seen, what isn't the node's kernel's, nor what the sender's asks and answers."""
    mac, ip = bridge.sender.mac, bridge.sender.ip6

    def honest(packet: Packet) -> bool:
        if packet.src == bridge.mac:
            return True
        if IPv6 not in packet or packet[IPv6].hlim != 255 or packet.src != mac:
            return False
        if ICMPv6ND_NS in packet and ICMPv6NDOptSrcLLAddr in packet:
            return bool(packet[ICMPv6NDOptSrcLLAddr].lladdr == mac)
        if ICMPv6ND_NA not in packet or packet.dst == ALL_NODES:
            return False
        told = packet[ICMPv6NDOptDstLLAddr].lladdr if ICMPv6NDOptDstLLAddr in packet else mac
        return bool((packet[IPv6].src, packet[ICMPv6ND_NA].tgt, told) == (ip, ip, mac))

    return {name: [p for p in packets if not honest(p)] for name, packets in seen.items()}


def test_what_is_its_own_passes(bridge: Bridge, family: int) -> None:
    seen = bridge.reach(bridge.udp(family, b"good"))
    assert marked(seen["victim"]) == [b"good"]
    assert marked(seen["other"]) == marked(seen["node"]) == []


def spoofed(bridge: Bridge, family: int, what: str) -> Packet:
    """A datagram that isn't what the pod may send."""
    match what:
        case "another MAC":
            return bridge.udp(family, b"bad", mac=bridge.other.mac)
        case "nobody's MAC":
            return bridge.udp(family, b"bad", mac=NOBODY)
        case "the gateway's MAC":
            return bridge.udp(family, b"bad", mac=bridge.mac)
        case "another pod's address":
            return bridge.udp(family, b"bad", src=bridge.ip(bridge.other, family))
        case "nobody's address":
            return bridge.udp(family, b"bad", src=STRANGERS[family])
        case "an address outside":
            return bridge.udp(family, b"bad", src=OUTSIDE[family])
        case "the gateway's address":
            gateway = bridge.node.gateway if family == 4 else bridge.node.gateway6
            assert gateway is not None
            return bridge.udp(family, b"bad", src=str(gateway.ip))
        case "no address":
            return bridge.udp(family, b"bad", src="0.0.0.0" if family == 4 else "::")
        case "a link-local address":
            return bridge.udp(family, b"bad", src="169.254.7.7" if family == 4 else "fe80::7")
        case "the masqueraded client":
            source = "169.254.0.251" if family == 4 else "fd6e:7378:6470::251"
            return bridge.udp(family, b"bad", src=source)
        case "a VLAN":
            packet = bridge.udp(family, b"bad")
            frame = Ether(src=packet.src, dst=packet.dst) / Dot1Q(vlan=7) / packet.payload
            return Ether(bytes(frame))
        case "VLAN 0":
            packet = bridge.udp(family, b"bad")
            frame = Ether(src=packet.src, dst=packet.dst) / Dot1Q(vlan=0) / packet.payload
            return Ether(bytes(frame))
        case "everybody":
            return bridge.udp(family, b"bad", to=EVERYBODY)
        case "a group":
            to, dst = ("01:00:5e:00:00:fb", "224.0.0.251")
            if family == 6:
                to, dst = ("33:33:00:00:00:fb", "ff02::fb")
            return bridge.udp(family, b"bad", to=to, dst=dst)
        case "an unknown MAC":
            return bridge.udp(family, b"bad", to=NOBODY)
        case "the router between nodes":
            return bridge.udp(family, b"bad", to="02:6e:73:78:64:70")
        case "a DHCP server":
            if family == 4:
                packet = bridge.udp(4, b"", sport=67, dport=68)
                packet[UDP].payload = BOOTP(op=2) / Raw(b"bad")
                return packet
            packet = bridge.udp(6, b"", sport=547, dport=546)
            packet[UDP].payload = DHCP6_Advertise() / Raw(b"bad")
            return packet
        case "a fragment from another":
            packet = bridge.udp(family, b"bad" * 8, src=bridge.ip(bridge.other, family))
            if family == 4:
                packet[IP].flags = "MF"
                return packet
            ip = packet[IPv6]
            rest = ip.payload
            ip.remove_payload()
            return packet / IPv6ExtHdrFragment(m=1, id=7) / rest
    raise AssertionError(what)


@pytest.mark.parametrize(
    "what",
    [
        "another MAC",
        "nobody's MAC",
        "the gateway's MAC",
        "another pod's address",
        "nobody's address",
        "an address outside",
        "the gateway's address",
        "no address",
        "a link-local address",
        "the masqueraded client",
        "a VLAN",
        "VLAN 0",
        "everybody",
        "a group",
        "an unknown MAC",
        "the router between nodes",
        "a DHCP server",
        "a fragment from another",
    ],
)
def test_what_is_not_its_own_reaches_nobody(bridge: Bridge, family: int, what: str) -> None:
    seen = bridge.reach(spoofed(bridge, family, what))
    assert {name: [b for b in marked(of) if b"bad" in b] for name, of in seen.items()} == {
        "victim": [],
        "other": [],
        "node": [],
    }


ALL_NODES = "33:33:00:00:00:01"


LINK_LOCAL = "fe80::858:aff:fef4:2"


def imposture(bridge: Bridge, what: str) -> Packet:
    """What only routers send, or who is asked, or what isn't IP at all."""
    bad, victim = bridge.sender, bridge.victim
    frame = Ether(src=bad.mac, dst=victim.mac)
    to_victim = frame / IPv6(src=bad.ip6, dst=victim.ip6, hlim=255)
    mine = ICMPv6NDOptSrcLLAddr(lladdr=bad.mac)
    made = {
        "an ARP answer": frame
        / ARP(op=2, hwsrc=bad.mac, psrc="10.244.0.1", hwdst=victim.mac, pdst=victim.ip),
        "its own ARP answer": frame
        / ARP(op=2, hwsrc=bad.mac, psrc=bad.ip, hwdst=victim.mac, pdst=victim.ip),
        "an ARP question": frame / ARP(op=1, hwsrc=bad.mac, psrc="10.244.0.1", pdst=victim.ip),
        "RARP": Ether(src=bad.mac, dst=EVERYBODY, type=0x8035) / ARP(op=3, hwsrc=bad.mac),
        "router advertisement": Ether(src=bad.mac, dst=ALL_NODES)
        / IPv6(src=LINK_LOCAL, dst="ff02::1", hlim=255)
        / ICMPv6ND_RA()
        / mine,
        "router advertisement as itself": to_victim / ICMPv6ND_RA() / mine,
        "router solicitation": Ether(src=bad.mac, dst="33:33:00:00:00:02")
        / IPv6(src=LINK_LOCAL, dst="ff02::2", hlim=255)
        / ICMPv6ND_RS()
        / mine,
        "neighbor advertisement": to_victim
        / ICMPv6ND_NA(tgt="fd00:244::1", O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=bad.mac),
        "redirect": frame
        / IPv6(src=LINK_LOCAL, dst=victim.ip6, hlim=255)
        / ICMPv6ND_Redirect(tgt=bad.ip6, dst="fd00:244::1"),
        "redirect as itself": to_victim / ICMPv6ND_Redirect(tgt=bad.ip6, dst="fd00:244::1"),
        "an advertisement of another's MAC": to_victim
        / ICMPv6ND_NA(tgt=bad.ip6, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=bridge.other.mac),
        "an advertisement from another": frame
        / IPv6(src=bridge.other.ip6, dst=victim.ip6, hlim=255)
        / ICMPv6ND_NA(tgt=bad.ip6, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=bad.mac),
        "an advertisement from afar": frame
        / IPv6(src=bad.ip6, dst=victim.ip6, hlim=64)
        / ICMPv6ND_NA(tgt=bad.ip6, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=bad.mac),
        "an advertisement to all": Ether(src=bad.mac, dst=ALL_NODES)
        / IPv6(src=bad.ip6, dst="ff02::1", hlim=255)
        / ICMPv6ND_NA(tgt=bad.ip6, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=bad.mac),
        "a solicitation of another's MAC": to_victim
        / ICMPv6ND_NS(tgt=victim.ip6)
        / ICMPv6NDOptSrcLLAddr(lladdr=bridge.other.mac),
        "a solicitation from afar": frame
        / IPv6(src=bad.ip6, dst=victim.ip6, hlim=64)
        / ICMPv6ND_NS(tgt=victim.ip6)
        / mine,
        "an advertisement in a fragment": to_victim
        / IPv6ExtHdrFragment(m=1, id=9, nh=58)
        / ICMPv6ND_NA(tgt="fd00:244::1", O=1),
        "multicast listeners": Ether(src=bad.mac, dst="33:33:00:00:00:16")
        / IPv6(src=LINK_LOCAL, dst="ff02::16", hlim=1)
        / ICMPv6MLReport2(),
        "an ICMP error as the gateway": frame
        / IP(src="10.244.0.1", dst=victim.ip)
        / ICMP(type=3, code=4, nexthopmtu=68)
        / IP(src=victim.ip, dst=bad.ip),
        "an ICMPv6 error as the gateway": frame
        / IPv6(src="fd00:244::1", dst=victim.ip6)
        / ICMPv6DestUnreach()
        / IPv6(src=victim.ip6, dst=bad.ip6),
        "a spanning tree": Ether(src=bad.mac, dst="01:80:c2:00:00:00", type=38) / LLC() / STP(),
        "LLDP": Ether(src=bad.mac, dst="01:80:c2:00:00:0e", type=0x88CC) / Raw(bytes(46)),
        "MPLS": Ether(src=bad.mac, dst=victim.mac, type=0x8847) / Raw(bytes(46)),
        "half a header": Ether(src=bad.mac, dst=victim.mac, type=0x0800) / Raw(b"\x45\x00\x00"),
        "half an IPv6 header": Ether(src=bad.mac, dst=victim.mac, type=0x86DD) / Raw(bytes(20)),
        "half an ARP": Ether(src=bad.mac, dst=victim.mac, type=0x0806) / Raw(bytes(9)),
    }
    return made[what]


@pytest.mark.parametrize(
    "what",
    [
        "an ARP answer",
        "its own ARP answer",
        "an ARP question",
        "RARP",
        "router advertisement",
        "router advertisement as itself",
        "router solicitation",
        "neighbor advertisement",
        "redirect",
        "redirect as itself",
        "an advertisement of another's MAC",
        "an advertisement from another",
        "an advertisement from afar",
        "an advertisement to all",
        "a solicitation of another's MAC",
        "a solicitation from afar",
        "an advertisement in a fragment",
        "multicast listeners",
        "an ICMP error as the gateway",
        "an ICMPv6 error as the gateway",
        "a spanning tree",
        "LLDP",
        "MPLS",
        "half a header",
        "half an IPv6 header",
        "half an ARP",
    ],
)
def test_impostures_reach_nobody(bridge: Bridge, what: str) -> None:
    seen = bridge.reach(imposture(bridge, what))
    assert not_asked(bridge, seen) == {"victim": [], "other": [], "node": []}
