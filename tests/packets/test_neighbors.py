"""Who asks for a MAC address: what it is answered, and that nobody else hears of it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address

import pytest
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet
from wired import Tap, Wired

from nsxdp.lab import Node, Pod

pytestmark = pytest.mark.kernel

EVERYBODY = "ff:ff:ff:ff:ff:ff"
LINK_LOCAL = "fe80::42"
UNKNOWN = {4: "10.244.0.99", 6: "fd00:244::99"}


class Bridge:
    """A wired node with three pods."""

    def __init__(self) -> None:
        self.node = Node("here", fail_mode="secure")
        self.asks, self.asked, self.other = map(self.node.add_pod, ("asks", "asked", "third"))
        Wired(self.node).sync()

    def address(self, who: str, family: int) -> str:
        """An address by its owner's name here."""
        pods = {"pod": self.asked, "asker": self.asks}
        if pod := pods.get(who):
            return str(pod.ip if family == 4 else pod.ip6)
        gateway = self.node.gateway if family == 4 else self.node.gateway6
        return UNKNOWN[family] if who == "nobody" else str(gateway.ip if gateway else "")


@pytest.fixture(scope="module")
def bridge() -> Iterator[Bridge]:
    made = Bridge()
    yield made
    made.node.close()


def solicited(target: str) -> tuple[str, str]:
    """Where one asks for 'target': a MAC address, and that in IPv6 (RFC 4291, 2.7.1)."""
    last = IPv6Address(target).packed[-3:]
    return f"33:33:ff:{last.hex(':')}", str(IPv6Address(_SOLICITED + last))


_SOLICITED = IPv6Address("ff02::1:ff00:0").packed[:-3]


def question(pod: Pod, target: str, *, source: str | None = None, mac: str = "") -> Packet:
    """A pod asks for 'target'."""
    mac = mac or pod.mac
    if ":" not in target:
        return Ether(src=pod.mac, dst=EVERYBODY) / ARP(
            op=1, hwsrc=mac, psrc=pod.ip if source is None else source, pdst=target
        )
    mac_of_all, all_of = solicited(target)
    packet = (
        Ether(src=pod.mac, dst=mac_of_all)
        / IPv6(src=pod.ip6 if source is None else source, dst=all_of, hlim=255)
        / ICMPv6ND_NS(tgt=target)
    )
    return packet if source == "::" else packet / ICMPv6NDOptSrcLLAddr(lladdr=mac)


def told(packet: Packet) -> tuple[str, str] | None:
    """Of an answer: for which address, which MAC."""
    if ARP in packet and packet[ARP].op == 2:
        return packet[ARP].psrc, packet[ARP].hwsrc
    if ICMPv6ND_NA in packet:
        return packet[ICMPv6ND_NA].tgt, packet[ICMPv6NDOptDstLLAddr].lladdr
    return None


def answers(bridge: Bridge, *questions: Packet) -> list[Packet]:
    """What is answered to these, before the answer to one about the gateway."""
    family = 6 if any(IPv6 in packet for packet in questions) else 4
    last = bridge.address("gateway", family)
    with Tap(bridge.asks) as tap:
        tap.send(*questions, question(bridge.asks, last))
        seen = tap.until(lambda packet: (told(packet) or ("",))[0] == last)
    return [packet for packet in seen[:-1] if told(packet)]


def test_a_pod_s_own_mac(bridge: Bridge, family: int) -> None:
    target = bridge.address("pod", family)
    (answer,) = answers(bridge, question(bridge.asks, target))
    assert told(answer) == (target, bridge.asked.mac)
    assert (answer.src, answer.dst) == (bridge.asked.mac, bridge.asks.mac)
    if family == 4:
        arp = answer[ARP]
        assert (arp.hwdst, arp.pdst) == (bridge.asks.mac, bridge.asks.ip)
    else:
        ip, na = answer[IPv6], answer[ICMPv6ND_NA]
        assert (ip.src, ip.dst, ip.hlim) == (target, bridge.asks.ip6, 255)
        assert (na.R, na.S, na.O, na.res) == (0, 1, 1, 0)
        assert same_when_built_anew(answer)


def same_when_built_anew(packet: Packet) -> bool:
    """Whether the checksum is right."""
    copy = packet.copy()
    del copy[ICMPv6ND_NA].cksum
    return bytes(copy) == bytes(packet)


def test_the_gateway_is_a_router(bridge: Bridge, family: int) -> None:
    with Tap(bridge.asks) as tap:
        tap.send(question(bridge.asks, bridge.address("gateway", family)))
        answer = tap.until(told)[-1]
    assert told(answer) == (bridge.address("gateway", family), bridge.node.mac)
    if family == 6:
        assert (answer[ICMPv6ND_NA].R, answer[ICMPv6ND_NA].S, answer[ICMPv6ND_NA].O) == (1, 1, 1)
        assert same_when_built_anew(answer)


