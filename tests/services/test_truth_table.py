"""Where a packet to a Service goes: kube-proxy's packets, asked of the flows that were compiled.

`_Switch` walks through NodeAddress and ServiceLB as Open vSwitch does; what comes before is the
packet's origin (pod, node or outside), what comes after is in the group: the endpoints.
"""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import NamedTuple

import pytest
from corpora import (
    Json,
    canonical,
    family_of,
    node_port_addresses,
    origin,
    planner_of,
    ranges,
)

from nsxdp.k8s import objects as k8s
from nsxdp.openflow.fake import FakeSwitch
from nsxdp.pipeline.node import NodeCompiler, NodePlan
from nsxdp.pipeline.registers import BITS
from nsxdp.pipeline.tables import TABLES
from nsxdp.services.addresses import Family

_OUTSIDE, _MASQUERADE = BITS["Outside"].mask, BITS["Masquerade"].mask
_NODE = BITS["Node"].mask


class _Answer(NamedTuple):
    verdict: str
    endpoints: list[str]
    masquerade: bool


class _Flow:
    """A flow of ServiceLB or NodeAddress, in ovs-ofctl's syntax."""

    def __init__(self, text: str) -> None:
        match, _, self.actions = text.partition(" actions=")
        words = dict(
            word.partition("=")[::2] for word in match.replace(" ", "").split(",") if "=" in word
        )
        self.table = words.pop("table")
        self.priority = int(words.pop("priority", "32768"))
        names = {word for word in match.replace(" ", "").split(",") if "=" not in word}
        self._protocol = next(iter(names & {"tcp", "udp", "sctp", "tcp6", "udp6", "sctp6"}), "")
        self._match = words

    def value(self, field: str) -> str:
        """What a field must be; empty: anything."""
        return self._match.get(field, "")

    def is_for(self, packet: Json, bits: int) -> bool:
        if "nw_frag" in self._match:
            return False
        if self._protocol and self._protocol.rstrip("6") != packet["protocol"].lower():
            return False
        for field, value in self._match.items():
            if field in ("nw_dst", "ipv6_dst", "nw_src", "ipv6_src"):
                which = "destIP" if field.endswith("dst") else "sourceIP"
                if ip_address(canonical(packet[which])) not in ip_network(value):
                    return False
            elif field == "tp_dst":
                if int(value) != packet["destPort"]:
                    return False
            elif field == "reg0":
                wanted, _, mask = value.partition("/")
                if bits & int(mask, 0) != int(wanted, 0):
                    return False
            else:
                raise AssertionError(field)
        return True


