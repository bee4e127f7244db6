"""A switch that refuses something gets all the rest, and the refused when it takes it again."""

from __future__ import annotations

from collections.abc import Callable

from proxying import Agent, Manifests, endpoints, groups, ours, service, until

from nsxdp.lab import Node

Start = Callable[..., Agent]

FAILURES = "sync_proxy_rules_openflow_sync_failures_total"


def served(node: Node) -> set[str]:
    """The virtual addresses that have a flow."""
    return {
        flow.partition("nw_dst=")[2].partition(",")[0] for flow in ours(node) if "tp_dst" in flow
    }


def limit(node: Node, flows: int) -> None:
    """Let table ServiceLB hold so many flows, and refuse more."""
    node.ovs.vsctl(
        *("--id=@ft", "create", "Flow_Table", f"flow_limit={flows}", "overflow_policy=refuse"),
        *("--", "set", "Bridge", node.bridge, "flow_tables:20=@ft"),
    )


def several(manifests: Manifests, first: int, last: int) -> None:
    for n in range(first, last + 1):
        manifests.put(service(f"s-{n}", f"10.96.1.{n}"), endpoints(f"s-{n}", f"10.244.1.{n}"))


def test_flows_beyond_the_table_s_limit(node: Node, manifests: Manifests, start: Start) -> None:
    limit(node, 7)  # two a Service, and the table's miss flow
    several(manifests, 1, 4)
    agent = start()
    until("as many as fit", lambda: len(served(node)) == 3)
    # All groups are there: what was refused keeps nothing else away.
    assert len(groups(node)) == 4
    assert any("table=42" in flow for flow in ours(node))
    (line, *_) = agent.await_log("the switch refused")
    assert "OFPFMFC_TABLE_FULL" in line
    assert "table=ServiceLB" in line
    assert "nw_dst=10.96.1." in line
    assert "actions=group:" in line
    assert agent.metric(FAILURES) >= 1
    # Refused is not changed by somebody else, and it is tried again quietly enough.
    agent.await_comparison()
    assert agent.drift == 0
    assert not agent.lines("somebody else")
    # Others go on.
    manifests.put(endpoints("s-1", "10.244.1.1", "10.244.2.1"))
    until("a new endpoint", lambda: any("10.244.2.1:8080" in group for group in groups(node)))
    node.ovs.vsctl("clear", "Bridge", node.bridge, "flow_tables")
    until("all are served", lambda: len(served(node)) == 4)
    failures = agent.metric(FAILURES)
    agent.await_comparison()
    assert agent.metric(FAILURES) == failures
    assert agent.process.poll() is None


def test_many_refusals_are_not_all_logged(node: Node, manifests: Manifests, start: Start) -> None:
    limit(node, 21)
    several(manifests, 1, 60)
    agent = start()
    assert len(served(node)) == 10
    assert len(groups(node)) == 60
    (line, *_) = agent.await_log("the switch refused more than is shown")
    assert "more=84" in line
    assert agent.metric(FAILURES) >= 50
