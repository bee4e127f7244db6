"""Another version of the pipeline takes a bridge over, and gives it back: under traffic."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from proxying import SERVICE_CIDR, Agent, Manifests, endpoints, flows, groups, service, until

from faults import next_version
from nsxdp.lab import Node
from nsxdp.lab.node import Pod

Start = Callable[..., Agent]

WEB, LINES, STICKY, ECHO = "10.96.0.10", "10.96.0.70", "10.96.0.20", "10.96.0.53"

NEXT = (sys.executable, str(Path(next_version.__file__)))
"""What is before the program's name where it shall be the next version."""

VERSIONS = {(): 1, NEXT: next_version.VERSION}


@pytest.fixture
def client(node: Node, manifests: Manifests) -> Pod:
    """A pod that connects to Services, of which one has session affinity."""
    addresses = ("10.244.0.11", "10.244.0.12", "10.244.0.13")
    for n, address in enumerate(addresses, 1):
        pod = node.add_pod(f"web-{n}", ip=address)
        pod.serve_http(8080)
        pod.serve_tcp(7000)
        pod.serve_udp(8080)
    manifests.put(
        service("web", WEB),
        endpoints("web", *addresses),
        service("lines", LINES, port=7000),
        endpoints("lines", *addresses, port=7000),
        service("sticky", STICKY, sessionAffinity="ClientIP"),
        endpoints("sticky", *addresses),
        service("echo", ECHO, protocol="UDP"),
        endpoints("echo", *addresses, protocol="UDP"),
        service("none", "10.96.0.99"),
        SERVICE_CIDR,
    )
    return node.add_pod("client")


def versions(node: Node) -> set[str]:
    """The first 16 bits of the cookies of all flows."""
    return {flow.partition("cookie=")[2][:6] for flow in flows(node)}


def learned_of(flow: str) -> int:
    """Which version had the switch learn the flow; 0: it is none of those."""
    return int(flow.removeprefix("cookie=0x6eff")[:12], 16) if "=0x6eff" in flow[:13] else 0


def test_versions_take_over_from_each_other_without_a_lost_connection(
    node: Node, start: Start, client: Pod
) -> None:
    agent = start()
    until("the node's own processes too", lambda: node.netns.http_get(f"http://{WEB}/"))
    before = (flows(node), groups(node))
    long = [
        source.traffic("tcp", LINES, 7000, rate=50, connections=10)
        for source in (client, node.netns, node.pods["web-1"])
    ]
    assert all(next(iter(load))["answered"] > 0 for load in long)
    loads = [
        *long,
        client.traffic("http", WEB, 80, rate=100),
        client.traffic("udp", ECHO, 80, rate=100, resend=1.0),
        node.netns.traffic("http", WEB, 80, rate=50),
        client.traffic("http", STICKY, 80, rate=20),
    ]
    for launcher in (NEXT, (), NEXT, ()):
        agent.kill()
        agent = start(launcher=launcher)
        (line, *_) = agent.await_log("took over from another version")
        assert "its_flows=" in line
        agent.await_comparison()
        own = VERSIONS[launcher]
        # Its own, and what its own had the switch learn: nothing else is left.
        assert versions(node) <= {f"0x6e{own:02x}", "0x6eff"}
        assert {learned_of(flow) for flow in flows(node)} <= {0, own}
        assert not agent.lines("refused|somebody else|Traceback")
        assert agent.drift == 0
    after = (flows(node), groups(node))
    assert [flow for flow in after[0] if not learned_of(flow)] == before[0]
    assert after[1] == before[1]
    for load in loads:
        told = load.stop()
        assert told["failed"] == 0, told
        assert told["answered"] == told["sent"] > 0


def test_the_same_version_takes_nothing_over(node: Node, start: Start, client: Pod) -> None:
    start(launcher=NEXT).kill()
    assert client.http_get(f"http://{STICKY}/")
    before = until("learned", lambda: found if any(map(learned_of, found := flows(node))) else [])
    agent = start(launcher=NEXT)
    agent.await_comparison()
    assert agent.messages == 0
    assert not agent.lines("took over")
    assert flows(node) == before
