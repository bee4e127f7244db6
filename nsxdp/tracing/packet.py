"""A packet as it comes to a bridge, for ``ofproto/trace``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address

from nsxdp.bridge import LocalPod

__all__ = [
    "SOURCE_PORT",
    "Address",
    "Packet",
    "PacketError",
    "ends",
    "from_pod",
    "in_tunnel",
    "read_address",
]

Address = IPv4Address | IPv6Address
"""Of either version of IP."""

SOURCE_PORT = 33333
"""The client's, where nobody asked for another one."""


class PacketError(Exception):
    """There is no such packet on this bridge; says what there is instead."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet.

    Attributes
    ----------
    sender
        Who sends it, in words.
    in_port
        OpenFlow's number of the port that it comes in by.
    before
        What happened to it before it was on the bridge, in words.
    tunnel
        Of one that comes in a tunnel: more of its match; else empty.
    """

    sender: str
    in_port: int
    protocol: str
    src: Address
    src_port: int
    dst: Address
    dst_port: int
    dl_src: str
    dl_dst: str
    before: list[str] = field(default_factory=list)
    tunnel: str = ""

    @property
    def flow(self) -> str:
        """As ``ofproto/trace`` takes it."""
        six = self.src.version == 6
        name, kind = self.protocol.lower(), "ipv6" if six else "nw"
        return (
            f"in_port={self.in_port},{self.tunnel}{name}{'6' if six else ''},{kind}_src={self.src},"
            f"{kind}_dst={self.dst},nw_ttl=64,dl_src={self.dl_src},dl_dst={self.dl_dst},"
            f"{name}_src={self.src_port},{name}_dst={self.dst_port}"
        )

    def __str__(self) -> str:
        src, dst = ends(self.src, self.src_port), ends(self.dst, self.dst_port)
        return f"{self.protocol} {src} -> {dst}"


def from_pod(packet: Packet, pod: LocalPod, address: Address) -> Packet:
    """The same, as that pod sends it from its 'address'."""
    return replace(
        packet, sender=f"pod {pod.iface_id}", in_port=pod.ofport, src=address, dl_src=pod.mac
    )


def in_tunnel(packet: Packet, port: int, key: int, source: Address) -> Packet:
    """The same, as it comes out of a tunnel from the node with the address 'source'."""
    name = "tun_src" if source.version == 4 else "tun_ipv6_src"
    return replace(packet, in_port=port, tunnel=f"tun_id={key},{name}={source},")


def ends(address: Address, port: int) -> str:
    """One end of a connection."""
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"


def read_address(text: str) -> Address | None:
    """An address, in brackets or not; None: it is none."""
    try:
        return ip_address(text.strip("[]"))
    except ValueError:
        return None
