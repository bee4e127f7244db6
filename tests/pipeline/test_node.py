"""What pods and the gateway need, and what changes of them send."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from nsxdp.bridge import LocalPod, Port
from nsxdp.openflow import Delta, DesiredSet
from nsxdp.openflow.fake import FakeSwitch
from nsxdp.pipeline.forwarding import BASE
from nsxdp.pipeline.node import Gateway, NodeCompiler, NodePlan
from nsxdp.pipeline.registers import BITS, COOKIE_PREFIX, GROUP_FIRST, GROUP_LAST, Bits
from nsxdp.pipeline.tables import STAGES, TABLES

GATEWAY = Gateway(
    0xFFFF_FFFE, "0a:58:0a:f4:00:01", (ip_address("10.244.0.1"), ip_address("fd00:244::1"))
)


def pod(number: int, *, families: str = "46") -> LocalPod:
    ips = []
    if "4" in families:
        ips.append(ip_address(f"10.244.0.{number}"))
    if "6" in families:
        ips.append(ip_address(f"fd00:244::{number:x}"))
    return LocalPod(f"default/pod{number}", f"0a:58:0a:f4:00:{number:02x}", tuple(ips), number)


class Node:
    def __init__(self) -> None:
        self.compiler = NodeCompiler()
        self.desired = DesiredSet(COOKIE_PREFIX, GROUP_FIRST, GROUP_LAST)
        self.switch = FakeSwitch(TABLES)

    def apply(self, gateway: Gateway | None, *pods: LocalPod) -> Delta:
        owned = self.compiler.compile(NodePlan(gateway, pods))
        delta = self.desired.replace(owned.owners, owned.messages, owned.ends)
        self.switch.apply(delta)
        return delta

    def flows(self, text: str) -> list[str]:
        return [flow for flow in self.switch.dump_flows() if text in flow]


@pytest.fixture
def node() -> Node:
    return Node()


def test_what_is_there_without_anybody(node: Node) -> None:
    assert node.apply(None).flows_added == len(BASE)
    assert node.apply(None).messages == 0


def test_pod_is_its_port_and_three_flows_an_address(node: Node) -> None:
    node.apply(GATEWAY)
    delta = node.apply(GATEWAY, pod(5))
    assert (delta.messages, delta.flows_added) == (7, 7)
    assert node.flows("dl_dst=0a:58:0a:f4:00:05 ") == [
        "table=L2Forwarding, priority=200,dl_dst=0a:58:0a:f4:00:05 actions=output:5"
    ]
    assert len(node.flows("10.244.0.5")) == 3
    assert len(node.flows("fd00:244::5")) == 3


@pytest.mark.parametrize(("families", "flows"), [("4", 4), ("6", 4), ("", 1)])
def test_pod_of_one_family_or_none(node: Node, families: str, flows: int) -> None:
    node.apply(GATEWAY)
    assert node.apply(GATEWAY, pod(5, families=families)).flows_added == flows


def test_pods_that_stay_cost_nothing(node: Node) -> None:
    pods = [pod(n) for n in range(2, 102)]
    node.apply(GATEWAY, *pods)
    assert node.apply(GATEWAY, *pods).messages == 0
    assert node.apply(GATEWAY, *reversed(pods)).messages == 0
    assert len(node.compiler.compile(NodePlan(GATEWAY, (*pods, pod(200)))).owners) == 1
    assert len(node.compiler.compile(NodePlan(GATEWAY, tuple(pods))).owners) == 1


def test_pod_that_goes_takes_its_flows_along(node: Node) -> None:
    node.apply(GATEWAY, pod(5))
    before = node.switch.dump_flows()
    node.apply(GATEWAY, pod(5), pod(6))
    delta = node.apply(GATEWAY, pod(5))
    assert (delta.flows_deleted, delta.messages) == (7, 7)
    assert node.switch.dump_flows() == before


def test_pod_at_another_port_changes_one_flow(node: Node) -> None:
    node.apply(GATEWAY, pod(5))
    delta = node.apply(GATEWAY, replace(pod(5), ofport=9))
    assert (delta.flows_changed, delta.messages) == (1, 1)
    assert node.flows("actions=output:9")


def test_address_that_moves_to_another_pod(node: Node) -> None:
    """The new one is there before the old one goes, or the other way round."""
    node.apply(GATEWAY, pod(5))
    new = replace(pod(5), iface_id="default/new", mac="0a:58:0a:f4:00:77", ofport=7)
    node.apply(GATEWAY, pod(5), new)
    node.apply(GATEWAY, new)
    (route,) = node.flows("dl_dst=0a:58:0a:f4:00:01,nw_dst=10.244.0.5")
    assert "set_field:0a:58:0a:f4:00:77->eth_dst" in route
    assert not node.flows("0a:58:0a:f4:00:05")


def test_no_gateway_no_routes(node: Node) -> None:
    node.apply(None, pod(5))
    assert len(node.switch.flows) == len(BASE) + 1
    node.apply(GATEWAY, pod(5))
    assert node.flows("nw_dst=10.244.0.5")
    node.apply(None, pod(5))
    assert len(node.switch.flows) == len(BASE) + 1


def test_gateway_that_moves_reroutes_all_pods(node: Node) -> None:
    node.apply(GATEWAY, pod(5), pod(6))
    moved = replace(GATEWAY, mac="0a:58:0a:f4:00:99")
    node.apply(moved, pod(5), pod(6))
    assert not node.flows("0a:58:0a:f4:00:01")
    other = Node()
    other.apply(moved, pod(5), pod(6))
    assert node.switch.dump_flows() == other.switch.dump_flows()


def test_gateway_s_first_address_of_each_family_counts(node: Node) -> None:
    more = (*GATEWAY.addresses, ip_address("10.244.0.2"), ip_address("fd00:244::2"))
    node.apply(replace(GATEWAY, addresses=more))
    assert node.flows("nw_src=10.244.0.1 ")
    assert node.flows("ipv6_src=fd00:244::1 ")
    # The others are the node's, too, but it doesn't send from them.
    for address in ("nw_src=10.244.0.2", "ipv6_src=fd00:244::2"):
        (origin,) = node.flows(address)
        assert origin.startswith("table=Classifier,")


def test_bridge_s_own_port_is_openflow_s_local() -> None:
    assert Gateway.of(Port("br-int", 65534, GATEWAY.mac, {})).ofport == 0xFFFF_FFFE
    assert Gateway.of(Port("gw0", 3, GATEWAY.mac, {}), GATEWAY.addresses) == replace(
        GATEWAY, ofport=3
    )


# Declarations.


def test_ranges_of_bits_are_apart_and_fit() -> None:
    assert Bits("reg4", 0, 3, "").overlaps(Bits("reg4", 3, 9, ""))
    assert not Bits("reg4", 0, 3, "").overlaps(Bits("reg4", 4, 9, ""))
    assert not Bits("reg4", 0, 3, "").overlaps(Bits("reg5", 0, 3, ""))
    widths = {"ct_label": 128}
    assert all(0 <= bits.first <= bits.last < widths.get(bits.field, 32) for bits in BITS.values())
    assert BITS["Masqueraded"].mask == 0x20


def test_tables_are_in_the_order_of_their_numbers() -> None:
    numbers = [stage.number for stage in STAGES]
    assert numbers == sorted(set(numbers))
    assert len({stage.name for stage in STAGES}) == len(STAGES)
    # A flow can only go to a table with a higher number.
    positions = {stage.name: stage.number for stage in STAGES}
    for stage in STAGES:
        if stage.miss.startswith("goto_table:"):
            assert positions[stage.miss.removeprefix("goto_table:")] > stage.number
