"""Tells what becomes of a packet: Open vSwitch's own trace, with names for its numbers.

One call follows the packet through every recirculation: connection tracking is said to know nothing
of it, and the hash by which the datapath chooses an endpoint is given, since no trace can know it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from nsxdp.bridge import Bridge, local_pods
from nsxdp.bridge import gateway as gateway_of
from nsxdp.bridge import uplink as uplink_of
from nsxdp.openflow import Group, Switch, Trace, TraceStep
from nsxdp.pipeline.node import Gateway
from nsxdp.pipeline.registers import BITS
from nsxdp.pipeline.tables import TABLES
from nsxdp.tracing.names import Names, NodeFacts
from nsxdp.tracing.packet import Address, Packet, PacketError, read_address
from nsxdp.tracing.rulings import is_of_policies, tell_policies
from nsxdp.tracing.story import Step, Story

__all__ = ["follow"]

_HASHES: Final = range(1, 257)
"""Of these a dp_hash group tells at most so many apart; 0 is none."""

_LOCAL: Final = 0xFFFF_FFFE

_JOINT: Final = 1
"""Priority of what leads past the Service proxy's tables as long as there is none
(`nsxdp.pipeline.joints`).
"""


async def follow(
    names: Names, bridge: Bridge, switch: Switch, packet: Packet, endpoint: str = ""
) -> tuple[Story, Trace]:
    """Follow a packet as the first one of its connection.

    Parameters
    ----------
    names
        Who know what the flows stand for.
    endpoint
        ``ADDRESS:PORT`` of the one to choose, where the choice is the datapath's.

    Raises
    ------
    PacketError
        No choice leads to that endpoint.
    UnixctlError, OpenFlowError
        Open vSwitch can't be asked.
    """
    traced = await switch.trace(f"{packet.flow},dp_hash=1")
    group = await _hashed_group(switch, traced)
    if endpoint:
        for number in _HASHES if group is not None else ():
            if _endpoint(traced) == endpoint:
                break
            traced = await switch.trace(f"{packet.flow},dp_hash={number}")
        if _endpoint(traced) != endpoint:
            where = _endpoint(traced) or "no endpoint at all"
            raise PacketError(f"no choice leads to {endpoint}: such packets go to {where}")
    story = Story(packet)
    teller = _Teller(names, bridge, await names.node(), story)
    for step in traced.steps:
        if step.bridge == bridge.name:  # else it is in a tunnel, on the bridge that carries it
            await teller.tell(step)
    await teller.conclude(traced)
    if group is not None and story.endpoint:
        n = str(group).count("bucket_id:")
        story.notes.insert(
            0,
            f"which of {n} endpoints it is, a hash decides that only the datapath knows: this is "
            "one of them, --endpoint asks for another",
        )
    return story, traced


_SOURCE: Final = (", its source is kept", ", to be masqueraded")
"""By whether a Service's client is masqueraded."""

_NAT: Final = re.compile(r"nat\((dst|src)=([^)]+)\)")


def _endpoint(traced: Trace) -> str:
    found = [
        nat for step in traced.steps for action in step.actions for nat in _NAT.findall(action)
    ]
    return next((address for kind, address in found if kind == "dst"), "")


async def _hashed_group(switch: Switch, traced: Trace) -> Group | None:
    """The group of the trace whose bucket the datapath chooses, if there is one."""
    text = "\n".join(action for step in traced.steps for action in step.actions)
    for number in re.findall(r"group:(\d+)", text):
        async for reply in switch.session.dump_groups(int(number)):
            for group in Group.decode_reply(reply):
                if "selection_method=dp_hash" in str(group) and str(group).count("bucket_id:") > 1:
                    return group
    return None


