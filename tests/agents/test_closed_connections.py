"""A closed connection's port is nobody else's as long as its server may hold it (TIME_WAIT)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from proxying import Agent, Clock, Manifests, endpoints, service, until

from nsxdp.lab import Node, Pod
from nsxdp.pipeline.registers import MASQUERADE_IPV4, SNAT_ZONE

VIP = "10.96.0.10"
PORT = 20_000
"""All clients come from it."""

MINUTE = 60
"""For which Linux holds what it closed."""


@pytest.fixture
def node(timeless: Node) -> Node:
    return timeless


def test_masqueraded_clients_share_no_port_within_a_minute(
    node: Node, manifests: Manifests, start: Callable[..., Agent]
) -> None:
    def client(name: str) -> Pod:
        pod = node.add_pod(name)
        pod.sysctl("net.ipv4.ip_local_port_range", f"{PORT} {PORT}")
        return pod

    def seen_as(pod: Pod) -> str:
        return pod.http_get(f"http://{VIP}/client")

    def tracked() -> bool:
        return f"dport={PORT}" in node.ovs.appctl("dpctl/dump-conntrack", f"zone={SNAT_ZONE}")

    web = node.add_pod("web")
    web.serve_http(8080)
    manifests.put(service("web", VIP), endpoints("web", str(web.ip)))
    first, second, third = map(client, ("first", "second", "third"))
    start("--masquerade-all")
    clock = Clock(node)
    assert seen_as(first) == f"{MASQUERADE_IPV4}:{PORT}"
    clock.forward(MINUTE)
    other = seen_as(second)
    assert other.startswith(f"{MASQUERADE_IPV4}:")
    assert other != f"{MASQUERADE_IPV4}:{PORT}"

    def forgotten() -> bool:
        clock.forward(1)
        return not tracked()

    until("the first connection is forgotten", forgotten)
    assert seen_as(third) == f"{MASQUERADE_IPV4}:{PORT}"
