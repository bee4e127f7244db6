"""The Kubernetes objects that a service proxy reads, and the Event that it writes.

Only the fields that matter here are declared: the decoder skips the rest (managedFields is often
half of an object) without making anything of it. Attribute names are the API's own in Python's
spelling: ``spec.clusterIPs`` is ``spec.cluster_ips``.

All types are frozen: what came from the API server is a fact. Change a copy with
`msgspec.structs.replace`. None of them can be part of a cycle, so the garbage collector doesn't
track them. A list that Go writes as ``null`` when it is empty is ``None`` here too, where
the API does that for stored objects (`EndpointSlice.endpoints` and `EndpointSlice.ports`).

Sources: k8s.io/api core/v1, discovery/v1, networking/v1 and events/v1.
"""

from __future__ import annotations

from typing import Annotated, Final, Generic, TypeVar

from msgspec import Meta, Struct

__all__ = [
    "HEADLESS_LABEL",
    "PROXY_NAME_LABEL",
    "SERVICE_NAME_LABEL",
    "TRIGGER_TIME_ANNOTATION",
    "ZONE_LABEL",
    "ClientIPConfig",
    "Endpoint",
    "EndpointConditions",
    "EndpointHints",
    "EndpointPort",
    "EndpointSlice",
    "Event",
    "EventSeries",
    "ForNode",
    "ForZone",
    "ListHead",
    "ListMeta",
    "LoadBalancerIngress",
    "LoadBalancerStatus",
    "Node",
    "NodeAddress",
    "NodeSpec",
    "NodeStatus",
    "Object",
    "ObjectList",
    "ObjectMeta",
    "ObjectReference",
    "Port",
    "Service",
    "ServiceCIDR",
    "ServiceCIDRSpec",
    "ServicePort",
    "ServiceSpec",
    "ServiceStatus",
    "SessionAffinityConfig",
    "Status",
    "StatusDetails",
    "Taint",
    "WatchEvent",
    "api_name",
]

_WORDS: Final = {"ip": "IP", "ips": "IPs", "cidr": "CIDR", "cidrs": "CIDRs", "id": "ID"}


def api_name(attribute: str) -> str:
    """The API's spelling of an attribute.

    Examples
    --------
    >>> from nsxdp.k8s.objects import api_name
    >>> api_name("load_balancer_source_ranges"), api_name("cluster_ips")
    ('loadBalancerSourceRanges', 'clusterIPs')
    """
    first, *rest = attribute.rstrip("_").split("_")
    return first + "".join(_WORDS.get(word) or word.capitalize() for word in rest)


Port = Annotated[int, Meta(ge=0, le=65535)]
"""A port number; 0 where the API server has not (yet) allocated one."""

SERVICE_NAME_LABEL: Final = "kubernetes.io/service-name"
"""The label of an EndpointSlice that names its Service."""

HEADLESS_LABEL: Final = "service.kubernetes.io/headless"
"""The label that the EndpointSlice controller puts on the slices of headless Services."""

PROXY_NAME_LABEL: Final = "service.kubernetes.io/service-proxy-name"
"""The label of a Service (and its slices) that another proxy than the default one serves."""

ZONE_LABEL: Final = "topology.kubernetes.io/zone"
"""The label of a Node that names its zone."""

TRIGGER_TIME_ANNOTATION: Final = "endpoints.kubernetes.io/last-change-trigger-time"
"""The annotation of an EndpointSlice with the time (RFC 3339) of the change behind it."""


