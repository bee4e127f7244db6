"""A Service of the API -> its `ServicePort`s, as kube-proxy reads it.

Sources: KEP-1880, KEP-1138 (dual stack), KEP-1860 (ipMode), KEP-2086 (internalTrafficPolicy).
"""

from collections.abc import Iterable
from sys import intern
from typing import Final

from nsxdp.k8s import objects as k8s
from nsxdp.services.addresses import Family, parse_address, parse_prefix
from nsxdp.services.model import PROTOCOL_NUMBERS, ServicePort, ServicePortName

__all__ = [
    "addresses_of_family",
    "cluster_ip_of_family",
    "is_served",
    "prefixes_of_family",
    "service_ports",
]

DEFAULT_AFFINITY_TIMEOUT: Final = 10800
"""Seconds, where the object doesn't say (core/v1, ClientIPConfig)."""


def is_served(service: k8s.Service) -> bool:
    """Whether 'service' is a proxy's business: not headless, no ExternalName (KP-2)."""
    return service.spec.cluster_ip not in ("", "None") and service.spec.type != "ExternalName"


def cluster_ip_of_family(service: k8s.Service, family: Family) -> bytes | None:
    """The packed cluster IP of 'service' in 'family', None if it has none there (KP-12).

    An object without ipFamilies (of an old client, or of a file) has the family of its only cluster
    IP.
    """
    spec = service.spec
    if not spec.ip_families:
        candidates: Iterable[str] = (spec.cluster_ip,)
    else:
        candidates = (
            address
            for name, address in zip(spec.ip_families, spec.cluster_ips, strict=False)
            if name == family.label
        )
    for candidate in candidates:
        packed = parse_address(candidate)
        if packed is not None and len(packed) == family.width:
            return packed
    return None


def addresses_of_family(texts: Iterable[str], family: Family) -> tuple[bytes, ...]:
    """Those of 'texts' that are addresses of 'family', packed, in order."""
    parsed = (parse_address(text) for text in texts)
    return tuple(packed for packed in parsed if packed and len(packed) == family.width)


def prefixes_of_family(texts: Iterable[str], family: Family) -> tuple[tuple[bytes, int], ...]:
    """Those of 'texts' that are prefixes of 'family', in order."""
    parsed = (parse_prefix(text) for text in texts)
    return tuple(prefix for prefix in parsed if prefix and len(prefix[0]) == family.width)


def _source_ranges(service: k8s.Service, family: Family) -> tuple[tuple[bytes, int], ...]:
    ranges = prefixes_of_family(service.spec.load_balancer_source_ranges, family)
    # A range of length 0 lets everybody in, whatever else is listed (KP-39).
    return () if any(length == 0 for _, length in ranges) else ranges


def _load_balancer_vips(service: k8s.Service, family: Family) -> tuple[bytes, ...]:
    # KP-40: "Proxy" says that the load balancer wants to see the traffic itself.
    texts = (
        ingress.ip
        for ingress in service.status.load_balancer.ingress
        if ingress.ip and ingress.ip_mode in (None, "VIP")
    )
    return addresses_of_family(texts, family)


def _affinity_timeout(spec: k8s.ServiceSpec) -> int | None:
    if spec.session_affinity != "ClientIP":
        return None
    config = spec.session_affinity_config
    if config is None or config.client_ip is None or config.client_ip.timeout_seconds is None:
        return DEFAULT_AFFINITY_TIMEOUT
    return config.client_ip.timeout_seconds


def service_ports(service: k8s.Service, family: Family) -> tuple[ServicePort, ...]:
    """The ports of 'service' in 'family', none if it isn't served there.

    Ports of an unknown protocol are left out.
    """
    spec = service.spec
    if not is_served(service) or (spec.ip_families and family.label not in spec.ip_families):
        return ()
    cluster_ip = cluster_ip_of_family(service, family)
    if cluster_ip is None:
        return ()
    external_ips = addresses_of_family(spec.external_ips, family) if spec.external_ips else ()
    vips = _load_balancer_vips(service, family) if service.status.load_balancer.ingress else ()
    ranges = _source_ranges(service, family) if spec.load_balancer_source_ranges else ()
    external_local = spec.external_traffic_policy == "Local" and (
        spec.type in ("LoadBalancer", "NodePort") or bool(spec.external_ips)
    )
    health_check_node_port = (
        spec.health_check_node_port if external_local and spec.type == "LoadBalancer" else 0
    )
    affinity_timeout = _affinity_timeout(spec) if spec.session_affinity else None
    internal_local = spec.internal_traffic_policy == "Local"
    namespace = intern(service.metadata.namespace)
    service_name = service.metadata.name
    protocols = [port.protocol for port in spec.ports]
    # A dict, as names are unique in valid Services, and the last one wins in others.
    ports = {}
    for port in spec.ports:
        if port.protocol not in PROTOCOL_NUMBERS:
            continue
        name = ServicePortName(namespace, service_name, intern(port.name), intern(port.protocol))
        ports[name] = ServicePort(
            name,
            cluster_ip,
            port.port,
            port.node_port,
            external_ips,
            vips,
            ranges,
            affinity_timeout,
            internal_local,
            external_local,
            health_check_node_port,
            protocols.count(port.protocol) == 1,
        )
    return tuple(ports.values())
