"""The tracker against kube-proxy's trackers: the same operations, the same answers.

Where the two differ on purpose:

- A slice that says the same in another order is no change here.
- kube-proxy calls a Service updated if one of its slices was, though its endpoints may be the same
  as before (a slice that came and went again, a slice without endpoints); here that is no change.
- UDP endpoints count as changed if a UDP port's endpoints are, not if any port of a Service is that
  has a UDP port too. No case tells the two apart.
- What kube-proxy still knows of a Service that is gone (`servicesInCache`) has no equivalent;
  test_tracker.py looks for leaks.
"""

from datetime import datetime
from typing import Any

import msgspec
import pytest

from nsxdp.k8s import objects as k8s
from nsxdp.services.addresses import Family, format_address
from nsxdp.services.model import (
    LOCAL,
    READY,
    SERVING,
    TERMINATING,
    Endpoints,
    ServicePort,
    ServicePortName,
)
from nsxdp.services.serviceports import service_ports
from nsxdp.services.tracker import ServiceTracker

_Json = dict[str, Any]


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _key(value: _Json) -> str:
    return f"{value['metadata']['namespace']}/{value['metadata']['name']}"


def _in_order(slice_: _Json) -> _Json:
    """'slice_' with its endpoints and ports in an order that says nothing."""
    return slice_ | {key: sorted(slice_.get(key) or [], key=repr) for key in ("endpoints", "ports")}


def _port_json(port: ServicePort) -> _Json:
    return {
        "service": port.name.service,
        "port": port.name.port_name,
        "protocol": port.protocol,
        "clusterIP": format_address(port.cluster_ip),
        "servicePort": port.port,
        "nodePort": port.node_port,
        "externalIPs": [format_address(address) for address in port.external_ips],
        "loadBalancerVIPs": [format_address(address) for address in port.load_balancer_vips],
        "loadBalancerSourceRanges": [
            f"{format_address(network)}/{length}" for network, length in port.source_ranges
        ],
        "stickyMaxAgeSeconds": port.affinity_timeout or 0,
        "internalPolicyLocal": port.internal_local,
        "externalPolicyLocal": port.external_local,
        "healthCheckNodePort": port.health_check_node_port,
        "externallyAccessible": port.externally_accessible,
        "usesClusterEndpoints": port.uses_cluster_endpoints,
        "usesLocalEndpoints": port.uses_local_endpoints,
    }


def _endpoints_json(endpoints: Endpoints) -> list[_Json]:
    found = [
        {
            "endpoint": text,
            "local": bool(flags & LOCAL),
            "ready": bool(flags & READY),
            "serving": bool(flags & SERVING),
            "terminating": bool(flags & TERMINATING),
        }
        for text, flags in zip(endpoints.texts(), endpoints.flags.tolist(), strict=True)
    ]
    return sorted(found, key=lambda endpoint: str(endpoint["endpoint"]))


def _in_name_order(ports: list[_Json]) -> list[_Json]:
    return sorted(ports, key=lambda port: (port["service"], port["port"], port["protocol"]))


def _check_ports(ports: list[ServicePort], expected: list[_Json]) -> None:
    for port in expected:
        sticky = port["sessionAffinity"] == "ClientIP"
        assert sticky == bool(port["stickyMaxAgeSeconds"]), "the table itself is inconsistent"
    wanted = [
        {key: value for key, value in port.items() if key != "sessionAffinity"} for port in expected
    ]
    found = [_port_json(port) for port in ports]
    assert _in_name_order(found) == _in_name_order(wanted)


