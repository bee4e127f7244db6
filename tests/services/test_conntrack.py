"""Which tracked connections are to be forgotten (KP-50 to KP-52)."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planned import Planned, endpoint_slice, service

from nsxdp.k8s import objects as k8s
from nsxdp.k8s.source import Op
from nsxdp.services.addresses import parse_address
from nsxdp.services.conntrack import Stale, parse_entries
from nsxdp.services.planner import ServicePlanner

UDP = "{port: 53, protocol: UDP}"
PORT = "{name: '', protocol: UDP, port: 1053}"


def slice_(addresses: str, **changes: str) -> str:
    return endpoint_slice(addresses, **{"port": PORT, **changes})


def stale(planned: Planned) -> list[str]:
    """What the last round wants forgotten: ``virtual address -> endpoint``."""
    assert planned.last is not None
    return [
        f"{'*' if entry.vip is None else ip_address(entry.vip)}:{entry.port} -> "
        f"{ip_address(entry.endpoint)}:{entry.endpoint_port}"
        for entry in planned.last.stale
    ]


@pytest.fixture
def planned() -> Planned:
    return Planned(service(ports=UDP) + slice_("10.244.0.5, 10.244.0.6, 10.244.0.7"))


def test_first_endpoints_leave_nothing_to_forget(planned: Planned) -> None:
    assert stale(planned) == []


def test_kp50_endpoint_that_went_is_forgotten(planned: Planned) -> None:
    planned.apply(slice_("10.244.0.5, 10.244.0.7"))
    assert stale(planned) == ["10.96.0.10:53 -> 10.244.0.6:1053"]
    planned.apply(slice_("10.244.0.7"))
    assert stale(planned) == ["10.96.0.10:53 -> 10.244.0.5:1053"]


def test_new_endpoints_leave_nothing_to_forget(planned: Planned) -> None:
    planned.apply(slice_("10.244.0.5, 10.244.0.6, 10.244.0.7, 10.244.0.8"))
    assert stale(planned) == []


def test_kp50_endpoint_that_serves_no_more_is_forgotten(planned: Planned) -> None:
    planned.apply(
        slice_("10.244.0.5, 10.244.0.6")
        + slice_(
            "10.244.0.7",
            name="web-2",
            more="conditions: {ready: false, serving: false, terminating: true}",
        )
    )
    assert stale(planned) == ["10.96.0.10:53 -> 10.244.0.7:1053"]


def test_kp50_endpoint_that_terminates_but_serves_is_kept(planned: Planned) -> None:
    planned.apply(
        slice_("10.244.0.5, 10.244.0.6")
        + slice_(
            "10.244.0.7",
            name="web-2",
            more="conditions: {ready: false, serving: true, terminating: true}",
        )
    )
    assert stale(planned) == []


def test_kp51_policy_and_topology_break_no_connection(planned: Planned) -> None:
    planned.apply(service(ports=UDP, spec="internalTrafficPolicy: Local"))
    assert stale(planned) == []
    planned.apply(service(ports=UDP, spec="sessionAffinity: ClientIP"))
    assert stale(planned) == []


def test_kp50_without_any_endpoint_nothing_is_forgotten_until_there_is_one(
    planned: Planned,
) -> None:
    planned.apply(slice_(""))
    assert stale(planned) == []
    planned.apply(slice_("10.244.0.6"))
    assert stale(planned) == [
        "10.96.0.10:53 -> 10.244.0.5:1053",
        "10.96.0.10:53 -> 10.244.0.7:1053",
    ]


def test_kp50_each_family_for_itself() -> None:
    planned = Planned(
        service(ports=UDP, cluster_ips="10.96.0.10, fd00:96::a")
        + slice_("10.244.0.5")
        + slice_("fd00:244::5, fd00:244::6", name="web-6")
    )
    planned.apply(slice_("fd00:244::6", name="web-6"))
    assert stale(planned) == ["fd00:96::a:53 -> fd00:244::5:1053"]


def test_kp52_tcp_is_left_alone() -> None:
    planned = Planned(service() + endpoint_slice("10.244.0.5, 10.244.0.6"))
    planned.apply(endpoint_slice("10.244.0.5"))
    assert stale(planned) == []


def test_kp50_every_address_of_the_service_is_looked_at() -> None:
    spec = "type: NodePort, externalIPs: [192.0.2.7]"
    ports = "{port: 53, protocol: UDP, nodePort: 30053}"
    planned = Planned(service(ports=ports, spec=spec) + slice_("10.244.0.5, 10.244.0.6"))
    planned.apply(slice_("10.244.0.6"))
    assert stale(planned) == [
        "10.96.0.10:53 -> 10.244.0.5:1053",
        "192.0.2.7:53 -> 10.244.0.5:1053",
        "*:30053 -> 10.244.0.5:1053",
    ]


AGAIN = service("again", ports=UDP) + slice_("10.244.0.7, 10.244.0.8", name="a-1", service="again")
"""Another Service with the same cluster IP, which shares one endpoint with the first."""

WENT = ["10.96.0.10:53 -> 10.244.0.5:1053", "10.96.0.10:53 -> 10.244.0.6:1053"]


def test_kp50_service_that_is_made_anew_with_other_endpoints(planned: Planned) -> None:
    planned.delete(service(ports=UDP))
    planned.delete(slice_(""))
    assert stale(planned) == []
    planned.apply(service("again", ports=UDP))
    assert stale(planned) == []
    planned.apply(AGAIN)
    assert stale(planned) == WENT
    planned.apply(AGAIN)
    assert stale(planned) == []


@pytest.mark.parametrize("name", ["again", "zzz"])
def test_kp50_service_that_takes_the_place_of_another_at_once(planned: Planned, name: str) -> None:
    """Whichever of the two is planned first."""
    planned.take(service(ports=UDP), Op.DELETE)
    planned.take(AGAIN.replace(" again", f" {name}"))
    planned.round()
    assert stale(planned) == WENT


def test_kp50_address_and_node_port_that_go_to_another_service(planned: Planned) -> None:
    ports = "{port: 53, protocol: UDP, nodePort: 30053}"
    spec = "type: NodePort, externalIPs: [192.0.2.7]"
    planned.apply(service(ports=ports, spec=spec))
    assert stale(planned) == []
    planned.apply(service(ports=UDP))
    assert stale(planned) == []
    other = slice_("10.244.0.5", name="other-1", service="other")
    planned.apply(service("other", ports=ports, spec=spec, cluster_ips="10.96.0.11") + other)
    assert stale(planned) == [
        f"{frontend} -> 10.244.0.{n}:1053"
        for frontend in ("192.0.2.7:53", "*:30053")
        for n in (6, 7)
    ]


def test_kp50_two_services_at_one_address_leave_each_other_alone(planned: Planned) -> None:
    planned.apply(AGAIN)
    assert stale(planned) == []
    planned.delete(service("again", ports=UDP))
    assert stale(planned) == ["10.96.0.10:53 -> 10.244.0.8:1053"]


def test_kp50_a_node_port_of_both_families_at_the_start() -> None:
    """One number, two frontends."""
    planned = Planned(
        service(
            ports="{port: 53, protocol: UDP, nodePort: 30053}",
            spec="type: NodePort",
            cluster_ips="10.96.0.10, fd00:96::a",
        )
        + slice_("10.244.0.5")
        + slice_("fd00:244::5", name="web-6")
    )
    entries = [
        Stale(parse_address(node), 30053, parse_address(endpoint) or b"", 1053)
        for node in ("192.0.2.1", "2001:db8::1")
        for endpoint in ("10.244.0.5", "10.244.0.6", "fd00:244::5", "fd00:244::6")
        if (":" in node) == (":" in endpoint)
    ]
    assert planned.planner.stale_entries(entries) == entries[1::2]


@pytest.mark.table("conntrack.json", "cleanup")
def test_kp50_entries_that_kube_proxy_deletes(case: dict[str, Any]) -> None:
    planner = ServicePlanner("here")
    for kind, key in ((k8s.Service, "services"), (k8s.EndpointSlice, "endpointSlices")):
        for value in case[key]:
            planner.take(Op.UPSERT, msgspec.convert(value, kind))
    planner.round(0.0)
    entries = [
        Stale(
            parse_address(entry["origDst"]),
            entry["origDstPort"],
            parse_address(entry["replySrc"]) or b"",
            entry["replySrcPort"],
        )
        for entry in case["entries"]
        if entry["protocol"] == "UDP"  # all others are left alone
    ]
    delete = [entry["delete"] for entry in case["entries"] if entry["protocol"] == "UDP"]
    stale = planner.stale_entries(entries)
    assert stale == [entry for entry, gone in zip(entries, delete, strict=True) if gone]
    assert not any(e["delete"] for e in case["entries"] if e["protocol"] != "UDP")


DUMP = """\
udp,orig=(src=10.244.0.9,dst=10.96.0.10,sport=4000,dport=53),reply=(src=10.244.0.5,dst=10.244.0.9,sport=1053,dport=4000),zone=65312,mark=16
udp,orig=(src=10.244.0.9,dst=10.96.0.10,sport=4001,dport=53),reply=(src=10.244.0.9,dst=10.244.0.9,sport=1053,dport=4001),zone=65312,mark=16
udp,orig=(src=fd00::9,dst=fd00:96::a,sport=4002,dport=53),reply=(src=fd00:244::5,dst=fd00::9,sport=1053,dport=4002),zone=65312,mark=16
udp,orig=(src=10.244.0.9,dst=10.96.0.77,sport=4003,dport=53),reply=(src=10.244.0.1,dst=10.244.0.9,sport=1053,dport=4003),zone=65312
udp,orig=(src=10.244.0.9,dst=10.96.0.10,sport=4004,dport=54),reply=(src=10.244.0.1,dst=10.244.0.9,sport=1053,dport=4004),zone=65312
tcp,orig=(src=10.244.0.9,dst=10.96.0.10,sport=4005,dport=53),reply=(src=10.244.0.1,dst=10.244.0.9,sport=1053,dport=4005),zone=65312,protoinfo=(state=ESTABLISHED)
icmp,orig=(src=10.244.0.9,dst=10.244.0.5,id=1,type=8,code=0),reply=(src=10.244.0.5,dst=10.244.0.9,id=1,type=0,code=0)
"""


def test_kp50_connections_that_were_there_before_the_agent(planned: Planned) -> None:
    """A new agent looks at all of conntrack: only what its Services serve, and UDP, is touched."""
    entries = list(parse_entries(DUMP))
    assert len(entries) == 5
    stale = planned.planner.stale_entries(entries)
    assert [(entry.vip, entry.port, entry.endpoint) for entry in stale] == [
        (bytes([10, 96, 0, 10]), 53, bytes([10, 244, 0, 9]))
    ]


def test_kp50_service_without_endpoints_keeps_what_a_new_agent_finds() -> None:
    planned = Planned(service(ports=UDP))
    assert planned.planner.stale_entries(parse_entries(DUMP)) == []


@given(st.text())
def test_text_that_is_no_dump_is_nothing(text: str) -> None:
    assert list(parse_entries(text)) == []


def test_removed_service_leaves_its_connections(planned: Planned) -> None:
    planned.delete(service(ports=UDP))
    assert stale(planned) == []
    planned.apply(service(ports=UDP))
    planned.apply(slice_("10.244.0.5"))
    assert stale(planned) == [
        "10.96.0.10:53 -> 10.244.0.6:1053",
        "10.96.0.10:53 -> 10.244.0.7:1053",
    ]
