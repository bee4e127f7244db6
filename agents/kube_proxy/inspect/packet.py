"""A packet as its sender would put it onto the bridge, from the words that people have for it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Final, Self

from nsxdp.bridge import LocalPod
from nsxdp.pipeline.node import Gateway, NodePlan
from nsxdp.pipeline.registers import NODE_PORT_IPV4, NODE_PORT_IPV6, VIRTUAL_MAC
from nsxdp.services.addresses import Family, format_address
from nsxdp.services.model import ServicePort
from nsxdp.services.tracker import ServiceTracker
from nsxdp.tracing.packet import Address, Packet, PacketError, from_pod, read_address
from nsxdp_agents.kube_proxy.inspect.services import find_ports, is_service

__all__ = ["Place", "Target", "destination", "make_packet"]

_SOMEBODY: Final = {4: ip_address("198.51.100.1"), 6: ip_address("2001:db8:51::1")}
"""Who comes from outside where no address was given: of the documentation's networks."""

_ROUTER_MAC: Final = "02:00:00:00:00:01"
"""Whoever sends from outside onto the uplink: the pipeline doesn't look at it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where packets come from.

    Attributes
    ----------
    plan
        Who is on the bridge, and what the node is.
    addresses
        Services' external IPs and load balancers' addresses, packed.
    node_ports
        IP version, protocol and port of all node ports.
    """

    plan: NodePlan
    addresses: frozenset[bytes]
    node_ports: frozenset[tuple[int, str, int]]

    @classmethod
    def of(cls, plan: NodePlan, tracker: ServiceTracker) -> Self:
        """The place with these Services."""
        ports = [port for family in Family for port in tracker.ports(family).values()]
        return cls(
            plan,
            frozenset(ip for p in ports for ip in (*p.external_ips, *p.load_balancer_vips)),
            frozenset((int(p.family), p.protocol, p.node_port) for p in ports if p.node_port),
        )

    def pod(self, name: str) -> LocalPod:
        """The pod ``NAMESPACE/POD`` on the bridge."""
        for pod in self.plan.pods:
            if pod.iface_id == name:
                return pod
        there = ", ".join(sorted(pod.iface_id for pod in self.plan.pods)[:10]) or "none"
        raise PacketError(f"no pod {name} is on this bridge (there are: {there})")

    def pod_at(self, address: Address) -> LocalPod | None:
        """The pod with an address."""
        return next((pod for pod in self.plan.pods if address in pod.ips), None)

    @property
    def gateway(self) -> Gateway:
        """The node's port on the bridge."""
        if self.plan.gateway is None:
            raise PacketError("the bridge has no gateway: no packet gets to a Service")
        return self.plan.gateway

    def is_own(self, address: Address) -> bool:
        """Whether an address is the node's."""
        return address in self.plan.addresses or address in self.gateway.addresses

    def is_routed(self, address: Address) -> bool:
        """Whether the node's kernel sends what is for an address to the Services' next hop."""
        return (
            any(address in network for network in self.plan.ranges)
            or address.packed in self.addresses
            or address in map(ip_address, (NODE_PORT_IPV4, NODE_PORT_IPV6))
        )


@dataclass(frozen=True, slots=True)
class Target:
    """Where a packet is for.

    Attributes
    ----------
    service
        The Service port that was named; None: an address was.
    """

    address: Address
    port: int
    protocol: str
    service: ServicePort | None = None


