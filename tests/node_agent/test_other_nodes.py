"""Pods of two nodes, each with a switch and an agent of its own; and what is outside of both."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from ipaddress import ip_address, ip_network

import pytest
from joined import MTU, Place, Two, a_manifest, write
from runtime import SECONDS, until

from nsxdp.forwarding.model import Peer
from nsxdp.k8s.objects import Node as NodeObject
from nsxdp.k8s.objects import NodeAddress, NodeSpec, NodeStatus, ObjectMeta
from nsxdp.k8s.source import Batch, Op
from nsxdp.lab import Host, Netns, Node
from nsxdp.ovsdb import Client
from nsxdp.switch import DATABASE, BridgeView
from nsxdp.transport import parse_remote
from nsxdp_agents.node_agent.dataplane import open_dataplane
from nsxdp_agents.node_agent.host import HostKeeper
from nsxdp_agents.node_agent.ipam import Network
from nsxdp_agents.node_agent.node import Nodes
from nsxdp_agents.node_agent.ports import WATCHES
from nsxdp_agents.node_agent.wiring import Wiring
from tests.asking import ask, source

OUTSIDE = ("198.51.100.0/24", "2001:db8:99::/64")


def reaches(client: Netns, ip: str) -> bool:
    try:
        ask(client, ip, "TCP", timeout=1)
    except OSError:
        return False
    return True


def metric(place: Place, name: str) -> float:
    url = "http://127.0.0.1:10261/metrics"
    said = place.node.netns.run(["curl", "--silent", url]).stdout.splitlines()
    (value,) = (line.split()[1] for line in said if line.startswith(f"{name} "))
    return float(value)


def ages(node: Node, *texts: str) -> list[float]:
    """Of the agent's flows in which all of 'texts' are, in seconds."""
    dumped = node.ovs.ofctl("dump-flows", node.bridge, f"cookie={0x6F << 56:#x}/{0xFF << 56:#x}")
    flows = [line for line in dumped.splitlines() if "duration=" in line]
    return [
        float(flow.partition("duration=")[2].partition("s,")[0])
        for flow in flows
        if all(text in flow for text in texts)
    ]


def test_pods_reach_pods_of_another_node_with_their_own_addresses(two: Two, family: int) -> None:
    assert source(two.web, two.far_ips[family], "TCP") == two.web_ips[family]
    assert source(two.far, two.web_ips[family], "TCP") == two.far_ips[family]


@pytest.mark.kernel
def test_the_outside_sees_the_node(two: Two, family: int) -> None:
    with Host(two.here.node, subnets=OUTSIDE) as outside:
        outside.serve_http(80)
        version = (4, 6)[family]
        assert source(two.web, outside.addresses[version], "TCP") == outside.gateways[version]


@pytest.mark.kernel
def test_pods_and_the_gateway_have_the_mtu_that_there_is_room_for(two: Two, mode: str) -> None:
    room = MTU - (50 if mode == "geneve" else 0)
    for netns, link in ((two.web, "eth0"), (two.here.node.netns, two.here.node.bridge)):
        (said,) = json.loads(netns.run(["ip", "-json", "link", "show", link]).stdout)
        assert said["mtu"] == room


def test_metrics_tell_of_other_nodes(two: Two) -> None:
    assert metric(two.here, "nsx_node_agent_peers") == 1


@pytest.mark.kernel
def test_a_restart_of_the_agent_deletes_nothing(two: Two) -> None:
    agent, node = two.here.agent, two.here.node
    before = len(ages(node))
    assert ages(node, "10.244.1.0/24")
    monitor = node.netns.popen(["ip", "monitor", "route"], stdout=subprocess.PIPE)
    traffic = two.web.traffic("http", two.far_ips[0], 80, seconds=None)
    began = time.monotonic()
    agent.kill()
    agent.start()
    lasted = time.monotonic() - began
    report = traffic.stop()
    monitor.terminate()
    assert report["answered"] > 0
    assert report["failed"] == 0
    assert "10.244.1.0/24" not in monitor.communicate()[0].decode()
    assert len(ages(node)) == before
    # One that was deleted or written anew would be younger.
    assert min(ages(node)) >= lasted


