"""What a Service port shall do on this node: the step between its endpoints and its flows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from nsxdp.services.addresses import Family, format_address, is_in
from nsxdp.services.endpoints import Verdict, choose
from nsxdp.services.model import Endpoints, ServicePort

__all__ = ["Plan", "basis_period", "depends_on_node", "make_plan"]

_MIN_BASIS_PERIOD: Final = 10.0


class Plan(Struct, frozen=True, gc=False):
    """What becomes of connections to a Service port on this node.

    Attributes
    ----------
    cluster, local
        The endpoints for traffic with the policy Cluster, with the policy Local; empty where there
        is no such traffic.
    internal
        What becomes of connections to the cluster IP.
    outside
        Of those from outside the cluster to an external address: an external IP, a load balancer's
        address, a node port.
    inside
        Of those from this node and its pods to such an address; they take the short cut to
        ``cluster``, whatever the policy is (KP-31).
    basis
        The hash basis of its groups, which only session affinity needs.
    sources
        Prefixes from which the load balancer's addresses may be used; none: from anywhere.
    node_is_source
        Whether the node is among them (KP-39).
    """

    port: ServicePort
    cluster: Endpoints
    local: Endpoints
    internal: Verdict
    outside: Verdict
    inside: Verdict
    basis: int = 0
    sources: tuple[str, ...] = ()
    node_is_source: bool = False


def make_plan(
    port: ServicePort, endpoints: Endpoints, now: float, node_addresses: Iterable[bytes] = ()
) -> Plan:
    """The plan of 'port' with all its 'endpoints' at 'now' (seconds since the epoch).

    The hash basis changes once in a `basis_period`, so that a client whose affinity expired can
    move to another endpoint; in between, all first connections of a client that race the learned
    flow agree. It only depends on the clock, so a restarted agent comes to the same one.

    What is sent to an address at which a chosen endpoint itself is gets there untranslated: the
    plan's `port` hasn't that address. A translation to the same address would end an ovs-vswitchd
    for which `nsxdp.bridge.Bridge.binds` is false.

    Parameters
    ----------
    node_addresses
        The node's, packed: whether the load balancer's sources are the node's, too, and an endpoint
        at its node port.
    """
    if (itself := endpoints.at(port.cluster_ip, port.port)) is not None:
        endpoints = endpoints.where(~itself)
    choice = choose(port, endpoints)
    if port.externally_accessible:
        for chosen in (choice.cluster, choice.local):
            port = _elsewhere(port, chosen, node_addresses)
    basis = 0
    if port.affinity_timeout is not None:
        basis = int(now // basis_period(port.affinity_timeout)) & 0xFFFF_FFFF
    internal = choice.for_traffic(port, "internal")[1]
    if not port.externally_accessible:
        return Plan(port, choice.cluster, choice.local, internal, internal, internal, basis)
    sources, node_is_source = _sources(port, node_addresses)
    return Plan(
        port,
        choice.cluster,
        choice.local,
        internal,
        choice.for_traffic(port, "external")[1],
        Verdict.SERVE if choice.has_any else Verdict.REJECT,
        basis,
        sources,
        node_is_source,
    )


def depends_on_node(port: ServicePort, endpoints: Endpoints) -> bool:
    """Whether a plan may be another one when the node has other addresses."""
    at_node_port = port.node_port and (endpoints.ports == port.node_port).any()
    return bool(port.source_ranges or at_node_port)


def _elsewhere(
    port: ServicePort, endpoints: Endpoints, node_addresses: Iterable[bytes]
) -> ServicePort:
    """'port' without the external addresses at which 'endpoints' are."""

    def others(addresses: tuple[bytes, ...]) -> tuple[bytes, ...]:
        return tuple(vip for vip in addresses if endpoints.at(vip, port.port) is None)

    externals, vips = others(port.external_ips), others(port.load_balancer_vips)
    node_port = port.node_port
    if node_port and any(
        Family.of(address) is port.family and endpoints.at(address, node_port) is not None
        for address in node_addresses
    ):
        node_port = 0
    if (externals, vips, node_port) == (port.external_ips, port.load_balancer_vips, port.node_port):
        return port
    return replace(port, external_ips=externals, load_balancer_vips=vips, node_port=node_port)


def _sources(port: ServicePort, node_addresses: Iterable[bytes]) -> tuple[tuple[str, ...], bool]:
    """Who may use the load balancer's addresses, and whether that is the node, too."""
    if not port.source_ranges:
        return (), False
    own = {address for address in node_addresses if Family.of(address) is port.family}
    node_is_source = any(is_in(address, prefix) for address in own for prefix in port.source_ranges)
    prefixes = {*port.source_ranges}
    if node_is_source:
        prefixes.update((address, 8 * len(address)) for address in own)
    return tuple(f"{format_address(net)}/{bits}" for net, bits in sorted(prefixes)), node_is_source


def basis_period(affinity_timeout: int) -> float:
    """How long (seconds) the hash basis of a group with 'affinity_timeout' (seconds) holds."""
    return max(float(affinity_timeout), _MIN_BASIS_PERIOD)