def destination(
    tracker: ServiceTracker, text: str, protocol: str | None, version: int | None
) -> Target:
    """What ``10.96.0.10:80``, ``[fd00:96::a]:80`` or ``NAMESPACE/NAME[:PORT]`` is.

    Parameters
    ----------
    protocol
        None: the Service port's, else TCP.
    version
        Of IP; None: the first that the Service has.

    Raises
    ------
    PacketError
        It is none of these.
    UnknownServiceError
        There is no such Service.
    """
    if is_service(text):
        ports = [
            port
            for port in find_ports(tracker, text)
            if port.protocol in (protocol, port.protocol if protocol is None else "")
            and port.family in (version, port.family if version is None else 0)
        ]
        names = sorted({f"{port.name.port_name or port.port}/{port.protocol}" for port in ports})
        if not ports:
            raise PacketError(f"{text} has no port of that protocol and IP version")
        if len(names) > 1:
            raise PacketError(f"{text} has several ports: add one of :{', :'.join(names)}")
        port = ports[0]
        address = ip_address(format_address(port.cluster_ip))
        return Target(address, port.port, port.protocol, port)
    found = re.fullmatch(r"\[?([0-9A-Fa-f.:]+?)\]?:(\d+)", text)
    address_of = read_address(found[1]) if found else None
    if found is None or address_of is None or not 0 < int(found[2]) < 65536:
        raise PacketError(
            f"{text}: must be ADDRESS:PORT, [ADDRESS]:PORT, or NAMESPACE/NAME:PORT of a Service"
        )
    return Target(address_of, int(found[2]), protocol or "TCP")


def make_packet(place: Place, source: str, target: Target, src_port: int) -> Packet:
    """The packet from ``NAMESPACE/POD``, ``node``, ``outside`` or an address to 'target'.

    Raises
    ------
    PacketError
        There is no such sender, or what it sends doesn't come to the bridge.
    """
    gateway = place.gateway
    version = target.address.version
    packet = Packet(
        "", gateway.ofport, target.protocol, _SOMEBODY[version], src_port, target.address,
        target.port, gateway.mac, gateway.mac,
    )  # fmt: skip
    address = read_address(source)
    pod = place.pod_at(address) if address else None
    if address is not None and address.version != version:
        raise PacketError(f"{source} and {target.address} are of different IP versions")
    if is_service(source):
        pod = place.pod(source)
        address = next((ip for ip in pod.ips if ip.version == version), None)
        if address is None:
            raise PacketError(f"pod {source} has no IPv{version} address on this bridge")
    if pod is not None and address is not None:
        return from_pod(packet, pod, address)
    if source == "node" or (address is not None and place.is_own(address)):
        own = address or next((ip for ip in gateway.addresses if ip.version == version), None)
        if own is None:
            raise PacketError(
                f"the node has no IPv{version} address on {'the bridge'}: its own packets don't "
                "come here"
            )
        return _by_kernel(place, replace(packet, sender="the node", src=own))
    if source != "outside" and address is None:
        raise PacketError(f"{source}: must be an address, a pod NAMESPACE/POD, or node, or outside")
    packet = replace(packet, sender="outside the cluster", src=address or packet.src)
    if place.plan.uplink is not None:
        return replace(packet, in_port=place.plan.uplink, dl_src=_ROUTER_MAC)
    return _by_kernel(place, packet)


def _by_kernel(place: Place, packet: Packet) -> Packet:
    """A packet that the node's kernel sends, or sends on, to the bridge."""
    before = []
    if packet.dst in place.plan.node_port_addresses and place.is_own(packet.dst):
        if (packet.dst.version, packet.protocol, packet.dst_port) not in place.node_ports:
            raise PacketError(
                f"{packet.dst} is the node's own, and {packet.dst_port}/{packet.protocol} is no "
                "node port: the node's kernel keeps the packet"
            )
        kept = packet.dst
        six = packet.dst.version == 6
        packet = replace(packet, dst=ip_address(NODE_PORT_IPV6 if six else NODE_PORT_IPV4))
        before.append(f"the node's kernel translates {kept} to {packet.dst}, and sends it here")
    if place.is_routed(packet.dst):
        return replace(packet, dl_dst=VIRTUAL_MAC, before=before)
    pod = place.pod_at(packet.dst)
    if pod is None:
        raise PacketError(
            f"{packet.dst} is no address of a Service, nor of a pod on this bridge: the node's "
            "kernel sends the packet elsewhere"
        )
    return replace(packet, dl_dst=pod.mac, before=before)
