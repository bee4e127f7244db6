"""What the API's messages hold in protobuf: the numbers of the fields that are read.

Sources: k8s.io/api core/v1, discovery/v1 and networking/v1, k8s.io/apimachinery meta/v1, each its
generated.proto.
"""

from __future__ import annotations

from typing import Any, Final

from nsxdp.k8s.objects import (
    ClientIPConfig,
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    ForNode,
    ForZone,
    ListHead,
    ListMeta,
    LoadBalancerIngress,
    LoadBalancerStatus,
    Node,
    NodeAddress,
    NodeSpec,
    NodeStatus,
    Object,
    ObjectMeta,
    Service,
    ServiceCIDR,
    ServiceCIDRSpec,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
    SessionAffinityConfig,
    Status,
    StatusDetails,
    Taint,
)
from nsxdp.k8s.policy_objects import (
    Container,
    ContainerPort,
    Namespace,
    Pod,
    PodIP,
    PodSpec,
    PodStatus,
)
from nsxdp.k8s.protobuf import Field, Message

__all__ = ["LIST_HEAD", "MESSAGES", "NAMED", "STATUS"]


def _text(number: int) -> Field:
    return Field(number, "text")


def _texts(number: int) -> Field:
    return Field(number, "texts")


def _text_map(number: int) -> Field:
    return Field(number, "text map")


def _time(number: int) -> Field:
    return Field(number, "time")


def _flag(number: int) -> Field:
    return Field(number, "boolean")


def _number(number: int) -> Field:
    return Field(number, "number")


def _port(number: int) -> Field:
    return Field(number, "port")


def _one(number: int, message: Message[Any]) -> Field:
    return Field(number, "message", message)


def _many(number: int, message: Message[Any]) -> Field:
    return Field(number, "messages", message)


_OBJECT_META: Final = Message(
    ObjectMeta,
    name=_text(1),
    generate_name=_text(2),
    namespace=_text(3),
    uid=_text(5),
    resource_version=_text(6),
    creation_timestamp=_time(8),
    deletion_timestamp=_time(9),
    labels=_text_map(11),
    annotations=_text_map(12),
)

_CLIENT_IP: Final = Message(ClientIPConfig, timeout_seconds=_number(1))

_SERVICE_SPEC: Final = Message(
    ServiceSpec,
    ports=_many(
        1,
        Message(
            ServicePort,
            name=_text(1),
            protocol=_text(2),
            port=_port(3),
            node_port=_port(5),
            app_protocol=_text(6),
        ),
    ),
    cluster_ip=_text(3),
    type=_text(4),
    external_ips=_texts(5),
    session_affinity=_text(7),
    load_balancer_source_ranges=_texts(9),
    external_name=_text(10),
    external_traffic_policy=_text(11),
    health_check_node_port=_port(12),
    publish_not_ready_addresses=_flag(13),
    session_affinity_config=_one(14, Message(SessionAffinityConfig, client_ip=_one(1, _CLIENT_IP))),
    ip_family_policy=_text(17),
    cluster_ips=_texts(18),
    ip_families=_texts(19),
    load_balancer_class=_text(21),
    internal_traffic_policy=_text(22),
    traffic_distribution=_text(23),
)

_INGRESS: Final = Message(LoadBalancerIngress, ip=_text(1), hostname=_text(2), ip_mode=_text(3))

_ENDPOINT: Final = Message(
    Endpoint,
    addresses=_texts(1),
    conditions=_one(
        2, Message(EndpointConditions, ready=_flag(1), serving=_flag(2), terminating=_flag(3))
    ),
    node_name=_text(6),
    zone=_text(7),
    hints=_one(
        8,
        Message(
            EndpointHints,
            for_zones=_many(1, Message(ForZone, name=_text(1))),
            for_nodes=_many(2, Message(ForNode, name=_text(1))),
        ),
    ),
)

_CONTAINER: Final = Message(
    Container,
    name=_text(1),
    ports=_many(
        6, Message(ContainerPort, name=_text(1), container_port=_port(3), protocol=_text(4))
    ),
    restart_policy=_text(24),
)

_POD_SPEC: Final = Message(
    PodSpec,
    containers=_many(2, _CONTAINER),
    node_name=_text(10),
    host_network=_flag(11),
    init_containers=_many(20, _CONTAINER),
)

_POD_STATUS: Final = Message(
    PodStatus,
    phase=_text(1),
    pod_ip=_text(6),
    pod_ips=_many(12, Message(PodIP, ip=_text(1))),
)

MESSAGES: Final[dict[type[Object], Message[Any]]] = {
    message.type: message
    for message in (
        Message(
            Service,
            metadata=_one(1, _OBJECT_META),
            spec=_one(2, _SERVICE_SPEC),
            status=_one(
                3,
                Message(
                    ServiceStatus,
                    load_balancer=_one(1, Message(LoadBalancerStatus, ingress=_many(1, _INGRESS))),
                ),
            ),
        ),
        Message(
            EndpointSlice,
            metadata=_one(1, _OBJECT_META),
            endpoints=_many(2, _ENDPOINT),
            ports=_many(
                3,
                Message(
                    EndpointPort,
                    name=_text(1),
                    protocol=_text(2),
                    port=_port(3),
                    app_protocol=_text(4),
                ),
            ),
            address_type=_text(4),
        ),
        Message(
            Node,
            metadata=_one(1, _OBJECT_META),
            spec=_one(
                2,
                Message(
                    NodeSpec,
                    pod_cidr=_text(1),
                    taints=_many(5, Message(Taint, key=_text(1), value=_text(2), effect=_text(3))),
                    pod_cidrs=_texts(7),
                ),
            ),
            status=_one(
                3,
                Message(
                    NodeStatus,
                    addresses=_many(5, Message(NodeAddress, type=_text(1), address=_text(2))),
                ),
            ),
        ),
        Message(
            ServiceCIDR,
            metadata=_one(1, _OBJECT_META),
            spec=_one(2, Message(ServiceCIDRSpec, cidrs=_texts(1))),
        ),
        Message(
            Pod,
            metadata=_one(1, _OBJECT_META),
            spec=_one(2, _POD_SPEC),
            status=_one(3, _POD_STATUS),
        ),
        Message(Namespace, metadata=_one(1, _OBJECT_META)),
    )
}
"""The kinds that an API server can list so, by type."""

NAMED: Final = Message(
    Object, metadata=_one(1, Message(ObjectMeta, name=_text(1), namespace=_text(3)))
)
"""Any object, of which only the name is read."""

LIST_HEAD: Final = Message(
    ListHead,
    metadata=_one(
        1,
        Message(
            ListMeta, resource_version=_text(2), continue_=_text(3), remaining_item_count=_number(4)
        ),
    ),
)
"""Any list, of which only the metadata is read."""

STATUS: Final = Message(
    Status,
    status=_text(2),
    message=_text(3),
    reason=_text(4),
    details=_one(5, Message(StatusDetails, retry_after_seconds=_number(5))),
    code=_number(6),
)
"""What it says of a list that it refuses."""