@pytest.mark.kernel
def test_another_node_comes_and_goes(two: Two, family: int) -> None:
    here, there = two.here, two.there
    at = ", ".join(there.ips)
    assert here.agent.appctl("peers") == f"{there.name} at {at}: {', '.join(there.cidrs)}\n"
    there.manifest.unlink()
    until("it is gone", lambda: not here.agent.appctl("peers").strip())
    until("there are no routes", lambda: here.routes == {})
    until("there are no flows", lambda: not ages(here.node, there.cidrs[family]))
    until("its pods are the outside", lambda: "elements" not in _others(here.table))
    assert not reaches(two.web, two.far_ips[family])
    there.register()
    until("it is reached again", lambda: reaches(two.web, two.far_ips[family]))
    assert source(two.web, two.far_ips[family], "TCP") == two.web_ips[family]


def _others(table: str) -> str:
    """The sets of other nodes' networks."""
    return table.partition("set others4")[2].partition("chain")[0]


def on_gateway(place: Place) -> set[str]:
    """The addresses of its gateway, but for those that each interface has."""
    bridge = place.node.bridge
    argv = ["ip", "-json", "address", "show", "dev", bridge, "scope", "global"]
    (link,) = json.loads(place.node.netns.run(argv).stdout)
    return {f"{one['local']}/{one['prefixlen']}" for one in link["addr_info"] if one}


def test_a_network_of_before_is_another_node_s(two: Two) -> None:
    here, cidrs = two.here, two.here.cidrs
    before = {str(ip_network(cidr)) for cidr in cidrs}
    gateways = {"10.244.0.1/24", "fd00:244::1/64"}
    until("its routes are there", lambda: set(here.routes) == set(two.there.cidrs))
    routes = here.routes
    here.node.netns.iproute(f"address add 203.0.113.1/24 dev {here.node.bridge}")
    assert on_gateway(here) == {*gateways, "203.0.113.1/24"}
    another = two.manifests / "another.yaml"
    try:
        here.cidrs = ["10.244.7.0/24", "fd00:244:7::/64"]
        here.register()
        until("it has the new ones, too", lambda: "fd00:244:7::1/64" in on_gateway(here))
        write(another, a_manifest("another", cidrs, ["192.0.2.9", "2001:db8::9"]))
        until("the other node is reached", lambda: set(here.routes) == {*routes, *before})
        others = {"10.244.7.1/24", "fd00:244:7::1/64", "203.0.113.1/24"}
        until("the gateway has no others", lambda: on_gateway(here) == others)
    finally:
        another.unlink(missing_ok=True)
        here.cidrs = cidrs
        here.register()
    until("all is as it was", lambda: on_gateway(here) == {*gateways, "203.0.113.1/24"})
    here.node.netns.iproute(f"address del 203.0.113.1/24 dev {here.node.bridge}")
    until("the routes, too", lambda: here.routes == routes)


def test_what_somebody_deleted_comes_again(two: Two) -> None:
    here = two.here
    until("its routes are there", lambda: set(here.routes) == set(two.there.cidrs))
    routes, table = here.routes, here.table
    here.node.netns.run(["ip", "-4", "route", "flush", "proto", "111"])
    until("the routes are there", lambda: here.routes == routes)
    here.node.netns.run(["nft", "flush", "table", "inet", "nsxdp_pods"])
    here.node.netns.run(["ip", "-6", "route", "flush", "proto", "111"])
    until("all is there", lambda: (here.routes, here.table) == (routes, table))
    assert metric(here, "nsx_node_agent_host_repairs_total") >= 3


@pytest.mark.kernel
def test_all_is_there_after_a_restart_of_the_switch(two: Two) -> None:
    here = two.here
    routes = here.routes
    here.node.ovs.restart_vswitchd()
    for ip in two.far_ips:
        until("pods are reached again", partial(reaches, two.web, ip))
        until("by the node, too", partial(reaches, here.node.netns, ip))
    assert here.routes == routes


# What is a change.


@asynccontextmanager
async def wired(node: Node) -> AsyncIterator[Wiring]:
    """What is on the node's bridge."""
    async with (
        Client(node.ovsdb, DATABASE, WATCHES) as client,
        open_dataplane(
            parse_remote(node.mgmt), None, on_commit=lambda _: None, on_refusal=lambda: None
        ) as dataplane,
        asyncio.timeout(SECONDS),
    ):
        with closing(BridgeView(client, node.bridge)) as view:
            wiring = Wiring(view, dataplane, "noEncap")
            wiring.use(())
            await wiring.configured.wait()
            yield wiring


