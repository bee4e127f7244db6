"""After whatever changes, the flows are those that would be made of all that there is by then."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from clusters import NAMESPACES, Maker
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from policed import NODE, Policed, key, port_of
from semantics import World

from nsxdp.k8s.source import Op
from nsxdp.policy import live
from nsxdp.policy.planner import NodePorts, PolicyPlanner

PODS = 6

seeds = st.integers(0, 10_000)
pods = st.integers(1, PODS)
names = st.integers(0, 5)


def remembered(planner: PolicyPlanner) -> list[int]:
    """How much is kept of pods and policies."""
    desk = planner._desk
    return [
        len([*planner._kinds]),
        len(planner._kinds._addresses),
        len(planner._kinds._namespaces),
        *map(len, (planner._peers, planner._targets, planner._policies, planner._told)),
        *map(len, (planner._judged, planner._isolated)),
        *map(len, (desk._uses, desk._places, desk._numbers)),
        *map(len, (planner._flows._owners, planner._flows._conjuncts, planner._flows._every)),
    ]


class Changes(RuleBasedStateMachine):
    """A node to which everything happens, change by change, some of them in one round."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.policed = Policed()
        self.local: set[str] = set()
        self.node = NODE
        self.pending = True

    def take(self, where: dict[str, Any], name: str, obj: Any) -> None:
        where[name] = obj
        self.policed.take(obj)
        self.pending = True

    def drop(self, where: dict[str, Any], name: str) -> None:
        if name in where:
            self.policed.take(where.pop(name), op=Op.DELETE)
            self.pending = True

    def settle(self) -> None:
        """Tell which pods are on the bridge."""
        self.local &= self.world.pods.keys()
        self.policed.plug(
            {key(self.world.pods[name]): port_of(self.world.pods[name]) for name in self.local}
        )
        self.pending = True

    @initialize(seed=seeds)
    def much(self, seed: int) -> None:
        self.world = Maker(seed).world(PODS)
        self.local = {f"p{number}" for number in (1, 2, 3)}
        self.policed.take_world(self.world, self.local)

    @rule(number=pods, seed=seeds)
    def a_pod(self, number: int, seed: int) -> None:
        made = Maker(seed).pod(number)
        before = self.world.pods.get(f"p{number}")
        if before is not None:
            # What has a namespace doesn't move.
            made["metadata"]["namespace"] = before["metadata"]["namespace"]
        self.take(self.world.pods, f"p{number}", made)

    @precondition(lambda self: self.world.pods)
    @rule(number=pods, seed=seeds)
    def other_labels(self, number: int, seed: int) -> None:
        pod = self.world.pods.get(f"p{number}")
        if pod is not None:
            meta = {**pod["metadata"], "labels": Maker(seed).labels()}
            self.take(self.world.pods, f"p{number}", {**pod, "metadata": meta})

    @precondition(lambda self: self.world.pods)
    @rule(number=pods, other=pods)
    def an_address_given_on(self, number: int, other: int) -> None:
        pod = self.world.pods.get(f"p{number}")
        if pod is not None:
            meta = {**pod["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
            status = {**pod["status"], "podIPs": [{"ip": f"10.244.0.{other}"}]}
            self.take(self.world.pods, f"p{number}", {**pod, "metadata": meta, "status": status})

    @rule(number=pods)
    def no_pod(self, number: int) -> None:
        self.drop(self.world.pods, f"p{number}")
        self.settle()

    @rule(number=pods)
    def plugged(self, number: int) -> None:
        self.local.add(f"p{number}")
        self.settle()

    @rule(number=pods)
    def unplugged(self, number: int) -> None:
        self.local.discard(f"p{number}")
        self.settle()

    @rule(name=st.sampled_from(NAMESPACES), seed=seeds)
    def a_namespace(self, name: str, seed: int) -> None:
        self.take(self.world.namespaces, name, Maker(seed).namespace(name))

    @rule(name=st.sampled_from(NAMESPACES))
    def no_namespace(self, name: str) -> None:
        self.drop(self.world.namespaces, name)

    @rule(number=names, seed=seeds)
    def a_policy(self, number: int, seed: int) -> None:
        made = Maker(seed).network_policy(f"n{number}")
        before = self.world.policies.get(f"n{number}")
        if before is not None:
            made["metadata"]["namespace"] = before["metadata"]["namespace"]
        self.take(self.world.policies, f"n{number}", made)

    @rule(number=names)
    def no_policy(self, number: int) -> None:
        self.drop(self.world.policies, f"n{number}")

    @rule(number=names, seed=seeds, priority=st.integers(0, 2))
    def a_cluster_policy(self, number: int, seed: int, priority: int) -> None:
        made = Maker(seed).cluster_policy(f"c{number}", priority)
        self.take(self.world.cluster_policies, f"c{number}", made)

    @rule(number=names)
    def no_cluster_policy(self, number: int) -> None:
        self.drop(self.world.cluster_policies, f"c{number}")

    @rule(there=st.booleans())
    def another_node(self, there: bool) -> None:
        self.node = NODE if there else NodePorts()
        self.policed.planner.set_node(self.node)
        self.pending = True

    @precondition(lambda self: self.pending)
    @rule()
    def round(self) -> None:
        self.policed.commit()
        self.pending = False

    @invariant()
    def nothing_is_left_of_before(self) -> None:
        if self.pending:
            return
        anew = Policed()
        anew.planner.set_node(self.node)
        anew.take_world(self.world, self.local)
        anew.commit()
        assert self.policed.flows() == anew.flows()
        # What is there is what is desired: nobody else's flow hides behind another's.
        assert self.policed.desired.size.flows == len(anew.flows())

    def teardown(self) -> None:
        """When everything is gone, nothing is left."""
        for where in (self.world.policies, self.world.cluster_policies, self.world.pods):
            for name in [*where]:
                self.drop(where, name)
        self.policed.plug({})
        self.policed.planner.set_node(NodePorts())
        self.policed.commit()
        empty = Policed()
        empty.planner.set_node(NodePorts())
        empty.commit()
        assert self.policed.flows() == empty.flows()
        assert remembered(self.policed.planner) == remembered(empty.planner)


TestChanges = Changes.TestCase
TestChanges.settings = settings(
    max_examples=100, stateful_step_count=20, suppress_health_check=[*HealthCheck]
)


def test_a_policy_of_very_many_rules_is_spread_over_priorities(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A flow's actions have to fit into one message."""
    monkeypatch.setattr(live, "_RULES_A_PLACE", 3)
    policed = Policed()
    maker = Maker(0)
    pod = maker.pod(1) | {"spec": {}, "status": {"podIPs": [{"ip": "10.244.0.1"}]}}
    policed.take(pod)
    policed.plug({key(pod): 5})
    policy = maker.network_policy("many")
    numbers = count(1000)
    policy["metadata"]["namespace"] = pod["metadata"]["namespace"]
    policy["spec"] = {
        "podSelector": {},
        "ingress": [{"ports": [{"port": next(numbers)}]} for _ in range(8)],
    }
    policed.take(policy)
    policed.commit()
    targets = [flow for flow in policed.flows() if "IngressRules" in flow and ",1/2)" in flow]
    assert [flow.split(",")[1].strip() for flow in targets] == [
        f"priority={priority}" for priority in (200, 199, 198)
    ]
    assert [flow.count("conjunction") for flow in targets] == [3, 3, 2]
    policed.take(policy, op=Op.DELETE)
    policed.commit()
    assert not [flow for flow in policed.flows() if "conjunction" in flow]
