"""A planner, its desired set and a switch in memory, fed with a world's objects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from semantics import Direction, Object, Packet, World, is_finished

from nsxdp.k8s.decode import to_object
from nsxdp.k8s.errors import ObjectError
from nsxdp.k8s.resources import RESOURCES
from nsxdp.k8s.source import Op
from nsxdp.openflow import Delta, DesiredSet
from nsxdp.openflow.fake import FakeSwitch
from nsxdp.pipeline.node import Gateway
from nsxdp.pipeline.registers import NODE_COOKIE_PREFIX, NODE_GROUP_FIRST, NODE_GROUP_LAST
from nsxdp.pipeline.tables import TABLES
from nsxdp.policy.planner import NodePorts, PolicyPlanner

GATEWAY, TUNNEL = 1, 2
NODE_ADDRESSES = ("10.244.0.254", "fd00:244::fe")
NODE = NodePorts(
    frozenset({GATEWAY, TUNNEL}),
    Gateway(GATEWAY, "0a:58:0a:f4:00:fe"),
    frozenset(map(ip_address, NODE_ADDRESSES)),
)

ENDS = frozenset({"L3Forwarding", "Output"})
ENTRY = {"egress": "EgressPolicy", "ingress": "IngressPolicy"}


def key(obj: Object) -> str:
    meta = obj["metadata"]
    return f"{meta['namespace']}/{meta['name']}"


def port_of(pod: Object) -> int:
    """Of its port on the bridge."""
    return 100 + int(pod["metadata"]["name"].removeprefix("p"))


def addresses(pod: Object) -> list[str]:
    """Those that it has in the pods' network."""
    if pod["spec"].get("hostNetwork") or is_finished(pod):
        return []
    return [ip["ip"] for ip in pod["status"]["podIPs"]]


class Policed:
    """A node with policies."""

    def __init__(self, name: str = "", *, log: bool = False) -> None:
        self.planner = PolicyPlanner(name, log=log)
        self.planner.set_node(NODE)
        self.desired = DesiredSet(NODE_COOKIE_PREFIX, NODE_GROUP_FIRST, NODE_GROUP_LAST)
        self.switch = FakeSwitch(TABLES)

    def plug(self, ports: Mapping[str, int]) -> None:
        """These pods are on the bridge, at these ports, and no others."""
        for _, port in [*self.planner.pods()]:
            if port not in ports.values():
                self.planner.unplug(port)
        for pod, port in ports.items():
            self.planner.plug(port, pod)

    def take(self, *objects: Object, op: Op = Op.UPSERT) -> None:
        for value in objects:
            obj = to_object(RESOURCES[value["kind"]], value)
            assert not isinstance(obj, ObjectError), obj
            self.planner.take(op, obj)

    def take_world(self, world: World, local: Iterable[str]) -> None:
        """All objects, in an order that nobody promises to be another one."""
        self.plug({key(world.pods[name]): port_of(world.pods[name]) for name in local})
        self.take(*world.policies.values(), *world.pods.values())
        self.take(*world.cluster_policies.values(), *world.namespaces.values())

    def allowing(self, direction: Direction, packet: Packet, pod: str) -> str:
        """By which rule the planner says that a packet gets out of a pod, or into it."""
        other = ip_address(packet.target if direction == "egress" else packet.source).packed
        return self.planner.allowing(direction, pod, other, packet.protocol, packet.port)

    def commit(self) -> Delta:
        """What changed goes to the switch."""
        compiled = self.planner.round()
        delta = self.desired.replace(compiled.owners, compiled.messages, compiled.ends)
        self.switch.apply(delta)
        return delta

    def flows(self) -> list[str]:
        return self.switch.dump_flows()


def first_packet(packet: Packet, in_port: int, out_port: int) -> str:
    """As ofproto/trace takes it, when conntrack has seen it."""
    six = "6" if ":" in packet.source else ""
    name = f"{packet.protocol.lower()}{six}"
    family = "ipv6" if six else "nw"
    text = (
        f"in_port={in_port},{name},{family}_src={packet.source},{family}_dst={packet.target},"
        f"nw_ttl=64,reg1={out_port},ct_state=trk|new"
    )
    return text if name.startswith("icmp") else f"{text},{name.removesuffix('6')}_dst={packet.port}"


def anonymous(flows: Iterable[str]) -> list[str]:
    """Flows without the numbers that hashes give, where only the shape is of interest."""
    return sorted(re.sub(r"0x[4-7][0-9a-f]{7}|\b1[0-9]{9}\b", "N", flow) for flow in flows)