def test_who_asks_from_its_link_local_address(bridge: Bridge) -> None:
    target = bridge.address("pod", 6)
    (answer,) = answers(bridge, question(bridge.asks, target, source=LINK_LOCAL))
    assert (answer[IPv6].dst, told(answer)) == (LINK_LOCAL, (target, bridge.asked.mac))


@pytest.mark.parametrize("who", ["asker", "nobody"])
def test_no_answer_about(bridge: Bridge, family: int, who: str) -> None:
    """Nobody else has a pod's own address; nobody at all has another."""
    target = bridge.address(who, family)
    nobody = "0.0.0.0" if family == 4 else "::"
    questions = [question(bridge.asks, target), question(bridge.asks, target, source=nobody)]
    assert answers(bridge, *questions) == []


@pytest.mark.parametrize("how", ["address", "MAC", "nothing", "frame"])
def test_no_answer_to_who_asks_as_another(bridge: Bridge, family: int, how: str) -> None:
    target, asks, other = bridge.address("pod", family), bridge.asks, bridge.other
    match how:
        case "address":
            bad = question(asks, target, source=str(other.ip if family == 4 else other.ip6))
        case "MAC":
            bad = question(asks, target, mac=other.mac)
        case "nothing":
            bad = question(asks, target, source="0.0.0.0" if family == 4 else "::")
        case _:
            bad = question(asks, target)
            bad.src = other.mac
    assert answers(bridge, bad) == []


def test_the_node_has_its_own_address_alone(bridge: Bridge, family: int) -> None:
    """It asks whether somebody else has it."""
    mac, own = bridge.node.mac, bridge.address("gateway", family)
    pod = bridge.address("pod", family)

    def ask(target: str) -> Packet:
        if family == 4:
            return Ether(src=mac, dst=EVERYBODY) / ARP(op=1, hwsrc=mac, psrc=own, pdst=target)
        mac_of_all, all_of = solicited(target)
        ip = IPv6(src=own, dst=all_of, hlim=255)
        return (
            Ether(src=mac, dst=mac_of_all)
            / ip
            / ICMPv6ND_NS(tgt=target)
            / ICMPv6NDOptSrcLLAddr(lladdr=mac)
        )

    with Tap(bridge.node.netns, bridge.node.bridge) as tap:
        tap.send(ask(own), ask(pod))
        seen = tap.until(told)
    assert told(seen[-1]) == (pod, bridge.asked.mac)


def test_nobody_else_hears_of_it(bridge: Bridge, family: int) -> None:
    about = [bridge.address(who, family) for who in ("pod", "gateway", "nobody", "asker")]
    taps = [
        Tap(bridge.asked),
        Tap(bridge.other),
        Tap(bridge.node.netns, bridge.node.bridge),
    ]
    answers(bridge, *(question(bridge.asks, target) for target in about))
    # What the node asks for isn't heard by pods, either.
    bridge.node.netns.run(["ip", "neigh", "flush", "dev", bridge.node.bridge])
    server = bridge.asked.serve_http(80)
    for pod in (bridge.asked, bridge.other):
        address = pod.ip if family == 4 else f"[{pod.ip6}]"
        if pod is bridge.other:
            with pytest.raises(ConnectionRefusedError):
                bridge.node.netns.http_get(f"http://{address}/")
        else:
            assert bridge.node.netns.http_get(f"http://{address}/") == "asked"
    server.close()
    for tap, pod in zip(taps, (bridge.asked, bridge.other), strict=False):
        with tap:
            seen = tap.until(lambda packet: packet.haslayer("TCP"))
        asked = [p for p in seen if p.src == bridge.asks.mac or is_question(p)]
        assert [p for p in asked if not is_for(p, pod)] == [], pod
    taps[2].__exit__()


def is_for(packet: Packet, pod: Pod) -> bool:
    """With IPv6, a pod is asked for its own address; and it asks itself, and is answered."""
    if ICMPv6ND_NA in packet:
        return bool(packet.dst == pod.mac)
    return ICMPv6ND_NS in packet and packet[ICMPv6ND_NS].tgt == pod.ip6


def is_question(packet: Packet) -> bool:
    """Of somebody who wants to know a MAC."""
    return (ARP in packet and packet[ARP].op == 1) or ICMPv6ND_NS in packet


def test_the_node_learns_pods_macs(bridge: Bridge, family: int) -> None:
    bridge.node.netns.run(["ip", "neigh", "flush", "dev", bridge.node.bridge])
    address = bridge.address("pod", family)
    with pytest.raises(ConnectionRefusedError):
        bridge.node.netns.udp_ask(address, 9)
    known = bridge.node.netns.run(["ip", "neigh", "show", address]).stdout
    assert bridge.asked.mac in known
