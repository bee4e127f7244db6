"""Who is at the ends of connections, and who was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from ipaddress import ip_address

from nsxdp.bridge import LocalPod
from nsxdp.conntrack import read_entries
from nsxdp.k8s.objects import ObjectMeta
from nsxdp.k8s.policy_objects import (
    NetworkPolicy,
    NetworkPolicyEgressRule,
    NetworkPolicyIngressRule,
    NetworkPolicyPort,
    NetworkPolicySpec,
)
from nsxdp.k8s.policy_objects import Pod as PodObject
from nsxdp.k8s.source import Op
from nsxdp.lab import OVS
from nsxdp.openflow import Connection
from nsxdp.ovsdb import Client
from nsxdp.pipeline.tables import TABLES
from nsxdp.switch import DATABASE, BridgeView
from nsxdp.transport import parse_remote
from nsxdp_agents.node_agent.dataplane import Dataplane
from nsxdp_agents.node_agent.policies import Policies
from nsxdp_agents.node_agent.ports import WATCHES
from nsxdp_agents.node_agent.who import Ends
from nsxdp_agents.node_agent.wiring import Wiring


def pod(name: str, *addresses: str) -> LocalPod:
    return LocalPod(name, "0a:58:0a:f4:00:03", tuple(map(ip_address, addresses)), 3)


@asynccontextmanager
async def knowing(ovs: OVS, policies: Policies | None) -> AsyncIterator[Ends]:
    """Who is at the ends of connections on an empty bridge."""
    ovs.add_bridge("br-int")
    async with Client(ovs.ovsdb, DATABASE, WATCHES) as client:
        with closing(BridgeView(client, "br-int")) as view:
            dataplane = Dataplane(Connection(parse_remote(ovs.mgmt("br-int"), 0), tables=TABLES))
            yield Ends("node-1", Wiring(view, dataplane, "geneve"), policies)


async def test_who_had_an_address_last_of_so_many(ovs: OVS) -> None:
    async with knowing(ovs, None) as ends:
        ends.leave(pod("default/a", "10.244.0.3", "fd00:244::3"))
        ends.leave(pod("default/b", "10.244.0.3"))
        assert ends.at("10.244.0.3") == ("default/b", "node-1")
        assert ends.at("fd00:244::3") == ("default/a", "node-1")
        for address in ("10.244.0.4", "nonsense"):
            assert ends.at(address) == ("", "")
        for n in range(999):
            ends.leave(pod(f"default/p{n}", f"10.244.{1 + n // 256}.{n % 256}"))
        assert [ends.at(address).pod for address in ("fd00:244::3", "10.244.0.3")] == [
            "",
            "default/b",
        ]


TRACKED = (
    "tcp,orig=(src=10.244.0.4,dst=10.96.0.10,sport=5000,dport=80),"
    "reply=(src=10.244.0.3,dst=10.244.0.4,sport=8080,dport=5000),zone=65312,mark={mark}"
)


async def test_which_rules_let_a_connection_through(ovs: OVS) -> None:
    """By which address policies see who is masqueraded isn't known of a connection."""
    policies = Policies("node-1", every_pod=False)
    rules = NetworkPolicySpec(
        ingress=(NetworkPolicyIngressRule(ports=(NetworkPolicyPort(port=8080),)),),
        egress=(NetworkPolicyEgressRule(ports=(NetworkPolicyPort(port=8080),)),),
    )
    meta = ObjectMeta(namespace="default", name="p")
    policies.planner.take(Op.UPSERT, NetworkPolicy(metadata=meta, spec=rules))
    for number in (3, 4):
        name = f"p{number}"
        meta = ObjectMeta(namespace="default", name=name)
        policies.planner.take(Op.UPSERT, PodObject(metadata=meta))
        address = ip_address(f"10.244.0.{number}")
        policies.planner.plug(number, f"default/{name}", [address])
    async with knowing(ovs, policies) as ends:
        plain, masqueraded = read_entries("\n".join(TRACKED.format(mark=m) for m in (16, 48)))
        egress, ingress = (f"NetworkPolicy default/p {way}[0]" for way in ("egress", "ingress"))
        assert ends.rules(plain) == (egress, ingress)
        assert ends.rules(masqueraded) == (egress, "")
