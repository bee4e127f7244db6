"""What the tracker says of Services and EndpointSlices, one requirement after the other."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsxdp.k8s import objects as k8s
from nsxdp.services.addresses import Family
from nsxdp.services.endpoints import choose
from nsxdp.services.model import READY, SERVING, Endpoints, ServicePort, ServicePortName
from nsxdp.services.tracker import ServiceTracker
from tests.calls import Calls

_NODE = "this-node"
_V4, _V6 = Family.IPV4, Family.IPV6
_Key = tuple[ServicePortName, Family]


def _service(name: str = "web", **spec: Any) -> k8s.Service:
    labels = spec.pop("labels", {})
    spec = {"clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": 80}]} | spec
    value = {"metadata": {"namespace": "ns", "name": name, "labels": labels}, "spec": spec}
    return msgspec.convert(value, k8s.Service)


def _slice(name: str = "web-1", service: str = "web", **fields: Any) -> k8s.EndpointSlice:
    labels = {k8s.SERVICE_NAME_LABEL: service} | fields.pop("labels", {})
    metadata = {"namespace": "ns", "name": name, "labels": labels}
    metadata |= {"annotations": fields.pop("annotations", {})}
    value = {
        "metadata": metadata,
        "addressType": "IPv4",
        "endpoints": [_endpoint("10.0.0.1")],
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
    }
    return msgspec.convert(value | fields, k8s.EndpointSlice)


def _endpoint(*addresses: str, node: str = "another-node", **conditions: bool) -> dict[str, Any]:
    return {"addresses": addresses, "nodeName": node, "conditions": conditions}


def _name(port: str = "http", protocol: str = "TCP", service: str = "web") -> ServicePortName:
    return ServicePortName("ns", service, port, protocol)


def _tracker(*objects: k8s.Service | k8s.EndpointSlice, **options: Any) -> ServiceTracker:
    tracker = ServiceTracker(_NODE, **options)
    for value in objects:
        if isinstance(value, k8s.Service):
            tracker.upsert_service(value)
        else:
            tracker.upsert_slice(value)
    return tracker


def _texts(tracker: ServiceTracker, family: Family = _V4, **name: str) -> list[str]:
    return tracker.endpoints(_name(**name), family).texts()


def test_kp1_a_service_and_its_endpoints() -> None:
    tracker = _tracker(_service(), _slice())
    changes = tracker.changes()
    assert changes.ports == {_V4: {_name()}, _V6: set()}
    assert changes.services == {"ns/web"}
    assert _texts(tracker) == ["10.0.0.1:8080"]
    assert str(tracker.ports(_V4)[_name()]) == "10.96.0.1:80/TCP of ns/web"
    assert not tracker.changes()


@pytest.mark.parametrize(
    "spec", [{"clusterIP": "None"}, {"clusterIP": ""}, {"type": "ExternalName"}]
)
def test_kp2_headless_and_external_services_are_not_served(spec: dict[str, Any]) -> None:
    tracker = _tracker(_service())
    tracker.changes()
    tracker.upsert_service(_service(**spec))
    assert tracker.changes().ports[_V4] == {_name()}
    assert not tracker.ports(_V4)


def test_kp3_services_of_another_proxy_are_not_served() -> None:
    theirs = _service("theirs", labels={k8s.PROXY_NAME_LABEL: "theirs"})
    slice_ = _slice("theirs-1", "theirs", labels={k8s.PROXY_NAME_LABEL: "theirs"})
    ours = _tracker(_service(), _slice(), theirs, slice_)
    assert set(ours.ports(_V4)) == {_name()}
    other = _tracker(_service(), _slice(), theirs, slice_, proxy_name="theirs")
    assert set(other.ports(_V4)) == {_name(service="theirs")}
    assert _texts(other, service="theirs") == ["10.0.0.1:8080"]
    # The label can be set later.
    ours.changes()
    ours.upsert_service(_service(labels={k8s.PROXY_NAME_LABEL: "theirs"}))
    assert ours.changes().ports[_V4] == {_name()}
    assert not ours.ports(_V4)


@pytest.mark.parametrize("proxy_name", [None, "theirs"])
@pytest.mark.parametrize("labels", [{}, {k8s.PROXY_NAME_LABEL: "theirs"}])
def test_kp3_it_is_the_service_that_has_the_label(
    labels: dict[str, str], proxy_name: str | None
) -> None:
    """Slices have the Service's labels a while later, and those that people write perhaps never."""
    of_service = {} if proxy_name is None else {k8s.PROXY_NAME_LABEL: proxy_name}
    tracker = _tracker(_service(labels=of_service), _slice(labels=labels), proxy_name=proxy_name)
    assert _texts(tracker) == ["10.0.0.1:8080"]


