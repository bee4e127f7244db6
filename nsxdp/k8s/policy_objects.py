"""The Kubernetes objects that network policies are about: pods, namespaces, and the policies.

As in `nsxdp.k8s.objects`, only the fields that matter here are declared, and names are the API's in
Python's spelling: ``spec.podSelector`` is ``spec.pod_selector``, ``from`` is ``from_``.

In a peer of a policy that this version of the API doesn't know, no field is set; what becomes of it
is `nsxdp.policy`'s to say.

Sources: k8s.io/api core/v1 and networking/v1, k8s.io/apimachinery meta/v1,
sigs.k8s.io/network-policy-api apis/v1alpha2.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from nsxdp.k8s.objects import Object, Port, api_name

__all__ = [
    "ClusterNetworkPolicy",
    "ClusterNetworkPolicyPeer",
    "ClusterNetworkPolicyProtocol",
    "ClusterNetworkPolicyRule",
    "ClusterNetworkPolicySpec",
    "Container",
    "ContainerPort",
    "IPBlock",
    "LabelSelector",
    "LabelSelectorRequirement",
    "Namespace",
    "NamespacedPod",
    "NetworkPolicy",
    "NetworkPolicyEgressRule",
    "NetworkPolicyIngressRule",
    "NetworkPolicyPeer",
    "NetworkPolicyPort",
    "NetworkPolicySpec",
    "Pod",
    "PodIP",
    "PodSpec",
    "PodStatus",
    "PolicyPort",
    "PortRange",
    "ProtocolPort",
    "Subject",
    "Tier",
]


class LabelSelectorRequirement(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """metav1.LabelSelectorRequirement. `operator`: ``In``, ``NotIn``, ``Exists``,
    ``DoesNotExist``.
    """

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class LabelSelector(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """metav1.LabelSelector: all of both; an empty one selects everything."""

    match_labels: dict[str, str] | None = None
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()


# --- Pod, Namespace -----------------------------------------------------------------------------


class ContainerPort(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """corev1.ContainerPort."""

    name: str = ""
    container_port: Port = 0
    protocol: str = "TCP"


class Container(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """corev1.Container. `restart_policy`: only of init containers; ``Always`` is a sidecar's."""

    name: str = ""
    ports: tuple[ContainerPort, ...] = ()
    restart_policy: str | None = None


class PodSpec(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """corev1.PodSpec, as far as policies need it."""

    node_name: str = ""
    host_network: bool = False
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()


class PodIP(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """corev1.PodIP."""

    ip: str = ""


class PodStatus(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """corev1.PodStatus. `phase`: ``Pending``, ``Running``, ``Succeeded``, ``Failed``,
    ``Unknown``.
    """

    phase: str = ""
    pod_ip: str = ""
    pod_ips: tuple[PodIP, ...] = ()


_MIRROR: Final = "kubernetes.io/config.mirror"
"""The annotation of a static pod's Pod, with what kubelet knows the pod by."""


class Pod(Object, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """corev1.Pod."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def uids(self) -> frozenset[str]:
        """By which kubelet may know it: its own, and that of the static pod that it stands for."""
        mirrored = (self.metadata.annotations or {}).get(_MIRROR, "")
        return frozenset(filter(None, (self.metadata.uid, mirrored)))


class Namespace(Object, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """corev1.Namespace: its labels are all that matters."""


# --- NetworkPolicy ------------------------------------------------------------------------------


class IPBlock(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """networkingv1.IPBlock."""

    cidr: str = ""
    except_: tuple[str, ...] = ()


class NetworkPolicyPeer(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """networkingv1.NetworkPolicyPeer."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None


class NetworkPolicyPort(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """networkingv1.NetworkPolicyPort. `port`: a number, or the name of a container's port."""

    protocol: str | None = None
    port: int | str | None = None
    end_port: int | None = None


class NetworkPolicyIngressRule(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """networkingv1.NetworkPolicyIngressRule."""

    ports: tuple[NetworkPolicyPort, ...] = ()
    from_: tuple[NetworkPolicyPeer, ...] = ()


class NetworkPolicyEgressRule(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """networkingv1.NetworkPolicyEgressRule."""

    ports: tuple[NetworkPolicyPort, ...] = ()
    to: tuple[NetworkPolicyPeer, ...] = ()


class NetworkPolicySpec(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """networkingv1.NetworkPolicySpec. `policy_types`: ``Ingress``, ``Egress``."""

    pod_selector: LabelSelector = LabelSelector()
    ingress: tuple[NetworkPolicyIngressRule, ...] = ()
    egress: tuple[NetworkPolicyEgressRule, ...] = ()
    policy_types: tuple[str, ...] = ()


class NetworkPolicy(Object, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """networkingv1.NetworkPolicy."""

    spec: NetworkPolicySpec = NetworkPolicySpec()


# --- ClusterNetworkPolicy -----------------------------------------------------------------------

Tier = Literal["Admin", "Baseline"]
"""Of a ClusterNetworkPolicy: before NetworkPolicies, or after them."""


class NamespacedPod(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """v1alpha2.NamespacedPod: pods of namespaces."""

    namespace_selector: LabelSelector = LabelSelector()
    pod_selector: LabelSelector = LabelSelector()


class Subject(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """v1alpha2.ClusterNetworkPolicySubject: one of both."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPod | None = None


class ClusterNetworkPolicyPeer(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """v1alpha2.ClusterNetworkPolicyIngressPeer and -EgressPeer: one of these; of ingress, one of
    the first two.
    """

    namespaces: LabelSelector | None = None
    pods: NamespacedPod | None = None
    nodes: LabelSelector | None = None
    networks: tuple[str, ...] | None = None
    domain_names: tuple[str, ...] | None = None


class PortRange(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """v1alpha2.PortRange, both ends included."""

    start: Port = 0
    end: Port = 0


class PolicyPort(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """v1alpha2.Port: one of both."""

    number: Port = 0
    range: PortRange | None = None


class ProtocolPort(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """v1alpha2.ClusterNetworkPolicyProtocolTCP, -UDP and -SCTP."""

    destination_port: PolicyPort | None = None


class ClusterNetworkPolicyProtocol(
    Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name
):
    """v1alpha2.ClusterNetworkPolicyProtocol: one of these."""

    tcp: ProtocolPort | None = None
    udp: ProtocolPort | None = None
    sctp: ProtocolPort | None = None
    destination_named_port: str = ""


class ClusterNetworkPolicyRule(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """v1alpha2.ClusterNetworkPolicyIngressRule, with `from_`, and -EgressRule, with `to`.

    `action`: ``Accept``, ``Deny``, ``Pass``.
    """

    name: str = ""
    action: str = ""
    from_: tuple[ClusterNetworkPolicyPeer, ...] = ()
    to: tuple[ClusterNetworkPolicyPeer, ...] = ()
    protocols: tuple[ClusterNetworkPolicyProtocol, ...] = ()


class ClusterNetworkPolicySpec(Struct, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """v1alpha2.ClusterNetworkPolicySpec. `priority`: 0 to 1000, the lowest first."""

    tier: Tier = "Admin"
    priority: int = 0
    subject: Subject = Subject()
    ingress: tuple[ClusterNetworkPolicyRule, ...] = ()
    egress: tuple[ClusterNetworkPolicyRule, ...] = ()


class ClusterNetworkPolicy(Object, frozen=True, gc=False, omit_defaults=True, rename=api_name):
    """v1alpha2.ClusterNetworkPolicy."""

    spec: ClusterNetworkPolicySpec = ClusterNetworkPolicySpec()
