"""Lists as protobuf: the same objects as from JSON, and nothing but errors from other bytes."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsxdp.k8s.client import Client
from nsxdp.k8s.decode import Decoder, Page, read_status
from nsxdp.k8s.errors import ProtocolError
from nsxdp.k8s.objects import Service
from nsxdp.k8s.protobuf import WireError, is_protobuf, unwrap
from nsxdp.k8s.resources import (
    ENDPOINT_SLICES,
    NAMESPACES,
    NODES,
    PODS,
    SERVICE_CIDRS,
    SERVICES,
    Resource,
    Want,
)
from nsxdp.k8s.schemas import MESSAGES

META = {"namespace": "default", "labels": {"a": "b", "c": ""}, "annotations": {"note": "größer"}}

OBJECTS: dict[Resource, list[dict[str, Any]]] = {
    SERVICES: [
        {
            "metadata": {"name": "plain", "namespace": "default"},
            "spec": {"ports": [{"port": 80}]},
        },
        {
            "metadata": {**META, "name": "rich"},
            "spec": {
                "type": "LoadBalancer",
                "ports": [
                    {
                        "name": "a",
                        "port": 80,
                        "appProtocol": "kubernetes.io/h2c",
                    },
                    {"name": "b", "port": 65535, "protocol": "UDP", "targetPort": "named"},
                ],
                "externalIPs": ["192.0.2.1", "192.0.2.2"],
                "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 77}},
                "externalTrafficPolicy": "Local",
                "internalTrafficPolicy": "Local",
                "trafficDistribution": "PreferSameZone",
                "loadBalancerSourceRanges": ["198.51.100.0/24"],
                "loadBalancerClass": "example.com/ours",
                "publishNotReadyAddresses": True,
            },
        },
        {
            "metadata": {"name": "elsewhere", "namespace": "default"},
            "spec": {"type": "ExternalName", "externalName": "example.com"},
        },
    ],
    ENDPOINT_SLICES: [
        {
            "metadata": {**META, "name": "rich"},
            "addressType": "IPv6",
            "endpoints": [
                {
                    "addresses": ["2001:db8::1"],
                    "conditions": {"ready": False, "serving": True, "terminating": True},
                    "nodeName": "node-1",
                    "zone": "z1",
                    "hints": {"forZones": [{"name": "z1"}], "forNodes": [{"name": "node-1"}]},
                    "targetRef": {"kind": "Pod", "name": "one", "uid": "1"},
                },
                {"addresses": ["2001:db8::2"], "conditions": {}},
            ],
            "ports": [{"name": "", "port": 8080, "protocol": "TCP"}, {"name": "all"}],
        },
        {
            "metadata": {"name": "empty", "namespace": "default"},
            "addressType": "IPv4",
            "endpoints": [],
        },
    ],
    NODES: [
        {
            "metadata": {"name": "node-1", "labels": {"topology.kubernetes.io/zone": "z1"}},
            "spec": {
                "podCIDR": "10.244.1.0/24",
                "podCIDRs": ["10.244.1.0/24"],
                "taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}],
            },
        }
    ],
    PODS: [
        {
            "metadata": {**META, "name": "web"},
            "spec": {
                "nodeName": "node-1",
                "hostNetwork": True,
                "containers": [
                    {
                        "name": "web",
                        "image": "web",
                        "ports": [
                            {"name": "http", "containerPort": 8080, "hostPort": 8080},
                            {"name": "dns", "containerPort": 53, "hostPort": 53, "protocol": "UDP"},
                        ],
                    },
                    {"name": "other", "image": "other"},
                ],
                "initContainers": [{"name": "i", "image": "i", "restartPolicy": "Always"}],
            },
        }
    ],
    NAMESPACES: [{"metadata": {"name": "shop", "labels": {"team": "shop"}}}],
    SERVICE_CIDRS: [],  # the server has one of its own; from others it would take addresses, too
}

STATUS = {
    "nodes/node-1": {"addresses": [{"type": "InternalIP", "address": "192.0.2.9"}]},
    "namespaces/default/pods/web": {
        "phase": "Running",
        "podIP": "10.244.0.5",
        "podIPs": [{"ip": "10.244.0.5"}, {"ip": "fd00:244::5"}],
    },
    "namespaces/default/services/rich": {
        "loadBalancer": {
            "ingress": [{"ip": "203.0.113.9", "ipMode": "Proxy"}, {"hostname": "example.com"}]
        }
    },
}
MERGE = {"content_type": "application/merge-patch+json"}


async def test_the_objects_are_those_of_json(client: Client, inside: Any):
    for resource, objects in OBJECTS.items():
        for obj in objects:
            namespace = "default" if resource.namespaced else ""
            await client.create(resource, obj, namespace)
    for path, status in STATUS.items():
        inside.client.request("PATCH", f"/api/v1/{path}/status", {"status": status}, **MERGE)
    for resource in OBJECTS:
        body = await client.list_body(Want(resource), {"limit": "2"})
        assert is_protobuf(body)
        page = Decoder(resource).page(body)
        assert page.meta.resource_version
        assert page.items
        assert not page.errors
        for obj in page.items:
            # One object comes as JSON, and says its kind beside.
            same = await client.get(resource, obj.name, obj.namespace)
            for attribute in resource.type.__struct_fields__[2:]:
                assert getattr(obj, attribute) == getattr(same, attribute)
    rest = [item async for page in client.list(Want(SERVICES), page_size=1) for item in page.items]
    assert {"plain", "rich", "elsewhere"} <= {item.name for item in rest}


def text(number: int, value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def integer(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value & (1 << 64) - 1)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def envelope(message: bytes) -> bytes:
    return b"k8s\0" + text(1, text(1, "v1") + text(2, "ServiceList")) + text(2, message)


def service(name: str, *, port: int = 80) -> bytes:
    meta = text(1, name) + text(3, "default") + text(6, "7") + text(11, text(1, "k") + text(2, "v"))
    return text(1, meta) + text(
        2, text(1, text(2, "TCP") + integer(3, port)) + text(3, "10.96.0.1")
    )


def page(*items: bytes) -> Page:
    meta = text(2, "12") + text(3, "more") + integer(4, 3)
    body = envelope(text(1, meta) + b"".join(text(2, item) for item in items))
    return Decoder(SERVICES).page(body)


def test_a_list_says_where_it_goes_on():
    got = page(service("a"), service("b"))
    assert [item.key for item in got.items] == ["default/a", "default/b"]
    assert got.meta.resource_version == "12"
    assert got.meta.continue_ == "more"
    assert got.meta.remaining_item_count == 3


@pytest.mark.parametrize(
    ("bad", "path", "message"),
    [
        (service("b", port=65536), "$.spec.ports.port", "65536 is no port number"),
        (service("b", port=-1), "$.spec.ports.port", "-1 is no port number"),
        (service("b") + text(2, text(3, b"\xff")), "$.spec.clusterIP", "isn't UTF-8"),
        (service("b") + text(2, integer(3, 1)), "$.spec.clusterIP", "wire type 0"),
        (service("b") + b"\x12\x05abc", "$.spec", "5 bytes are said to follow, there are 3"),
        (service("b") + b"\x12", "$.spec", "cut off within a number"),
        (service("b") + b"\x79abc", "$", "cut off within a field"),
        (service("b") + b"\x7b", "$", "wire type 3"),
        (
            service("b") + text(1, text(3, "default") + text(8, integer(1, 1 << 62))),
            "$.metadata.cr",
            "time",
        ),
        (service("b") + b"\x08" + b"\xff" * 11, "$.metadata", "wire type 0"),
        (service("b") + b"\x78" + b"\xff" * 11, "$", "more than 64 bits"),
    ],
)
def test_an_object_that_cannot_be_read_is_left_out(bad, path, message):
    got = page(service("a"), bad, service("c"))
    assert [item.name for item in got.items] == ["a", "c"]
    (error,) = got.errors
    assert error.path.startswith(path)
    assert message in error.message


def test_it_is_named_if_its_name_can_be_read():
    (error,) = page(service("b", port=65536)).errors
    assert str(error) == "Service default/b: $.spec.ports.port: 65536 is no port number"


def test_an_object_without_a_name_is_left_out():
    got = page(service("a"), service(""))
    assert [item.name for item in got.items] == ["a"]
    assert "must have a name" in str(got.errors[0])


def test_fields_that_nobody_asked_for_are_skipped():
    fixed = varint(30 << 3 | 1) + bytes(8) + varint(31 << 3 | 5) + bytes(4)
    unknown = integer(15, 1 << 63) + fixed + text(200, b"\xff") + integer(1 << 28, 5)
    (item,) = page(unknown + service("a") + unknown).items
    assert item == MESSAGES[Service].read(service("a"))


def test_of_two_the_last_counts_and_lists_grow():
    spec = text(2, text(5, "192.0.2.1") + text(3, "10.96.0.2") + text(5, "192.0.2.2"))
    (item,) = page(service("a") + spec).items
    assert item.spec.cluster_ip == "10.96.0.2"
    assert item.spec.external_ips == ("192.0.2.1", "192.0.2.2")


def test_times_are_those_of_json():
    made = text(1, text(1, "a") + text(8, integer(1, 1_700_000_000) + integer(2, 999)))
    assert MESSAGES[Service].read(made).metadata.creation_timestamp == "2023-11-14T22:13:20Z"


def test_every_truncation_and_every_byte_changed():
    """A list, or an error: nothing else, and no crash."""
    body = envelope(text(1, text(2, "12")) + text(2, service("a")) + text(2, service("b")))
    decoder = Decoder(SERVICES)
    for size in range(4, len(body)):
        with contextlib.suppress(ProtocolError):
            decoder.page(body[:size])
    for i in range(4, len(body)):
        for octet in range(256):
            with contextlib.suppress(ProtocolError):
                decoder.page(body[:i] + bytes([octet]) + body[i + 1 :])


@given(st.binary(max_size=200))
def test_anything_at_all(data):
    with contextlib.suppress(ProtocolError):
        Decoder(SERVICES).page(b"k8s\0" + data)
    with contextlib.suppress(WireError):
        unwrap(data)
    for message in MESSAGES.values():
        with contextlib.suppress(WireError):
            message.read(data)


def test_a_refusal_is_read_in_either_form():
    status = text(3, "no way") + text(4, "Forbidden") + text(5, integer(5, 9)) + integer(6, 403)
    got = read_status(envelope(status))
    assert (got.message, got.reason, got.code) == ("no way", "Forbidden", 403)
    assert got.details is not None
    assert got.details.retry_after_seconds == 9
    assert read_status(b'{"message": "no way"}').message == "no way"
    assert read_status(b"k8s\0\xff") == read_status(b"<html>") == read_status(b"")
