"""Rounds: what a planner notes, counts, and does by itself as time goes by."""

from __future__ import annotations

import numpy as np
import pytest
from planned import NODE, Planned, endpoint_slice, objects, service

from nsxdp.k8s.objects import Node, ObjectMeta
from nsxdp.k8s.source import Op
from nsxdp.services.addresses import Family, format_address
from nsxdp.services.plan import basis_period
from nsxdp.services.planner import ServicePlanner


def sticky(name: str, seconds: int) -> str:
    affinity = f"clientIP: {{timeoutSeconds: {seconds}}}"
    return service(
        name,
        cluster_ips=f"10.96.0.{seconds % 250}",
        spec=f"sessionAffinity: ClientIP, sessionAffinityConfig: {{{affinity}}}",
    )


def test_round_without_changes_is_empty() -> None:
    planner = ServicePlanner(NODE)
    for _ in range(2):
        owned = planner.round(1.0).owned
        assert (len(owned.owners), owned.messages, len(owned.ends)) == (0, b"", 0)


def test_changes_gather_until_the_round() -> None:
    planned = Planned()
    planned.take(service() + endpoint_slice("10.244.0.5"))
    planned.take(endpoint_slice("10.244.0.5, 10.244.0.6"))
    planned.take(service("other", cluster_ips="10.96.0.11"))
    delta = planned.round()
    assert (delta.groups_added, delta.flows_added, delta.buckets_inserted) == (1, 4, 0)


def test_what_came_and_went_between_two_rounds_sends_nothing() -> None:
    planned = Planned()
    planned.take(service() + endpoint_slice("10.244.0.5"))
    planned.take(service(), Op.DELETE)
    assert planned.round().messages == 0
    assert planned.text() == ""


def test_take_says_whether_a_round_is_due() -> None:
    planner = ServicePlanner(NODE)
    (web,) = objects(service())
    assert planner.take(Op.UPSERT, web)
    assert planner.take(Op.DELETE, web)
    assert not planner.take(Op.UPSERT, Node(metadata=ObjectMeta(name=NODE)))


def test_kp26_zone_of_the_node_is_followed() -> None:
    planned = Planned(
        service()
        + endpoint_slice("10.244.0.5", name="a", more="hints: {forZones: [{name: a}]}")
        + endpoint_slice("10.244.0.6", name="b", more="hints: {forZones: [{name: b}]}")
    )
    assert planned.text().count("bucket_id") == 2
    planned.planner.tracker.set_zone("b")
    assert planned.round().messages == 1
    assert "bucket_id:B(10.244.0.6:8080)" in planned.text()


def test_kp23_ports_without_local_endpoints_are_counted() -> None:
    planned = Planned()

    def counts() -> list[int]:
        return [planned.planner.without_local_endpoints(f, "internal") for f in Family]

    local = service(spec="internalTrafficPolicy: Local", cluster_ips="10.96.0.10, fd00:96::10")
    planned.apply(local + endpoint_slice("10.244.1.5", more="nodeName: there"))
    # No endpoint at all is not the same: that is rejected.
    assert counts() == [1, 0]
    planned.apply(endpoint_slice("fd00:244::5", name="web-6", more="nodeName: there"))
    assert counts() == [1, 1]
    planned.apply(endpoint_slice("10.244.0.5", more=f"nodeName: {NODE}"))
    assert counts() == [0, 1]
    planned.delete(local)
    assert counts() == [0, 0]


def test_kp33_each_service_changes_its_hash_basis_in_its_own_time() -> None:
    planned = Planned(
        sticky("a", 20)
        + endpoint_slice("10.244.0.5", name="a-1", service="a")
        + sticky("b", 30)
        + endpoint_slice("10.244.0.5", name="b-1", service="b"),
        now=60.0,
    )
    seen = []
    for _ in range(4):
        due = planned.planner.next_rotation
        assert due is not None
        planned.now = due
        lines = planned.messages(planned.round())
        assert all(line.startswith("ADD_OR_MOD group_id=G(") for line in lines)
        seen.append((due, [line.split("G(")[1][0] for line in lines]))
    assert seen == [(80.0, ["a"]), (90.0, ["b"]), (100.0, ["a"]), (120.0, ["a", "b"])]


def test_kp33_late_round_comes_to_the_same_as_a_new_agent() -> None:
    everything = sticky("a", 20) + endpoint_slice("10.244.0.5", service="a")
    planned = Planned(everything, now=60.0)
    planned.now = 1000.5
    planned.round()
    assert planned.text() == Planned(everything, now=1000.5).text()
    assert planned.planner.next_rotation == 1020.0


def test_kp33_a_clock_that_is_set_back_comes_to_the_same_as_a_new_agent() -> None:
    everything = sticky("a", 20) + endpoint_slice("10.244.0.5", service="a")
    planned = Planned(everything, now=60.0)
    planned.now = 86_400.0
    assert planned.round().messages == 1
    planned.now = 65.0
    assert planned.round().messages == 1
    assert planned.text() == Planned(everything, now=65.0).text()
    assert planned.planner.next_rotation == 80.0


def test_kp33_timeouts_of_seconds_keep_their_basis_for_a_while() -> None:
    assert [basis_period(seconds) for seconds in (1, 10, 60, 86400)] == [10.0, 10.0, 60.0, 86400.0]
    planned = Planned(sticky("a", 1) + endpoint_slice("10.244.0.5", service="a"), now=60.0)
    assert planned.planner.next_rotation == 70.0


