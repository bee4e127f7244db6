"""Every process around the agent, and the agent itself, is killed and comes back: under traffic."""

from __future__ import annotations

import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable

import pytest
from proxying import (
    SERVICE_CIDR,
    Agent,
    Manifests,
    buckets,
    endpoints,
    flows,
    groups,
    ours,
    service,
    until,
)

from nsxdp.lab import LabError, Node
from nsxdp.lab.node import Pod

Start = Callable[..., Agent]

WEB, API, ECHO = "10.96.0.10", "10.96.0.20", "10.96.0.53"


@pytest.fixture
def client(node: Node, manifests: Manifests) -> Pod:
    """A pod that connects to two Services, whose pods must not be mixed up, and to a UDP one."""
    for n in range(1, 5):
        pod = node.add_pod(f"{'web' if n < 3 else 'api'}-{n}", ip=f"10.244.0.1{n}")
        pod.serve_http(8080)
        pod.serve_tcp(7000)
        pod.serve_udp(8080)
    manifests.put(
        service("web", WEB),
        endpoints("web", "10.244.0.11", "10.244.0.12"),
        service("api", API),
        endpoints("api", "10.244.0.13", "10.244.0.14"),
        service("echo", ECHO, protocol="UDP"),
        endpoints("echo", "10.244.0.11", "10.244.0.13", protocol="UDP"),
        service("lines", "10.96.0.70", port=7000),
        endpoints("lines", "10.244.0.11", "10.244.0.12", port=7000),
        service("none", "10.96.0.99"),
        SERVICE_CIDR,
    )
    return node.add_pod("client")


def test_kill_9_of_the_agent_under_traffic_fails_no_connection(
    node: Node, manifests: Manifests, start: Start, client: Pod
) -> None:
    """20 times, at random moments of its life: while it starts, compares, writes, waits.

    Each time there is something to do: endpoints change while no agent runs, and while one does.
    """
    chance = random.Random(1)
    begun = time.monotonic()
    start().kill()
    life = min(1.3 * (time.monotonic() - begun), 1.2)
    loads = [
        client.traffic("http", WEB, 80, rate=100),
        client.traffic("http", API, 80, rate=100),
        client.traffic("udp", ECHO, 80, rate=50),
    ]
    others = {
        (f"other-{n}", f"10.97.0.{n}"): [f"10.244.1.{n}", f"10.244.2.{n}"] for n in range(1, 51)
    }
    for turn in range(20):
        for (name, ip), addresses in others.items():
            manifests.put(service(name, ip), endpoints(name, *addresses[: 1 + turn % 2]))
        agent = start(wait=False)
        with pytest.raises(subprocess.TimeoutExpired):
            agent.process.wait(chance.uniform(0.3 * life, life))
        manifests.put(endpoints("other-1", f"10.244.3.{turn + 1}"))
        agent.kill()
    agent = start()
    assert "10.244.3.20:8080" in buckets(node)
    assert not agent.lines("somebody else")
    web, api, echo = (load.stop() for load in loads)
    for told in (web, api, echo):
        assert told["failed"] == 0, told
        assert told["answered"] == told["sent"] > 200
    assert set(web["backends"]) == {"web-1", "web-2"}
    assert set(api["backends"]) == {"api-3", "api-4"}
    assert set(echo["backends"]) == {"web-1", "api-3"}


@pytest.mark.kernel
def test_a_restarted_agent_sends_nothing_and_breaks_nothing(
    node: Node, start: Start, client: Pod
) -> None:
    agent = start()
    before, endpoint_ids = (flows(node), groups(node)), buckets(node)
    assert len(endpoint_ids) >= 4
    lines = client.traffic("tcp", "10.96.0.70", 7000, rate=50, connections=5)
    reports = iter(lines)
    assert next(reports)["answered"] > 0
    for end in (Agent.kill, Agent.stop):
        end(agent)
        agent = start()
        assert agent.messages == 0
    assert (flows(node), groups(node)) == before
    assert buckets(node) == endpoint_ids
    assert next(reports)["failed"] == 0
    assert lines.stop()["failed"] == 0


def exit_vswitchd(node: Node) -> None:
    """As a package's upgrade does: it ends by itself."""
    node.ovs.appctl("exit")
    node.ovs.kill_vswitchd()


@pytest.mark.kernel
@pytest.mark.parametrize("end", [lambda node: node.ovs.kill_vswitchd(), exit_vswitchd],
                         ids=["kill", "exit"])  # fmt: skip
def test_services_work_again_after_ovs_vswitchd_was_restarted(
    node: Node,
    start: Start,
    client: Pod,
    end: Callable[[Node], None],
    record_property: Callable[[str, object], None],
) -> None:
    """Flows, groups and the meter are back."""
    agent = start()
    before = (flows(node), groups(node), node.ovs.ofctl("dump-meters", node.mgmt))
    end(node)
    until("the agent has seen it", lambda: agent.lines("br-int.mgmt"))
    restart = threading.Thread(target=node.ovs.start_vswitchd)
    restart.start()
    try:
        until("the management socket is back", lambda: connects(node))
        back = time.monotonic()
        until("web answers", lambda: client.http_get(f"http://{WEB}/", timeout=0.1), 5)
        took = time.monotonic() - back
    finally:
        restart.join()
    record_property("seconds until Services worked again", round(took, 3))
    print(f"Services work again {took:.3f} s after the management socket was back")
    until(
        "all is back",
        lambda: (flows(node), groups(node), node.ovs.ofctl("dump-meters", node.mgmt)) == before,
    )
    until("the node's own processes too", lambda: node.netns.http_get(f"http://{API}/"))
    with pytest.raises(ConnectionRefusedError):
        client.http_get("http://10.96.0.99/")
    # It was the switch's own doing, not somebody else's.
    agent.await_comparison()
    assert agent.drift == 0


