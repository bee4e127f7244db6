"""The node's own processes reach Services: routes come, go and come back as they have to."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from proxying import SERVICE_CIDR, Agent, Manifests, endpoints, ours, service, until

from nsxdp.lab import LabError, Node

Start = Callable[..., Agent]

RANGES = {"10.96.0.0/12", "fd00:96::/108"}
HOPS = {"169.254.0.253", "fd6e:7378:6470::253"}
BRIDGE = {"169.254.0.250", "169.254.0.251", "fd6e:7378:6470::250", "fd6e:7378:6470::251"}
"""Addresses that mean something to the bridge."""
ALL = RANGES | HOPS | BRIDGE
OWN = {"169.254.0.250", "169.254.0.251", "169.254.0.253"}


def routed(node: Node) -> set[str]:
    """What the agent has given routes."""
    shown = [
        node.netns.run(["ip", v, "route", "show", "proto", "110"]).stdout for v in ("-4", "-6")
    ]
    return {line.split()[0] for text in shown for line in text.splitlines()}


def neighbors(node: Node) -> set[str]:
    """Whose MAC address is known for ever."""
    shown = node.netns.run(["ip", "neigh", "show", "nud", "permanent"]).stdout
    return {line.split()[0] for line in shown.splitlines()}


@pytest.fixture
def proxied(node: Node, manifests: Manifests, start: Start) -> Agent:
    node.add_pod("web", ip="10.244.0.11").serve_http(8080)
    manifests.put(service("web", "10.96.0.10"), endpoints("web", "10.244.0.11"), SERVICE_CIDR)
    agent = start()
    until("routes are there", lambda: routed(node) == ALL)
    assert node.netns.http_get("http://10.96.0.10/") == "web"
    return agent


@pytest.mark.usefixtures("proxied")
def test_routes_follow_the_ranges(node: Node, manifests: Manifests) -> None:
    assert neighbors(node) == HOPS
    manifests.put(SERVICE_CIDR | {"spec": {"cidrs": ["10.96.0.0/16"]}})
    until("one range", lambda: routed(node) == {"10.96.0.0/16", *OWN})
    more = SERVICE_CIDR | {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.100.0.0/16"]}}
    manifests.put(more)
    both = {"10.96.0.0/16", "10.100.0.0/16", *OWN}
    until("two", lambda: routed(node) == both)
    manifests.remove(SERVICE_CIDR, more)
    until("none", lambda: routed(node) == set())
    until("no neighbors", lambda: neighbors(node) == set())


@pytest.mark.usefixtures("proxied")
def test_routes_that_somebody_deletes_are_back(node: Node) -> None:
    node.netns.iproute("route del 10.96.0.0/12")
    until("the route is back", lambda: routed(node) == ALL)
    # The kernel forgets the routes of an interface that goes down.
    node.netns.iproute("link set br-int down")
    assert routed(node) != ALL
    node.netns.iproute("link set br-int up", "addr replace fd00:244::1/64 dev br-int nodad")
    until("all routes are back", lambda: routed(node) == ALL)
    assert node.netns.http_get("http://10.96.0.10/") == "web"


def test_an_interface_that_is_down_is_waited_for(
    node: Node, manifests: Manifests, start: Start
) -> None:
    node.netns.iproute("link set br-int down")
    node.add_pod("web", ip="10.244.0.11").serve_http(8080)
    manifests.put(service("web", "10.96.0.10"), endpoints("web", "10.244.0.11"), SERVICE_CIDR)
    agent = start()
    (line,) = agent.await_log("the node's own processes can't reach Services.*IPv4")
    assert "Network is down" in line
    agent.await_comparison()
    assert len(agent.lines("can't reach Services.*IPv4")) == 1
    node.netns.iproute("link set br-int up")
    until("routes are there", lambda: routed(node) == ALL)
    assert node.netns.http_get("http://10.96.0.10/") == "web"


def test_a_restarted_agent_leaves_routes_as_they_are(
    node: Node, start: Start, proxied: Agent
) -> None:
    proxied.kill()
    monitor = node.netns.popen(["ip", "monitor", "route"], stdout=-1)
    assert monitor.stdout is not None
    agent = start()
    agent.await_comparison()
    node.netns.iproute("route add 192.0.2.1/32 dev br-int", "route del 192.0.2.1/32 dev br-int")
    told = iter(monitor.stdout.readline, b"")
    deleted = next(line.decode() for line in told if line.startswith(b"Deleted"))
    assert "192.0.2.1" in deleted
    assert routed(node) == ALL


@pytest.mark.usefixtures("proxied")
def test_another_address_of_the_gateway_is_followed(node: Node) -> None:
    def known(address: str) -> bool:
        return any(re.search(rf"nw_src={address}\b", flow) for flow in ours(node))

    assert known("10.244.0.1")
    node.netns.iproute("addr del 10.244.0.1/24 dev br-int", "addr add 10.244.0.3/24 dev br-int")
    until("the new one is known", lambda: known("10.244.0.3"))
    assert not known("10.244.0.1")


def test_no_host_routes(node: Node, manifests: Manifests, start: Start) -> None:
    manifests.put(service("web", "10.96.0.10"), SERVICE_CIDR)
    agent = start("--no-host-routes")
    agent.await_comparison()
    assert routed(node) == set()
    with pytest.raises((OSError, LabError)):
        node.netns.http_get("http://10.96.0.10/")


def test_the_port_with_the_gateway_s_role_is_the_way(
    node: Node, manifests: Manifests, start: Start
) -> None:
    """Not the bridge's own port, where another one has that role."""
    node.add_pod("web", ip="10.244.0.11").serve_http(8080)
    node.ovs.vsctl(
        *("add-port", node.bridge, "gw0", "--", "set", "interface", "gw0", "type=internal"),
        "external_ids:nsxdp-role=gateway",
    )
    node.netns.iproute(
        "link set gw0 up",
        "addr del 10.244.0.1/24 dev br-int",
        "addr add 10.244.0.1/24 dev gw0",
    )
    manifests.put(service("web", "10.96.0.10"), endpoints("web", "10.244.0.11"), SERVICE_CIDR)
    start()
    until("routes are there", lambda: routed(node) == ALL)
    assert "dev gw0" in node.netns.run(["ip", "route", "get", "10.96.0.10"]).stdout
    assert node.netns.http_get("http://10.96.0.10/") == "web"