def test_kp4_slices_of_headless_services_are_ignored() -> None:
    tracker = _tracker(_service(), _slice(labels={k8s.HEADLESS_LABEL: ""}))
    assert not _texts(tracker)


def test_kp5_slices_of_names_or_of_no_service_are_ignored() -> None:
    tracker = _tracker(
        _service(),
        _slice("fqdn", addressType="FQDN", endpoints=[_endpoint("example.com")]),
        _slice("orphan", labels={k8s.SERVICE_NAME_LABEL: ""}),
    )
    assert not _texts(tracker)
    (problem,) = tracker.changes().problems
    assert problem == "EndpointSlice ns/orphan has no label kubernetes.io/service-name"


@pytest.mark.parametrize(
    "port", [{"port": 80}, {"name": "http"}, {"name": "http", "port": 0}, {"name": "x", "port": 1}]
)
def test_kp6_ports_without_name_or_number_are_ignored(port: dict[str, Any]) -> None:
    tracker = _tracker(_service(), _slice(ports=[port]))
    assert not _texts(tracker)
    assert len(tracker.changes().problems) == (port.get("name") != "x")


def test_kp6_only_the_first_address_counts() -> None:
    tracker = _tracker(
        _service(), _slice(endpoints=[_endpoint("10.0.0.2", "10.0.0.3"), _endpoint()])
    )
    assert _texts(tracker) == ["10.0.0.2:8080"]


def test_kp6_addresses_that_are_none_are_left_out_and_reported() -> None:
    bad = [_endpoint("10.0.0.256"), _endpoint("2001:db8::1"), _endpoint("10.0.0.2")]
    tracker = _tracker(_service(), _slice(endpoints=bad))
    assert _texts(tracker) == ["10.0.0.2:8080"]
    assert tracker.changes().problems == [
        "EndpointSlice ns/web-1: '10.0.0.256' is no IPv4 address",
        "EndpointSlice ns/web-1: '2001:db8::1' is no IPv4 address",
    ]


def test_services_that_no_api_server_would_have_let_in_are_reported() -> None:
    ports = [{"name": "http", "port": 80}, {"name": "icmp", "protocol": "ICMP", "port": 1}]
    tracker = _tracker(_service(ports=ports), _service("v6", ipFamilies=["IPv6"]))
    assert set(tracker.ports(_V4)) == {_name()}
    assert tracker.changes().problems == [
        "Service ns/web: 'ICMP' is no protocol of a Service",
        "Service ns/v6: no cluster IP of IPv6 in '10.96.0.1'",
    ]
    assert not _tracker(_service(clusterIP="None"), _service(ports=[])).changes().problems


def test_problems_are_bounded() -> None:
    tracker = _tracker(*[_slice(endpoints=[_endpoint("x"), _endpoint("y")]) for _ in range(200)])
    assert len(tracker.changes().problems) == 100
    assert not tracker.changes().problems


def test_kp7_an_endpoint_in_two_slices_counts_once() -> None:
    unready = _endpoint("10.0.0.1", ready=False)
    tracker = _tracker(_service(), _slice("a"), _slice("b", endpoints=[unready]))
    endpoints = tracker.endpoints(_name(), _V4)
    assert endpoints.texts() == ["10.0.0.1:8080"]
    assert len(choose(tracker.ports(_V4)[_name()], endpoints).cluster) == 1
    tracker.delete_slice("ns/a")
    assert not choose(tracker.ports(_V4)[_name()], tracker.endpoints(_name(), _V4)).cluster


