"""Whatever is restarted or lost, pods keep what they have, and what is left of others goes."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from msgspec import structs
from relay import Relay
from runtime import SECONDS, Agent, Object, PluginError, Runtime, until

from nsxdp.lab import Netns, Node, tools
from nsxdp_agents.node_agent.leases import Leases
from nsxdp_agents.node_agent.ports import LEASE

Sandbox = Callable[[str], Netns]


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A directory that is soon full."""
    directory = tmp_path / "full"
    directory.mkdir()
    tools.run(["mount", "-t", "tmpfs", "-o", "size=16k", "nsxdp", directory])
    yield directory
    tools.run(["umount", "--lazy", directory])


def address_of(result: Object) -> str:
    """The pod's IPv4 address."""
    address: str = result["ips"][0]["address"].partition("/")[0]
    return address


def test_pods_do_not_notice_that_the_agent_is_killed(
    agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    web, client = sandbox("web"), sandbox("client")
    result = runtime.add("web", web)
    runtime.add("client", client)
    web.serve_tcp(80)
    traffic = client.traffic("tcp", address_of(result), 80, seconds=None)
    agent.kill()
    agent.start()
    report = traffic.stop()
    assert report["answered"] > 0
    assert report["failed"] == 0
    runtime.check("web", web, result)
    assert runtime.add("web", web) == result
    taken = {address_of(result), "10.244.0.4"}
    assert address_of(runtime.add("new", sandbox("new"))) not in taken


def test_a_released_address_is_remembered_over_a_restart(
    agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    released = address_of(runtime.add("a", sandbox("a")))
    runtime.delete("a")
    agent.kill()
    agent.start()
    assert address_of(runtime.add("b", sandbox("b"))) != released


def test_the_agent_ends_when_it_is_told_to(
    agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    pod = sandbox("pod")
    result = runtime.add("4ac7", pod)
    assert agent.stop() == 0
    assert not agent.socket.exists()
    agent.start()
    runtime.check("4ac7", pod, result)


def test_an_agent_that_is_told_to_end_first_does_what_it_has_begun(
    node: Node, agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    web, client = sandbox("web"), sandbox("client")
    web.serve_http(80)
    runtime.add("client", client)
    os.kill(node.ovs.pid(), signal.SIGSTOP)  # a port gets no number now: the request isn't done
    process = runtime.start_add("web", web)
    until("it is under way", lambda: len(agent.ports) == 2)
    agent.process.terminate()
    until("nobody is served any more", lambda: not agent.socket.exists())
    os.kill(node.ovs.pid(), signal.SIGCONT)
    result = runtime.result_of(process)
    assert agent.process.wait(SECONDS) == 0
    assert client.http_get(f"http://{address_of(result)}/") == "web"


def test_an_agent_that_lost_its_leases_finds_them_at_the_ports(
    agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    pod = sandbox("pod")
    result = runtime.add("4ac7", pod)
    agent.kill()
    shutil.rmtree(agent.directory / "state")
    agent.start()
    runtime.check("4ac7", pod, result)
    assert address_of(runtime.add("b", sandbox("b"))) != address_of(result)


def test_ports_come_back_to_a_switch_that_lost_its_database(
    node: Node, agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    pod = sandbox("pod")
    result = runtime.add("4ac7", pod)
    node.ovs.vsctl("del-port", node.bridge, agent.ports[0])
    until("the port is there again", lambda: agent.ports)
    runtime.check("4ac7", pod, result)
    agent.kill()
    node.ovs.vsctl("del-port", node.bridge, agent.ports[0])
    agent.start()
    runtime.check("4ac7", pod, result)


def test_no_port_stays_of_a_pod_whose_answer_from_the_database_was_lost(
    node: Node, start: Callable[..., Agent], sandbox: Sandbox
) -> None:
    own = Path(node.ovsdb.removeprefix("unix:"))
    with closing(Relay(own.with_name("relay.sock"), own)) as relay:
        agent = start(f"--ovsdb=unix:{relay.path}")
        pod = sandbox("pod")
        relay.lose(LEASE.encode())
        with pytest.raises(PluginError) as failed:
            agent.runtime.add("4ac7", pod)
        assert failed.value.code == 11
        assert relay.lost
        until("it is seen", lambda: "a port is left" in agent.log.read_text())
        until("nothing is left", lambda: agent.ports == agent.devices == agent.leases == [])
        until("the database is there again", agent.answers)
        agent.runtime.check("4ac7", pod, agent.runtime.add("4ac7", pod))


async def test_a_port_that_the_switch_refuses_keeps_nothing_from_others(
    node: Node, agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    pods = {name: sandbox(name) for name in ("good", "bad", "fine")}
    results = {name: runtime.add(name, pod) for name, pod in pods.items()}
    agent.kill()
    leases = Leases(agent.directory / "state/leases")
    (bad,) = (lease for lease in leases if lease.container == "bad")
    await leases.give(structs.replace(bad, vlan=4096))
    await leases.close()
    for name in agent.ports:
        node.ovs.vsctl("del-port", node.bridge, name)
    agent.start()
    for name in ("good", "fine"):
        runtime.check(name, pods[name], results[name])
    assert "the bridge lacks ports" in agent.log.read_text()
    runtime.delete("bad", pods["bad"])
    assert len(agent.ports) == len(agent.devices) == len(agent.leases) == 2


def test_a_bridge_that_was_deleted_is_made_again_with_its_ports(
    node: Node, agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    pod = sandbox("pod")
    result = runtime.add("4ac7", pod)
    node.ovs.del_bridge(node.bridge)
    until("the port is there again", lambda: agent.ports)
    until("the bridge is at work", agent.answers)
    runtime.check("4ac7", pod, result)


def test_a_dead_pod_keeps_no_port_from_others(
    node: Node, runtime: Runtime, sandbox: Sandbox
) -> None:
    dead, alive = (runtime.add(name, sandbox(name)) for name in ("dead", "alive"))
    node.netns.iproute(f"link del {dead['interfaces'][0]['name']}")
    node.ovs.vsctl("del-br", node.bridge)
    name = alive["interfaces"][0]["name"]

    def works() -> bool:
        number = node.ovs.vsctl("get", "interface", name, "ofport").strip()
        return number.isdecimal() and int(number) > 0  # [] until ovs-vswitchd has looked at it

    until("it is at work again", works)


def test_a_database_that_is_empty_is_waited_for(node: Node, agent: Agent) -> None:
    node.ovs.vsctl("--no-wait", "destroy", "Open_vSwitch", ".")
    until("the agent says so", lambda: "in an empty database" in agent.log.read_text())
    node.ovs.vsctl("--no-wait", "init")
    until("pods can be added", agent.answers)


def test_pods_reach_the_node_again_when_open_vswitch_was_restarted(
    node: Node, agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    node.ovs.after_start.clear()  # it is the agent that gives the gateway its addresses
    pod = sandbox("pod")
    runtime.add("4ac7", pod)
    node.netns.serve_http(8080, "node")
    assert pod.http_get("http://10.244.0.1:8080/") == "node"
    node.ovs.restart_vswitchd()
    until("the node answers", lambda: pod.http_get("http://10.244.0.1:8080/") == "node")
    until("by IPv6", lambda: pod.http_get("http://[fd00:244::1]:8080/") == "node")
    assert len(agent.ports) == 1


def test_what_a_dead_pod_left_goes_at_the_next_start(
    agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    pods = {name: sandbox(name) for name in ("lives", "dies")}
    results = {name: runtime.add(name, pod) for name, pod in pods.items()}
    agent.kill()
    pods["dies"].run(["ip", "link", "delete", "eth0"])
    agent.start()
    assert [lease["container"] for lease in agent.leases] == ["lives"]
    assert len(agent.ports) == len(agent.devices) == 1
    runtime.check("lives", pods["lives"], results["lives"])


def test_what_a_killed_agent_had_begun_goes_at_the_next_start(
    node: Node, agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    pod = sandbox("pod")
    os.kill(node.ovs.pid(), signal.SIGSTOP)  # a port gets no number now: the request isn't done
    process = runtime.start_add("4ac7", pod)
    until("it is under way", lambda: agent.ports)
    agent.kill()
    with pytest.raises(PluginError) as failed:
        runtime.result_of(process)
    assert failed.value.code == 11
    os.kill(node.ovs.pid(), signal.SIGCONT)
    agent.start()
    runtime.delete("4ac7", pod)
    assert agent.ports == agent.devices == agent.leases == []
    runtime.add("4ac7", pod)


def test_a_device_that_nobody_wrote_down_goes_and_others_stay(node: Node, agent: Agent) -> None:
    agent.kill()
    for name in ("nsx0123456789ab", "nsx_agent_outer"):
        node.netns.run(["ip", "link", "add", name, "type", "veth"])
    agent.start()
    assert agent.devices == ["nsx_agent_outer"]


def test_a_journal_that_was_cut_off_is_read_as_far_as_it_goes(
    agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    pods = {name: sandbox(name) for name in "ab"}
    results = {name: runtime.add(name, pod) for name, pod in pods.items()}
    agent.kill()
    journal = agent.directory / "state/leases"
    journal.write_bytes(journal.read_bytes()[:-7])
    agent.start()
    assert "a line of the leases' file is damaged" in agent.log.read_text()
    for name, pod in pods.items():
        runtime.check(name, pod, results[name])


def test_pods_are_deleted_though_the_disk_is_full_and_no_address_is_given_twice(
    full: Path, start: Callable[..., Agent], sandbox: Sandbox
) -> None:
    agent = start(f"--state-dir={full}")
    runtime = agent.runtime
    pods = {name: sandbox(name) for name in "abc"}
    results = {name: runtime.add(name, pod) for name, pod in pods.items()}
    agent.kill()
    for name in ("other", "leases"):
        with suppress(OSError), (full / name).open("ab", buffering=0) as file:
            while True:
                file.write(b"\n")
    agent.start()
    for name, pod in pods.items():
        runtime.check(name, pod, results[name])
    with pytest.raises(PluginError, match="leases: No space left on device") as refused:
        runtime.add("d", sandbox("d"))
    assert refused.value.code == 5
    for name in "ab":
        runtime.delete(name, pods[name])
        assert name not in [lease["container"] for lease in agent.leases]
    agent.kill()
    agent.start()
    assert [lease["container"] for lease in agent.leases] == ["c"]
    assert len(agent.ports) == len(agent.devices) == 1
    runtime.delete("c", pods["c"])
    assert agent.ports == agent.devices == agent.leases == []
    (full / "other").unlink()
    again = {name: runtime.add(name, pod) for name, pod in pods.items()}
    agent.kill()
    assert len(set(map(address_of, again.values()))) == len(again)
    said = (full / "leases").read_text()
    for name in pods:
        assert said.count(f'{{"given":{{"container":"{name}"') == 2
        assert said.count(f'{{"returned":["{name}"') == 1
    agent.start()
    for name, pod in pods.items():
        runtime.check(name, pod, again[name])
    assert address_of(runtime.add("e", sandbox("e"))) not in map(address_of, again.values())


def test_only_one_agent_has_the_leases(node: Node, agent: Agent) -> None:
    second = node.netns.run(
        [*agent.argv, f"--cni-socket={agent.directory}/other.sock"], check=False
    )
    assert second.returncode == 1
    assert "another nsx-node-agent runs on this node" in second.stderr
    assert agent.runtime.call("STATUS", {}) == {}


def test_addresses_come_with_the_node_object(
    node: Node, start: Callable[..., Agent], sandbox: Sandbox, tmp_path: Path
) -> None:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    agent = start(f"--manifests={manifests}", "--node-name=this-node", ready=False)
    runtime = agent.runtime
    with pytest.raises(PluginError, match="no podCIDR yet") as early:
        runtime.add("4ac7", sandbox("pod"))
    assert early.value.code == 11
    file = manifests / "node.json"
    cidrs = ["10.245.7.0/24", "fd00:245:0:7::/64"]
    file.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": "this-node"},
                "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs},
            }
        )
    )
    until("the node is known", agent.answers)
    assert "10.245.7.0/24" in agent.appctl("ipam/show")
    assert address_of(runtime.add("4ac7", sandbox("pod"))) == "10.245.7.3"
    text = node.netns.run(["ip", "address", "show", node.bridge]).stdout
    assert "10.245.7.1/24" in text


def test_the_agent_runs_before_others_unless_told_otherwise(start: Callable[..., Agent]) -> None:
    agent = start("--realtime-priority=0")
    assert os.sched_getscheduler(agent.process.pid) == os.SCHED_OTHER
    agent.stop()
    agent = start("--realtime-priority=3")
    assert os.sched_getparam(agent.process.pid).sched_priority == 3