@pytest.mark.kernel
@pytest.mark.datapath("system")
def test_established_connections_outlive_ovs_vswitchd(
    node: Node, start: Start, client: Pod
) -> None:
    """The kernel's datapath goes on with what it has, and what it hasn't waits for the agent, where
    the bridge doesn't switch by itself. The userspace one ends with ovs-vswitchd.
    """
    node.ovs.vsctl("set-fail-mode", node.bridge, "secure")
    agent = start()
    before = flows(node), groups(node)
    lines = client.traffic("tcp", "10.96.0.70", 7000, rate=20, connections=5)
    answered = (report["answered"] for report in lines)
    assert any(answered)
    node.ovs.kill_vswitchd()
    until("the agent has seen it", lambda: agent.lines("br-int.mgmt"))
    assert next(answered)
    assert next(answered), "without ovs-vswitchd"
    node.ovs.start_vswitchd()
    until("all is back", lambda: (flows(node), groups(node)) == before)
    assert any(answered)
    told = lines.stop()
    assert told["failed"] == 0, told


def connects(node: Node) -> bool:
    """Whether somebody listens on the bridge's management socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(node.mgmt.removeprefix("unix:"))
    return True


def test_ovsdb_server_restarts_and_nothing_is_lost(
    node: Node, manifests: Manifests, start: Start, client: Pod
) -> None:
    """What was asked for meanwhile is done afterwards, and no connection breaks.

    As long as ovs-vswitchd has no database it listens to nobody, and its userspace datapath, which
    the same thread drives, forwards nothing: all waits.
    """
    agent = start()
    before, messages = (flows(node), groups(node)), agent.messages
    lines = client.traffic("tcp", "10.96.0.70", 7000, rate=50, connections=5)
    http = client.traffic("http", API, 80, rate=50)
    node.ovs.kill_ovsdb_server()
    agent.await_log("db.sock")
    manifests.put(endpoints("api", "10.244.0.14"))
    assert agent.get("/livez")[0] == 200
    node.ovs.start_ovsdb_server()
    until("api-4 alone", lambda: (flows(node), groups(node)) != before)
    manifests.put(endpoints("api", "10.244.0.13", "10.244.0.14"))
    until("as before", lambda: (flows(node), groups(node)) == before)
    # What the agent follows, it follows again.
    late = node.add_pod("late", ip="10.244.0.77")
    until("its port is known", lambda: any(late.mac in flow for flow in ours(node)))
    assert agent.drift == 0
    assert agent.messages - messages < 10
    for load in (lines, http):
        told = load.stop()
        assert told["failed"] == 0, told
        assert told["answered"] > 0


def test_what_changed_while_ovsdb_server_was_away_is_seen(
    node: Node, start: Start, client: Pod
) -> None:
    agent = start()
    with agent.paused():
        node.ovs.restart_ovsdb_server()
        late = node.add_pod("late", ip="10.244.0.77")
        node.del_pod(client)
    until("the new port is known", lambda: any(late.mac in flow for flow in ours(node)))
    until("the old port is gone", lambda: not any(client.mac in flow for flow in ours(node)))
    assert late.http_get(f"http://{WEB}/") in {"web-1", "web-2"}


def test_ovs_as_a_whole_restarts(node: Node, start: Start, client: Pod) -> None:
    agent = start()
    before = (flows(node), groups(node))
    node.ovs.kill_vswitchd()
    node.ovs.kill_ovsdb_server()
    agent.await_log("db.sock")
    node.ovs.start_ovsdb_server()
    node.ovs.start_vswitchd()
    until("all is back", lambda: (flows(node), groups(node)) == before)
    assert client.http_get(f"http://{WEB}/") in {"web-1", "web-2"}
    until("the node's own processes too", lambda: node.netns.http_get(f"http://{WEB}/"))


def test_the_bridge_is_deleted_and_made_again(node: Node, start: Start, client: Pod) -> None:
    agent = start()
    wanted = len(ours(node))
    node.ovs.del_bridge(node.bridge)
    agent.await_log("bridge br-int was deleted")
    node.ovs.add_bridge(node.bridge, hwaddr=node.mac)
    with pytest.raises(LabError, match="no row"):
        node.ovs.vsctl("get", "interface", client.port, "ofport")
    late = node.add_pod("late", ip="10.244.0.77")
    until("its port is known", lambda: any(late.mac in flow for flow in ours(node)))
    # The base and the Services: all but the ports that went.
    assert 0 < len(ours(node)) < wanted
    assert len(groups(node)) == 4
