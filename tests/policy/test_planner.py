"""What policies leave to the node: who isn't known yet, who is the node, what is told of drops."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from flowtable import Dropped, FlowTables, Left, packet_of
from policed import ENDS, ENTRY, GATEWAY, NODE, NODE_ADDRESSES, TUNNEL, Policed, port_of
from semantics import Direction, Object, Packet

from bench.processes import resident
from nsxdp.k8s.source import Op
from nsxdp.openflow.codec import message_format
from nsxdp.pipeline.registers import HAIRPIN_IPV4
from nsxdp.pipeline.tables import TABLES
from nsxdp.policy.planner import NodePorts
from tests.calls import Calls

WEB, CLIENT = 5, 6


def pod(number: int, app: str = "", **status: Any) -> Object:
    ips = [{"ip": f"10.244.0.{number}"}, {"ip": f"fd00:244::{number}"}]
    return {
        "kind": "Pod",
        "metadata": {"name": f"p{number}", "namespace": "a", "labels": {"app": app} if app else {}},
        "spec": {},
        "status": {"podIPs": ips, **status},
    }


def policy(name: str = "none", **spec: Any) -> Object:
    spec = {"podSelector": {"matchLabels": {"app": "web"}}, **spec}
    return {"kind": "NetworkPolicy", "metadata": {"name": name, "namespace": "a"}, "spec": spec}


ISOLATED = policy(policyTypes=["Ingress", "Egress"])
NAMESPACE: Object = {"kind": "Namespace", "metadata": {"name": "a", "labels": {}}}


def cluster_policy(name: str = "c", **spec: Any) -> Object:
    spec = {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, **spec}
    return {"kind": "ClusterNetworkPolicy", "metadata": {"name": name}, "spec": spec}


def node(*objects: Object, log: bool = False) -> Policed:
    """A node with these objects, and the pods p5 and p6 on its bridge."""
    policed = Policed(log=log)
    policed.plug({f"a/p{number}": port_of(pod(number)) for number in (WEB, CLIENT)})
    policed.take(NAMESPACE, *objects)
    policed.commit()
    return policed


def send(
    policed: Policed,
    direction: Direction,
    source: str,
    target: str,
    *,
    in_port: int = TUNNEL,
    out_port: int = GATEWAY,
) -> Left | Dropped:
    fields = packet_of("TCP", source, target, 80)
    fields |= {"in_port": in_port, "reg1": out_port}
    return FlowTables(policed.flows()).send(fields, ENTRY[direction], ENDS)


def gets(policed: Policed, source: str, number: int = WEB, *, in_port: int = TUNNEL) -> bool:
    """Whether a pod of this node gets what 'source' sends."""
    target = f"fd00:244::{number}" if ":" in source else f"10.244.0.{number}"
    out_port = port_of(pod(number))
    found = send(policed, "ingress", source, target, in_port=in_port, out_port=out_port)
    return isinstance(found, Left)


def sends(policed: Policed, target: str, number: int = WEB) -> bool:
    """Whether what a pod of this node sends to 'target' gets out."""
    source = f"fd00:244::{number}" if ":" in target else f"10.244.0.{number}"
    return isinstance(send(policed, "egress", source, target, in_port=port_of(pod(number))), Left)


def test_a_pod_that_is_not_known_yet_neither_sends_nor_receives() -> None:
    policed = node()
    assert not gets(policed, "192.0.2.1")
    assert not sends(policed, "192.0.2.1")
    policed.take(pod(WEB, "web"))
    policed.commit()
    assert gets(policed, "192.0.2.1")
    assert sends(policed, "192.0.2.1")
    policed.take(pod(WEB, "web", phase="Failed"))
    policed.commit()
    assert not sends(policed, "192.0.2.1")


def test_a_pod_that_no_policy_is_for_is_asked_about_nothing() -> None:
    policed = node(pod(WEB, "web"), pod(CLIENT), ISOLATED)
    assert gets(policed, "192.0.2.1", CLIENT)
    assert sends(policed, "192.0.2.1", CLIENT)
    asked = [f for f in policed.flows() if f"={port_of(pod(CLIENT))} " in f and "Peer" in f]
    assert not asked


def at(node: str, *ips: str) -> Object:
    """The client, on a node, with the addresses that the API knows."""
    client = pod(CLIENT, "client")
    spec = {"nodeName": node} if node else {}
    return client | {"spec": spec, "status": {"podIPs": [{"ip": ip} for ip in ips]}}


def with_a_client() -> Policed:
    """The node "here", whose web pods clients alone may reach; of those, it has the port of one."""
    policed = Policed("here")
    peer = {"podSelector": {"matchLabels": {"app": "client"}}}
    web = pod(WEB, "web") | {"spec": {"nodeName": "here"}}
    policed.take(NAMESPACE, policy(ingress=[{"from": [peer]}]), web)
    for number in (WEB, CLIENT):
        policed.planner.plug(100 + number, f"a/p{number}", [ip_address(f"10.244.0.{number}")])
    return policed


def peers(policed: Policed) -> set[str]:
    """Which of the addresses that the client may have are a client's."""
    policed.commit()
    return {ip for ip in ("10.244.0.6", "10.244.0.66", "10.244.1.9") if gets(policed, ip)}


