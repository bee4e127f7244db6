# ruff: noqa: E501
# One case a line, however long.
"""Defaults and validation of manifests, with the real API server as the judge of both."""

from typing import Any

import pytest
from msgspec.structs import replace

from nsxdp.k8s.decode import to_object
from nsxdp.k8s.defaults import parse_ip, problems, with_defaults
from nsxdp.k8s.objects import SERVICE_NAME_LABEL, EndpointSlice, Object, ObjectMeta, Service
from nsxdp.k8s.resources import RESOURCES
from nsxdp.lab.errors import LabError

HTTP = [{"port": 80}]
TWO = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]


def service(spec: dict[str, Any], name: str = "x", **rest: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec, **rest}


def endpoint_slice(labels: Any = None, name: str = "x", **fields: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "default"}
    meta["labels"] = {SERVICE_NAME_LABEL: "x"} if labels is None else labels
    made = {"addressType": "IPv4", "endpoints": [], "ports": [], **fields}
    kind = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice"}
    return {**kind, "metadata": meta, **made}


def checked(item: dict[str, Any]) -> tuple[Object, list[str]]:
    """The object with its defaults, and what is wrong with it: ``path: message``."""
    resource = RESOURCES[item["kind"]]
    obj = to_object(resource, item)
    if not isinstance(obj, Object):
        return Object(), [f"{obj.path}: {obj.message}"]
    obj = with_defaults(resource, obj)
    return obj, [f"{path}: {message}" for path, message in problems(resource, obj)]