@pytest.mark.parametrize("family", list(Family))
def test_kp7_a_new_pod_with_the_address_of_a_terminating_one_wins(family: Family) -> None:
    address = "10.0.0.1" if family is _V4 else "2001:db8::1"
    old = _endpoint(address, ready=False, serving=True, terminating=True)
    new = _endpoint(address, ready=True, node=_NODE)
    for endpoints in ([old, new], [new, old], [old, new, old]):
        together = [_slice(addressType=family.label, endpoints=endpoints)]
        apart = [
            _slice(f"s{number}", addressType=family.label, endpoints=[endpoint])
            for number, endpoint in enumerate(endpoints)
        ]
        for slices in (together, apart):
            tracker = _tracker(*slices)
            found = tracker.endpoints(_name(), family)
            assert found.address_texts() == [address]
            assert found == _tracker(_slice(addressType=family.label, endpoints=[new])).endpoints(
                _name(), family
            )


def test_kp8_a_service_of_many_slices_has_all_its_endpoints() -> None:
    slices = [
        _slice(f"web-{n}", endpoints=[_endpoint(f"10.0.{n}.{host}") for host in range(100)])
        for n in range(12)
    ]
    assert len(_tracker(*slices).endpoints(_name(), _V4)) == 1200


def test_kp9_what_conditions_do_not_say() -> None:
    tracker = _tracker(_service(), _slice(endpoints=[_endpoint("10.0.0.1")]))
    endpoints = tracker.endpoints(_name(), _V4)
    assert set(endpoints.packed_flags) == {READY | SERVING}
    assert choose(tracker.ports(_V4)[_name()], endpoints).cluster == endpoints


def test_kp11_addresses_with_leading_zeros_are_the_same_addresses() -> None:
    tracker = _tracker(_service(clusterIP="10.096.0.01"), _slice())
    tracker.changes()
    tracker.upsert_service(_service(clusterIP="10.96.0.1"))
    tracker.upsert_slice(_slice(endpoints=[_endpoint("10.0.00.001")]))
    assert not tracker.changes()


def test_kp12_a_dual_stack_service_has_a_port_in_each_family() -> None:
    service = _service(
        clusterIPs=["10.96.0.1", "fd00::1"],
        ipFamilies=["IPv4", "IPv6"],
        externalIPs=["192.0.2.1", "2001:db8::1"],
    )
    v6 = _slice("v6", addressType="IPv6", endpoints=[_endpoint("fd01::1")])
    tracker = _tracker(service, _slice(), v6)
    assert tracker.changes().ports == {_V4: {_name()}, _V6: {_name()}}
    assert _texts(tracker, _V4) == ["10.0.0.1:8080"]
    assert _texts(tracker, _V6) == ["[fd01::1]:8080"]
    assert tracker.ports(_V6)[_name()].family is _V6
    assert [len(ip) for ip in tracker.ports(_V6)[_name()].external_ips] == [16]
    # A change in one family is none in the other.
    tracker.upsert_slice(_slice("v6", addressType="IPv6", endpoints=[_endpoint("fd01::2")]))
    assert tracker.changes().ports == {_V4: set(), _V6: {_name()}}
    # The second family can be taken away.
    tracker.upsert_service(_service(clusterIPs=["10.96.0.1"], ipFamilies=["IPv4"]))
    assert tracker.changes().ports == {_V4: {_name()}, _V6: {_name()}}
    assert not tracker.ports(_V6)


def test_kp33_affinity_without_a_timeout_has_the_default_one() -> None:
    tracker = _tracker(_service(sessionAffinity="ClientIP"))
    assert tracker.ports(_V4)[_name()].affinity_timeout == 10800


def test_kp42_health_checks_count_ready_local_addresses_once() -> None:
    ports = [{"name": name, "port": port} for name, port in (("http", 80), ("https", 443))]
    endpoints = [
        _endpoint("10.0.0.1", node=_NODE),
        _endpoint("10.0.0.2", node=_NODE, ready=False, serving=True, terminating=True),
        _endpoint("10.0.0.3"),
    ]
    service: dict[str, Any] = {
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "ports": ports,
    }
    tracker = _tracker(
        _service(**service, healthCheckNodePort=32000), _slice(ports=ports, endpoints=endpoints)
    )
    assert tracker.health_checks(_V4) == {"ns/web": (32000, 1)}
    tracker.upsert_service(_service(**service))
    assert tracker.health_checks(_V4) == {}