def test_a_pod_of_this_node_has_the_addresses_that_it_has_on_the_bridge() -> None:
    policed = with_a_client()
    policed.take(at("here", "10.244.0.66"))
    assert peers(policed) == {"10.244.0.6"}
    policed.planner.unplug(100 + CLIENT)
    assert not peers(policed)
    policed.take(at("here", "10.244.0.66"))
    assert not peers(policed)


def test_a_pod_that_moved_to_another_node_is_who_the_api_says() -> None:
    """Its port of before may stay for as long as it likes."""
    policed = with_a_client()
    policed.take(at("here", "10.244.0.6"))
    policed.take(at("here", "10.244.0.6"), op=Op.DELETE)
    policed.take(at(""))
    assert peers(policed) == {"10.244.0.6"}, "it may be here, as far as is known"
    policed.take(at("there"))
    assert not peers(policed)
    policed.take(at("there", "10.244.1.9"))
    assert peers(policed) == {"10.244.1.9"}
    policed.planner.unplug(100 + CLIENT)
    assert peers(policed) == {"10.244.1.9"}
    # And back.
    policed.take(at("here", "10.244.1.9"))
    assert not peers(policed)
    policed.planner.plug(100 + CLIENT, "a/p6", [ip_address("10.244.0.6")])
    assert peers(policed) == {"10.244.0.6"}


def test_a_pod_of_no_node_has_the_api_s_addresses_when_it_is_off_the_bridge() -> None:
    policed = with_a_client()
    policed.take(at("", "10.244.0.66"))
    assert peers(policed) == {"10.244.0.6"}
    policed.planner.unplug(100 + CLIENT)
    assert peers(policed) == {"10.244.0.66"}


def test_connections_are_bound_where_the_bridge_can() -> None:
    policed = node()

    def commits() -> list[str]:
        return [flow for flow in policed.flows() if "ct_mark=0/0x10" in flow]

    assert len(commits()) == 4
    assert not [flow for flow in commits() if "nat" in flow]
    policed.planner.set_binds(True)
    assert policed.commit().messages == 4
    assert len([flow for flow in commits() if "nat(src)" in flow]) == 4


def test_another_port_is_not_judged() -> None:
    policed = node(pod(WEB, "web"), ISOLATED)
    away = send(policed, "ingress", "10.244.0.5", "192.0.2.1", in_port=105, out_port=GATEWAY)
    assert away == Left("Output")
    here = send(policed, "egress", "192.0.2.1", "10.244.0.5", in_port=TUNNEL)
    assert here == Left("L3Forwarding")


@pytest.mark.parametrize("address", NODE_ADDRESSES)
def test_the_node_reaches_its_pods_and_they_it(address: str) -> None:
    policed = node(pod(WEB, "web"), ISOLATED)
    assert gets(policed, address, in_port=GATEWAY)
    assert not gets(policed, address, in_port=TUNNEL), "somebody with the node's address"
    assert sends(policed, address)
    assert not sends(policed, "192.0.2.1")
    policed.planner.set_node(NodePorts(NODE.others, NODE.gateway, frozenset()))
    policed.commit()
    assert not gets(policed, address, in_port=GATEWAY)
    assert not sends(policed, address)


def test_an_administrator_can_keep_pods_from_their_node() -> None:
    rule = {"action": "Deny", "to": [{"networks": ["10.244.0.254/32"]}]}
    policed = node(pod(WEB, "web"), ISOLATED, cluster_policy(egress=[rule]))
    assert not sends(policed, "10.244.0.254")
    assert sends(policed, "fd00:244::fe")
    # Probes go on.
    deny = {"action": "Deny", "from": [{"namespaces": {}}]}
    policed.take(cluster_policy("d", ingress=[deny]))
    policed.commit()
    assert gets(policed, "10.244.0.254", in_port=GATEWAY)


