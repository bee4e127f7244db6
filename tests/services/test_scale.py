"""What a change costs doesn't depend on how much there is: calls are counted, messages pinned."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pytest
from msgspec import convert

from bench.cluster import endpoint_slice, service
from nsxdp.k8s import objects as k8s
from nsxdp.k8s.source import Op
from nsxdp.openflow import Delta, DesiredSet
from nsxdp.pipeline.registers import COOKIE_PREFIX, GROUP_FIRST, GROUP_LAST
from nsxdp.services.planner import Exposed, ServicePlanner
from tests.calls import Calls

SMALL, LARGE = 1_000, 50_000
ENDPOINTS = 2

Event = tuple[Op, k8s.Object]


def plain(number: int, *more_ports: dict[str, Any]) -> k8s.Service:
    made = service(number)
    made["spec"]["ports"] += more_ports
    return convert(made, k8s.Service)


def balanced(number: int, shared: int = 1) -> k8s.Service:
    """A Service with a node port, and a load balancer at an address of its own and a shared one."""
    made = service(number)
    made["spec"] |= {"type": "LoadBalancer", "externalIPs": [f"192.0.2.{shared}"]}
    made["spec"]["ports"][0] |= {"port": 1000 + number // 10, "nodePort": 20_000 + number // 10}
    own = f"172.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    made["status"] = {"loadBalancer": {"ingress": [{"ip": own}]}}
    return convert(made, k8s.Service)


def slice_of(number: int, endpoints: int = ENDPOINTS) -> k8s.EndpointSlice:
    return convert(endpoint_slice(number, endpoints), k8s.EndpointSlice)


class Done(NamedTuple):
    """How many calls a change cost, and what came of it, in words."""

    calls: int
    result: str


class Cluster:
    """A planner of that many Services, of which every tenth has a load balancer."""

    def __init__(self, services: int) -> None:
        self.planner = ServicePlanner("node-1")
        self.desired = DesiredSet(COOKIE_PREFIX, GROUP_FIRST, GROUP_LAST)
        for number in range(services):
            self.planner.take(Op.UPSERT, plain(number) if number % 10 else balanced(number))
            self.planner.take(Op.UPSERT, slice_of(number))
        self._commit()

    def do(self, events: Iterable[Event]) -> Done:
        """Let 'events' happen, and count the calls of Python's and C's functions."""
        events = list(events)
        with Calls() as counted:
            for op, obj in events:
                self.planner.take(op, obj)
            done = self._commit()
        return Done(counted.number, words(*done))

    def _commit(self) -> tuple[Delta, Exposed]:
        planned = self.planner.round(1000.0)
        owned = planned.owned
        return self.desired.replace(owned.owners, owned.messages, owned.ends), planned.exposed


def words(delta: Delta, exposed: Exposed) -> str:
    """Messages of each kind, and what came to the node's routes and node ports, and went."""
    kinds = ("messages", "flows_added", "flows_changed", "flows_deleted")
    kinds += ("groups_added", "groups_changed", "groups_deleted")
    kinds += ("buckets_inserted", "buckets_removed")
    counts = {kind: getattr(delta, kind) for kind in kinds}
    for kind in ("addresses", "node_ports"):
        added, removed = getattr(exposed, kind)
        counts |= {f"{kind}_added": len(added), f"{kind}_removed": len(removed)}
    return ", ".join(f"{n} {kind}" for kind, n in counts.items() if n).replace("_", " ")


@pytest.fixture(scope="module")
def clusters() -> tuple[Cluster, Cluster]:
    return Cluster(SMALL), Cluster(LARGE)


def endpoint_more(number: int) -> list[Event]:
    return [(Op.UPSERT, slice_of(number, ENDPOINTS + 1))]


def port_more(number: int) -> list[Event]:
    port = {"name": "more", "port": 81, "protocol": "TCP"}
    return [(Op.UPSERT, plain(number, port))]


def new_service(number: int) -> list[Event]:
    number += LARGE
    return [(Op.UPSERT, plain(number)), (Op.UPSERT, slice_of(number))]


def service_gone(number: int) -> list[Event]:
    return [(Op.DELETE, plain(number)), (Op.DELETE, slice_of(number))]


def balancer_gone(number: int) -> list[Event]:
    return service_gone(number * 10)


def balancer_moved(number: int) -> list[Event]:
    return [(Op.UPSERT, balanced(number * 10, number))]


def not_balanced(number: int) -> list[Event]:
    return [(Op.UPSERT, plain(number * 10))]


CASES: list[tuple[Callable[[int], list[Event]], str]] = [
    (endpoint_more, "1 messages, 1 groups changed"),
    (port_more, "1 messages, 1 flows added"),
    (new_service, "3 messages, 2 flows added, 1 groups added"),
    (service_gone, "3 messages, 2 flows deleted, 1 groups deleted"),
    (
        balancer_gone,
        "6 messages, 5 flows deleted, 1 groups deleted, 1 addresses removed, 1 node ports removed",
    ),
    (balancer_moved, "2 messages, 1 flows added, 1 flows deleted, 1 addresses added"),
    (
        not_balanced,
        "5 messages, 1 flows added, 4 flows deleted, 1 addresses removed, 1 node ports removed",
    ),
]


@pytest.mark.parametrize(
    ("number", "change", "result"),
    [pytest.param(11 + 2 * n, *case, id=case[0].__name__) for n, case in enumerate(CASES)],
)
def test_kp73_a_change_costs_the_same_among_many(
    clusters: tuple[Cluster, Cluster],
    number: int,
    change: Callable[[int], list[Event]],
    result: str,
) -> None:
    # Templates are made when they are first needed.
    for cluster in clusters:
        cluster.do(change(number))
    small, large = (cluster.do(change(number + 1)) for cluster in clusters)
    assert small.result == large.result == result
    assert small.calls == large.calls