def test_kp44_one_number_for_two_protocols_is_two_ports() -> None:
    ports = [
        {"name": "dns", "protocol": "UDP", "port": 53},
        {"name": "dns", "protocol": "TCP", "port": 53},
    ]
    tracker = _tracker(_service(ports=ports), _slice(ports=ports))
    both = {_name("dns", "UDP"), _name("dns", "TCP")}
    assert tracker.changes().ports[_V4] == both
    tracker.upsert_slice(_slice(ports=[ports[0], ports[1] | {"port": 54}]))
    assert tracker.changes().ports[_V4] == {_name("dns", "TCP")}
    assert _texts(tracker, port="dns", protocol="TCP") == ["10.0.0.1:54"]
    assert _texts(tracker, port="dns", protocol="UDP") == ["10.0.0.1:53"]


def test_kp44_a_port_that_is_renamed_goes_and_comes_at_once() -> None:
    tracker = _tracker(_service(), _slice())
    tracker.changes()
    tracker.upsert_service(_service(ports=[{"name": "www", "port": 80}]))
    tracker.upsert_slice(_slice(ports=[{"name": "www", "port": 8080}]))
    assert tracker.changes().ports[_V4] == {_name("http"), _name("www")}
    assert set(tracker.ports(_V4)) == {_name("www")}


def test_kp50_udp_endpoints_are_told_apart() -> None:
    ports = [{"name": "dns", "protocol": "UDP", "port": 53}]
    tracker = _tracker(_service(ports=ports), _slice(ports=ports))
    assert tracker.changes().udp_endpoints
    tracker.upsert_service(_service(ports=[*ports, {"name": "http", "port": 80}]))
    tracker.upsert_slice(_slice("web-2"))
    assert not tracker.changes().udp_endpoints
    tracker.delete_slice("ns/web-1")
    assert tracker.changes().udp_endpoints


def test_kp68_trigger_times() -> None:
    def at(text: str, address: str) -> k8s.EndpointSlice:
        annotations = {k8s.TRIGGER_TIME_ANNOTATION: text}
        return _slice(annotations=annotations, endpoints=[_endpoint(address)])

    tracker = _tracker(started_at=1000.0)
    tracker.upsert_slice(at("1970-01-01T00:16:39Z", "10.0.0.1"))
    assert tracker.changes().trigger_times == {}, "from before the start"
    tracker.upsert_slice(at("1970-01-01T00:16:41.5Z", "10.0.0.1"))
    assert tracker.changes().trigger_times == {}, "nothing changed"
    tracker.upsert_slice(at("1970-01-01T00:16:41.500000001Z", "10.0.0.2"))
    tracker.upsert_slice(at("1970-01-01T00:16:42Z", "10.0.0.3"))
    assert tracker.changes().trigger_times == {("ns/web", _V4): [1001.5, 1002.0]}
    tracker.upsert_slice(at("yesterday", "10.0.0.4"))
    changes = tracker.changes()
    assert changes.trigger_times == {}
    assert changes.problems == [
        f"annotation {k8s.TRIGGER_TIME_ANNOTATION} of a slice of ns/web: 'yesterday'"
    ]
    tracker.upsert_slice(at("1970-01-01T00:16:43Z", "10.0.0.5"))
    tracker.delete_slice("ns/web-1")
    assert tracker.changes().trigger_times == {}, "deletions have no time"


def test_kp68_trigger_times_are_bounded() -> None:
    tracker = _tracker()
    for second in range(300):
        time = f"2026-01-01T00:{second // 60:02}:{second % 60:02}Z"
        tracker.upsert_slice(
            _slice(
                annotations={k8s.TRIGGER_TIME_ANNOTATION: time},
                endpoints=[_endpoint(f"10.0.0.{second % 2}")],
            )
        )
    tracker.upsert_slice(_slice(endpoints=[_endpoint("10.0.0.9")]))
    assert len(tracker.changes().trigger_times["ns/web", _V4]) == 100


