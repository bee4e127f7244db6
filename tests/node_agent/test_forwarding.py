"""The bridge forwards for a pod when its runtime is answered, and for nobody else."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from runtime import Agent, PluginError, Runtime, until

from nsxdp.lab import Netns, Node
from nsxdp.lab.tools import slowness

Sandbox = Callable[[str], Netns]


def own_flows(node: Node, *texts: str) -> list[str]:
    """The node agent's flows in which all of 'texts' are."""
    dumped = node.ovs.ofctl("dump-flows", node.bridge, f"cookie={0x6F << 56:#x}/{0xFF << 56:#x}")
    flows = [line for line in dumped.splitlines() if "duration=" in line]
    return [flow for flow in flows if all(text in flow for text in texts)]


def test_a_pod_s_flows_are_there_with_the_answer_and_go_with_it(
    node: Node, runtime: Runtime, sandbox: Sandbox
) -> None:
    before = len(own_flows(node))
    pod = sandbox("pod")
    runtime.add("4ac7", pod)
    assert len(own_flows(node, "10.244.0.3")) >= 4
    runtime.delete("4ac7", pod)
    assert own_flows(node, "10.244.0.3") == []
    assert len(own_flows(node)) == before


@pytest.mark.kernel
def test_a_pod_sends_from_its_own_addresses_alone(runtime: Runtime, sandbox: Sandbox) -> None:
    web, client = sandbox("web"), sandbox("client")
    runtime.add("web", web)
    runtime.add("client", client)
    web.serve_http(80)
    client.iproute("addr add 10.244.0.77/24 dev eth0")
    curl = ["curl", "--silent", "--max-time", str(2 * slowness()), "http://10.244.0.3/"]
    assert client.run([*curl, "--interface", "10.244.0.4"]).stdout == "web\n"
    assert client.run([*curl, "--interface", "10.244.0.77"], check=False).returncode != 0


@pytest.mark.kernel
def test_flows_are_there_again_after_a_restart_of_the_switch(
    node: Node, agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    pod = sandbox("pod")
    result = runtime.add("4ac7", pod)
    node.ovs.restart_vswitchd()
    until("the flows are there again", lambda: own_flows(node, "10.244.0.3"))
    until("the agent knows", agent.answers)
    runtime.check("4ac7", pod, result)


def test_a_pod_isn_t_added_while_the_switch_is_away(
    node: Node, agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    node.ovs.kill_vswitchd()
    with pytest.raises(PluginError, match="does not forward") as failed:
        runtime.add("4ac7", sandbox("pod"))
    assert failed.value.code == 11
    node.ovs.start_vswitchd()
    until("the switch is back", agent.answers)
    runtime.add("4ac7", sandbox("other"))


def test_neither_an_end_nor_a_start_of_the_agent_changes_a_flow(
    node: Node, agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    runtime.add("4ac7", sandbox("pod"))
    before = own_flows(node)
    began = time.monotonic()
    assert agent.stop() == 0
    agent.start()
    agent.kill()
    agent.start()
    lasted = time.monotonic() - began
    after = own_flows(node)
    assert len(after) == len(before)
    # One that was deleted or written anew would be younger.
    ages = [float(line.partition("duration=")[2].partition("s,")[0]) for line in after]
    assert min(ages) >= lasted


def test_a_bridge_that_is_made_drops_what_no_flow_lets_pass_and_keeps_its_address(
    node: Node, agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    def said(column: str) -> str:
        return node.ovs.vsctl("get", "bridge", node.bridge, column).strip().strip('"')

    assert said("fail_mode") == "standalone"
    assert said("other_config:hwaddr") == node.mac  # which was said before
    node.ovs.del_bridge(node.bridge)
    until("the bridge is at work", agent.answers)
    assert said("fail_mode") == "secure"
    mac = said("other_config:hwaddr")
    assert mac.startswith("0a:5a:")
    runtime.add("4ac7", sandbox("pod"))
    link = node.netns.run(["ip", "-brief", "link", "show", node.bridge]).stdout
    assert mac in link


@pytest.mark.kernel
def test_a_bridge_that_was_a_switch_is_taken_over_under_traffic(
    node: Node, agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    web, client = sandbox("web"), sandbox("client")
    runtime.add("web", web)
    runtime.add("client", client)
    agent.kill()
    node.ovs.ofctl("del-flows", node.bridge)
    node.ovs.ofctl("add-flow", node.bridge, "priority=0,actions=NORMAL")
    node.ovs.vsctl("remove", "bridge", node.bridge, "other_config", "hwaddr")
    web.serve_tcp(80)
    traffic = client.traffic("tcp", "10.244.0.3", 80, seconds=None)
    agent.start()
    report = traffic.stop()
    assert report["answered"] > 0
    assert report["failed"] == 0