class ObjectMeta(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """metav1.ObjectMeta."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None


class Object(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """What every object has. `key` names it among the objects of its kind.

    The items of a list don't repeat their `api_version` and `kind`: who has them in hand knows
    from where (`Batch.kind`), or asks for their type.
    """

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()

    @property
    def name(self) -> str:
        """Its metadata's."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """Its metadata's; empty where its kind has none."""
        return self.metadata.namespace

    @property
    def key(self) -> str:
        """``namespace/name``, or ``name`` of an object that has no namespace."""
        meta = self.metadata
        return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name


# --- Service ------------------------------------------------------------------------------------


class ServicePort(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """corev1.ServicePort. Where traffic goes is the EndpointSlices' to say: no targetPort."""

    name: str = ""
    protocol: str = "TCP"
    port: Port = 0
    node_port: Port = 0
    app_protocol: str | None = None


class ClientIPConfig(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """corev1.ClientIPConfig; seconds."""

    timeout_seconds: int | None = None


class SessionAffinityConfig(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """corev1.SessionAffinityConfig."""

    client_ip: ClientIPConfig | None = None


class ServiceSpec(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """corev1.ServiceSpec, as far as a proxy needs it."""

    type: str = ""
    cluster_ip: str = ""
    cluster_ips: tuple[str, ...] = ()
    ip_families: tuple[str, ...] = ()
    ip_family_policy: str | None = None
    ports: tuple[ServicePort, ...] = ()
    external_ips: tuple[str, ...] = ()
    external_name: str = ""
    session_affinity: str = ""
    session_affinity_config: SessionAffinityConfig | None = None
    external_traffic_policy: str = ""
    internal_traffic_policy: str | None = None
    traffic_distribution: str | None = None
    health_check_node_port: Port = 0
    load_balancer_source_ranges: tuple[str, ...] = ()
    load_balancer_class: str | None = None
    publish_not_ready_addresses: bool = False


class LoadBalancerIngress(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """corev1.LoadBalancerIngress. `ip_mode`: ``VIP`` (also when unset) or ``Proxy``."""

    ip: str = ""
    hostname: str = ""
    ip_mode: str | None = None


class LoadBalancerStatus(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """corev1.LoadBalancerStatus."""

    ingress: tuple[LoadBalancerIngress, ...] = ()


class ServiceStatus(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """corev1.ServiceStatus."""

    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class Service(Object, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """corev1.Service."""

    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


# --- EndpointSlice ------------------------------------------------------------------------------


class EndpointConditions(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """discoveryv1.EndpointConditions. None means: ready, serving, not terminating."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ForZone(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """discoveryv1.ForZone."""

    name: str = ""


class ForNode(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """discoveryv1.ForNode."""

    name: str = ""


class EndpointHints(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """discoveryv1.EndpointHints."""

    for_zones: tuple[ForZone, ...] = ()
    for_nodes: tuple[ForNode, ...] = ()


class Endpoint(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """discoveryv1.Endpoint."""

    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    node_name: str | None = None
    zone: str | None = None
    hints: EndpointHints | None = None


class EndpointPort(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """discoveryv1.EndpointPort. A port without a number means all ports."""

    name: str | None = None
    protocol: str | None = None
    port: Port | None = None
    app_protocol: str | None = None


class EndpointSlice(Object, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """discoveryv1.EndpointSlice. `address_type`: ``IPv4``, ``IPv6`` or ``FQDN``."""

    address_type: str = ""
    endpoints: tuple[Endpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None


# --- Node, ServiceCIDR --------------------------------------------------------------------------


class Taint(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """corev1.Taint."""

    key: str = ""
    value: str = ""
    effect: str = ""


class NodeSpec(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """corev1.NodeSpec."""

    pod_cidr: str = ""
    pod_cidrs: tuple[str, ...] = ()
    taints: tuple[Taint, ...] = ()


class NodeAddress(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """corev1.NodeAddress. `type`: ``InternalIP``, ``ExternalIP``, ``Hostname`` ..."""

    type: str = ""
    address: str = ""


class NodeStatus(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """corev1.NodeStatus."""

    addresses: tuple[NodeAddress, ...] = ()


class Node(Object, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """corev1.Node."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class ServiceCIDRSpec(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """networkingv1.ServiceCIDRSpec."""

    cidrs: tuple[str, ...] = ()


class ServiceCIDR(Object, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """networkingv1.ServiceCIDR."""

    spec: ServiceCIDRSpec = ServiceCIDRSpec()


# --- Event (written, never read) ----------------------------------------------------------------


class ObjectReference(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """corev1.ObjectReference: what an Event is about."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""


class EventSeries(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """eventsv1.EventSeries: how often the same thing happened, and when last (RFC 3339)."""

    count: int
    last_observed_time: str


class Event(Object, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """eventsv1.Event. `type`: ``Normal`` or ``Warning``; times in RFC 3339 with microseconds."""

    event_time: str = ""
    series: EventSeries | None = None
    reporting_controller: str = ""
    reporting_instance: str = ""
    action: str = ""
    reason: str = ""
    regarding: ObjectReference | None = None
    note: str = ""
    type: str = ""


# --- Envelopes ----------------------------------------------------------------------------------

T = TypeVar("T")


class ListMeta(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """metav1.ListMeta."""

    resource_version: str = ""
    continue_: str = ""
    remaining_item_count: int | None = None


class ListHead(Struct, frozen=True, gc=False, rename=api_name):
    """A page of a list, without what it lists."""

    metadata: ListMeta = ListMeta()


class ObjectList(Struct, Generic[T], frozen=True, gc=False, rename=api_name):
    """A page of a list."""

    metadata: ListMeta = ListMeta()
    items: tuple[T, ...] | None = None


class WatchEvent(Struct, Generic[T], frozen=True, gc=False):
    """One line of a watch."""

    type: str
    object: T


class Status(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """metav1.Status: the API server's word for what went wrong."""

    kind: str = ""
    status: str = ""
    message: str = ""
    reason: str = ""
    code: int = 0
    details: StatusDetails | None = None


class StatusDetails(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """metav1.StatusDetails, as far as retries need it; seconds."""

    retry_after_seconds: int = 0