def test_what_is_undone_is_no_change() -> None:
    tracker = _tracker(_service(), _slice())
    tracker.changes()
    tracker.upsert_service(_service(clusterIP="10.96.0.2"))
    tracker.upsert_service(_service("new"))
    tracker.upsert_slice(_slice(endpoints=[]))
    tracker.upsert_slice(_slice("web-2"))
    assert (tracker.pending_services, tracker.pending_slices) == (2, 2)
    tracker.upsert_service(_service())
    tracker.delete_service("ns/new")
    tracker.upsert_slice(_slice())
    tracker.delete_slice("ns/web-2")
    assert (tracker.pending_services, tracker.pending_slices) == (0, 0)
    assert not tracker.changes().services


def test_order_is_no_change_and_endpoints_are_sorted() -> None:
    endpoints = [_endpoint(f"10.0.0.{host}", ready=host != 9) for host in (9, 100, 20)]
    tracker = _tracker(_service(), _slice(endpoints=endpoints))
    tracker.changes()
    assert not tracker.upsert_slice(_slice(endpoints=endpoints[::-1]))
    assert not tracker.changes()
    assert _texts(tracker) == ["10.0.0.9:8080", "10.0.0.20:8080", "10.0.0.100:8080"]


def test_a_slice_can_go_to_another_service() -> None:
    tracker = _tracker(_service(), _service("other"), _slice())
    tracker.changes()
    tracker.upsert_slice(_slice(service="other"))
    assert tracker.changes().ports[_V4] == {_name(), _name(service="other")}
    assert not _texts(tracker)
    assert _texts(tracker, service="other") == ["10.0.0.1:8080"]


def test_slices_may_come_before_their_service() -> None:
    tracker = _tracker(_slice())
    changes = tracker.changes()
    assert not changes
    assert changes.services == {"ns/web"}
    tracker.upsert_service(_service())
    assert tracker.changes().ports[_V4] == {_name()}
    assert _texts(tracker) == ["10.0.0.1:8080"]


def _calls_of_one_change(n_services: int) -> int:
    """Calls of functions from the news of one endpoint more to the endpoints that serve."""
    services = [f"web-{number}" for number in range(n_services)]
    tracker = _tracker(
        *[_service(name) for name in services],
        *[_slice(name, name) for name in services],
    )
    tracker.changes()
    news = _slice("web-5", "web-5", endpoints=[_endpoint("10.0.0.1"), _endpoint("10.0.0.2")])
    with Calls() as counted:
        tracker.upsert_slice(news)
        changes = tracker.changes()
        for name in changes.ports[_V4]:
            choose(tracker.ports(_V4)[name], tracker.endpoints(name, _V4))
    assert changes.services == {"ns/web-5"}
    assert changes.ports == {_V4: {_name(service="web-5")}, _V6: set()}
    return counted.number


def test_kp73_one_endpoint_costs_the_same_however_many_services_there_are() -> None:
    assert _calls_of_one_change(10) == _calls_of_one_change(1000)


# The incremental answer is the answer.

_addresses = st.integers(0, 5).map("10.0.0.{}".format)
_v6_addresses = st.integers(0, 5).map("fd00::{}".format)
_optional = st.sampled_from([None, False, True])


def _some_endpoints(addresses: st.SearchStrategy[str]) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(
        st.fixed_dictionaries(
            {
                "addresses": st.lists(addresses, max_size=2),
                "conditions": st.fixed_dictionaries(
                    {"ready": _optional, "serving": _optional, "terminating": _optional}
                ),
                "nodeName": st.sampled_from([None, _NODE, "another-node"]),
                "hints": st.none()
                | st.fixed_dictionaries(
                    {
                        "forZones": st.lists(
                            st.sampled_from([{"name": "zone-a"}, {"name": "zone-b"}]), max_size=2
                        ),
                        "forNodes": st.lists(
                            st.sampled_from([{"name": _NODE}, {"name": "x"}]), max_size=2
                        ),
                    }
                ),
            }
        ),
        max_size=4,
    )