def test_a_baseline_rule_is_not_asked_about_who_is_isolated() -> None:
    rule = {"action": "Accept", "to": [{"networks": ["0.0.0.0/0"]}]}
    baseline = cluster_policy(tier="Baseline", egress=[rule])
    policed = node(pod(WEB, "web"), ISOLATED, baseline)
    assert not sends(policed, "192.0.2.1")


def test_a_pod_reaches_itself() -> None:
    policed = node(pod(WEB, "web"), ISOLATED)
    assert sends(policed, "10.244.0.5")
    assert sends(policed, "fd00:244::5")
    assert gets(policed, HAIRPIN_IPV4)
    assert not sends(policed, "10.244.0.6")
    to_all = [{"action": "Deny", "to": [{"namespaces": {}}]}]
    policed.take(cluster_policy(egress=to_all))
    policed.commit()
    assert not sends(policed, "10.244.0.5"), "through a Service, ClusterNetworkPolicies have a say"


@pytest.mark.parametrize("address", [*NODE_ADDRESSES, "10.244.0.5"])
def test_no_rule_has_to_let_a_pod_reach_its_node_or_itself(address: str) -> None:
    anything = policy("open", ingress=[{}], egress=[{}])
    accept = {"action": "Accept", "to": [{"networks": ["0.0.0.0/0", "::/0"]}]}
    policed = node(pod(WEB, "web"), pod(CLIENT), anything)

    def by(direction: Direction, other: str) -> str:
        mine = "fd00:244::5" if ":" in other else "10.244.0.5"
        ends = (mine, other) if direction == "egress" else (other, mine)
        return policed.allowing(direction, Packet(*ends, "TCP", 80), "a/p5")

    assert by("ingress", address) == by("egress", address) == ""
    assert by("ingress", "10.244.0.6") == "NetworkPolicy a/open ingress[0]"
    assert by("egress", "10.244.0.6") == "NetworkPolicy a/open egress[0]"
    # An administrator's rules come first, and it counts what holds now.
    policed.take(cluster_policy(egress=[accept]))
    assert by("egress", address) == "ClusterNetworkPolicy c egress[0]"
    policed.take(cluster_policy(), op=Op.DELETE)
    policed.take(policy("open", ingress=[{}], policyTypes=["Ingress", "Egress"]))
    assert by("egress", "10.244.0.6") == by("ingress", address) == ""
    policed.take(anything, op=Op.DELETE)
    assert by("ingress", "10.244.0.6") == ""
    # The other pod's own policies are asked for it alone.
    assert policed.allowing("ingress", Packet("10.244.0.5", "10.244.0.6", "TCP", 80), "a/p6") == ""


def test_what_is_dropped_is_told_of_if_that_is_wanted() -> None:
    deny = {"action": "Deny", "to": [{"networks": ["192.0.2.0/24"]}]}
    objects = (pod(WEB, "web"), ISOLATED, cluster_policy(egress=[deny]))
    for log in (False, True):
        policed = node(*objects, log=log)
        for target in ("192.0.2.1", "198.51.100.1"):
            found = send(policed, "egress", "10.244.0.5", target, in_port=port_of(pod(WEB)))
            assert isinstance(found, Dropped)
            assert found.told == log
        told = [flow for flow in policed.flows() if "controller(" in flow]
        assert all("controller(max_len=128,id=28417" in flow for flow in told)
        assert bool(told) == log


def test_numbers_stand_for_rules_and_kinds() -> None:
    allow = policy("web", ingress=[{"ports": [{"port": 80}]}])
    policed = node(pod(WEB, "web"), allow)
    (answer,) = [flow for flow in policed.flows() if "conj_id=" in flow]
    number = int(answer.split("conj_id=")[1].split()[0])
    assert policed.planner.rule(number) == "NetworkPolicy a/web ingress[0]"
    assert policed.planner.rule(1) is None
    (default,) = [flow for flow in policed.flows() if "priority=1," in flow]
    kind = policed.planner.kind(int(default.split("reg5=")[1].split()[0], 0))
    assert kind is not None
    assert (kind.namespace, kind.labels) == ("a", {"app": "web"})
    assert policed.planner.is_isolated("a/p5", "ingress")
    assert not policed.planner.is_isolated("a/p5", "egress")