class _Session:
    """Runs the operations of a session, one method for each, and checks the answers."""

    def __init__(self, config: _Json) -> None:
        self.config = config
        label = config.get("ipFamily") or config.get("addressType") or "IPv4"
        self.family = Family.IPV6 if label == "IPv6" else Family.IPV4
        start = config.get("trackerStartTime")
        self.tracker = ServiceTracker(
            config.get("nodeName", ""), started_at=_seconds(start) if start else 0.0
        )
        self.names: set[ServicePortName] = set()
        self.slices: dict[str, _Json] = {}
        self.applied: list[_Json] = []

    def check_updated(
        self, found: set[str], updated: set[str], before: list[_Json], after: list[_Json]
    ) -> None:
        """'found' is what differs between 'before' and 'after', and nothing but 'updated'."""

        def by_service(ports: list[_Json]) -> dict[str, list[_Json]]:
            return {
                service: [port for port in ports if port["service"] == service]
                for service in {port["service"] for port in ports}
            }

        old, new = by_service(before), by_service(after)
        differ = {service for service in old | new if old.get(service) != new.get(service)}
        assert differ <= found <= updated

    def endpoints(self, service: str | None = None) -> list[_Json]:
        """All endpoints of the tracker (of 'service'), as the tables write them."""
        found = []
        for name in sorted(self.names):
            endpoints = self.tracker.endpoints(name, self.family)
            if endpoints and service in (None, name.service):
                found.append(
                    {
                        "service": name.service,
                        "port": name.port_name,
                        "protocol": name.protocol,
                        "endpoints": _endpoints_json(endpoints),
                    }
                )
        return _in_name_order(found)

    def put(self, slice_: _Json, *, remove: bool) -> bool:
        key = _key(slice_)
        if remove:
            self.slices.pop(key, None)
            return self.tracker.delete_slice(key)
        self.slices[key] = slice_
        service = slice_["metadata"]["labels"][k8s.SERVICE_NAME_LABEL]
        for port in slice_.get("ports") or []:
            self.names.add(
                ServicePortName(
                    slice_["metadata"]["namespace"],
                    service,
                    port.get("name", ""),
                    port.get("protocol", "TCP"),
                )
            )
        if "addressType" not in self.config and not slice_["addressType"]:
            # These tests go around what looks at it.
            slice_ = slice_ | {"addressType": self.family.label}
        return self.tracker.upsert_slice(msgspec.convert(slice_, k8s.EndpointSlice))

    def service_update(self, op: _Json) -> None:
        if op["current"] is None:
            self.tracker.delete_service(_key(op["previous"]))
        else:
            self.tracker.upsert_service(msgspec.convert(op["current"], k8s.Service))
        assert (self.tracker.pending_services > 0) == op["anyPending"]
        assert self.tracker.pending_services == len(op["pendingServices"])

    def services_apply(self, op: _Json) -> None:
        assert self.tracker.changes().services == set(op["updatedServices"])
        _check_ports(list(self.tracker.ports(self.family).values()), op["servicePorts"])
        checks = self.tracker.health_checks(self.family)
        ports = {service: port for service, (port, _) in checks.items()}
        assert ports == op["healthCheckNodePorts"]

    def service_to_ports(self, op: _Json) -> None:
        if op["service"] is None:
            assert op["servicePorts"] == []
            return
        service = msgspec.convert(op["service"], k8s.Service)
        _check_ports(list(service_ports(service, self.family)), op["servicePorts"])

    def slice_update(self, op: _Json) -> None:
        assert self.put(op["slice"], remove=op["remove"]) == op["changed"]

    def endpoints_apply(self, op: _Json) -> None:
        changes = self.tracker.changes()
        current = _in_name_order(op["endpoints"])
        self.check_updated(changes.services, set(op["updatedServices"]), self.applied, current)
        assert changes.udp_endpoints == op["conntrackCleanupRequired"]
        assert changes.trigger_times == {
            (service, self.family): [_seconds(text) for text in texts]
            for service, texts in op["lastChangeTriggerTimes"].items()
        }
        assert self.endpoints() == current
        services = {name.service for name in self.names}
        ready = {
            service: self.tracker.local_ready_endpoints(service, self.family)
            for service in services
        }
        assert {key: n for key, n in ready.items() if n} == op["localReadyEndpoints"]
        self.applied = current

    def checkout(self, op: _Json) -> None:
        found = self.tracker.changes().services
        now = self.endpoints()
        self.check_updated(
            found, {change["service"] for change in op["changes"]}, self.applied, now
        )
        for change in op["changes"]:
            for ports, expected in ((self.applied, "previous"), (now, "current")):
                of_service = [port for port in ports if port["service"] == change["service"]]
                assert of_service == _in_name_order(change[expected])
        self.applied = now

    def mark_applied(self, op: _Json) -> None:  # noqa: ARG002
        self.tracker.changes()
        self.applied = self.endpoints()

    def would_change(self, op: _Json) -> None:
        key = _key(op["slice"])
        before = self.slices[key]
        reordered = before != op["slice"] and _in_order(before) == _in_order(op["slice"])
        expected = op["changed"] and not reordered
        assert self.put(op["slice"], remove=op["remove"]) == expected
        self.put(before, remove=False)
        assert not self.tracker.changes().services

    def service_endpoints(self, op: _Json) -> None:
        assert self.endpoints(op["service"]) == _in_name_order(op["endpoints"])

    def local_ready_ips(self, op: _Json) -> None:
        tracker = ServiceTracker("this-node")
        for number, port in enumerate(op["endpoints"]):
            namespace, _, service = port["service"].partition("/")
            endpoints = [
                {
                    "addresses": [endpoint["endpoint"].rpartition(":")[0]],
                    "conditions": {
                        key: endpoint[key] for key in ("ready", "serving", "terminating")
                    },
                    "nodeName": "this-node" if endpoint["local"] else "another-node",
                }
                for endpoint in port["endpoints"]
            ]
            slice_ = {
                "metadata": {
                    "namespace": namespace,
                    "name": f"slice-{number}",
                    "labels": {k8s.SERVICE_NAME_LABEL: service},
                },
                "addressType": "IPv4",
                "endpoints": endpoints,
                "ports": [{"name": port["port"], "protocol": port["protocol"], "port": 80}],
            }
            tracker.upsert_slice(msgspec.convert(slice_, k8s.EndpointSlice))
        for port in op["endpoints"]:
            ready = tracker.local_ready_endpoints(port["service"], Family.IPV4)
            assert ready == len(op["localReadyEndpointIPs"].get(port["service"], []))


@pytest.mark.table("trackers.json", "sessions", "proxierSessions")
def test_kp2_to_kp12_kp42_kp44_kp68_trackers(case: _Json) -> None:
    session = _Session(case["config"])
    for op in case["ops"]:
        getattr(session, op["op"])(op)
