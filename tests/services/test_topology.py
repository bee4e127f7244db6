"""Which endpoints serve a Service port: kube-proxy's table, through the tracker and `choose`."""

from typing import Any

import msgspec
import pytest

from nsxdp.k8s import objects as k8s
from nsxdp.services.addresses import Family, parse_address
from nsxdp.services.endpoints import Choice, Verdict, choose
from nsxdp.services.model import Endpoints, ServicePort, ServicePortName
from nsxdp.services.tracker import ServiceTracker

_NAME = ServicePortName("ns", "svc", "p", "TCP")


def _endpoints_of(case: dict[str, Any]) -> Endpoints:
    """The case's endpoints, as the tracker gives them: one slice for each port number."""
    node = case["node"]["name"] or "this-node"
    tracker = ServiceTracker(node, case["node"]["labels"].get(k8s.ZONE_LABEL, ""))
    slices: dict[int, list[dict[str, Any]]] = {}
    for endpoint in case["endpoints"]:
        address, _, port = endpoint["endpoint"].rpartition(":")
        slices.setdefault(int(port), []).append(
            {
                "addresses": [address],
                "conditions": {key: endpoint[key] for key in ("ready", "serving", "terminating")},
                "nodeName": node if endpoint["local"] else "another-node",
                "hints": {
                    "forZones": [{"name": zone} for zone in endpoint.get("zoneHints", [])],
                    "forNodes": [{"name": name} for name in endpoint.get("nodeHints", [])],
                },
            }
        )
    for port, endpoints in slices.items():
        source = {
            "metadata": {
                "namespace": "ns",
                "name": f"svc-{port}",
                "labels": {k8s.SERVICE_NAME_LABEL: "svc"},
            },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{"name": "p", "protocol": "TCP", "port": port}],
        }
        tracker.upsert_slice(msgspec.convert(source, k8s.EndpointSlice))
    return tracker.endpoints(_NAME, Family.IPV4)


def _port(**fields: Any) -> ServicePort:
    cluster_ip = parse_address("10.96.0.1")
    assert cluster_ip
    return ServicePort(_NAME, cluster_ip, 80, **fields)


@pytest.mark.table("topology.json", "cases")
def test_kp20_to_kp27_endpoints_that_serve(case: dict[str, Any]) -> None:
    if not case["nodeHints"] and any("nodeHints" in endpoint for endpoint in case["endpoints"]):
        # Recorded with node hints switched off, which isn't possible any more: without them, the
        # case says the same of zone hints.
        case = case | {
            "endpoints": [
                {key: value for key, value in endpoint.items() if key != "nodeHints"}
                for endpoint in case["endpoints"]
            ]
        }
    flags = case["servicePort"]
    port = _port(
        node_port=flags["nodePort"],
        internal_local=flags["internalPolicyLocal"],
        external_local=flags["externalPolicyLocal"],
    )
    assert port.externally_accessible == flags["externallyAccessible"]
    assert port.uses_cluster_endpoints == flags["usesClusterEndpoints"]
    assert port.uses_local_endpoints == flags["usesLocalEndpoints"]

    choice = choose(port, _endpoints_of(case))

    expected = case["expected"]
    assert choice.cluster.texts() == sorted(expected["cluster"])
    assert choice.local.texts() == sorted(expected["local"])
    assert choice.reachable.texts() == sorted(expected["all"])
    assert choice.has_any == expected["hasAnyEndpoints"]


def _choice(port: ServicePort, *endpoints: tuple[str, bool, bool]) -> Choice:
    """Choose among endpoints (address, local, ready)."""
    return choose(
        port,
        _endpoints_of(
            {
                "node": {"name": "", "labels": {}},
                "endpoints": [
                    {
                        "endpoint": f"{address}:80",
                        "local": local,
                        "ready": ready,
                        "serving": ready,
                        "terminating": False,
                    }
                    for address, local, ready in endpoints
                ],
            }
        ),
    )


def test_kp25_without_endpoints_anywhere_traffic_is_rejected() -> None:
    for port in (_port(), _port(internal_local=True), _port(node_port=1, external_local=True)):
        for choice in (_choice(port), _choice(port, ("10.0.0.1", True, False))):
            assert choice.for_traffic(port, "internal")[1] is Verdict.REJECT
            assert choice.for_traffic(port, "external")[1] is Verdict.REJECT


def test_kp23_internal_policy_local_without_local_endpoints_drops() -> None:
    port = _port(internal_local=True)
    endpoints, verdict = _choice(port, ("10.0.0.1", False, True)).for_traffic(port, "internal")
    assert verdict is Verdict.DROP
    assert not endpoints


def test_kp24_external_policy_local_without_local_endpoints_drops_only_external_traffic() -> None:
    port = _port(node_port=30000, external_local=True)
    choice = _choice(port, ("10.0.0.1", False, True))
    assert choice.for_traffic(port, "external")[1] is Verdict.DROP
    endpoints, verdict = choice.for_traffic(port, "internal")
    assert verdict is Verdict.SERVE
    assert endpoints.texts() == ["10.0.0.1:80"]


def test_kp26_the_zone_of_the_node_can_change() -> None:
    tracker = ServiceTracker("node", "zone-a")
    source = {
        "metadata": {
            "namespace": "ns",
            "name": "svc-1",
            "labels": {k8s.SERVICE_NAME_LABEL: "svc"},
        },
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["10.0.0.1"], "hints": {"forZones": [{"name": "zone-a"}]}},
            {"addresses": ["10.0.0.2"], "hints": {"forZones": [{"name": "zone-b"}]}},
        ],
        "ports": [{"name": "p", "protocol": "TCP", "port": 80}],
    }
    service = {
        "metadata": {"namespace": "ns", "name": "svc"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "p", "port": 80}]},
    }
    tracker.upsert_service(msgspec.convert(service, k8s.Service))
    tracker.upsert_slice(msgspec.convert(source, k8s.EndpointSlice))
    tracker.changes()
    port = tracker.ports(Family.IPV4)[_NAME]
    assert choose(port, tracker.endpoints(_NAME, Family.IPV4)).cluster.texts() == ["10.0.0.1:80"]

    tracker.set_zone("zone-b")

    assert tracker.changes().ports[Family.IPV4] == {_NAME}
    assert choose(port, tracker.endpoints(_NAME, Family.IPV4)).cluster.texts() == ["10.0.0.2:80"]
    tracker.set_zone("zone-b")
    assert not tracker.changes()
