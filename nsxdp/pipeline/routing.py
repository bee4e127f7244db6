"""The node bridge as the pods' router and switch: L3Forwarding, Hop, L2Forwarding and Output.

A packet to the gateway's MAC, for a pod of this node, goes to it; one for a pod of another node
goes into that node's tunnel::

    table=L3Forwarding, priority=211,ip,dl_dst=GATEWAY,nw_dst=10.244.0.5
        actions=set_field:GATEWAY->eth_src,set_field:POD->eth_dst,goto_table:Hop
    table=L3Forwarding, priority=211,ip,dl_dst=GATEWAY,nw_dst=10.244.1.0/24
        actions=set_field:GATEWAY->eth_src,set_field:02:6e:73:78:64:70->eth_dst,
            set_field:0x7->tun_id,set_field:192.0.2.2->tun_dst,set_field:0x9->reg1,goto_table:Hop

A router takes one hop of what a packet may still live. The node's network stack did so for what
comes from it; and where no hop is left, it knows how to tell the sender, so it gets the packet::

    table=Hop, priority=200,in_port=LOCAL actions=goto_table:L2Forwarding
    table=Hop, priority=190,ip,nw_ttl=1
        actions=set_field:0->reg1,set_field:GATEWAY->eth_dst,goto_table:L2Forwarding
    table=Hop, priority=100,ip actions=dec_ttl,goto_table:L2Forwarding

All else that is addressed to the gateway's MAC is the network stack's to route. A MAC that the
bridge doesn't know is nobody's: nothing floods::

    table=L2Forwarding, priority=311,reg1=0x9 actions=goto_table:Output
    table=L2Forwarding, priority=301,dl_dst=POD actions=set_field:0x5->reg1,goto_table:Output
    table=L2Forwarding, priority=291 actions=drop
    table=Output, priority=100 actions=output:NXM_NX_REG1[]

In a tunnel nobody knows the address that masqueraded clients of Services have on this node, as
every node has it. There they get one that is this node's alone, in the same zone, so that answers
and ICMP errors are translated as others are::

    table=ServiceSNAT, priority=211,ip,reg0=0x4/0x6,nw_dst=10.244.1.0/24
        actions=ct(commit,zone=65312,exec(set_field:0x20/0x20->ct_mark)),
            ct(commit,table=L3Forwarding,zone=65313,nat(src=10.244.0.2))
    table=Conntrack, priority=261,ip,in_port=9,nw_dst=10.244.0.2
        actions=ct(table=Conntrack,zone=65313,nat)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from nsxdp.openflow import Template
from nsxdp.pipeline.registers import BITS, SNAT_ZONE, VIRTUAL_MAC, ZONE
from nsxdp.pipeline.service import Family
from nsxdp.pipeline.tables import TABLES

__all__ = [
    "HOP",
    "KNOWN_PORT",
    "OUTPUT",
    "ROUTER",
    "SWITCH",
    "TO_POD",
    "UNKNOWN",
    "TunnelTemplates",
    "masqueraded_answer",
    "to_peer",
]

_MASQUERADE: Final = BITS["Masquerade"].mask
_UPLINK: Final = BITS["Uplink"].mask
_MASQUERADED: Final = BITS["Masqueraded"].mask

_IP: Final[dict[Family, tuple[str, str]]] = {4: ("ip", "nw_dst"), 6: ("ipv6", "ipv6_dst")}

HOP: Final = tuple(
    Template(f"table=Hop,priority=100,{ip},actions=dec_ttl,goto_table:L2Forwarding", TABLES)
    for ip, _ in _IP.values()
)
"""A router's work."""

ROUTER: Final = (
    Template("table=Hop,priority=200,in_port={port},actions=goto_table:L2Forwarding", TABLES),
    *(
        Template(
            f"table=Hop,priority=190,{ip},nw_ttl={ttl},actions=set_field:0->reg1,"
            "set_field:{gateway_mac}->eth_dst,goto_table:L2Forwarding",
            TABLES,
        )
        for ip, _ in _IP.values()
        for ttl in (0, 1)
    ),
)
"""What the node's network stack does of that. Columns: port or gateway_mac (see their holes)."""

SWITCH: Final = Template(
    "table=L2Forwarding,priority=301,dl_dst={mac},actions=set_field:{port}->reg1,goto_table:Output",
    TABLES,
)
"""A pod's, or the gateway's, MAC. Columns: mac, port (as Output has it: 16 bits)."""

UNKNOWN: Final = Template("table=L2Forwarding,priority=291,actions=drop", TABLES)
"""Nobody's MAC."""

KNOWN_PORT: Final = Template(
    "table=L2Forwarding,priority=311,reg1={port},actions=goto_table:Output", TABLES
)
"""What is to leave by a port that L3Forwarding found. Columns: port."""

OUTPUT: Final = Template("table=Output,priority=100,actions=output:NXM_NX_REG1[]", TABLES)
"""The end."""


def _to_pod(family: Family) -> Template:
    ip, dst = _IP[family]
    return Template(
        f"table=L3Forwarding,priority=211,{ip},dl_dst={{gateway_mac}},{dst}={{ip}},"
        "actions=set_field:{gateway_mac}->eth_src,set_field:{mac}->eth_dst,goto_table:Hop",
        TABLES,
    )


TO_POD: Final[dict[Family, Template]] = {4: _to_pod(4), 6: _to_pod(6)}
"""By IP family: to a pod of this node. Columns: gateway_mac, ip, mac."""


@dataclass(frozen=True, slots=True)
class TunnelTemplates:
    """What leads to another node's pods by a tunnel."""

    route: Template
    """Columns: gateway_mac, net, key, node, port (the tunnel's)."""
    masquerade: Template
    """What a Service masquerades. Columns: net, address."""


@lru_cache(maxsize=1024)
def to_peer(family: Family, tunnel: Family, prefix: int) -> TunnelTemplates:
    """To pods in a network of that prefix' length, between nodes' addresses of family 'tunnel'."""
    ip, dst = _IP[family]
    tun_dst = "tun_dst" if tunnel == 4 else "tun_ipv6_dst"
    source = "{address}" if family == 4 else "[{address}]"
    return TunnelTemplates(
        route=Template(
            f"table=L3Forwarding,priority=211,{ip},dl_dst={{gateway_mac}},{dst}={{net}}/{prefix},"
            f"actions=set_field:{{gateway_mac}}->eth_src,set_field:{VIRTUAL_MAC}->eth_dst,"
            f"set_field:{{key}}->tun_id,set_field:{{node}}->{tun_dst},set_field:{{port}}->reg1,"
            "goto_table:Hop",
            TABLES,
        ),
        masquerade=Template(
            f"table=ServiceSNAT,priority=211,{ip},"
            f"reg0={_MASQUERADE:#x}/{_MASQUERADE | _UPLINK:#x},{dst}={{net}}/{prefix},"
            f"actions=ct(commit,zone={ZONE},"
            f"exec(set_field:{_MASQUERADED:#x}/{_MASQUERADED:#x}->ct_mark)),"
            f"ct(commit,table=L3Forwarding,zone={SNAT_ZONE},nat(src={source}))",
            TABLES,
        ),
    )


@lru_cache(maxsize=2)
def masqueraded_answer(family: Family) -> Template:
    """The answer to that. Columns: port (the tunnel's), address."""
    ip, dst = _IP[family]
    return Template(
        f"table=Conntrack,priority=261,{ip},in_port={{port}},{dst}={{address}},"
        f"actions=ct(table=Conntrack,zone={SNAT_ZONE},nat)",
        TABLES,
    )
