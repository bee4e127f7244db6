"""Bytes -> objects: the API's names, the corpus of kube-proxy's tests, and anything at all."""

import contextlib
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsxdp.k8s.decode import Decoder, to_object
from nsxdp.k8s.errors import GoneError, ObjectError, ProtocolError
from nsxdp.k8s.objects import Object, api_name
from nsxdp.k8s.resources import ENDPOINT_SLICES, PODS, RESOURCES, SERVICES

CORPUS = Path(__file__).parents[1] / "data" / "kube-proxy" / "nftables.json"


EMPTY = {
    SERVICES: {"spec": {}, "status": {"loadBalancer": {}}},
    ENDPOINT_SLICES: {"addressType": "", "endpoints": None, "ports": None},
    PODS: {"spec": {"containers": None}, "status": {}},
}
"""What an API server writes of an object that has nothing but metadata."""


@pytest.mark.parametrize(
    ("attribute", "name"),
    [
        ("cluster_ips", "clusterIPs"),
        ("cluster_ip", "clusterIP"),
        ("ip_families", "ipFamilies"),
        ("ip_mode", "ipMode"),
        ("ip", "ip"),
        ("external_ips", "externalIPs"),
        ("load_balancer_source_ranges", "loadBalancerSourceRanges"),
        ("client_ip", "clientIP"),
        ("pod_cidrs", "podCIDRs"),
        ("cidrs", "cidrs"),
        ("uid", "uid"),
        ("continue_", "continue"),
    ],
)
def test_names_are_the_api_s(attribute, name):
    assert api_name(attribute) == name


def test_every_object_of_kube_proxy_s_tests():
    """All Services and EndpointSlices of the corpus decode, and what was read is as written."""
    objects = json.loads(CORPUS.read_text())["objects"]
    assert len(objects) > 50
    for item in objects:
        kind = item.get("kind") or ("EndpointSlice" if "addressType" in item else "Service")
        obj = to_object(RESOURCES[kind], item)
        assert isinstance(obj, Object), obj
        back = msgspec.to_builtins(obj)
        for field in ("externalIPs", "clusterIPs", "sessionAffinity", "externalTrafficPolicy"):
            wanted = item.get("spec", {}).get(field)
            assert list(wanted or ()) == list(back.get("spec", {}).get(field) or ())
        for field in ("endpoints", "ports"):
            assert len(item.get(field) or ()) == len(back.get(field) or ())


def test_an_error_names_the_object_and_the_place():
    item = {"metadata": {"namespace": "default", "name": "web"}, "spec": {"ports": [{"port": "x"}]}}
    body = json.dumps({"metadata": {"resourceVersion": "1"}, "items": [item]}).encode()
    page = Decoder(SERVICES).page(body)
    assert page.items == ()
    assert page.errors == (
        ObjectError("Service", "default/web", "$.spec.ports[0].port", "Expected `int`, got `str`"),
    )
    assert (
        str(page.errors[0])
        == "Service default/web: $.spec.ports[0].port: Expected `int`, got `str`"
    )


@pytest.mark.parametrize("resource", EMPTY, ids=lambda resource: resource.plural)
def test_a_bookmark_is_its_metadata(resource):
    item = {"metadata": {"resourceVersion": "7", "creationTimestamp": None}, **EMPTY[resource]}
    line = json.dumps({"type": "BOOKMARK", "object": item}).encode()
    ((kind, obj),) = Decoder(resource).lines(line).events
    assert (kind, obj.metadata.resource_version) == ("BOOKMARK", "7")


def test_an_error_line_ends_the_events():
    good = b'{"type":"ADDED","object":{"metadata":{"name":"a"}}}\n'
    status = b'{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}\n'
    lines = Decoder(SERVICES).lines(good + status + good)
    assert [obj.name for _, obj in lines.events] == ["a"]
    assert isinstance(lines.error, GoneError)
    assert str(lines.error) == "too old"


def line(kind, **more):
    item = {"metadata": {"namespace": "default", "name": "web", "resourceVersion": "7"}, **more}
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


@pytest.mark.parametrize("spec", ["later", {"ports": [{"port": "x"}]}])
def test_what_is_deleted_need_not_be_understood(spec):
    bad = [line(kind, spec=spec) for kind in ("ADDED", "DELETED")]
    lines = Decoder(SERVICES).lines(b"".join([line("ADDED"), *bad]))
    assert [(kind, obj.key) for kind, obj in lines.events] == [
        ("ADDED", "default/web"),
        ("DELETED", "default/web"),
    ]
    _, gone = lines.events[1]
    assert type(gone) is SERVICES.type
    assert gone.metadata.resource_version == "7"
    assert [error.key for error in lines.errors] == ["default/web"]


@pytest.mark.parametrize("metadata", [None, {}, {"name": 5}])
def test_what_is_deleted_has_a_name(metadata):
    lines = Decoder(SERVICES).lines(line("DELETED", metadata=metadata, spec="later"))
    assert not lines.events
    assert len(lines.errors) == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["metadata", "name", "namespace", "spec", "ports", "port", "endpoints",
                         "addresses", "labels", "items", "type", "object", "code", "details"])
        | st.text(), inner),
    max_leaves=30,
)  # fmt: skip


@given(json_values)
def test_anything_as_an_object_is_an_object_or_an_error(value):
    for resource in (SERVICES, ENDPOINT_SLICES):
        got = to_object(resource, value)
        assert isinstance(got, ObjectError | Object)
        page = Decoder(resource).page(json.dumps({"items": [value]}).encode())
        assert len(page.items) + len(page.errors) == 1


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_anything_as_an_answer_is_an_answer_or_a_protocol_error(data):
    decoder = Decoder(SERVICES)
    for read in (decoder.page, decoder.lines):
        with contextlib.suppress(ProtocolError):
            read(data)
