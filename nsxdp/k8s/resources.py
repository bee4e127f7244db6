"""Which kinds there are, where the API serves them, and which of their objects are wanted."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from nsxdp.k8s.objects import (
    HEADLESS_LABEL,
    PROXY_NAME_LABEL,
    EndpointSlice,
    Event,
    Node,
    Object,
    Service,
    ServiceCIDR,
)
from nsxdp.k8s.policy_objects import ClusterNetworkPolicy, Namespace, NetworkPolicy, Pod

__all__ = [
    "CLUSTER_NETWORK_POLICIES",
    "ENDPOINT_SLICES",
    "EVENTS",
    "NAMESPACES",
    "NETWORK_POLICIES",
    "NODES",
    "PODS",
    "RESOURCES",
    "SERVICES",
    "SERVICE_CIDRS",
    "Resource",
    "Want",
    "service_proxy_wants",
]


class Resource(Struct, frozen=True):
    """One kind of the API.

    Attributes
    ----------
    kind, group, version, plural
        As in the API: ``EndpointSlice``, ``discovery.k8s.io``, ``v1``, ``endpointslices``.
        The group is empty for the core one.
    type
        The Python type.
    namespaced
        Whether its objects live in namespaces.
    """

    kind: str
    group: str
    version: str
    plural: str
    type: type[Object]
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As manifests have it: ``discovery.k8s.io/v1``, or ``v1`` of the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "") -> str:
        """The URL path of one object, or of all (of one namespace).

        Examples
        --------
        >>> from nsxdp.k8s.resources import ENDPOINT_SLICES
        >>> ENDPOINT_SLICES.path("default", "web-1")
        '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/web-1'
        """
        parts = ["/apis" if self.group else "/api", self.api_version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        return "/".join(parts)


SERVICES: Final = Resource("Service", "", "v1", "services", Service)
ENDPOINT_SLICES: Final = Resource(
    "EndpointSlice", "discovery.k8s.io", "v1", "endpointslices", EndpointSlice
)
NODES: Final = Resource("Node", "", "v1", "nodes", Node, namespaced=False)
SERVICE_CIDRS: Final = Resource(
    "ServiceCIDR", "networking.k8s.io", "v1", "servicecidrs", ServiceCIDR, namespaced=False
)
EVENTS: Final = Resource("Event", "events.k8s.io", "v1", "events", Event)
PODS: Final = Resource("Pod", "", "v1", "pods", Pod)
NAMESPACES: Final = Resource("Namespace", "", "v1", "namespaces", Namespace, namespaced=False)
NETWORK_POLICIES: Final = Resource(
    "NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies", NetworkPolicy
)
CLUSTER_NETWORK_POLICIES: Final = Resource(
    "ClusterNetworkPolicy",
    "policy.networking.k8s.io",
    "v1alpha2",
    "clusternetworkpolicies",
    ClusterNetworkPolicy,
    namespaced=False,
)
"""The kinds that are known here."""

RESOURCES: Final = {
    resource.kind: resource
    for resource in (
        *(SERVICES, ENDPOINT_SLICES, NODES, SERVICE_CIDRS, EVENTS),
        *(PODS, NAMESPACES, NETWORK_POLICIES, CLUSTER_NETWORK_POLICIES),
    )
}
"""All of them, by kind."""


class Want(Struct, frozen=True):
    """Objects of one kind that somebody wants to follow.

    Attributes
    ----------
    resource
        The kind.
    labels, fields
        Selectors, as the API takes them (see `nsxdp.k8s.selectors`); empty: all objects.
    namespace
        Only of this one; empty: of all.
    optional
        An API server may not have this kind: then there are no objects of it, and it is looked for
        now and then.
    """

    resource: Resource
    labels: str = ""
    fields: str = ""
    namespace: str = ""
    optional: bool = False


def service_proxy_wants(
    node_name: str = "", *, proxy_name: str = "", service_cidrs: bool = False
) -> tuple[Want, ...]:
    """What a service proxy follows, with kube-proxy's own selectors.

    Parameters
    ----------
    node_name
        The Node to follow; empty for none.
    proxy_name
        Serve the Services whose label ``service.kubernetes.io/service-proxy-name`` has this
        value, instead of those that don't have the label (KP-3). EndpointSlices are followed
        with or without it: it is the Service's, and who writes slices by hand may not know of it.
    service_cidrs
        Follow the ServiceCIDRs too (KP-13).
    """
    mine = f"{PROXY_NAME_LABEL}={proxy_name}" if proxy_name else f"!{PROXY_NAME_LABEL}"
    wants = [
        Want(SERVICES, labels=mine, fields="spec.clusterIP!=None"),
        Want(ENDPOINT_SLICES, labels=f"!{HEADLESS_LABEL}"),
    ]
    if node_name:
        wants.append(Want(NODES, fields=f"metadata.name={node_name}"))
    if service_cidrs:
        wants.append(Want(SERVICE_CIDRS))
    return tuple(wants)