def test_what_is_not_understood_is_told_and_allows_nothing() -> None:
    unknown = policy(ingress=[{"from": [{"novelty": {}}, {"ipBlock": {"cidr": "nowhere"}}]}])
    policed = node(pod(WEB, "web"), unknown)
    assert not gets(policed, "192.0.2.1")
    assert policed.planner.problems == {
        "NetworkPolicy a/none": (
            "spec.ingress[0].from[0]: none of the fields that are known is set",
            "spec.ingress[0].from[1]: 'nowhere' is not a prefix",
        )
    }
    policed.take(policy(ingress=[{}]))
    policed.commit()
    assert gets(policed, "192.0.2.1")
    assert not policed.planner.problems


def test_a_block_of_too_many_prefixes_allows_nothing() -> None:
    block = {"cidr": "10.0.0.0/8", "except": [f"10.1.{i}.1/32" for i in range(256)]}
    many = {
        "cidr": "11.0.0.0/8",
        "except": [f"11.{i >> 3}.{(i & 7) << 5}.1/32" for i in range(1000)],
    }
    policed = node(
        pod(WEB, "web"), policy(ingress=[{"from": [{"ipBlock": block}, {"ipBlock": many}]}])
    )
    assert gets(policed, "10.1.1.2")
    assert not gets(policed, "10.1.1.1")
    assert not gets(policed, "11.255.0.1")
    (problem,) = policed.planner.problems["NetworkPolicy a/none"]
    assert problem.startswith(
        "spec.ingress[0].from[1]: 11.0.0.0/8 without its 1000 exceptions is more than 8192 prefixes"
    )


@pytest.mark.parametrize(("action", "passes"), [("Accept", True), ("Deny", False), ("Pass", False)])
def test_a_cluster_rule_with_a_peer_of_a_later_version_fails_closed(
    action: str, passes: bool
) -> None:
    rule = {"action": action, "to": [{"nodes": {}}]}
    policed = node(pod(WEB, "web"), cluster_policy(egress=[rule]))
    assert sends(policed, "192.0.2.1") == passes
    (problem,) = policed.planner.problems["ClusterNetworkPolicy c"]
    assert problem == "spec.egress[0]: peers of the field nodes are not supported"


@pytest.mark.parametrize(("action", "passes"), [("Accept", True), ("Deny", False), ("Pass", False)])
def test_a_named_port_of_networks_is_not_understood(action: str, passes: bool) -> None:
    rule = {
        "action": action,
        "to": [{"networks": ["192.0.2.0/24"]}],
        "protocols": [{"destinationNamedPort": "http"}],
    }
    policed = node(pod(WEB, "web"), cluster_policy(egress=[rule]))
    assert sends(policed, "198.51.100.1") == passes
    (problem,) = policed.planner.problems["ClusterNetworkPolicy c"]
    assert problem.startswith("spec.egress[0]: networks have no named ports")


def test_a_policy_that_says_not_for_whom_leaves_the_one_of_before() -> None:
    deny = {"action": "Deny", "to": [{"networks": ["0.0.0.0/0"]}]}
    policed = node(pod(WEB, "web"), cluster_policy(egress=[deny]))
    policed.take(cluster_policy(subject={}, egress=[]))
    policed.commit()
    assert not sends(policed, "192.0.2.1")
    assert "spec.subject" in policed.planner.problems["ClusterNetworkPolicy c"][0]
    policed.take(cluster_policy(), op=Op.DELETE)
    policed.commit()
    assert sends(policed, "192.0.2.1")
    assert not policed.planner.problems


def changes(policed: Policed) -> list[str]:
    """The messages of what changed, in words and without what only hashes say."""
    delta = bytes(policed.commit())
    found = []
    while delta:
        length = int.from_bytes(delta[2:4])
        text = message_format(delta[:length], TABLES)
        found.append(text.split("table:")[1].split(" actions=")[0])
        delta = delta[length:]
    return found


