"""What is read of packets that were dropped: they are hostile."""

from __future__ import annotations

import random

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet

from nsxdp.policy.denied import read_headers

V4 = {"src": "10.0.0.1", "dst": "10.0.0.2"}
V6 = {"src": "fd00::1", "dst": "fd00::2"}


@pytest.mark.parametrize(
    ("packet", "protocol", "ports"),
    [
        (IP(**V4) / TCP(sport=1, dport=2), "TCP", (1, 2)),
        (IP(**V4, options=b"\x01\x01\x01\x00") / UDP(sport=1, dport=2), "UDP", (1, 2)),
        (IP(**V4, proto=132) / b"\0\1\0\2", "SCTP", (1, 2)),
        (IP(**V4) / ICMP(), "ICMP", None),
        (IP(**V4, proto=47) / b"1234", "47", None),
        (IP(**V4, ihl=1) / TCP(sport=1, dport=2), "TCP", None),
        (IP(**V4, frag=5, proto=17) / b"12345678", "UDP", None),
        (Dot1Q(vlan=7) / IP(**V4) / TCP(sport=1, dport=2), "TCP", (1, 2)),
        (IPv6(**V6) / UDP(sport=1, dport=2), "UDP", (1, 2)),
        (IPv6(**V6) / IPv6ExtHdrHopByHop() / TCP(sport=1, dport=2), "TCP", (1, 2)),
        (IPv6(**V6) / IPv6ExtHdrFragment(offset=0) / UDP(sport=1, dport=2), "UDP", (1, 2)),
        (IPv6(**V6) / IPv6ExtHdrFragment(offset=9, nh=17) / b"12345678", "UDP", None),
    ],
)
def test_headers(packet: Packet, protocol: str, ports: tuple[int, int] | None) -> None:
    headers = read_headers(bytes(Ether(dst="02:00:00:00:00:01") / packet))
    assert headers is not None
    assert (headers.protocol, headers.ports) == (protocol, ports)


def test_what_is_not_ip_has_none() -> None:
    assert read_headers(bytes(Ether() / ARP())) is None


def test_any_bytes_can_be_read() -> None:
    whole = bytes(Ether() / IPv6(**V6) / IPv6ExtHdrHopByHop() / TCP(sport=1, dport=2))
    draw = random.Random(7)
    for length in range(len(whole)):
        read_headers(whole[:length])
        read_headers(whole[:14] + draw.randbytes(length))
    assert read_headers(whole) is not None
