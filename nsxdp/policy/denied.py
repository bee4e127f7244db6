"""Who wanted to talk to whom, of a packet that policies dropped and the switch told of.

The packet is as the rule saw it: Services are translated, and whatever is masqueraded is. Packets
are hostile: of what can't be read, nothing is said.
"""

from __future__ import annotations

from ipaddress import ip_address
from struct import unpack_from
from typing import Final, NamedTuple

from nsxdp.flowrecords.record import PROTOCOLS
from nsxdp.openflow import PacketIn2
from nsxdp.pipeline.policy import Direction
from nsxdp.pipeline.registers import BITS
from nsxdp.policy.planner import PolicyPlanner

__all__ = ["Denied", "Headers", "denied", "read_headers"]

_VLAN: Final = (0x8100, 0x88A8)
_IPV4: Final = 0x0800
_IPV6: Final = 0x86DD
_EXTENSIONS: Final = (0, 43, 60)
"""Headers of IPv6 before the protocol's: hop-by-hop options, routing, destination options."""
_FRAGMENT: Final = 44
_PROTOCOLS: Final = {number: name for name, number in PROTOCOLS.items()}
_WITH_PORTS: Final = (6, 17, 132)

_LET_OUT: Final = BITS["LetOut"].mask


class Headers(NamedTuple):
    """From whom to whom a packet is.

    Attributes
    ----------
    source, destination
        Addresses, packed.
    protocol
        ``TCP``, or IANA's number where it has no name here.
    ports
        Source and destination; None: the protocol has none, or this packet hasn't.
    """

    source: bytes
    destination: bytes
    protocol: str
    ports: tuple[int, int] | None


class Denied(NamedTuple):
    """A packet that policies dropped.

    Attributes
    ----------
    direction
        As the pod sees it that the policy is for.
    policy
        ``NetworkPolicy default/web``; with commas between them, where several isolate a pod.
    rule
        Which of its rules: ``ingress[0]``; empty: it is isolated, and none allows the packet.
    verdict
        What became of the packet.
    source, destination
        Addresses.
    source_pod, destination_pod
        ``namespace/name``; empty: it is no pod of the cluster.
    protocol
        ``TCP``, ``UDP`` ...
    source_port, destination_port
        None: there are none.
    """

    direction: Direction
    policy: str
    rule: str
    verdict: str
    source: str
    source_pod: str
    source_port: int | None
    destination: str
    destination_pod: str
    destination_port: int | None
    protocol: str


def denied(planner: PolicyPlanner, packet: PacketIn2) -> Denied | None:
    """What is to be told of a packet that the flows of 'planner' dropped; None: it can't be read.

    The rule is the one of now that has the number of then: where it is gone, none is named.
    """
    headers = read_headers(packet.data)
    if headers is None:
        return None
    direction: Direction = "ingress" if packet.register(0) & _LET_OUT else "egress"
    if number := packet.register(10):
        policy, _, rule = (planner.rule(number) or "").rpartition(" ")
    else:
        kind = planner.kind(packet.register(5))
        policy, rule = planner.isolating(kind, direction) if kind is not None else "", ""
    source, destination = (planner.pod_with(each) for each in headers[:2])
    if direction == "egress":
        source = planner.pod_at(packet.in_port) or source
    else:
        destination = planner.pod_at(packet.register(1) & 0xFFFF) or destination
    ports = headers.ports or (None, None)
    return Denied(
        direction,
        policy,
        rule,
        "deny",
        str(ip_address(headers.source)),
        source or "",
        ports[0],
        str(ip_address(headers.destination)),
        destination or "",
        ports[1],
        headers.protocol,
    )


def read_headers(frame: bytes) -> Headers | None:
    """From whom to whom an Ethernet frame is, which may be cut off; None: it isn't IP.

    Examples
    --------
    >>> from nsxdp.policy.denied import read_headers
    >>> ip = b"E" + bytes(8) + bytes([17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2])
    >>> headers = read_headers(bytes(12) + bytes([8, 0]) + ip + bytes([4, 210, 0, 53]))
    >>> headers.protocol, headers.ports
    ('UDP', (1234, 53))
    """
    at = 12
    while len(frame) >= at + 2:
        (kind,) = unpack_from("!H", frame, at)
        at += 2
        if kind == _IPV4:
            return _ipv4(frame[at:])
        if kind == _IPV6:
            return _ipv6(frame[at:])
        if kind not in _VLAN:
            return None
        at += 2
    return None


def _ipv4(packet: bytes) -> Headers | None:
    if len(packet) < 20:
        return None
    (fragment,) = unpack_from("!6xH", packet)
    size = (packet[0] & 15) * 4
    rest = b"" if fragment & 0x1FFF or size < 20 else packet[size:]
    return _headers(packet[12:16], packet[16:20], packet[9], rest)


def _ipv6(packet: bytes) -> Headers | None:
    if len(packet) < 40:
        return None
    protocol, rest = packet[6], packet[40:]
    while len(rest) >= 8 and protocol in (*_EXTENSIONS, _FRAGMENT):
        is_fragment = protocol == _FRAGMENT
        later = is_fragment and unpack_from("!2xH", rest)[0] & 0xFFF8
        protocol, rest = rest[0], rest[8 if is_fragment else (rest[1] + 1) * 8 :]
        if later:
            rest = b""
    return _headers(packet[8:24], packet[24:40], protocol, rest)


def _headers(source: bytes, destination: bytes, protocol: int, rest: bytes) -> Headers:
    ports = None
    if protocol in _WITH_PORTS and len(rest) >= 4:
        ports = unpack_from("!HH", rest)
    return Headers(source, destination, _PROTOCOLS.get(protocol, str(protocol)), ports)