_some_ports = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["", "http"]),
            "protocol": st.sampled_from(["TCP", "UDP"]),
            "port": st.integers(1, 3),
        }
    ),
    max_size=3,
    unique_by=lambda port: (port["name"], port["protocol"]),
)
_names = st.sampled_from(["a", "b", "c"])
_some_service = st.builds(
    lambda name, ports, families, policy: _service(
        name,
        ports=ports,
        ipFamilies=families,
        clusterIP="10.96.0.1",
        clusterIPs=["10.96.0.1" if family == "IPv4" else "fd00::1" for family in families],
        internalTrafficPolicy=policy,
    ),
    _names,
    _some_ports,
    st.sampled_from([["IPv4"], ["IPv6"], ["IPv4", "IPv6"], ["IPv6", "IPv4"]]),
    st.sampled_from(["Cluster", "Local"]),
)
_some_slice = st.builds(
    lambda name, service, rows, ports: _slice(
        name, service, addressType=rows[0], endpoints=rows[1], ports=ports
    ),
    _names,
    _names,
    st.tuples(st.just("IPv4"), _some_endpoints(_addresses))
    | st.tuples(st.just("IPv6"), _some_endpoints(_v6_addresses)),
    _some_ports,
)
_some_steps = st.lists(
    st.tuples(st.just("service"), _some_service)
    | st.tuples(st.just("slice"), _some_slice)
    | st.tuples(st.just("no service"), _names)
    | st.tuples(st.just("no slice"), _names)
    | st.tuples(st.just("zone"), st.sampled_from(["zone-a", "zone-b"]))
    | st.tuples(st.just("look"), st.none()),
    max_size=30,
)


def _all(tracker: ServiceTracker) -> dict[_Key, tuple[ServicePort, Endpoints]]:
    return {
        (name, family): (port, tracker.endpoints(name, family))
        for family in Family
        for name, port in tracker.ports(family).items()
    }


@settings(max_examples=300)
@given(_some_steps)
def test_the_incremental_answer_is_that_of_a_tracker_from_scratch(
    steps: list[tuple[str, Any]],
) -> None:
    tracker = ServiceTracker(_NODE, "zone-a")
    known: dict[_Key, tuple[ServicePort, Endpoints]] = {}
    objects: dict[tuple[str, str], k8s.Service | k8s.EndpointSlice] = {}
    zone = "zone-a"

    def look() -> None:
        for family, names in tracker.changes().ports.items():
            for name in names:
                port = tracker.ports(family).get(name)
                if port is None:
                    known.pop((name, family))
                else:
                    known[name, family] = port, tracker.endpoints(name, family)

    for what, value in steps:
        if what == "service":
            tracker.upsert_service(value)
            objects["service", value.key] = value
        elif what == "slice":
            tracker.upsert_slice(value)
            objects["slice", value.key] = value
        elif what == "no service":
            tracker.delete_service(f"ns/{value}")
            objects.pop(("service", f"ns/{value}"), None)
        elif what == "no slice":
            tracker.delete_slice(f"ns/{value}")
            objects.pop(("slice", f"ns/{value}"), None)
        elif what == "zone":
            tracker.set_zone(value)
            zone = value
        else:
            look()
    look()
    assert not tracker.changes()
    scratch = _tracker(*reversed(objects.values()), zone=zone)
    assert known == _all(scratch)
    assert known == _all(tracker)
    for port, endpoints in known.values():
        rows = list(zip(map(bytes, endpoints.addresses), endpoints.ports.tolist(), strict=True))
        assert rows == sorted(set(rows))
        chosen = choose(port, endpoints)
        assert set(chosen.cluster.texts()) | set(chosen.local.texts()) == set(
            chosen.reachable.texts()
        )
        assert chosen.has_any >= bool(chosen.reachable)

    for _, key in objects:
        tracker.delete_service(key)
        tracker.delete_slice(key)
    tracker.changes()
    fresh = ServiceTracker(_NODE, zone)
    assert vars(tracker) == vars(fresh), "something of what is gone is still held"
