"""The stages around the Service stages: what every bridge, each pod and the gateway need.

The bridge has no address of its own: its gateway port leads to the node's kernel, which is the
pods' router. A packet that is addressed to the gateway's MAC but for a pod of this bridge needs
not go there::

    table=L3Forwarding, priority=200,ip,dl_dst=GATEWAY,nw_dst=10.244.0.5
        actions=set_field:GATEWAY->eth_src,set_field:POD->eth_dst,dec_ttl,goto_table:L2Forwarding
    table=L2Forwarding, priority=200,dl_dst=POD actions=output:5

Two paths need their source rewritten, or the answer would bypass the bridge: an endpoint that
reaches itself through a Service, and a process of the node that reaches another one of the node.
A second conntrack zone could do it (registers.py tells why there is none), but the rewrite is
reversible without a state: what comes back to the hairpin address is for its sender; what comes
back to the node address is for the gateway's address. Who reaches itself by an address at which
pods are masqueraded needs no other disguise::

    table=ServiceSNAT, priority=210,ip,nw_src=10.244.0.5,nw_dst=10.244.0.5
        actions=goto_table:L3Forwarding
    table=L3Forwarding, priority=220,ip,nw_src=10.244.0.5,nw_dst=10.244.0.5
        actions=set_field:169.254.0.252->ip_src,set_field:GATEWAY->eth_src,
            set_field:POD->eth_dst,IN_PORT
    table=Conntrack, priority=210,ip,nw_dst=169.254.0.252
        actions=move:NXM_OF_IP_SRC[]->NXM_OF_IP_DST[],set_field:0->in_port,
            ct(table=ConntrackState,zone=65312,nat)

``set_field:0->in_port`` is there because OpenFlow never sends a packet out of the port that
it came in by, unless it is asked by name.

What comes from outside the cluster, by the uplink on the bridge or by way of the node's kernel, is
masqueraded where Kubernetes says so (masquerade.py), and those that came by the uplink are
answered there (here it is port 1), at the MAC address that they came from::

    table=ConntrackState, priority=220,ct_state=+rpl+trk,ct_mark=0x40/0x40,ip
        actions=set_field:0->in_port,set_field:GATEWAY->eth_src,
            move:NXM_NX_CT_LABEL[0..47]->NXM_OF_ETH_DST[],dec_ttl,output:1
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from nsxdp.openflow import Template
from nsxdp.pipeline.masquerade import MASQUERADE
from nsxdp.pipeline.registers import (
    BITS,
    HAIRPIN_IPV4,
    HAIRPIN_IPV6,
    MASQUERADE_IPV4,
    MASQUERADE_IPV6,
    NODE_IPV4,
    NODE_IPV6,
    SNAT_ZONE,
    VIRTUAL_MAC,
    ZONE,
)
from nsxdp.pipeline.service import Family
from nsxdp.pipeline.tables import STAGES, TABLES

__all__ = ["BASE", "FORWARDING", "PORT", "ForwardingTemplates", "unallocated"]

Network = IPv4Network | IPv6Network

_NODE_ADDRESS: Final = BITS["NodeAddress"].mask
_BY_UPLINK: Final = BITS["ByUplink"].mask
_FRAGMENT: Final = BITS["Fragment"].mask

_TRACK: Final = f"ct(table=ConntrackState,zone={ZONE},nat)"

_NEIGHBOR_DISCOVERY: Final = range(133, 138)

BASE: Final = (
    tuple(
        Template(text, TABLES)
        for text in (
            *(
                f"table={stage.name},priority=0,actions={stage.miss}"
                for stage in STAGES
                if stage.miss
            ),
            "table=Classifier,priority=200,ip,actions=goto_table:Conntrack",
            "table=Classifier,priority=200,ipv6,actions=goto_table:Conntrack",
            *(
                f"table=Classifier,priority=250,icmp6,icmp_type={kind},actions=NORMAL"
                for kind in _NEIGHBOR_DISCOVERY
            ),
            f"table=Conntrack,priority=100,ip,actions={_TRACK}",
            f"table=Conntrack,priority=100,ipv6,actions={_TRACK}",
            f"table=Conntrack,priority=210,ip,nw_dst={HAIRPIN_IPV4},"
            f"actions=move:NXM_OF_IP_SRC[]->NXM_OF_IP_DST[],set_field:0->in_port,{_TRACK}",
            f"table=Conntrack,priority=210,ipv6,ipv6_dst={HAIRPIN_IPV6},"
            f"actions=move:NXM_NX_IPV6_SRC[]->NXM_NX_IPV6_DST[],set_field:0->in_port,{_TRACK}",
            "table=ConntrackState,priority=200,ct_state=+new+trk,actions=goto_table:NodeAddress",
            *(
                f"table=ConntrackState,priority=205,ct_state=+new+trk,{ip},nw_frag=later,"
                f"actions=set_field:{_FRAGMENT:#x}/{_FRAGMENT:#x}->reg0,goto_table:NodeAddress"
                for ip in ("ip", "ipv6")
            ),
        )
    )
    + MASQUERADE
)
"""The flows that are there whatever pods and Services there are."""

PORT: Final = Template("table=L2Forwarding,priority=200,dl_dst={mac},actions=output:{port}", TABLES)
"""A pod's, or the gateway's, MAC. Columns: mac, port."""


@dataclass(frozen=True, slots=True)
class ForwardingTemplates:
    """What a pod's address and the gateway's address add, for one address family."""

    pod_route: Template
    """What the gateway is to route to the pod: straight to its MAC. Columns: gateway_mac, ip, mac.
    """
    pod_to_itself: Template
    """What the pod sent, translated to itself, isn't masqueraded. Columns: ip."""
    pod_hairpin: Template
    """What the pod sent, translated to itself: back to it, from the hairpin address. Columns:
    gateway_mac, ip, mac."""
    host_to_service: Template
    """What the host sends to a Service. Columns: port (the gateway's), gateway_mac."""
    host_to_itself: Template
    """What the host sent, translated to an endpoint that is not a pod of this bridge: back to
    it, from the node address. Columns: port, gateway_mac, ip (the gateway's)."""
    host_answers_itself: Template
    """The answer to that. Columns: port, gateway_mac, ip (the gateway's)."""
    origin: Template
    """What comes by a port: from where. Columns: port, origin (of reg0's first bits)."""
    host_origin: Template
    """What comes by a port from one of the node's addresses. Columns: port, ip, origin."""
    any_origin: Template
    """What comes by any other port. Columns: origin."""
    masqueraded_to_host: Template
    """What the host sent on from elsewhere, translated to an endpoint that is not a pod of this
    bridge, and masqueraded: back to it. Columns: port, gateway_mac."""
    host_answers_masqueraded: Template
    """The answer to that. Columns: port, gateway_mac."""
    answer_by_uplink: Template
    """Answers to who came by the uplink. Columns: port (the uplink's), gateway_mac."""
    node_address: Template
    """An address at which the node serves node ports. Columns: ip."""


