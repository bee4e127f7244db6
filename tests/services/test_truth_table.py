"""Where a packet to a Service goes: kube-proxy's packets, asked of the tracker and `choose` alone.

The frontends of served ports only, and only which endpoints: what else becomes of a packet
(masquerading, what has no Service) is the dataplane's, and asked of a dataplane.
"""

from ipaddress import ip_address, ip_network
from typing import Any

import msgspec
import pytest

from nsxdp.k8s import objects as k8s
from nsxdp.services.addresses import Family, parse_address
from nsxdp.services.endpoints import Choice, Traffic, Verdict, choose
from nsxdp.services.model import ServicePort
from nsxdp.services.tracker import ServiceTracker

_Json = dict[str, Any]
_VERDICTS = {Verdict.SERVE: "dnat", Verdict.REJECT: "reject", Verdict.DROP: "drop"}


def _family(config: _Json) -> Family:
    return Family.IPV6 if config["ipFamily"] == "IPv6" else Family.IPV4


def _apply(tracker: ServiceTracker, event: _Json, objects: list[_Json]) -> None:
    value = None if event["op"] == "delete" else objects[event["object"]]
    if event["kind"] == "Service":
        if value is None:
            tracker.delete_service(event["name"])
        else:
            tracker.upsert_service(msgspec.convert(value, k8s.Service))
    elif event["kind"] == "EndpointSlice":
        if value is None:
            tracker.delete_slice(event["name"])
        else:
            tracker.upsert_slice(msgspec.convert(value, k8s.EndpointSlice))
    else:
        raise AssertionError(event["kind"])


class _Frontends:
    """What the Services of 'tracker' have an address for."""

    def __init__(self, tracker: ServiceTracker, case: _Json, config: _Json) -> None:
        self._case = case
        self._config = config
        self._ports: dict[tuple[bytes, int, str], tuple[str, ServicePort, Choice]] = {}
        family = _family(config)
        node_addresses = config["nodePortAddresses"]["ips"]
        for name, port in tracker.ports(family).items():
            choice = choose(port, tracker.endpoints(name, family))
            addresses = [
                ("cluster", [port.cluster_ip], port.port),
                ("external", port.external_ips, port.port),
                ("load balancer", port.load_balancer_vips, port.port),
                ("node", [parse_address(text) for text in node_addresses], port.node_port),
            ]
            for kind, packed, number in addresses:
                for address in packed:
                    assert address
                    if number:
                        self._ports[address, number, port.protocol] = kind, port, choice

    def _from_inside(self, source: str) -> bool:
        """Whether 'source' is the node or one of its pods, as far as kube-proxy can tell."""
        detect = self._config["detectLocal"]
        is_pod = detect["mode"] == "cidr" and ip_address(source) in ip_network(detect["cidr"])
        return is_pod or source in self._case["localIPs"]

    def answer(self, packet: _Json) -> tuple[str, list[str]] | None:
        """(verdict, endpoints) for 'packet', None if no Service has its destination."""
        address = parse_address(packet["destIP"])
        assert address
        found = self._ports.get((address, packet["destPort"], packet["protocol"]))
        if found is None:
            return None
        kind, port, choice = found
        if kind == "load balancer" and port.source_ranges and choice.has_any:
            ranges = [ip_network((network, length)) for network, length in port.source_ranges]
            source = packet["sourceIP"]
            if source == packet["destIP"]:
                # KP-39: so the node's own packets to the load balancer's address may look.
                source = self._config["node"]["ip"]
            if not any(ip_address(source) in range_ for range_ in ranges):
                return "drop", []
        traffic: Traffic = "internal" if kind == "cluster" else "external"
        if traffic == "external" and self._from_inside(packet["sourceIP"]) and choice.has_any:
            return "dnat", choice.cluster.texts()
        endpoints, verdict = choice.for_traffic(port, traffic)
        return _VERDICTS[verdict], endpoints.texts()


def _state(table: _Json, case: _Json) -> ServiceTracker:
    """The tracker after all events of the same proxier up to 'case'."""
    events = []
    for other in table["steps" if "step" in case else "syncs"]:
        if other["proxier"] == case["proxier"]:
            events += other["events"]
        if other is case:
            break
    tracker = ServiceTracker(table["configs"][case["config"]]["node"]["name"])
    for event in events:
        _apply(tracker, event, table["objects"])
        tracker.changes()
    return tracker


@pytest.mark.table("nftables.json", "steps", "syncs")
def test_kp20_to_kp42_endpoints_of_packets(case: _Json, table: _Json) -> None:
    config = table["configs"][case["config"]]
    family = _family(config)
    tracker = _state(table, case)

    checks = tracker.health_checks(family)
    ports = {service: port for service, (port, _) in checks.items()}
    assert ports == case["observed"]["healthCheckNodePorts"]
    slices = [table["objects"][number]["metadata"] for number in case["endpointSlices"]]
    services = {f"{meta['namespace']}/{meta['labels'][k8s.SERVICE_NAME_LABEL]}" for meta in slices}
    ready = {service: tracker.local_ready_endpoints(service, family) for service in services}
    expected = case["observed"]["localReadyEndpoints"]
    assert {key: n for key, n in ready.items() if n} == expected

    frontends = _Frontends(tracker, case, config)
    for packet in case["packets"]:
        answer = frontends.answer(packet)
        wanted = packet["verdict"], sorted(packet["endpoints"])
        if answer is None:
            # Not a frontend: rejected or dropped if it is in a ServiceCIDR, else left alone.
            assert not wanted[1], packet
        else:
            assert (answer[0], sorted(answer[1])) == wanted, packet
