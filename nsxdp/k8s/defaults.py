"""What the API server does to an object before it stores it: defaults, then validation.

Objects from manifests go through this. Where the API server would allocate something (an
address, a node port), the manifest must say it: there is nobody to allocate it.

Sources: k8s.io/kubernetes pkg/apis/core/v1/defaults.go, pkg/registry/core/service,
pkg/apis/core/validation, pkg/apis/discovery/{v1,validation}.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from nsxdp.k8s.objects import (
    SERVICE_NAME_LABEL,
    ClientIPConfig,
    EndpointSlice,
    Object,
    Service,
    ServiceCIDR,
    ServicePort,
    ServiceSpec,
    SessionAffinityConfig,
)
from nsxdp.k8s.resources import Resource

__all__ = [
    "AFFINITY_SECONDS",
    "Address",
    "Problem",
    "claims",
    "parse_cidr",
    "parse_ip",
    "problems",
    "with_defaults",
]

Problem = tuple[str, str]
"""(path, message)."""

AFFINITY_SECONDS: Final = 10_800
"""The default timeout of session affinity."""

_MAX_AFFINITY_SECONDS: Final = 86_400
_MAX_ENDPOINTS: Final = 1000
_MAX_ADDRESSES: Final = 100
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(
    r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
)
_PROTOCOLS: Final = ("TCP", "UDP", "SCTP")
_TYPES: Final = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
_POLICIES: Final = ("Cluster", "Local")
_DISTRIBUTIONS: Final = ("PreferClose", "PreferSameZone", "PreferSameNode")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
"""An IP address of either family."""


def parse_ip(text: str) -> Address | None:
    """An IP address, or None. Leading zeros are decimal, as the API takes them (KP-11)."""
    if ":" not in text:
        parts = text.split(".")
        if not all(part.isascii() and part.isdigit() and len(part) <= 3 for part in parts):
            return None
        text = ".".join(str(int(part)) for part in parts)
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return None if isinstance(address, ipaddress.IPv6Address) and address.scope_id else address


def parse_cidr(text: str) -> bool:
    """Whether `text` is a prefix, host bits allowed."""
    address, slash, length = text.strip().partition("/")
    ip = parse_ip(address)
    return bool(slash and ip and length.isascii() and length.isdigit()) and (
        ip is not None and int(length) <= ip.max_prefixlen
    )


def _family(address: Address) -> str:
    return f"IPv{address.version}"


# --- Defaults -----------------------------------------------------------------------------------


def _default_service(service: Service) -> Service:
    spec = service.spec
    kind = spec.type or "ClusterIP"
    ips = spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ())
    addresses = [address for address in map(parse_ip, ips) if address is not None]
    families = spec.ip_families or tuple(_family(address) for address in addresses)
    affinity = spec.session_affinity or "None"
    config = None
    if affinity == "ClientIP":
        given = spec.session_affinity_config
        client = given.client_ip if given is not None else None
        seconds = client.timeout_seconds if client is not None else None
        config = SessionAffinityConfig(
            ClientIPConfig(AFFINITY_SECONDS if seconds is None else seconds)
        )
    external = kind in ("NodePort", "LoadBalancer") or bool(spec.external_ips)
    served = kind != "ExternalName"
    return replace(
        service,
        spec=replace(
            spec,
            type=kind,
            cluster_ip=spec.cluster_ip or (ips[0] if ips else ""),
            cluster_ips=ips,
            ip_families=families or (("IPv4",) if served else ()),
            ip_family_policy=spec.ip_family_policy
            or (("PreferDualStack" if len(ips) > 1 else "SingleStack") if served else None),
            ports=tuple(replace(p, protocol=p.protocol or "TCP") for p in spec.ports),
            session_affinity=affinity,
            session_affinity_config=config,
            external_traffic_policy=spec.external_traffic_policy
            or ("Cluster" if external and served else ""),
            internal_traffic_policy=spec.internal_traffic_policy or ("Cluster" if served else None),
        ),
    )


def _default_slice(endpoint_slice: EndpointSlice) -> EndpointSlice:
    ports = tuple(
        replace(port, name=port.name or "", protocol=port.protocol or "TCP")
        for port in endpoint_slice.ports or ()
    )
    return replace(endpoint_slice, ports=ports, endpoints=endpoint_slice.endpoints or ())


# --- Validation ---------------------------------------------------------------------------------


def _one_of(path: str, value: str, allowed: Sequence[str]) -> Iterator[Problem]:
    if value not in allowed:
        yield path, f"{value!r} is none of {', '.join(allowed)}"


def _usable_ip(path: str, text: str, family: str = "") -> Iterator[Problem]:
    """Problems of an address that packets shall go to."""
    address = parse_ip(text)
    if address is None:
        yield path, f"{text!r} is not an IP address"
    elif family and _family(address) != family:
        yield path, f"{text} is not an {family} address"
    elif address.is_unspecified or address.is_loopback:
        yield path, f"{text}: not an unspecified or loopback address"
    elif address.is_link_local or address.is_multicast:
        yield path, f"{text}: not a link-local or multicast address"


def _service_ports(spec: ServiceSpec) -> Iterator[Problem]:
    names: dict[str, int] = {}
    numbers: dict[tuple[str, int], int] = {}
    nodes: dict[tuple[str, int], int] = {}
    for i, port in enumerate(spec.ports):
        path = f"$.spec.ports[{i}]"
        yield from _one_of(f"{path}.protocol", port.protocol, _PROTOCOLS)
        if not port.port:
            yield f"{path}.port", "must be between 1 and 65535"
        if port.name and not _LABEL.fullmatch(port.name):
            yield f"{path}.name", f"{port.name!r} is not a DNS label (lower case, digits, '-')"
        if not port.name and len(spec.ports) > 1:
            yield f"{path}.name", "each of several ports needs a name"
        elif (first := names.setdefault(port.name, i)) != i:
            yield f"{path}.name", f"{port.name!r} is already the name of ports[{first}]"
        if (first := numbers.setdefault((port.protocol, port.port), i)) != i:
            yield f"{path}.port", f"{port.port}/{port.protocol} is already in ports[{first}]"
        yield from _node_port(spec, port, path)
        if port.node_port and (
            (first := nodes.setdefault((port.protocol, port.node_port), i)) != i
        ):
            yield f"{path}.nodePort", f"{port.node_port} is already in ports[{first}]"


def _node_port(spec: ServiceSpec, port: ServicePort, path: str) -> Iterator[Problem]:
    if port.node_port and spec.type not in ("NodePort", "LoadBalancer"):
        yield f"{path}.nodePort", f"a Service of type {spec.type} has no node ports"
    elif not port.node_port and spec.type == "NodePort":
        yield f"{path}.nodePort", "is needed: there is no API server to allocate one"


def _cluster_ips(spec: ServiceSpec) -> Iterator[Problem]:
    ips = spec.cluster_ips
    if not ips:
        yield "$.spec.clusterIP", "is needed: there is no API server to allocate one"
        return
    if spec.cluster_ip != ips[0]:
        yield "$.spec.clusterIPs[0]", f"{ips[0]!r} is not the clusterIP {spec.cluster_ip!r}"
    if ips == ("None",):
        return
    families = []
    for i, text in enumerate(ips):
        # The first stands in both fields; whoever writes by hand mostly fills the older one.
        yield from _usable_ip(f"$.spec.clusterIPs[{i}]" if i else "$.spec.clusterIP", text)
        address = parse_ip(text)
        if address is not None:
            families.append(_family(address))
    if len(ips) > 2 or len(set(families)) < len(families):
        yield "$.spec.clusterIPs", "at most one address of each family"
    elif len(families) == len(ips) and tuple(families) != spec.ip_families:
        got = ", ".join(spec.ip_families)
        yield "$.spec.ipFamilies", f"[{got}] are not the families of {', '.join(ips)}"


def _check_service(service: Service) -> Iterator[Problem]:
    spec = service.spec
    yield from _one_of("$.spec.type", spec.type, _TYPES)
    if spec.type == "ExternalName":
        return
    yield from _cluster_ips(spec)
    if not spec.ports and spec.cluster_ip != "None":
        yield "$.spec.ports", "at least one port is needed"
    yield from _service_ports(spec)
    for i, text in enumerate(spec.external_ips):
        yield from _usable_ip(f"$.spec.externalIPs[{i}]", text)
    for i, text in enumerate(spec.load_balancer_source_ranges):
        if not parse_cidr(text):
            yield f"$.spec.loadBalancerSourceRanges[{i}]", f"{text!r} is not a prefix"
    yield from _one_of("$.spec.sessionAffinity", spec.session_affinity, ("None", "ClientIP"))
    if (config := spec.session_affinity_config) and config.client_ip is not None:
        seconds = config.client_ip.timeout_seconds or 0
        if not 0 < seconds <= _MAX_AFFINITY_SECONDS:
            path = "$.spec.sessionAffinityConfig.clientIP.timeoutSeconds"
            yield path, f"must be between 1 and {_MAX_AFFINITY_SECONDS}"
    if spec.external_traffic_policy:
        path = "$.spec.externalTrafficPolicy"
        yield from _one_of(path, spec.external_traffic_policy, _POLICIES)
        if spec.type == "ClusterIP" and not spec.external_ips:
            yield path, "only for Services that are reachable from outside"
    yield from _one_of(
        "$.spec.internalTrafficPolicy", spec.internal_traffic_policy or "", _POLICIES
    )
    if spec.traffic_distribution is not None:
        yield from _one_of("$.spec.trafficDistribution", spec.traffic_distribution, _DISTRIBUTIONS)
    for i, ingress in enumerate(service.status.load_balancer.ingress):
        path = f"$.status.loadBalancer.ingress[{i}]"
        if ingress.ip:
            yield from _usable_ip(f"{path}.ip", ingress.ip)
        if ingress.ip_mode is not None:
            yield from _one_of(f"{path}.ipMode", ingress.ip_mode, ("VIP", "Proxy"))


def _check_slice(endpoint_slice: EndpointSlice) -> Iterator[Problem]:
    kind = endpoint_slice.address_type
    yield from _one_of("$.addressType", kind, ("IPv4", "IPv6", "FQDN"))
    if not (endpoint_slice.metadata.labels or {}).get(SERVICE_NAME_LABEL):
        yield "$.metadata.labels", f"the label {SERVICE_NAME_LABEL} must name the Service"
    endpoints = endpoint_slice.endpoints or ()
    if len(endpoints) > _MAX_ENDPOINTS:
        yield "$.endpoints", f"{len(endpoints)} endpoints are more than {_MAX_ENDPOINTS}"
    for i, endpoint in enumerate(endpoints):
        path = f"$.endpoints[{i}].addresses"
        if not 0 < len(endpoint.addresses) <= _MAX_ADDRESSES:
            yield path, f"between 1 and {_MAX_ADDRESSES} addresses are needed"
        if kind in ("IPv4", "IPv6"):
            for j, text in enumerate(endpoint.addresses):
                yield from _usable_ip(f"{path}[{j}]", text, kind)
    names: dict[str, int] = {}
    for i, port in enumerate(endpoint_slice.ports or ()):
        path = f"$.ports[{i}]"
        yield from _one_of(f"{path}.protocol", port.protocol or "", _PROTOCOLS)
        name = port.name or ""
        if name and not _LABEL.fullmatch(name):
            yield f"{path}.name", f"{name!r} is not a DNS label (lower case, digits, '-')"
        if (first := names.setdefault(name, i)) != i:
            yield f"{path}.name", f"{name!r} is already the name of ports[{first}]"


def _check_service_cidr(cidr: ServiceCIDR) -> Iterator[Problem]:
    if not 0 < len(cidr.spec.cidrs) <= 2:
        yield "$.spec.cidrs", "one or two prefixes are needed"
    for i, text in enumerate(cidr.spec.cidrs):
        if not parse_cidr(text):
            yield f"$.spec.cidrs[{i}]", f"{text!r} is not a prefix"


def _check_meta(resource: Resource, obj: Object) -> Iterator[Problem]:
    meta = obj.metadata
    pattern = _LABEL if isinstance(obj, Service) else _SUBDOMAIN
    if not pattern.fullmatch(meta.name):
        yield "$.metadata.name", f"{meta.name!r} is not a DNS name (lower case, digits, '-')"
    if resource.namespaced and not _LABEL.fullmatch(meta.namespace):
        yield "$.metadata.namespace", f"{meta.namespace!r} is not a DNS label"


T = TypeVar("T", bound=Object)

_DEFAULTS: Final[dict[type, Callable[[Any], Any]]] = {
    Service: _default_service,
    EndpointSlice: _default_slice,
}
_CHECKS: Final[dict[type, Callable[[Any], Iterator[Problem]]]] = {
    Service: _check_service,
    EndpointSlice: _check_slice,
    ServiceCIDR: _check_service_cidr,
}


def with_defaults(resource: Resource, obj: T) -> T:
    """`obj` as the API server would complete it."""
    meta = obj.metadata
    namespace = (meta.namespace or "default") if resource.namespaced else ""
    if namespace != meta.namespace:
        obj = replace(obj, metadata=replace(meta, namespace=namespace))
    fill = _DEFAULTS.get(type(obj))
    return obj if fill is None else fill(obj)


def problems(resource: Resource, obj: Object) -> list[Problem]:
    """Why the API server would refuse `obj` (which has its defaults); empty if it wouldn't."""
    found = list(_check_meta(resource, obj))
    check = _CHECKS.get(type(obj))
    if check is not None:
        found += check(obj)
    return found


def claims(obj: Object) -> tuple[str, ...]:
    """What no two objects may have: the addresses and node ports that a Service allocates."""
    if not isinstance(obj, Service) or obj.spec.type == "ExternalName":
        return ()
    spec = obj.spec
    found = [f"clusterIP {address}" for address in map(parse_ip, spec.cluster_ips) if address]
    found += [f"nodePort {p.node_port}/{p.protocol}" for p in spec.ports if p.node_port]
    return tuple(found)
