"""kube-proxy's packet table: the state behind a case, and what a compiler needs for it."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import msgspec

from nsxdp.k8s import objects as k8s
from nsxdp.k8s.source import Op
from nsxdp.pipeline.node import Address
from nsxdp.services.addresses import Family, format_address, parse_address
from nsxdp.services.planner import ServicePlanner

Json = dict[str, Any]

_KINDS = {"Service": k8s.Service, "EndpointSlice": k8s.EndpointSlice}


def family_of(config: Json) -> Family:
    return Family.IPV6 if config["ipFamily"] == "IPv6" else Family.IPV4


def canonical(text: str) -> str:
    """An address as everybody writes it; the table has some with leading zeros."""
    packed = parse_address(text)
    assert packed
    return format_address(packed)


def own_addresses(config: Json) -> frozenset[Address]:
    """The node's, of the proxier's family."""
    family = family_of(config)
    texts = (config["node"]["ip"], *config["node"]["hostAddresses"])
    found = (ip_address(canonical(text.split("/")[0])) for text in texts)
    return frozenset(address for address in found if address.version == family.value)


def node_port_addresses(config: Json) -> frozenset[Address]:
    return frozenset(ip_address(canonical(text)) for text in config["nodePortAddresses"]["ips"])


def ranges(config: Json) -> frozenset[Any]:
    return frozenset(map(ip_network, config["serviceCIDRs"]))


def origin(case: Json, config: Json, source: str) -> str:
    """Where a packet comes from: ``pod``, ``node`` or ``outside``."""
    if source in case["localIPs"]:
        return "node"
    detect = config["detectLocal"]
    is_pod = detect["mode"] == "cidr" and ip_address(source) in ip_network(detect["cidr"])
    return "pod" if is_pod else "outside"


def events(case: Json, table: Json) -> list[Json]:
    """All events of the same proxier up to 'case'."""
    found: list[Json] = []
    for other in table["steps" if "step" in case else "syncs"]:
        if other["proxier"] == case["proxier"]:
            found += other["events"]
        if other is case:
            break
    return found


def planner_of(case: Json, table: Json) -> ServicePlanner:
    """A planner that has seen all of it, and has planned nothing yet."""
    config = table["configs"][case["config"]]
    planner = ServicePlanner(config["node"]["name"])
    planner.set_node_addresses(frozenset(address.packed for address in own_addresses(config)))
    for event in events(case, table):
        kind = _KINDS[event["kind"]]
        if event["op"] == "delete":
            namespace, _, name = event["name"].partition("/")
            gone: Json = {"metadata": {"namespace": namespace, "name": name}}
            if kind is k8s.EndpointSlice:
                gone["addressType"] = "IPv4"
            planner.take(Op.DELETE, msgspec.convert(gone, kind))
        else:
            planner.take(Op.UPSERT, msgspec.convert(table["objects"][event["object"]], kind))
    return planner