def unallocated(network: Network) -> Template:
    """What is for an address of 'network' that no Service has, though one may get it (KP-13)."""
    match = "ip,nw_dst" if network.version == 4 else "ipv6,ipv6_dst"
    return Template(f"table=ServiceLB,priority=100,{match}={network},actions=drop", TABLES)


def _forwarding(family: Family) -> ForwardingTemplates:
    v4 = family == 4
    ip = "ip" if v4 else "ipv6"
    src, dst = ("nw_src", "nw_dst") if v4 else ("ipv6_src", "ipv6_dst")
    set_src, set_dst = ("ip_src", "ip_dst") if v4 else ("ipv6_src", "ipv6_dst")
    hairpin = HAIRPIN_IPV4 if v4 else HAIRPIN_IPV6
    node = NODE_IPV4 if v4 else NODE_IPV6
    masquerade = MASQUERADE_IPV4 if v4 else MASQUERADE_IPV6
    note_origin = "load:{origin}->NXM_NX_REG0[0..2],goto_table:Conntrack"
    note_node = "load:{origin}->NXM_NX_REG0[0..4],goto_table:Conntrack"
    macs = "set_field:{gateway_mac}->eth_src,set_field:{mac}->eth_dst"

    def template(text: str) -> Template:
        return Template(text, TABLES)

    return ForwardingTemplates(
        pod_route=template(
            f"table=L3Forwarding,priority=200,{ip},dl_dst={{gateway_mac}},{dst}={{ip}},"
            f"actions={macs},dec_ttl,goto_table:L2Forwarding"
        ),
        pod_to_itself=template(
            f"table=ServiceSNAT,priority=210,{ip},{src}={{ip}},{dst}={{ip}},"
            "actions=goto_table:L3Forwarding"
        ),
        pod_hairpin=template(
            f"table=L3Forwarding,priority=220,{ip},{src}={{ip}},{dst}={{ip}},"
            f"actions=set_field:{hairpin}->{set_src},{macs},IN_PORT"
        ),
        host_to_service=template(
            f"table=Conntrack,priority=200,{ip},in_port={{port}},dl_dst={VIRTUAL_MAC},"
            f"actions=set_field:{{gateway_mac}}->eth_dst,{_TRACK}"
        ),
        host_to_itself=template(
            f"table=L3Forwarding,priority=180,{ip},in_port={{port}},dl_dst={{gateway_mac}},"
            f"{src}={{ip}},actions=set_field:{node}->{set_src},IN_PORT"
        ),
        host_answers_itself=template(
            f"table=Conntrack,priority=220,{ip},in_port={{port}},dl_dst={VIRTUAL_MAC},"
            f"{dst}={node},actions=set_field:{{ip}}->{set_dst},"
            f"set_field:{{gateway_mac}}->eth_dst,set_field:0->in_port,{_TRACK}"
        ),
        origin=template(
            f"table=Classifier,priority=210,{ip},in_port={{port}},actions={note_origin}"
        ),
        host_origin=template(
            f"table=Classifier,priority=220,{ip},in_port={{port}},{src}={{ip}},actions={note_node}"
        ),
        any_origin=template(f"table=Classifier,priority=205,{ip},actions={note_origin}"),
        masqueraded_to_host=template(
            f"table=L3Forwarding,priority=170,{ip},in_port={{port}},dl_dst={{gateway_mac}},"
            f"{src}={masquerade},actions=IN_PORT"
        ),
        host_answers_masqueraded=template(
            f"table=Conntrack,priority=240,{ip},in_port={{port}},dl_dst={VIRTUAL_MAC},"
            f"{dst}={masquerade},actions=set_field:{{gateway_mac}}->eth_dst,"
            f"set_field:0->in_port,ct(table=Conntrack,zone={SNAT_ZONE},nat)"
        ),
        answer_by_uplink=template(
            f"table=ConntrackState,priority=220,ct_state=+rpl+trk,"
            f"ct_mark={_BY_UPLINK:#x}/{_BY_UPLINK:#x},{ip},"
            "actions=set_field:0->in_port,set_field:{gateway_mac}->eth_src,"
            "move:NXM_NX_CT_LABEL[0..47]->NXM_OF_ETH_DST[],dec_ttl,output:{port}"
        ),
        node_address=template(
            f"table=NodeAddress,priority=200,{ip},{dst}={{ip}},"
            f"actions=set_field:{_NODE_ADDRESS:#x}/{_NODE_ADDRESS:#x}->reg0,goto_table:ServiceLB"
        ),
    )


FORWARDING: Final[dict[Family, ForwardingTemplates]] = {4: _forwarding(4), 6: _forwarding(6)}
"""By IP family."""
