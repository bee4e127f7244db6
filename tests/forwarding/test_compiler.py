"""What pods, peers and the node's configuration need, and what changes of them send."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from nsxdp.forwarding.compiler import OWNERS_END, ForwardingCompiler
from nsxdp.forwarding.host import routes, ruleset
from nsxdp.forwarding.model import NodeConfig, Peer, PodPort, pod_mtu, reserved
from nsxdp.openflow import Delta, DesiredSet
from nsxdp.openflow.fake import FakeSwitch
from nsxdp.pipeline.compiled import Compiled
from nsxdp.pipeline.node import Gateway
from nsxdp.pipeline.registers import NODE_COOKIE_PREFIX, NODE_GROUP_FIRST, NODE_GROUP_LAST
from nsxdp.pipeline.tables import TABLES

GATEWAY = Gateway(
    0xFFFF_FFFE, "0a:58:0a:f4:00:01", (ip_address("10.244.0.1"), ip_address("fd00:244::1"))
)
CIDRS = (ip_network("10.244.0.0/16"), ip_network("fd00:244::/64"))
CONFIG = NodeConfig(
    "geneve", GATEWAY, CIDRS, (ip_address("10.244.0.2"), ip_address("fd00:244::2")), tunnel=9
)


def pod_of(number: int) -> PodPort:
    high, low = divmod(number, 256)
    ips = ip_address(f"10.244.{1 + high}.{low}"), ip_address(f"fd00:244::{number + 256:x}")
    return PodPort(f"default/pod{number}", 100 + number, f"0a:58:0a:f5:{high:02x}:{low:02x}", ips)


def peer_of(number: int) -> Peer:
    cidrs = ip_network(f"10.245.{number}.0/24"), ip_network(f"fd00:245:{number:x}::/64")
    return Peer(f"node{number}", (ip_address(f"192.0.2.{number}"),), cidrs, 7)


class Bridge:
    """A compiler, and a switch that has what it says."""

    def __init__(self, config: NodeConfig = CONFIG) -> None:
        self.compiler = ForwardingCompiler()
        self.desired = DesiredSet(NODE_COOKIE_PREFIX, NODE_GROUP_FIRST, NODE_GROUP_LAST)
        self.switch = FakeSwitch(TABLES)
        self.take(self.compiler.configure(config))

    def take(self, owned: Compiled) -> Delta:
        delta = self.desired.replace(owned.owners, owned.messages, owned.ends)
        self.switch.apply(bytes(delta))
        return delta

    def pods(self, *pods: PodPort, gone: tuple[str, ...] = ()) -> Delta:
        return self.take(self.compiler.set_pods(pods, gone))

    def peers(self, *peers: Peer, gone: tuple[str, ...] = ()) -> Delta:
        return self.take(self.compiler.set_peers(peers, gone))

    def flows(self, *texts: str) -> list[str]:
        return [flow for flow in self.switch.dump_flows() if all(text in flow for text in texts)]


@pytest.fixture
def bridge() -> Bridge:
    return Bridge()


FLOWS_OF_A_POD = 14
FLOWS_OF_A_PEER = 8


@pytest.mark.parametrize("others", [0, 500])
def test_a_change_costs_what_it_is(bridge: Bridge, others: int) -> None:
    bridge.pods(*(pod_of(n) for n in range(1, others + 1)))
    bridge.peers(*(peer_of(n) for n in range(1, others // 4 + 1)))
    assert bridge.pods(pod_of(900)).flows_added == FLOWS_OF_A_POD
    assert bridge.pods(pod_of(900)).messages == 0
    moved = replace(pod_of(900), ofport=7)
    # What is told apart by the port is new; where the MAC leads, and who is asked, is changed.
    delta = bridge.pods(moved)
    assert (delta.flows_added, delta.flows_changed, delta.flows_deleted) == (9, 2, 9)
    assert bridge.pods(gone=("default/pod900", "default/nobody")).flows_deleted == FLOWS_OF_A_POD
    assert bridge.peers(peer_of(200)).flows_added == FLOWS_OF_A_PEER
    assert bridge.peers(peer_of(200)).messages == 0
    assert bridge.peers(gone=("node200",)).flows_deleted == FLOWS_OF_A_PEER


def test_nothing_is_left(bridge: Bridge) -> None:
    before = bridge.switch.dump_flows()
    bridge.pods(*(pod_of(n) for n in range(1, 20)))
    bridge.peers(peer_of(1), peer_of(2))
    bridge.pods(gone=tuple(f"default/pod{n}" for n in range(1, 20)))
    bridge.peers(gone=("node1", "node2"))
    assert bridge.switch.dump_flows() == before
    assert not bridge.compiler.pods
    assert not bridge.compiler.peers


def test_an_address_goes_from_one_pod_to_another(bridge: Bridge) -> None:
    """At once, as where a pod of a stateful set is made anew."""
    old = pod_of(1)
    bridge.pods(old)
    bridge.pods(replace(old, name="default/new", ofport=8), gone=(old.name,))
    (flow,) = bridge.flows("table=SpoofGuard", "nw_src=10.244.1.1")
    assert "in_port=8" in flow
    assert len(bridge.flows(f"dl_dst={old.mac}")) == 1


def test_the_order_does_not_matter() -> None:
    one, other = Bridge(), Bridge()
    pods, peers = [pod_of(n) for n in range(1, 9)], [peer_of(n) for n in range(1, 5)]
    one.pods(*pods)
    one.peers(*peers)
    for peer in reversed(peers):
        other.peers(peer)
    for each in reversed(pods):
        other.pods(each)
    assert sorted(one.switch.dump_flows()) == sorted(other.switch.dump_flows())


def test_another_configuration_is_for_all(bridge: Bridge) -> None:
    bridge.pods(pod_of(1))
    bridge.peers(peer_of(1))
    assert bridge.take(bridge.compiler.configure(CONFIG)).messages == 0
    gateway = replace(GATEWAY, mac="0a:58:0a:f4:00:99")
    bridge.take(bridge.compiler.configure(replace(CONFIG, gateway=gateway)))
    assert bridge.flows(GATEWAY.mac) == []
    fresh = Bridge(replace(CONFIG, gateway=gateway))
    fresh.pods(pod_of(1))
    fresh.peers(peer_of(1))
    assert sorted(bridge.switch.dump_flows()) == sorted(fresh.switch.dump_flows())


def test_without_encapsulation_the_network_stack_routes() -> None:
    bridge = Bridge(NodeConfig("noEncap", GATEWAY, CIDRS))
    bridge.peers(peer_of(1))
    # A pod whose network seems to reach that far is told that the gateway leads there.
    flows = bridge.flows("10.245.1.0/24")
    assert len(flows) == 1
    assert f"set_field:{GATEWAY.mac}->eth_src" in flows[0]
    assert not bridge.flows("tun_dst")


def test_a_peer_whose_address_is_not_known_is_no_peer_yet(bridge: Bridge) -> None:
    bridge.peers(replace(peer_of(1), addresses=()))
    assert not bridge.flows("tun_")


def test_owners_have_names(bridge: Bridge) -> None:
    owned = [
        bridge.compiler.set_pods([pod_of(1), pod_of(2)]),
        bridge.compiler.set_peers([peer_of(1)]),
    ]
    numbers = [int(owner) for each in owned for owner in each.owners]
    names = ["pod default/pod1", "pod default/pod2", "node node1"]
    assert [bridge.compiler.whose(number) for number in numbers] == names
    assert bridge.compiler.whose(0) == "this node"
    assert bridge.compiler.whose(OWNERS_END) == ""
    assert max(numbers) < OWNERS_END


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"mac": "0a:58:0a:f5:00"}, "pod default/pod1: '0a:58:0a:f5:00' is no MAC address"),
        ({"mac": "zz"}, "'zz' is no MAC address"),
        ({"mac": GATEWAY.mac}, "is the MAC address of the pods' router"),
        ({"mac": "02:6e:73:78:64:70"}, "is the MAC address of the pods' router"),
        ({"ips": (ip_address("10.244.0.1"),)}, "10.244.0.1 is an address of the node"),
        ({"ips": (ip_address("fd00:244::2"),)}, "fd00:244::2 is an address of the node"),
    ],
)
def test_who_cannot_be_a_pod(bridge: Bridge, changed: dict[str, object], words: str) -> None:
    bridge.pods(pod_of(2))
    before = bridge.switch.dump_flows()
    with pytest.raises(ValueError, match=words):
        bridge.compiler.set_pods([replace(pod_of(1), **changed)], gone=["default/pod2"])  # type: ignore[arg-type]
    assert bridge.pods(pod_of(2)).messages == 0
    assert bridge.switch.dump_flows() == before


def test_ports_are_those_of_the_mode() -> None:
    with pytest.raises(ValueError, match="mode vxlan: the bridge has no tunnel port"):
        NodeConfig("vxlan", GATEWAY)
    with pytest.raises(ValueError, match="mode nsx: the bridge has no uplink"):
        NodeConfig("nsx", GATEWAY)
    with pytest.raises(ValueError, match="mode noEncap: no use for tunnel port 9"):
        NodeConfig("noEncap", GATEWAY, tunnel=9)


def test_the_configuration_is_first() -> None:
    with pytest.raises(ValueError, match=r"call configure\(\) first"):
        ForwardingCompiler().set_pods([pod_of(1)])


# On a platform's trunk.

ON_TRUNK = NodeConfig("nsx", GATEWAY, uplink=1)
FLOWS_ON_TRUNK = 23


@pytest.mark.parametrize("others", [0, 500])
def test_a_change_on_a_trunk_costs_what_it_is(others: int) -> None:
    bridge = Bridge(ON_TRUNK)
    bridge.pods(*(replace(pod_of(n), vlan=n) for n in range(1, others + 1)))
    assert bridge.pods(replace(pod_of(900), vlan=900)).flows_added == FLOWS_ON_TRUNK
    delta = bridge.pods(replace(pod_of(900), vlan=901))
    assert (delta.flows_added, delta.flows_changed, delta.flows_deleted) == (1, 1, 1)
    assert bridge.pods(gone=("default/pod900",)).flows_deleted == FLOWS_ON_TRUNK
    # Other nodes are the platform's affair.
    assert bridge.peers(peer_of(1)).messages == 0
    assert routes(ON_TRUNK, [peer_of(1)]) == []
    assert "chain" not in ruleset("br-int", ON_TRUNK, [peer_of(1)])


@pytest.mark.parametrize("vlan", [None, 0, 4094, 4096])
def test_a_pod_on_a_trunk_has_a_vlan(vlan: int | None) -> None:
    bridge = Bridge(ON_TRUNK)
    with pytest.raises(ValueError, match=f"pod default/pod1: VLAN {vlan} is none of 1 to 4093"):
        bridge.compiler.set_pods([replace(pod_of(1), vlan=vlan)])


# What the node itself needs.


def test_routes_to_peers() -> None:
    peer = replace(peer_of(1), addresses=(ip_address("192.0.2.1"),))
    tunneled = [(str(r.network), str(r.via), r.by_gateway) for r in routes(CONFIG, [peer])]
    assert tunneled == [
        ("10.245.1.0/24", "10.245.1.1", True),
        ("fd00:245:1::/64", "fe80::6f:1", True),
    ]
    # Without tunnels a network is reached by an address of its own family.
    plain = routes(NodeConfig("noEncap", GATEWAY, CIDRS), [peer])
    assert [(str(r.network), str(r.via), r.by_gateway) for r in plain] == [
        ("10.245.1.0/24", "192.0.2.1", False)
    ]
    assert routes(CONFIG, [replace(peer, addresses=())]) == []


def test_rules_between_pods_translate_nothing() -> None:
    text = ruleset("br-int", CONFIG, [peer_of(1)])
    assert (
        "set own4 { type ipv4_addr; flags interval; auto-merge; elements = { 10.244.0.0/16 }"
        in text
    )
    assert "elements = { fd00:245:1::/64 }" in text
    assert text.count(" masquerade\n") == 4
    plain = ruleset("br-int", NodeConfig("noEncap", GATEWAY, CIDRS), [])
    assert plain.count(" masquerade\n") == 2
    assert "set others4 { type ipv4_addr; flags interval; auto-merge; }" in plain


def test_pods_send_nothing_to_the_tunnels_port() -> None:
    """Without tunnels, nobody takes it for more than it is."""
    assert 'iifname "br-int" udp dport 6081 drop\n' in ruleset("br-int", CONFIG, [])
    vxlan = replace(CONFIG, mode="vxlan")
    assert 'iifname "br-int" udp dport 4789 drop\n' in ruleset("br-int", vxlan, [])
    assert "udp" not in ruleset("br-int", NodeConfig("noEncap", GATEWAY, CIDRS), [])


def test_reserved_addresses() -> None:
    kept = reserved(ip_network("fd00:244:3::/64"))
    assert (str(kept.gateway), str(kept.masquerade)) == ("fd00:244:3::1", "fd00:244:3::2")
    with pytest.raises(ValueError, match=r"10\.244\.0\.0/30 is too small a network"):
        reserved(ip_network("10.244.0.0/30"))


def test_mtu_of_pods() -> None:
    assert [pod_mtu(mode, 1500) for mode in ("geneve", "vxlan", "noEncap")] == [1450, 1450, 1500]
    assert pod_mtu("vxlan", 9000, ipv6_underlay=True) == 8930