class _Switch:
    """The flows for what one proxier of the table has seen."""

    def __init__(self, case: Json, table: Json) -> None:
        self._case = case
        self._config = table["configs"][case["config"]]
        self.planner = planner_of(case, table)
        self._switch = FakeSwitch(TABLES)
        plan = NodePlan(
            None,
            (),
            node_port_addresses=node_port_addresses(self._config),
            ranges=ranges(self._config),
        )
        self._switch.apply(NodeCompiler().compile(plan).messages)
        owned = self.planner.round(1000.0).owned
        self._switch.apply(owned.messages)
        self._flows = [
            _Flow(text)
            for text in self._switch.dump_flows()
            if re.search(r"table=(ServiceLB|NodeAddress),", text)
        ]
        self._groups = {
            int(text.split(",")[0].partition("=")[2]): text for text in self._switch.dump_groups()
        }
        self._endpoints = {
            (match[1], match[2]): match[3].strip("[]") if match[3].count(":") == 1 else match[3]
            for text in self._switch.dump_flows()
            if (match := re.search(r"reg4=(\w+),reg8=(\w+) .*nat\(dst=([^)]+)\)", text))
        }

    def _origin(self, source: str) -> int:
        """What Classifier knows of where a packet comes from."""
        masquerade = _MASQUERADE if self._config["masqueradeAll"] else 0
        who = origin(self._case, self._config, source)
        if who == "node":
            return _NODE | _MASQUERADE
        if who == "pod":
            return masquerade
        if self._config["detectLocal"]["mode"] == "none":
            # Nobody counts as a pod, so nobody is masqueraded for not being one.
            return _OUTSIDE | masquerade
        return _OUTSIDE | _MASQUERADE

    def _best(self, table: str, packet: Json, bits: int) -> str:
        flows = [f for f in self._flows if f.table == table and f.is_for(packet, bits)]
        best = max(flows, key=lambda flow: flow.priority, default=None)
        assert best is not None
        same = {flow.actions for flow in flows if flow.priority == best.priority}
        assert len(same) == 1, "two flows of one priority are for one packet"
        return best.actions

    def answer(self, packet: Json) -> _Answer:
        bits = self._origin(packet["sourceIP"])
        if "set_field" in self._best("NodeAddress", packet, bits):
            bits |= BITS["NodeAddress"].mask
        actions = self._best("ServiceLB", packet, bits)
        if "CONTROLLER" in actions:
            return _Answer("reject", [], False)
        if actions == "drop":
            return _Answer("drop", [], False)
        if not (group := re.search(r"group:(\d+)|set_field:(0x\w+)->reg8", actions)):
            return _Answer("none", [], False)
        if changed := re.search(r"set_field:(\w+)/0x4->reg0", actions):
            bits = bits & ~_MASQUERADE | int(changed[1], 0)
        if "move:NXM_NX_REG0[4]->NXM_NX_REG0[2]" in actions:
            bits = bits & ~_MASQUERADE | (_MASQUERADE if bits & _NODE else 0)
        number = int(group[1] or group[2], 0)
        endpoints = self._of_group(number)
        source = packet["sourceIP"]
        hairpin = all(ip_network(source) == ip_network(_host(end)) for end in endpoints)
        return _Answer("dnat", endpoints, bool(bits & _MASQUERADE) or hairpin)

    def _of_group(self, number: int) -> list[str]:
        text = self._groups[number]
        direct = re.findall(r"nat\(dst=([^)]+)\)", text)
        if direct:
            return sorted(direct)
        slots = re.findall(r"set_field:(0x\w+)->reg4", text)
        return sorted(self._endpoints[slot, hex(number)] for slot in slots)


def _host(endpoint: str) -> str:
    return endpoint.rpartition(":")[0].strip("[]")


@pytest.mark.table("nftables.json", "steps", "syncs")
def test_kp20_to_kp46_packets(case: Json, table: Json) -> None:
    config = table["configs"][case["config"]]
    family = family_of(config)
    switch = _Switch(case, table)
    tracker = switch.planner.tracker

    checks = tracker.health_checks(family)
    ports = {service: port for service, (port, _) in checks.items()}
    assert ports == case["observed"]["healthCheckNodePorts"]
    slices = [table["objects"][number]["metadata"] for number in case["endpointSlices"]]
    services = {f"{meta['namespace']}/{meta['labels'][k8s.SERVICE_NAME_LABEL]}" for meta in slices}
    ready = {service: tracker.local_ready_endpoints(service, family) for service in services}
    expected = case["observed"]["localReadyEndpoints"]
    assert {key: n for key, n in ready.items() if n} == expected

    for traffic, n in ((case.get("metrics") or {}).get("noLocalEndpoints") or {}).items():
        assert switch.planner.without_local_endpoints(family, traffic) == (n or 0)

    for packet in case["packets"]:
        answer = switch.answer(packet)
        wanted = "none" if packet["verdict"] == "accept" else packet["verdict"]
        assert (answer.verdict, answer.endpoints) == (wanted, sorted(packet["endpoints"])), packet
        # Who is the node is masqueraded at a cluster IP, too, even where kube-proxy leaves that to
        # its routes.
        is_node = packet["sourceIP"] in case["localIPs"]
        if packet["masquerade"] is not None and not (is_node and answer.masquerade):
            assert answer.masquerade == packet["masquerade"], packet


@pytest.mark.table("nftables.json", "serviceCIDRs")
def test_kp13_ranges_of_cluster_ips(case: Json) -> None:
    """Those of both families are guarded here, each by flows of its family."""
    networks = frozenset(map(ip_network, case["cidrs"]))
    owned = NodeCompiler().compile(NodePlan(None, (), ranges=networks))
    switch = FakeSwitch(TABLES)
    switch.apply(owned.messages)
    field = "ipv6_dst" if family_of(case) is Family.IPV6 else "nw_dst"
    flows = [_Flow(text) for text in switch.dump_flows() if "table=ServiceLB" in text]
    guarded = [flow.value(field) for flow in flows if flow.actions == "drop"]
    assert sorted(filter(None, guarded)) == sorted(case["served"])