def test_timeout_that_changes_back_and_forth_rotates_once() -> None:
    planned = Planned(sticky("a", 20) + endpoint_slice("10.244.0.5", service="a"), now=60.0)
    for seconds in (40, 20, 40, 20):
        planned.apply(sticky("a", seconds))
    planned.now = 80.0
    assert planned.round().messages == 1
    assert planned.round().messages == 0


@pytest.mark.parametrize("family", Family)
def test_owner_is_the_group_id(family: Family) -> None:
    planned = Planned(service(cluster_ips="10.96.0.10, fd00:96::10"))
    assert planned.last is not None
    owners = planned.last.owned.owners
    assert planned.group_id(family=family) in owners.tolist()
    assert owners.dtype == np.uint64


def exposed(planned: Planned) -> tuple[set[str], set[str]]:
    """What came and what went in the last round, in words."""
    assert planned.last is not None
    addresses, ports = planned.last.exposed.addresses, planned.last.exposed.node_ports
    came, went = (
        {*map(format_address, ips), *(f"{family.label} {p} {n}" for family, p, n in node_ports)}
        for ips, node_ports in ((addresses.added, ports.added), (addresses.removed, ports.removed))
    )
    return came, went


def test_kp46_a_round_tells_what_external_addresses_came_and_went() -> None:
    planned = Planned(service(spec="externalIPs: [192.0.2.1, 192.0.2.2]"))
    assert exposed(planned) == ({"192.0.2.1", "192.0.2.2"}, set())
    planned.apply(endpoint_slice("10.244.0.5"))
    assert exposed(planned) == (set(), set())
    planned.apply(service(spec="externalIPs: [192.0.2.2, 192.0.2.3]"))
    assert exposed(planned) == ({"192.0.2.3"}, {"192.0.2.1"})
    planned.delete(service())
    assert exposed(planned) == (set(), {"192.0.2.2", "192.0.2.3"})


def test_kp36_a_round_tells_what_node_ports_came_and_went() -> None:
    dual = {"cluster_ips": "10.96.0.10, fd00:96::10", "spec": "type: NodePort"}
    planned = Planned(service(ports="{port: 80, nodePort: 30080}", **dual))
    assert exposed(planned) == ({"IPv4 TCP 30080", "IPv6 TCP 30080"}, set())
    planned.apply(service(ports="{port: 80, nodePort: 30080, protocol: UDP}", **dual))
    assert exposed(planned) == (
        {"IPv4 UDP 30080", "IPv6 UDP 30080"},
        {"IPv4 TCP 30080", "IPv6 TCP 30080"},
    )
    planned.apply(service(cluster_ips=dual["cluster_ips"]))
    assert exposed(planned) == (set(), {"IPv4 UDP 30080", "IPv6 UDP 30080"})


def test_what_is_sent_to_an_endpoint_itself_is_not_translated() -> None:
    """Open vSwitch before 3.3 ends of a translation to the same address, some time later."""
    at_80 = "{name: '', port: 80}"
    spec = "externalIPs: [192.0.2.1, 192.0.2.2]"
    planned = Planned(service(spec=spec) + endpoint_slice("10.244.0.5, 192.0.2.1", port=at_80))
    assert exposed(planned) == ({"192.0.2.2"}, set())
    assert "nw_dst=192.0.2.1," not in planned.text()
    assert "nat(dst=192.0.2.1:80)" in planned.text()
    planned.apply(endpoint_slice("10.244.0.5, 192.0.2.1", port="{name: '', port: 81}"))
    assert exposed(planned) == ({"192.0.2.1"}, set())
    assert "nw_dst=192.0.2.1," in planned.text()
    planned.apply(endpoint_slice("10.244.0.5, 10.96.0.10", port=at_80))
    assert "nat(dst=10.96.0.10:80)" not in planned.text()
    assert "nat(dst=10.244.0.5:80)" in planned.text()


def test_an_endpoint_at_its_own_node_port_serves_there_by_itself() -> None:
    own = endpoint_slice("192.0.2.1, 10.244.0.5", port="{name: '', port: 30080}")
    node_port = service(ports="{port: 80, nodePort: 30080}", spec="type: NodePort")
    planned = Planned(node_port + own)
    assert exposed(planned) == ({"IPv4 TCP 30080"}, set())
    planned.planner.set_node_addresses(frozenset({bytes([192, 0, 2, 1])}))
    planned.round()
    assert exposed(planned) == (set(), {"IPv4 TCP 30080"})
    assert "nat(dst=192.0.2.1:30080)" in planned.text()
    planned.planner.set_node_addresses(frozenset({bytes([192, 0, 2, 2])}))
    planned.round()
    assert exposed(planned) == ({"IPv4 TCP 30080"}, set())


def test_an_address_of_several_service_ports_stays_until_all_are_gone() -> None:
    two = "{name: a, port: 80}, {name: b, port: 81}"
    shared = "externalIPs: [192.0.2.1]"
    planned = Planned(service(ports=two, spec=shared) + service("other", spec=shared))
    assert exposed(planned) == ({"192.0.2.1"}, set())
    planned.apply(service(ports="{name: b, port: 81}", spec=shared))
    assert exposed(planned) == (set(), set())
    planned.delete(service("other"))
    assert exposed(planned) == (set(), set())
    planned.delete(service())
    assert exposed(planned) == (set(), {"192.0.2.1"})


def test_an_address_that_moves_to_another_service_neither_comes_nor_goes() -> None:
    shared = "externalIPs: [192.0.2.1]"
    planned = Planned(service(spec=shared))
    planned.take(service(), Op.DELETE)
    planned.apply(service("other", spec=shared))
    assert exposed(planned) == (set(), set())
