"""What a client of a Service without endpoints gets (KP-25)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from nsxdp.services.reject import reject

CLIENT, GATEWAY = "02:00:00:00:01:01", "02:00:00:00:00:01"
ETHER = Ether(src=CLIENT, dst=GATEWAY)
V4 = IP(src="10.244.0.7", dst="10.96.0.10")
V6 = IPv6(src="fd00:244::7", dst="fd00:96::10")


def answer(packet: Packet) -> Packet:
    """The parsed answer; scapy's own build of it must have the same checksums."""
    data = reject(bytes(packet))
    assert data is not None
    parsed = Ether(data)
    again = parsed.copy()
    for layer in (IP, TCP, ICMP, ICMPv6DestUnreach):
        if layer in again:
            field = "cksum" if layer is ICMPv6DestUnreach else "chksum"
            delattr(again[layer], field)
    assert bytes(again) == data
    return parsed


@pytest.mark.parametrize("ip", [V4, V6], ids=["IPv4", "IPv6"])
def test_kp25_syn_is_reset(ip: Packet) -> None:
    got = answer(ETHER / ip / TCP(sport=40000, dport=80, seq=1000, flags="S"))
    assert (got.src, got.dst) == (GATEWAY, CLIENT)
    assert (got[1].src, got[1].dst) == (ip.dst, ip.src)
    assert (got[TCP].sport, got[TCP].dport) == (80, 40000)
    assert (got[TCP].flags, got[TCP].seq, got[TCP].ack) == ("RA", 0, 1001)


def test_kp25_segment_with_ack_is_reset_at_its_ack() -> None:
    got = answer(ETHER / V4 / TCP(sport=1, dport=2, seq=5, ack=77, flags="PA") / Raw(b"hello"))
    assert (got[TCP].flags, got[TCP].seq) == ("R", 77)


def test_data_counts_even_where_the_switch_cut_it_off() -> None:
    whole = bytes(ETHER / V4 / TCP(sport=1, dport=2, seq=5, flags="S") / Raw(bytes(1000)))
    cut = reject(whole[:256])
    assert cut is not None
    assert Ether(cut)[TCP].ack == 5 + 1000 + 1


@pytest.mark.parametrize("transport", [UDP(sport=5, dport=53), SCTP(sport=5, dport=9)])
def test_kp25_other_protocols_get_port_unreachable(transport: Packet) -> None:
    asked = ETHER / V4 / transport / Raw(b"question")
    got = answer(asked)
    assert (got[ICMP].type, got[ICMP].code) == (3, 3)
    assert bytes(got[ICMP].payload) == bytes(asked[IP])


def test_kp25_ipv6_gets_port_unreachable() -> None:
    asked = ETHER / V6 / UDP(sport=5, dport=53) / Raw(b"question")
    got = answer(asked)
    assert got[ICMPv6DestUnreach].code == 4
    assert bytes(got[ICMPv6DestUnreach].payload) == bytes(asked[IPv6])


def test_vlan_tag_stays() -> None:
    got = answer(Ether(src=CLIENT, dst=GATEWAY) / Dot1Q(vlan=7) / V4 / TCP(flags="S"))
    assert got[Dot1Q].vlan == 7


@pytest.mark.parametrize(
    "packet",
    [
        ETHER / V4 / TCP(flags="R"),
        ETHER / V4 / ICMP(),
        ETHER / V6 / ICMPv6EchoRequest(),
        ETHER / IP(src="10.244.0.7", dst="10.96.0.10", frag=8) / UDP(),
        ETHER / IP(src="224.0.0.1", dst="10.96.0.10") / UDP(),
        ETHER / IP(src="0.0.0.0", dst="10.96.0.10") / UDP(),
        ETHER / IPv6(src="ff02::1", dst="fd00:96::10") / UDP(),
        Ether(src=CLIENT, dst="ff:ff:ff:ff:ff:ff") / V4 / UDP(),
        ETHER / ARP(),
    ],
    ids=lambda packet: packet.summary(),
)
def test_no_answer(packet: Packet) -> None:
    assert reject(bytes(packet)) is None


@given(st.binary(max_size=120), st.sampled_from([0x0800, 0x86DD, 0x8100]))
def test_hostile_packets_do_no_harm(data: bytes, kind: int) -> None:
    reject(bytes(12) + kind.to_bytes(2, "big") + data)
    reject(data)


@given(st.integers(0, 90), st.integers(0, 255), st.booleans())
def test_changed_and_cut_packets_do_no_harm(at: int, value: int, ipv6: bool) -> None:
    frame = bytearray(bytes(ETHER / (V6 if ipv6 else V4) / TCP(flags="S") / Raw(bytes(40))))
    reject(bytes(frame[:at]))
    frame[min(at, len(frame) - 1)] = value
    reject(bytes(frame))
