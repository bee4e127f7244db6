"""Somebody else changes the switch: what is ours is repaired, what isn't is left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from proxying import Agent, Manifests, buckets, endpoints, flows, groups, ours, service, until

from nsxdp.lab import Node


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """One for all: what is broken is repaired."""
    with Node() as made:
        yield made


@pytest.fixture(scope="module")
def proxied(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """An agent that has put two Services on the bridge, one of them with two endpoints."""
    directory = tmp_path_factory.mktemp("drift")
    manifests = Manifests(directory / "manifests")
    manifests.put(
        service("web", "10.96.0.10"),
        endpoints("web", "10.244.0.11", "10.244.0.12"),
        service("none", "10.96.0.99"),
    )
    with Agent(node, directory / "log", f"--manifests={manifests.path}") as agent:
        agent.await_ready()
        assert len(groups(node)) == 1
        yield agent


def repaired(node: Node, agent: Agent, break_it: Callable[[], object]) -> int:
    """Break something; returns how many messages repaired it."""
    before = (flows(node), groups(node))
    messages, drift, logged = agent.messages, agent.drift, len(agent.lines("somebody else"))
    with agent.paused():  # or it might be repaired before it was looked at
        break_it()
        assert (flows(node), groups(node)) != before
    until("repaired", lambda: (flows(node), groups(node)) == before)
    until("counted", lambda: agent.drift > drift)
    assert agent.messages - messages == agent.drift - drift
    assert agent.await_log("somebody else changed the switch: repaired", logged + 1)
    return int(agent.drift - drift)


def test_a_deleted_flow_is_back(node: Node, proxied: Agent) -> None:
    match = "table=20,tcp,nw_dst=10.96.0.10"
    assert repaired(node, proxied, lambda: node.ovs.ofctl("del-flows", node.mgmt, match)) == 1


def test_a_flow_s_changed_actions_are_set_right(node: Node, proxied: Agent) -> None:
    change = "table=20,tcp,nw_dst=10.96.0.10,actions=drop"

    def break_it() -> None:
        node.ovs.ofctl("mod-flows", node.mgmt, change)
        changed = [flow for flow in ours(node) if "nw_dst=10.96.0.10,tp_dst=80" in flow]
        # The cookie still says that it is as it should be.
        assert len(changed) == 1
        assert changed[0].endswith("actions=drop")

    assert repaired(node, proxied, break_it) == 1


def test_a_deleted_group_is_back_with_its_flows(node: Node, proxied: Agent) -> None:
    assert repaired(node, proxied, lambda: node.ovs.ofctl("del-groups", node.mgmt)) == 2


def test_a_changed_bucket_is_set_right(node: Node, proxied: Agent) -> None:
    wrong = groups(node)[0].replace("10.244.0.12:8080", "10.244.0.66:8080")

    def break_it() -> None:
        node.ovs.ofctl("mod-group", node.mgmt, wrong)
        assert "10.244.0.66:8080" in buckets(node)

    assert repaired(node, proxied, break_it) == 1


def test_a_removed_bucket_is_back(node: Node, proxied: Agent) -> None:
    group = groups(node)[0].split(",")[0]
    some = min(buckets(node).values())
    command = f"{group},command_bucket_id={some}"
    assert repaired(node, proxied, lambda: node.ovs.ofctl("remove-buckets", node.mgmt, command))


def test_everything_deleted_is_back(node: Node, proxied: Agent) -> None:
    def break_it() -> None:
        node.ovs.ofctl("del-flows", node.mgmt)
        node.ovs.ofctl("del-groups", node.mgmt)

    wanted = len(ours(node)) + len(groups(node))
    assert repaired(node, proxied, break_it) == wanted


def test_a_deleted_meter_is_back_with_its_flows(node: Node, proxied: Agent) -> None:
    """Open vSwitch deletes the flows that use a meter with it: those that reject."""
    meters = node.ovs.ofctl("dump-meters", node.mgmt)
    assert "meter=28161" in meters
    assert repaired(node, proxied, lambda: node.ovs.ofctl("del-meters", node.mgmt)) == 3
    assert node.ovs.ofctl("dump-meters", node.mgmt).splitlines()[1:] == meters.splitlines()[1:]


def test_foreign_and_learned_flows_and_foreign_groups_are_left_alone(
    node: Node, proxied: Agent
) -> None:
    before = ours(node)
    foreign = [
        "cookie=0x6e00000000000001,table=20,priority=900,tcp,nw_dst=10.96.0.77,actions=drop",
        "cookie=0x1234,table=22,priority=100,udp,nw_dst=10.96.0.77,actions=drop",
        "table=3,priority=7,actions=group:5",
        # As ServiceAffinity's are: they are the switch's, and go by themselves.
        "cookie=0x6eff000000000001,table=22,priority=100,tcp,nw_src=10.244.0.9,"
        "actions=load:5->NXM_NX_REG4[]",
    ]
    node.ovs.ofctl("add-group", node.mgmt, "group_id=5,type=indirect,bucket=actions=drop")
    node.ovs.ofctl("add-flows", node.mgmt, "-", stdin="\n".join(foreign) + "\n")
    # One of ours that isn't wanted: that goes.
    node.ovs.ofctl(
        "add-flow", node.mgmt, "cookie=0x6e01000000000001,table=20,priority=5,ip,actions=drop"
    )
    until("ours is gone", lambda: ours(node) == before)
    proxied.await_comparison()
    assert len(flows(node)) == len(before) + len(foreign)
    assert any(group.startswith("group_id=5,") for group in groups(node))
    for flow in foreign:
        match = flow.partition(",actions")[0].partition("table=")[2]
        node.ovs.ofctl("--strict", "del-flows", node.mgmt, f"table={match}")
    node.ovs.ofctl("del-groups", node.mgmt, "group_id=5")


def test_what_is_right_is_not_touched(proxied: Agent) -> None:
    before = (proxied.messages, proxied.drift, len(proxied.lines()))
    proxied.await_comparison()
    assert (proxied.messages, proxied.drift, len(proxied.lines())) == before