async def test_a_heartbeat_of_another_node_is_no_news(node: Node) -> None:
    async with wired(node) as wiring:
        told: list[int] = []
        wiring.listeners.append(lambda: told.append(len(wiring.peers)))
        nodes = Nodes("own", lambda _: None, wiring.set_peers)

        def take(op: Op, *cidrs: str) -> list[int]:
            told.clear()
            other = a_node("other", cidrs, "192.0.2.2")
            nodes.take(Batch("Node", [(op, other)], True, 0.0))
            return told.copy()

        assert take(Op.UPSERT, "10.0.1.0/24") == [1]
        assert take(Op.UPSERT, "10.0.1.0/24") == []
        assert take(Op.UPSERT, "10.0.2.0/24") == [1]
        assert take(Op.DELETE) == [0]
        assert take(Op.DELETE) == []


def test_a_flood_of_changes_is_no_flood_of_looks(node: Node) -> None:
    async def look() -> None:
        async with wired(node) as wiring, asyncio.TaskGroup() as tasks:
            looks = {SECONDS: 0, 0.0: 0}

            def keeper(rest: float) -> HostKeeper:
                async def tell(_: int) -> None:
                    looks[rest] += 1

                return HostKeeper(
                    *(node.bridge, wiring, tuple),
                    tell_mtu=tell,
                    on_repair=lambda _: None,
                    rest_seconds=rest,
                )

            rests, never = (keeper(rest) for rest in looks)
            keeping = [tasks.create_task(each.keep()) for each in (rests, never)]
            await rests.looked.wait()
            while looks[0.0] < 10:
                rests.look_again()
                never.look_again()
                await asyncio.sleep(0)
            assert looks[SECONDS] == 1
            for each in keeping:
                each.cancel()

    with node.netns.enter():
        asyncio.run(look())


# What Kubernetes says.


def a_node(name: str, cidrs: Sequence[str], *addresses: str) -> NodeObject:
    return NodeObject(
        metadata=ObjectMeta(name=name),
        spec=NodeSpec(pod_cidrs=tuple(cidrs)),
        status=NodeStatus(
            addresses=(
                NodeAddress("Hostname", name),
                *(NodeAddress("InternalIP", address) for address in addresses),
            )
        ),
    )


class Told:
    """What a `Nodes` tells."""

    def __init__(self) -> None:
        self.networks: list[Network] = []
        self.peers: dict[str, Peer] = {}
        self.nodes = Nodes("own", self._use, self._set_peers)

    def _use(self, networks: list[Network]) -> None:
        self.networks = networks

    def _set_peers(self, peers: Iterable[Peer], gone: Iterable[str] = ()) -> None:
        for name in gone:
            self.peers.pop(name, None)
        self.peers |= {peer.name: peer for peer in peers}

    def take(self, *nodes: NodeObject, op: Op = Op.UPSERT, synced: bool = False) -> None:
        self.nodes.take(Batch("Node", [(op, node) for node in nodes], synced, 0.0))


def test_addresses_of_this_node_s_first_family_come_first() -> None:
    told = Told()
    told.take(a_node("other", ["10.0.1.0/24"], "192.0.2.2", "2001:db8::2"))
    assert not told.nodes.loaded.is_set()
    assert told.peers["other"].addresses[0] == ip_address("192.0.2.2")
    told.take(a_node("own", ["10.0.0.0/24"], "2001:db8::1", "192.0.2.1"), synced=True)
    assert told.nodes.loaded.is_set()
    assert told.peers["other"].addresses == (ip_address("2001:db8::2"), ip_address("192.0.2.2"))
    told.take(a_node("other", []), op=Op.DELETE)
    assert told.peers == {}


@pytest.mark.parametrize("bad", ["10.0.0.0/16", "10.0.1.0/30", "10.0.1.1/24", "x", ""])
def test_networks_of_others_that_cannot_be_are_left_out(bad: str) -> None:
    told = Told()
    told.take(a_node("other", [bad, "10.0.2.0/24"], "192.0.2.2"))
    told.take(a_node("own", ["10.0.0.0/24"], "192.0.2.1"))
    assert list(map(str, told.networks)) == ["10.0.0.0/24"]
    assert list(map(str, told.peers["other"].pod_cidrs)) == ["10.0.2.0/24"]
