"""What forwarding is compiled from: the node, the pods on its bridge, the other nodes."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Final, Literal

from nsxdp.pipeline.columns import Address
from nsxdp.pipeline.node import Gateway

__all__ = [
    "OVERHEAD",
    "TUNNELS",
    "Address",
    "Mode",
    "Network",
    "NodeConfig",
    "Peer",
    "PodPort",
    "Reserved",
    "pod_mtu",
    "reserved",
]

Network = IPv4Network | IPv6Network

Mode = Literal["geneve", "vxlan", "noEncap", "nsx"]
"""How pods of other nodes are reached: in tunnels; by the node's own network, which has routes to
the pods' networks; or by a platform that does all switching and routing, with a VLAN a pod."""

TUNNELS: Final[dict[Mode, int]] = {"geneve": 6081, "vxlan": 4789}
"""The modes in which nodes are joined by tunnels, and to which UDP port these lead."""

OVERHEAD: Final[dict[Mode, tuple[int, int]]] = {
    "geneve": (50, 70),
    "vxlan": (50, 70),
    "noEncap": (0, 0),
    "nsx": (0, 0),
}
"""Bytes that are added to a pod's IP packet: between nodes' IPv4 addresses, and IPv6 ones. That is
the outer IP and UDP headers, the tunnel's 8 bytes, and the pod's Ethernet header."""


@dataclass(frozen=True, slots=True)
class PodPort:
    """A pod's port on the bridge.

    Attributes
    ----------
    name
        Who it is, such as ``NAMESPACE/POD``; each port's is another one.
    ofport
        OpenFlow's number of the port.
    mac
        Of the pod's end; no other's on this bridge.
    ips
        Its addresses: who sends from others isn't heard.
    vlan
        With mode ``nsx`` the VLAN that is the pod's on the uplink, from 1 to 4093; else None.
    """

    name: str
    ofport: int
    mac: str
    ips: tuple[Address, ...]
    vlan: int | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node of the cluster.

    Attributes
    ----------
    name
        The node's.
    addresses
        Of the node. Tunnels lead to the first one, and may come from any.
    pod_cidrs
        The networks of its pods; no other's.
    tunnel_key
        The virtual network's number (VNI) in tunnels to it and from it, 24 bits.
    """

    name: str
    addresses: tuple[Address, ...]
    pod_cidrs: tuple[Network, ...]
    tunnel_key: int = 0


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """The node itself.

    Attributes
    ----------
    mode
        How pods of other nodes are reached.
    gateway
        The port that leads to the node's network stack, which is the pods' router; its addresses
        are those of the pods' default routes. With mode ``nsx`` pods have another router, and it
        may have no address.
    pod_cidrs
        The networks of this node's pods, at most one of each family.
    masquerade
        At most one address of each family, in those networks, that nobody has: whom endpoints on
        other nodes see where a Service masquerades its client (see `reserved`). Without one they
        can't answer. Only tunnels need it.
    tunnel
        OpenFlow's number of the tunnel port, whose options are ``remote_ip=flow`` and ``key=flow``,
        with mode ``geneve`` or ``vxlan``.
    uplink
        OpenFlow's number of the trunk to the platform, with mode ``nsx``.

    Raises
    ------
    ValueError
        The mode lacks the port that it needs, or has no use for one.
    """

    mode: Mode
    gateway: Gateway
    pod_cidrs: tuple[Network, ...] = ()
    masquerade: tuple[Address, ...] = ()
    tunnel: int | None = None
    uplink: int | None = None

    def __post_init__(self) -> None:
        """See that the ports are those of the mode."""
        for port, what, needed in (
            (self.tunnel, "tunnel port", self.mode in TUNNELS),
            (self.uplink, "uplink", self.mode == "nsx"),
        ):
            if needed and port is None:
                raise ValueError(f"mode {self.mode}: the bridge has no {what}")
            if port is not None and not needed:
                raise ValueError(f"mode {self.mode}: no use for {what} {port}")


@dataclass(frozen=True, slots=True)
class Reserved:
    """Addresses of a node's pod network that pods don't get, beside the network's own.

    Attributes
    ----------
    gateway
        The node's, in the pods' network.
    masquerade
        Whom endpoints on other nodes see where a Service masquerades its client.
    """

    gateway: Address
    masquerade: Address


def reserved(pod_cidr: Network) -> Reserved:
    """The first two addresses of a node's pod network, which aren't for pods.

    Raises
    ------
    ValueError
        Nothing would be left for pods.

    Examples
    --------
    >>> from ipaddress import ip_network
    >>> from nsxdp.forwarding.model import reserved
    >>> print(reserved(ip_network("10.244.3.0/24")).gateway)
    10.244.3.1
    """
    if pod_cidr.num_addresses < _SMALLEST:
        raise ValueError(
            f"{pod_cidr} is too small a network for a node's pods: give the node one of "
            f"{_SMALLEST} addresses at least"
        )
    return Reserved(pod_cidr[1], pod_cidr[2])


_SMALLEST: Final = 8


def pod_mtu(mode: Mode, underlay_mtu: int, *, ipv6_underlay: bool = False) -> int:
    """What pods and the gateway have as their MTU, where the nodes' network has 'underlay_mtu'.

    Who sends more with "don't fragment" to a pod elsewhere hears so from its own network stack, and
    who sends to a pod from outside hears it from the node's: both know the MTU of the way. What
    comes into the bridge from a device is never larger than the device's MTU, so the pod's end and
    the bridge's end of a pod's port both get this one.
    """
    return underlay_mtu - OVERHEAD[mode][ipv6_underlay]
