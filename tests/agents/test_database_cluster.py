"""Open vSwitch's database on three servers: whoever of them dies, all goes on.

ovs-vswitchd itself takes seconds to find the one that leads then, and as its main thread drives the
userspace datapath, too, packets wait until it has: so here all have more patience than elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from proxying import Agent, Manifests, buckets, endpoints, flows, groups, ours, service, until

from nsxdp.lab import Node
from nsxdp.lab.node import Pod

Start = Callable[..., Agent]

WEB = "10.96.0.10"

PATIENCE = 60.0
"""Seconds."""


@pytest.fixture
def node() -> Iterator[Node]:
    with Node(ovsdb_servers=3) as made:
        yield made


@pytest.fixture
def client(node: Node, manifests: Manifests) -> Pod:
    for n in (1, 2):
        pod = node.add_pod(f"web-{n}", ip=f"10.244.0.1{n}")
        pod.serve_http(8080)
        pod.serve_tcp(7000)
    addresses = "10.244.0.11", "10.244.0.12"
    manifests.put(
        service("web", WEB),
        endpoints("web", *addresses),
        service("lines", "10.96.0.70", port=7000),
        endpoints("lines", *addresses, port=7000),
    )
    return node.add_pod("client")


def add_pod(node: Node, agent: Agent, name: str) -> float:
    """Add a pod that reaches the Service; how many messages that took."""
    before = agent.messages
    node.ovs.vsctl("set", "Open_vSwitch", ".", f"external_ids:seen={name}", timeout=PATIENCE)
    pod = node.add_pod(name)
    until("its port is known", lambda: any(pod.mac in flow for flow in ours(node)))
    assert pod.http_get(f"http://{WEB}/", timeout=PATIENCE) in {"web-1", "web-2"}
    agent.await_comparison()
    return agent.messages - before


def test_the_server_that_leads_dies_under_traffic(
    node: Node, manifests: Manifests, start: Start, client: Pod
) -> None:
    """No connection breaks, nothing is sent again, and what comes then is seen."""
    agent = start()
    before = (flows(node), groups(node))
    lines = client.traffic("tcp", "10.96.0.70", 7000, rate=20, connections=5, timeout=PATIENCE)
    http = client.traffic("http", WEB, 80, rate=20, timeout=PATIENCE)
    costs = add_pod(node, agent, "early")
    for turn in (1, 2):
        dead = until("one leads", node.ovs.ovsdb_leader)
        node.ovs.kill_ovsdb_server(dead)
        assert add_pod(node, agent, f"late-{turn}") == costs
        assert until("another leads", node.ovs.ovsdb_leader) != dead
        node.ovs.start_ovsdb_server(dead)
    manifests.put(endpoints("web", "10.244.0.12"))
    until("one endpoint", lambda: "10.244.0.11:8080" not in buckets(node))
    manifests.put(endpoints("web", "10.244.0.11", "10.244.0.12"))
    for name in ("early", "late-1", "late-2"):
        node.del_pod(node.pods[name])
    until("all is as before", lambda: (flows(node), groups(node)) == before)
    assert agent.drift == 0
    for load in (lines, http):
        told = load.stop()
        assert told["failed"] == 0, told
        assert told["answered"] > 100


def test_an_agent_that_starts_while_a_server_is_down(node: Node, start: Start, client: Pod) -> None:
    """Also the first one it is told of, beside whose socket it finds those of ovs-vswitchd."""
    node.ovs.kill_ovsdb_server(1)
    # It comes back when ovs-vswitchd has found the one that leads.
    node.ovs.vsctl("set", "Open_vSwitch", ".", "external_ids:seen=1", timeout=PATIENCE)
    agent = start()
    assert client.http_get(f"http://{WEB}/") in {"web-1", "web-2"}
    assert not agent.lines("may still be tracked")
    assert add_pod(node, agent, "late") > 0