def test_a_label_change_touches_only_what_it_enters_and_leaves() -> None:
    """Among many policies, the flows of the groups that the pod leaves or enters, and no others."""
    allow = {"from": [{"podSelector": {"matchLabels": {"app": "client"}}}], "ports": [{"port": 80}]}
    many = [
        policy(f"n{i}", ingress=[allow], podSelector={"matchLabels": {"app": f"web{i % 2}"}})
        for i in range(50)
    ]
    others = [pod(number, "client") for number in range(20, 60)]
    policed = node(pod(WEB, "web0"), pod(CLIENT), *many, *others)
    # One more peer, of a kind that there is: its addresses.
    policed.take(pod(CLIENT, "client"))
    assert len(changes(policed)) == 2
    policed.take(pod(CLIENT, "else"))
    assert len(changes(policed)) == 2
    # From half of the policies to the other half: as many rules go as come.
    policed.take(pod(WEB, "web1"))
    found = changes(policed)
    names = {text.split()[0] for text in found}
    assert names == {"IngressPolicy", "IngressRules"}
    assert len([text for text in found if "conj_id" in text]) == 50
    # The pod's own flow, its kind's defaults and targets, the peers, the port (twice).
    assert len(found) == 50 + 1 + 2 + 2 + 1 + 2


def test_an_unrelated_change_touches_nothing() -> None:
    policed = node(pod(WEB, "web"), ISOLATED)
    policed.take({"kind": "Namespace", "metadata": {"name": "b", "labels": {"x": "y"}}})
    policed.take(pod(30, "other"))
    policed.take(policy("elsewhere", podSelector={"matchLabels": {"app": "nobody"}}, ingress=[{}]))
    assert not changes(policed)


def test_an_event_of_a_namespace_with_the_labels_of_before_changes_no_judgment() -> None:
    policed = node(pod(WEB, "web"), ISOLATED)
    assert policed.planner.judged_anew()
    policed.take({**NAMESPACE, "metadata": {"name": "a", "annotations": {"x": "y"}}})
    policed.take({"kind": "Namespace", "metadata": {"name": "never seen"}}, op=Op.DELETE)
    assert not policed.planner.judged_anew()
    policed.take({"kind": "Namespace", "metadata": {"name": "a", "labels": {"x": "y"}}})
    assert policed.planner.judged_anew()
    policed.take(NAMESPACE, op=Op.DELETE)
    assert policed.planner.judged_anew()


def test_policies_that_come_one_by_one_are_kept_once() -> None:
    """Not the flows of all sizes that they had on the way."""
    allow = {"from": [{"podSelector": {"matchLabels": {"app": "client"}}}], "ports": [{"port": 80}]}
    policed = node(pod(WEB, "web"), pod(CLIENT, "client"))
    before = resident()
    for i in range(500):
        policed.take(policy(f"n{i}", ingress=[allow]))
        policed.planner.round()
    assert resident() - before < 64 << 20


def calls(policed: Policed, obj: Object) -> int:
    """How many calls a change costs."""
    with Calls() as counted:
        policed.take(obj)
        policed.planner.round()
    return counted.number


def crowd(size: int) -> Policed:
    """A node in a cluster with so many more namespaces, each with pods and policies of its own."""
    policed = Policed()
    ports = {"a/p5": 105}
    for i in range(size):
        policed.take({"kind": "Namespace", "metadata": {"name": f"x{i}", "labels": {}}})
        theirs = {"name": "p", "namespace": f"x{i}", "labels": {"app": "web"}}
        ip = [{"ip": f"10.{i >> 8}.{i & 255}.1"}]
        policed.take({"kind": "Pod", "metadata": theirs, "spec": {}, "status": {"podIPs": ip}})
        ports[f"x{i}/p"] = 1000 + i
        peers = [{"podSelector": {}}, {"namespaceSelector": {"matchLabels": {"no": "such"}}}]
        spec = {"podSelector": {}, "ingress": [{"from": peers, "ports": [{"port": 80}]}]}
        meta = {"name": "n", "namespace": f"x{i}"}
        policed.take({"kind": "NetworkPolicy", "metadata": meta, "spec": spec})
    allow = {"from": [{"podSelector": {"matchLabels": {"app": "client"}}}], "ports": [{"port": 80}]}
    policed.take(NAMESPACE, pod(WEB, "web"), pod(CLIENT), policy(ingress=[allow]))
    policed.plug(ports)
    policed.commit()
    return policed


def test_a_label_change_costs_the_same_in_a_large_cluster() -> None:
    small, large = crowd(5), crowd(500)
    for app in ("client", "else", "web"):
        # Once before: templates are kept.
        for policed in (small, large):
            calls(policed, pod(CLIENT, app))
    for obj in (pod(CLIENT, "client"), pod(CLIENT, "web"), pod(WEB, "client"), pod(WEB, "web")):
        assert calls(small, obj) == calls(large, obj)