class _Teller:
    """Tells a story, a table at a time."""

    def __init__(self, names: Names, bridge: Bridge, facts: NodeFacts | None, story: Story) -> None:
        self._names = names
        self._facts = facts
        self._story = story
        self._bridge = bridge.name
        self._ports = bridge.ports.values()
        self._local = bridge.local_port
        self._pods = local_pods(bridge)[0]
        port = gateway_of(bridge)
        self._gateway = Gateway.of(port) if port is not None else None
        by_uplink = uplink_of(bridge)
        self._uplink = by_uplink.ofport if by_uplink is not None else None
        self._left_by = 0
        self._of_node = False
        if facts is not None:
            story.node = facts.name

    async def tell(self, step: TraceStep) -> None:
        """Tell what happens in a table."""
        number = int(step.table) if step.table.isdigit() else -1
        name = (TABLES.by_number[number] or b"").decode() if number >= 0 else step.table
        tellers: dict[str, Callable[[TraceStep], str]] = {
            "Classifier": self._classifier,
            "SpoofGuard": self._spoof_guard,
            "Neighbors": self._neighbors,
            "Conntrack": self._conntrack,
            "ConntrackState": self._conntrack_state,
            "NodeAddress": self._node_address,
            "ServiceAffinity": self._service_affinity,
            "EndpointDNAT": self._endpoint_dnat,
            "ServiceSNAT": self._service_snat,
            "L3Forwarding": self._l3_forwarding,
            "Hop": self._hop,
            "L2Forwarding": self._l2_forwarding,
            "Output": self._output,
        }
        if name == "ServiceLB":
            words = await self._service_lb(step)
        elif is_of_policies(name):
            words = await tell_policies(
                self._story, self._names, name, step, of_pod=self._judges_pod(step)
            )
        elif name in tellers:
            words = tellers[name](step)
        else:
            words = "no table of this pipeline"
        shown = name or step.table
        made = Step(shown, step.match or "", step.priority, list(step.actions), words)
        self._story.steps.append(made)

    def _judges_pod(self, step: TraceStep) -> bool:
        """Whether the port in the match of the policies' first table is a pod's."""
        found = re.search(r"\b(?:in_port|reg1)=(0x[0-9a-f]+|\d+)", step.match or "")
        return found is not None and any(pod.ofport == int(found[1], 0) for pod in self._pods)

    # The tables.

    def _classifier(self, step: TraceStep) -> str:
        if "NORMAL" in step.actions:
            return "no IP, or neighbor discovery: switched as by any switch"
        if f"reg0=0/{BITS['Admitted'].mask:#x}" in (step.match or ""):
            return "whether the sender may send that is asked first"
        bits = _register(step.actions, "reg0")
        self._of_node = bool(bits & BITS["Node"].mask)
        if not bits & BITS["Outside"].mask:
            inside = "comes from inside the cluster"
            return f"{inside}, masqueraded" if bits & BITS["Masquerade"].mask else inside
        way = "the uplink" if bits & BITS["Uplink"].mask else "the node's kernel"
        return f"comes from outside the cluster by {way}: masqueraded if it is for a cluster IP"

    def _spoof_guard(self, step: TraceStep) -> str:
        if any("->reg0" in action for action in step.actions):
            if "tun_id=" in (step.match or ""):
                return "from a node that has such pods"
            return "the sender's own addresses"
        if any(action.startswith("goto_table") for action in step.actions):
            return "about a MAC address"
        self._end("dropped", "the sender may not send that")
        return "not the sender's to send"

    def _neighbors(self, step: TraceStep) -> str:
        if "IN_PORT" in step.actions:
            self._end("delivered", "answered by the bridge itself")
        if any(action.startswith("goto_table") for action in step.actions):
            return "asked of who has the address"
        return "answered by the bridge, for who has the address"

    @staticmethod
    def _hop(step: TraceStep) -> str:
        if any("->eth_dst" in action for action in step.actions):
            return "no hop is left: the node's kernel tells the sender"
        return "one hop less" if "dec_ttl" in step.actions else "the kernel took its hop"

    def _output(self, step: TraceStep) -> str:
        if any(action.startswith("resubmit(,") for action in step.actions):
            return "whether policies let it in is asked first"
        port = next((a for a in step.actions if a.startswith("-> output port is ")), "")
        number = int(port.rpartition(" ")[2]) if port else 0
        self._go(_LOCAL if number == _LOCAL & 0xFFFF else number)
        return self._story.end

    def _conntrack(self, step: TraceStep) -> str:
        text = " ".join(step.actions)
        if "zone=65313" in text:
            return "an answer to a client that was masqueraded: gets back the client's address"
        if "->NXM_OF_IP_DST[]" in text or "->NXM_NX_IPV6_DST[]" in text:
            return "an answer of an endpoint to itself"
        if "ct_state=-trk" in (step.match or ""):
            return "whether it is an answer of an endpoint is looked up: it isn't translated here"
        self._note(
            "were it of a connection that is tracked already, it would go where that one goes"
        )
        return "looked up in connection tracking; taken for the first of its connection"

    @staticmethod
    def _conntrack_state(step: TraceStep) -> str:
        if "+new" in (step.match or ""):
            return "a new connection: the Services' tables decide"
        if step.priority == _JOINT:
            return "no Service proxy is on the bridge: passes by"
        return "no new connection: passes by the Services"

    @staticmethod
    def _node_address(step: TraceStep) -> str:
        if _register(step.actions, "reg0") & BITS["NodeAddress"].mask:
            return "for an address of the node at which node ports are served"
        return "for no address at which node ports are served"

    async def _service_lb(self, step: TraceStep) -> str:
        actions = " ".join(step.actions)
        service = await self._names.service(step.cookie) if step.cookie else ""
        if "group:" in actions or "->reg8" in actions:
            self._story.service = service or "a Service that is unknown here"
            how = ""
            self._story.group = _register(step.actions, "reg8")
            if step.actions and step.actions[0].endswith("->reg0"):
                masked = _register(step.actions, "reg0") & BITS["Masquerade"].mask
                how = _SOURCE[bool(masked)]
            elif step.actions and "->NXM_NX_REG0[2]" in step.actions[0]:
                how = _SOURCE[self._of_node]
            return f"for {self._story.service}{how}{self._chosen(step)}"
        packet = self._story.packet
        where = f"{packet.dst_port}/{packet.protocol} at {packet.dst}"
        if "CONTROLLER" in actions:
            why = f"{service} has no endpoints"
            if step.priority == 150:
                why = f"no Service has {where}, only other ports of the address ({service})"
            answer = "a TCP reset" if packet.protocol == "TCP" else "ICMP port unreachable"
            self._end("rejected", f"{why}: the proxy answers with {answer}")
            return why
        if "drop" in step.actions:
            if step.priority == 100:
                why = f"{packet.dst} is in a range of cluster IPs, and no Service has it"
            elif self._of_ranges(step):
                why = f"{packet.src} is in none of loadBalancerSourceRanges of {service}"
            else:
                why = f"{service} has no endpoint on this node, and its traffic policy is Local"
            self._end("dropped", why)
            return why
        return f"no Service has {where}: passes by"

    def _service_affinity(self, step: TraceStep) -> str:
        if step.match is None:
            return "no endpoint is remembered of this client"
        return "the endpoint that this client had last is remembered"

    def _endpoint_dnat(self, step: TraceStep) -> str:
        chosen = self._chosen(step)
        return chosen.removeprefix(": ") or "no endpoint was chosen before"

    def _service_snat(self, step: TraceStep) -> str:
        source = next(
            (a for action in step.actions for kind, a in _NAT.findall(action) if kind == "src"), ""
        )
        kept = "; answers go back by the uplink" if "CT_LABEL" in " ".join(step.actions) else ""
        if source:
            self._story.masquerade = source.strip("[]")
            return f"masqueraded: the endpoint sees {self._story.masquerade}{kept}"
        return f"the endpoint sees the client's address{kept}"

    def _l3_forwarding(self, step: TraceStep) -> str:
        if any(action.startswith("resubmit(,") for action in step.actions):
            return "whether policies let it out is asked first"
        found = (re.fullmatch(r"set_field:(.*)->(\w+)", action) for action in step.actions)
        sets = {match[2]: match[1] for match in found if match}
        source = sets.get("ip_src") or sets.get("ipv6_src")
        if "IN_PORT" in step.actions:
            self._go(self._story.packet.in_port)
            if source:
                self._story.masquerade = source
                return f"goes back where it came from, with {source} for its source"
            return "goes back where it came from"
        if tunnel := sets.get("tun_dst") or sets.get("tun_ipv6_dst"):
            return f"routed into the tunnel to {tunnel}"
        if "eth_dst" in sets:
            return f"routed to {self._who_has(sets['eth_dst'])}"
        return "nothing to be routed here"

    def _l2_forwarding(self, step: TraceStep) -> str:
        if "NORMAL" in step.actions:
            remarks = [a.removeprefix("-> ") for a in step.actions if a.startswith("->")]
            self._end("switched", "by its MAC address, as by any switch")
            return "; ".join(["switched by its MAC address", *remarks])
        if "LOCAL" in step.actions:
            self._go(_LOCAL)
            return "the MAC of the node"
        if "->reg1" in " ".join(step.actions) or "reg1=" in (step.match or ""):
            return "its port is known"
        out = next((a for a in step.actions if a.startswith("output:")), "")
        if not out:
            return "goes nowhere"
        self._go(int(out.removeprefix("output:")))
        return f"the MAC of {self._story.end.removeprefix('to ')}"

    # The end.

    async def conclude(self, traced: Trace) -> None:
        """Tell what the trace leaves open."""
        story = self._story
        if "Translation failed" in traced.text or "Recirculation conflict" in traced.text:
            asked = f"ovs-appctl ofproto/trace {self._bridge} {story.packet.flow}"
            self._note(f"Open vSwitch gave up before the end: {asked} shows why")
        address = self._destination()
        if story.endpoint and address is not None:
            story.endpoint_pod = self._pod_with(address) or await self._names.pod(address)
        if story.outcome == "delivered" and address is not None:
            self._find_way(address)
        if story.endpoint and story.outcome == "switched":
            self._note(f"{story.endpoint} is no pod of this bridge: from here on the network knows")

    def _destination(self) -> Address | None:
        """For whom the packet is at last."""
        endpoint = self._story.endpoint
        return read_address(endpoint.rpartition(":")[0]) if endpoint else self._story.packet.dst

    def _pod_with(self, address: Address) -> str:
        return next((pod.iface_id for pod in self._pods if address in pod.ips), "")

    def _find_way(self, address: Address) -> None:
        """Tell where the port leads by which the packet leaves."""
        story, facts, port = self._story, self._facts, self._story.port
        peer = facts.peer(address) if facts is not None else None
        if any(pod.ofport == self._left_by for pod in self._pods):
            story.way = "local"
        elif facts is not None and peer is not None and self._left_by == facts.tunnel:
            story.way, story.next_node = "tunnel", peer.name
            story.end = f"to {peer}, in a {facts.mode} tunnel, out of port {port}"
        elif facts is not None and facts.mode == "nsx" and self._left_by == self._uplink:
            story.way = "trunk"
            story.end = f"to the platform, in the sender's VLAN, out of port {port}"
        elif self._gateway is None or self._left_by != self._gateway.ofport:
            return
        elif facts is None:
            self._note("what the node's kernel does with it then is not known here")
        elif peer is not None:
            story.way, story.next_node = "route", peer.name
            story.end = f"to {peer}, by a route of this node's kernel, out of port {port}"
        elif str(address) in facts.addresses:
            story.way = "node"
            story.end = f"to the node itself, out of port {port}"
        elif facts.is_own(address):
            self._note(f"no pod of this node has {address}")
        else:
            story.way = "outside"
            story.end = (
                f"out of the cluster by this node's kernel, with the node's address as its source "
                f"(SNAT), out of port {port}"
            )

    def _chosen(self, step: TraceStep) -> str:
        """Which endpoint the step's groups chose, if they did, and how, as words."""
        story = self._story
        words = []
        for action in step.actions:
            if found := re.fullmatch(r"group:(\d+)", action):
                story.group = int(found[1])
                words.append(f"group {story.group}")
            elif found := re.search(r"-> using bucket (\d+)", action):
                story.bucket = int(found[1])
                words.append(f"bucket {story.bucket}")
            elif "no live bucket" in action:
                words.append("which has no bucket")
                self._end("dropped", f"group {story.group} chose no bucket")
        for action in step.actions:
            for kind, address in _NAT.findall(action):
                if kind == "dst" and not story.endpoint:
                    story.endpoint = address
                    words.append(f"translated to {address}")
        return f": {', '.join(words)}" if words else ""

    def _of_ranges(self, step: TraceStep) -> bool:
        """Whether a flow drops what no source range lets in: it is for an address and a port."""
        return step.priority is not None and step.priority % 10 == 5

    def _go(self, ofport: int) -> None:
        story = self._story
        story.port = self._port_name(ofport)
        self._left_by = ofport
        pod = next((pod for pod in self._pods if pod.ofport == ofport), None)
        who = f"pod {pod.iface_id}" if pod else f"port {story.port}"
        if self._gateway is not None and self._gateway.ofport == ofport:
            who = "the node"
        self._end("delivered", f"to {who}, out of port {story.port}")

    def _port_name(self, ofport: int) -> str:
        if ofport == _LOCAL and self._local is not None:
            return self._local.name
        return next((port.name for port in self._ports if port.ofport == ofport), str(ofport))

    def _who_has(self, mac: str) -> str:
        return next((f"pod {pod.iface_id}" for pod in self._pods if pod.mac == mac), mac)

    def _end(self, outcome: str, words: str) -> None:
        self._story.outcome, self._story.end = outcome, words

    def _note(self, text: str) -> None:
        if text not in self._story.notes:
            self._story.notes.append(text)


def _register(actions: tuple[str, ...], name: str) -> int:
    """The bits that actions set in a register."""
    for action in actions:
        if found := re.fullmatch(rf"set_field:(0x[0-9a-f]+|\d+)(?:/\w+)?->{name}", action):
            return int(found[1], 0)
    return 0
