"""UDP connections to endpoints that went while no proxy looked (KP-50)."""

from __future__ import annotations

from socket import AF_INET, AF_INET6, inet_pton

import numpy as np

from nsxdp.services.addresses import Family
from nsxdp.services.conntrack import Stale, StaleFinder, parse_entries
from nsxdp.services.model import READY, SERVING, Endpoints, ServicePort, ServicePortName

DUMP = """\
tcp,orig=(src=10.244.0.9,dst=10.96.0.53,sport=5,dport=53),reply=(src=10.244.0.1,dst=10.244.0.9,sport=53,dport=5),zone=65312,mark=16,protoinfo=(state=ESTABLISHED)
udp,orig=(src=10.244.0.9,dst=10.96.0.53,sport=5555,dport=53),reply=(src=10.244.0.1,dst=10.244.0.9,sport=8053,dport=5555),zone=65312,mark=16
udp,orig=(src=10.244.0.9,dst=10.96.0.53,sport=5556,dport=53),reply=(src=10.244.0.2,dst=10.244.0.9,sport=8053,dport=5556),zone=65312,mark=16
udp,orig=(src=10.244.0.9,dst=10.244.0.1,sport=5557,dport=99),reply=(src=10.244.0.1,dst=10.244.0.9,sport=99,dport=5557),zone=65312
udp,orig=(src=fd00::9,dst=fd00:96::53,sport=5,dport=53),reply=(src=fd00::1,dst=fd00::9,sport=8053,dport=5),zone=65312,mark=16
icmp,orig=(src=10.244.0.9,dst=10.244.0.1,id=1,type=8,code=0),reply=(src=10.244.0.1,dst=10.244.0.9,id=1,type=0,code=0),zone=65312
garbage
"""


def v4(text: str) -> bytes:
    return inet_pton(AF_INET, text)


def v6(text: str) -> bytes:
    return inet_pton(AF_INET6, text)


CLIENT = v4("10.244.0.9")


def endpoints(*addresses: str, flags: int = READY | SERVING) -> Endpoints:
    n = len(addresses)
    return Endpoints(
        Family.IPV4,
        b"".join(map(v4, addresses)),
        np.full(n, 8053, np.uint16).tobytes(),
        bytes([flags]) * n,
    )


def dns(protocol: str = "UDP") -> ServicePort:
    name = ServicePortName("kube-system", "dns", "dns", protocol)
    return ServicePort(name, v4("10.96.0.53"), 53)


def test_a_dump_has_udp_connections() -> None:
    entries = list(parse_entries(DUMP))
    assert entries == [
        Stale(v4("10.96.0.53"), 53, v4("10.244.0.1"), 8053, CLIENT, 5555),
        Stale(v4("10.96.0.53"), 53, v4("10.244.0.2"), 8053, CLIENT, 5556),
        Stale(v4("10.244.0.1"), 99, v4("10.244.0.1"), 99, CLIENT, 5557),
        Stale(v6("fd00:96::53"), 53, v6("fd00::1"), 8053, v6("fd00::9"), 5),
    ]


def test_kp50_only_connections_of_known_ports_to_endpoints_that_serve_no_more() -> None:
    finder = StaleFinder()
    finder.update(dns(), endpoints("10.244.0.2", "10.244.0.3"))
    assert finder.check(parse_entries(DUMP)) == [
        Stale(v4("10.96.0.53"), 53, v4("10.244.0.1"), 8053, CLIENT, 5555)
    ]


def test_kp50_a_service_without_serving_endpoints_is_left_alone() -> None:
    finder = StaleFinder()
    finder.update(dns(), endpoints("10.244.0.2", flags=0))
    assert finder.check(parse_entries(DUMP)) == []


def test_kp52_tcp_is_left_alone() -> None:
    finder = StaleFinder()
    finder.update(dns("TCP"), endpoints("10.244.0.2"))
    assert finder.check(parse_entries(DUMP)) == []