GOOD = {
    "plain": service({"clusterIP": "10.96.3.1", "ports": HTTP}),
    "several ports": service({"clusterIP": "10.96.3.1", "ports": [*TWO, {"name": "u", "port": 80, "protocol": "UDP"}]}),
    "IPv6": service({"clusterIP": "fd00:96::31", "ipFamilies": ["IPv6"], "ports": HTTP}),
    "dual stack": service({"clusterIP": "10.96.3.1", "clusterIPs": ["10.96.3.1", "fd00:96::31"], "ports": HTTP, "ipFamilyPolicy": "PreferDualStack"}),
    "node port": service({"clusterIP": "10.96.3.1", "type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}),
    "load balancer": service({"clusterIP": "10.96.3.1", "type": "LoadBalancer", "allocateLoadBalancerNodePorts": False, "ports": HTTP, "loadBalancerSourceRanges": ["10.0.0.0/8"]}),
    "local": service({"clusterIP": "10.96.3.1", "type": "NodePort", "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local", "ports": [{"port": 80, "nodePort": 30081}]}),
    "affinity": service({"clusterIP": "10.96.3.1", "ports": HTTP, "sessionAffinity": "ClientIP"}),
    "affinity with timeout": service({"clusterIP": "10.96.3.1", "ports": HTTP, "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}}),
    "external IP": service({"clusterIP": "10.96.3.1", "ports": HTTP, "externalIPs": ["198.51.100.1"]}),
    "distribution": service({"clusterIP": "10.96.3.1", "ports": HTTP, "trafficDistribution": "PreferSameNode"}),
    "headless": service({"clusterIP": "None", "ports": HTTP}),
    "headless without ports": service({"clusterIP": "None"}),
    "external name": service({"type": "ExternalName", "externalName": "example.org"}),
    "slice": endpoint_slice(endpoints=[{"addresses": ["10.0.0.1"]}], ports=[{"port": 1}]),
    "slice of IPv6": endpoint_slice(addressType="IPv6", endpoints=[{"addresses": ["fd00::1"], "nodeName": "n", "zone": "z", "hints": {"forZones": [{"name": "z"}]}}], ports=[{"name": "u", "port": 1, "protocol": "UDP"}]),
    "slice of all ports": endpoint_slice(ports=[{}]),
    "slice of names": endpoint_slice(addressType="FQDN", endpoints=[{"addresses": ["example.org"]}]),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_defaults_are_the_api_server_s(apiserver, name):
    """What the API server stores is what a manifest becomes."""
    item = GOOD[name]
    mine, wrong = checked(item)
    assert not wrong
    apiserver.apply([item])
    resource = RESOURCES[item["kind"]]
    stored = to_object(resource, apiserver.request("GET", resource.path("default", "x")))
    assert isinstance(stored, Object)
    assert comparable(mine) == comparable(stored)


def comparable(obj: Object) -> Object:
    """`obj` without what only an API server gives, and with null lists as empty ones."""
    obj = replace(obj, metadata=ObjectMeta())
    if isinstance(obj, Service):
        if obj.spec.cluster_ip != "None":
            return obj
        # The families of a headless Service without a selector are those that the server has.
        return replace(obj, spec=replace(obj.spec, ip_family_policy=None, ip_families=()))
    assert isinstance(obj, EndpointSlice)
    return replace(obj, endpoints=obj.endpoints or (), ports=obj.ports or ())


BAD = {
    "no port": (service({"clusterIP": "10.96.3.1"}), "$.spec.ports: at least one port is needed"),
    "port 0": (service({"clusterIP": "10.96.3.1", "ports": [{"port": 0}]}), "$.spec.ports[0].port: must be between 1 and 65535"),
    "port too big": (service({"clusterIP": "10.96.3.1", "ports": [{"port": 65536}]}), "$.spec.ports[0].port: Expected `int` <= 65535"),
    "protocol": (service({"clusterIP": "10.96.3.1", "ports": [{"port": 1, "protocol": "tcp"}]}), "$.spec.ports[0].protocol: 'tcp' is none of TCP, UDP, SCTP"),
    "nameless": (service({"clusterIP": "10.96.3.1", "ports": [{"port": 1}, {"port": 2, "name": "b"}]}), "$.spec.ports[0].name: each of several ports needs a name"),
    "name twice": (service({"clusterIP": "10.96.3.1", "ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]}), "$.spec.ports[1].name: 'a' is already the name of ports[0]"),
    "port twice": (service({"clusterIP": "10.96.3.1", "ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]}), "$.spec.ports[1].port: 1/TCP is already in ports[0]"),
    "port name": (service({"clusterIP": "10.96.3.1", "ports": [{"port": 1, "name": "A_b"}]}), "$.spec.ports[0].name: 'A_b' is not a DNS label (lower case, digits, '-')"),
    "node port of a ClusterIP": (service({"clusterIP": "10.96.3.1", "ports": [{"port": 1, "nodePort": 30001}]}), "$.spec.ports[0].nodePort: a Service of type ClusterIP has no node ports"),
    "node port twice": (service({"clusterIP": "10.96.3.1", "type": "NodePort", "ports": [{"port": 1, "nodePort": 30001, "name": "a"}, {"port": 2, "nodePort": 30001, "name": "b"}]}), "$.spec.ports[1].nodePort: 30001 is already in ports[0]"),
    "address": (service({"clusterIP": "10.96.3.256", "ports": HTTP}), "$.spec.clusterIP: '10.96.3.256' is not an IP address"),
    "addresses disagree": (service({"clusterIP": "10.96.3.1", "clusterIPs": ["10.96.3.2"], "ports": HTTP}), "$.spec.clusterIPs[0]: '10.96.3.2' is not the clusterIP '10.96.3.1'"),
    "two of a family": (service({"clusterIPs": ["10.96.3.1", "10.96.3.2"], "ports": HTTP, "ipFamilyPolicy": "PreferDualStack"}), "$.spec.clusterIPs: at most one address of each family"),
    "wrong family": (service({"clusterIP": "10.96.3.1", "ipFamilies": ["IPv6"], "ports": HTTP}), "$.spec.ipFamilies: [IPv6] are not the families of 10.96.3.1"),
    "external IP": (service({"clusterIP": "10.96.3.1", "ports": HTTP, "externalIPs": ["127.0.0.1"]}), "$.spec.externalIPs[0]: 127.0.0.1: not an unspecified or loopback address"),
    "affinity": (service({"clusterIP": "10.96.3.1", "ports": HTTP, "sessionAffinity": "Cookie"}), "$.spec.sessionAffinity: 'Cookie' is none of None, ClientIP"),
    "affinity timeout": (service({"clusterIP": "10.96.3.1", "ports": HTTP, "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}}), "$.spec.sessionAffinityConfig.clientIP.timeoutSeconds: must be between 1 and 86400"),
    "external policy": (service({"clusterIP": "10.96.3.1", "ports": HTTP, "externalTrafficPolicy": "Local"}), "$.spec.externalTrafficPolicy: only for Services that are reachable from outside"),
    "internal policy": (service({"clusterIP": "10.96.3.1", "ports": HTTP, "internalTrafficPolicy": "Zone"}), "$.spec.internalTrafficPolicy: 'Zone' is none of Cluster, Local"),
    "distribution": (service({"clusterIP": "10.96.3.1", "ports": HTTP, "trafficDistribution": "x"}), "$.spec.trafficDistribution: 'x' is none of PreferClose, PreferSameZone, PreferSameNode"),
    "type": (service({"clusterIP": "10.96.3.1", "ports": HTTP, "type": "Cluster"}), "$.spec.type: 'Cluster' is none of ClusterIP, NodePort, LoadBalancer, ExternalName"),
    "source range": (service({"clusterIP": "10.96.3.1", "type": "LoadBalancer", "ports": HTTP, "loadBalancerSourceRanges": ["10.0.0.0/33"]}), "$.spec.loadBalancerSourceRanges[0]: '10.0.0.0/33' is not a prefix"),
    "name": (service({"clusterIP": "10.96.3.1", "ports": HTTP}, name="Web"), "$.metadata.name: 'Web' is not a DNS name (lower case, digits, '-')"),
    "slice type": (endpoint_slice(addressType="IPX"), "$.addressType: 'IPX' is none of IPv4, IPv6, FQDN"),
    "slice address": (endpoint_slice(endpoints=[{"addresses": ["fd00::1"]}]), "$.endpoints[0].addresses[0]: fd00::1 is not an IPv4 address"),
    "slice without address": (endpoint_slice(endpoints=[{"addresses": []}]), "$.endpoints[0].addresses: between 1 and 100 addresses are needed"),
    "slice loopback": (endpoint_slice(endpoints=[{"addresses": ["127.0.0.1"]}]), "$.endpoints[0].addresses[0]: 127.0.0.1: not an unspecified or loopback address"),
    "slice link-local": (endpoint_slice(endpoints=[{"addresses": ["169.254.0.1"]}]), "$.endpoints[0].addresses[0]: 169.254.0.1: not a link-local or multicast address"),
    "slice port name": (endpoint_slice(ports=[{"port": 1}, {"port": 2}]), "$.ports[1].name: '' is already the name of ports[0]"),
    "slice protocol": (endpoint_slice(ports=[{"port": 1, "protocol": "ICMP"}]), "$.ports[0].protocol: 'ICMP' is none of TCP, UDP, SCTP"),
    "slice with too many": (endpoint_slice(endpoints=[{"addresses": [f"10.0.{i // 250}.{i % 250}"]} for i in range(1001)]), "$.endpoints: 1001 endpoints are more than 1000"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_the_api_server_refuses_is_refused(apiserver, name):
    item, says = BAD[name]
    _, wrong = checked(item)
    assert wrong == [says]
    with pytest.raises(LabError, match=r": (400|422) "):
        apiserver.apply([item])


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (service({"ports": HTTP}), "$.spec.clusterIP: is needed"),
        (
            service({"clusterIP": "10.96.3.1", "type": "NodePort", "ports": HTTP}),
            "$.spec.ports[0].nodePort: is needed",
        ),
        (endpoint_slice(labels={}), "$.metadata.labels: the label kubernetes.io/service-name"),
    ],
)
def test_what_nobody_allocates_must_be_said(item, says):
    _, wrong = checked(item)
    assert len(wrong) == 1
    assert wrong[0].startswith(says)


def test_kp_11_leading_zeros_are_decimal():
    """KP-11: old objects have them; they are no octal numbers."""
    assert str(parse_ip("172.30.0.041")) == "172.30.0.41"
    obj, wrong = checked(service({"clusterIP": "172.30.0.041", "ports": HTTP}))
    assert not wrong
    assert isinstance(obj, Service)
    assert obj.spec.ip_families == ("IPv4",)
    for text in (
        "",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.1000",
        "1.2.3.٤",
        "fe80::1%eth0",
        "::ffff:1.2.3.999",
    ):
        assert parse_ip(text) is None


def test_dual_stack_is_both_families():
    """KP-12: the families follow from the addresses, in their order."""
    obj, _ = checked(service({"clusterIPs": ["fd00:96::31", "10.96.3.1"], "ports": HTTP}))
    assert isinstance(obj, Service)
    assert obj.spec.ip_families == ("IPv6", "IPv4")
    assert obj.spec.cluster_ip == "fd00:96::31"
