"""The agent ends, and what it made goes on working; or is removed, when that is asked for."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from proxying import (
    PROGRAM,
    SERVICE_CIDR,
    Agent,
    Manifests,
    endpoints,
    finished,
    flows,
    groups,
    service,
    until,
)

from nsxdp.lab import LabError, Node
from nsxdp.lab.node import Pod

Start = Callable[..., Agent]


@pytest.fixture
def client(node: Node, manifests: Manifests) -> Pod:
    for n in (1, 2):
        node.add_pod(f"web-{n}", ip=f"10.244.0.1{n}").serve_http(8080)
    addresses = ("10.244.0.11", "10.244.0.12")
    affinity = {"sessionAffinity": "ClientIP"}
    manifests.put(
        service("web", "10.96.0.10"),
        endpoints("web", *addresses),
        service("cart", "10.96.0.20", **affinity),
        endpoints("cart", *addresses),
        service("none", "10.96.0.99"),
        SERVICE_CIDR,
    )
    return node.add_pod("client")


def meters(node: Node) -> str:
    return node.ovs.ofctl("dump-meters", node.mgmt)


def host_state(node: Node) -> str:
    """The host's routes and the neighbors that are known for ever."""
    commands = ("ip -4 route", "ip -6 route show table main", "ip neigh show nud permanent")
    return node.netns.run(["sh", "-c", ";".join(commands)]).stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_agent_and_services_go_on(
    node: Node, start: Start, client: Pod, number: signal.Signals
) -> None:
    agent = start()
    before = (flows(node), groups(node), meters(node))
    until("the host's route", lambda: node.netns.http_get("http://10.96.0.10/"))
    assert agent.stop(number) == 0
    assert (flows(node), groups(node), meters(node)) == before
    for source in (client, node.netns):
        assert source.http_get("http://10.96.0.10/") in {"web-1", "web-2"}
        assert source.http_get("http://10.96.0.20/") in {"web-1", "web-2"}
    assert agent.lines("stopped: what is on the switch stays there")
    assert not agent.lines("Traceback|rror")


def test_cleanup_removes_all_of_ours_and_nothing_else(
    node: Node, start: Start, client: Pod
) -> None:
    foreign = [
        "cookie=0x6d00000000000001,table=20,priority=900,tcp,nw_dst=10.96.0.77,actions=drop",
        "table=3,priority=7,actions=group:5",
    ]
    node.ovs.ofctl("add-group", node.mgmt, "group_id=5,type=indirect,bucket=actions=drop")
    node.ovs.ofctl("add-meter", node.mgmt, "meter=7,kbps,band=type=drop,rate=1000")
    node.ovs.ofctl("add-flows", node.mgmt, "-", stdin="\n".join(foreign) + "\n")
    node.netns.iproute("route add 192.0.2.0/24 via 10.244.0.11")
    before = (flows(node), groups(node), meters(node).splitlines()[1:], host_state(node))

    agent = start()
    until("the host's route", lambda: node.netns.http_get("http://10.96.0.10/"))
    assert client.http_get("http://10.96.0.20/") in {"web-1", "web-2"}
    until("learned", lambda: [flow for flow in flows(node) if "cookie=0x6eff" in flow])
    assert agent.stop() == 0
    # As an earlier version of the agent would have made it.
    old = "cookie=0x6e00000000000001,table=20,priority=900,tcp,nw_dst=10.96.0.78,actions=drop"
    node.ovs.ofctl("add-flow", node.mgmt, old)

    for _ in range(2):  # the second time there is nothing to do
        done = finished(["--cleanup", f"--ovsdb={node.ovsdb}"], node.netns)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        after = (flows(node), groups(node), meters(node).splitlines()[1:], host_state(node))
        assert after == before
    # The bridge switches as it did without us.
    web = node.pods["web-1"]
    assert client.http_get(f"http://{web.ip}:8080/") == "web-1"
    assert client.http_get(f"http://[{web.ip6}]:8080/") == "web-1"
    with pytest.raises((OSError, LabError)):
        client.http_get("http://10.96.0.10/", timeout=0.2)


def test_cleanup_without_a_switch(node: Node) -> None:
    done = finished(["--cleanup", "--ovsdb=unix:/nowhere/db.sock"], node.netns)
    assert done.returncode == 1
    assert done.stderr == (
        "nsx-kube-proxy: unix:/nowhere/db.sock: no such socket: is its server running?\n"
    )
    assert PROGRAM.exists()
