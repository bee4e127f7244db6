"""Neighbors: who asks for a MAC address is answered by the bridge, at the port that it asked from.

It asks of a pod, or of the gateway, and is told its MAC. It asks for the address of a pod on
another node, and is told the gateway's, which routes there; the node itself is told its next hop's,
as it can't send to its own::

    table=Neighbors, priority=200,arp,arp_tpa=10.244.0.5,arp_op=1
        actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],set_field:POD->eth_src,
            set_field:2->arp_op,resubmit(,Neighbors)
    table=Neighbors, priority=110,arp,in_port=LOCAL,arp_tpa=10.244.1.0/24,arp_op=1
        actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],set_field:02:6e:73:78:64:70->eth_src,
            set_field:2->arp_op,resubmit(,Neighbors)

    table=Neighbors, priority=200,icmp6,icmp_type=135,icmp_code=0,nd_target=fd00:244::5
        actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],set_field:POD->eth_src,
            move:NXM_NX_IPV6_SRC[]->NXM_NX_IPV6_DST[],move:NXM_NX_ND_TARGET[]->NXM_NX_IPV6_SRC[],
            set_field:1610612736->nd_reserved,set_field:136->icmpv6_type,resubmit(,Neighbors)

What is an answer now gets the rest of it, and goes back::

    table=Neighbors, priority=200,arp,arp_op=2
        actions=move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],move:NXM_OF_ETH_SRC[]->NXM_NX_ARP_SHA[],
            push:NXM_OF_ARP_SPA[],move:NXM_OF_ARP_TPA[]->NXM_OF_ARP_SPA[],
            pop:NXM_OF_ARP_TPA[],IN_PORT
    table=Neighbors, priority=200,icmp6,icmp_type=136,icmp_code=0
        actions=set_field:2->nd_options_type,move:NXM_OF_ETH_SRC[]->NXM_NX_ND_TLL[],IN_PORT

Nobody else is asked, so no question floods the bridge, and none is answered by who isn't meant. Who
asks for an address that nobody has gets no answer.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from nsxdp.openflow import Template
from nsxdp.pipeline.service import Family
from nsxdp.pipeline.tables import TABLES

__all__ = ["ANSWERS", "OF_HOST", "OF_POD", "neighbor"]

ANSWERS: Final = tuple(
    Template(f"table=Neighbors,priority=200,{text},IN_PORT", TABLES)
    for text in (
        "arp,arp_op=2,actions=move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],"
        "move:NXM_OF_ETH_SRC[]->NXM_NX_ARP_SHA[],push:NXM_OF_ARP_SPA[],"
        "move:NXM_OF_ARP_TPA[]->NXM_OF_ARP_SPA[],pop:NXM_OF_ARP_TPA[]",
        "icmp6,icmp_type=136,icmp_code=0,actions=set_field:2->nd_options_type,"
        "move:NXM_OF_ETH_SRC[]->NXM_NX_ND_TLL[]",
    )
)
"""The second step of each answer."""

OF_POD: Final = 0x6000_0000
"""A neighbor advertisement's flags: solicited, and it overrides what was known."""
OF_HOST: Final = 0xE000_0000
"""Likewise, and it is of a router."""


@lru_cache(maxsize=1024)
def neighbor(family: Family, prefix: int, flags: int, *, asked_by: bool = False) -> Template:
    """Answers who asks for an address of a prefix of that length. Columns: ip, mac, and port, where
    it is only for who asks from one port: that precedes the one for everybody.

    Parameters
    ----------
    flags
        Of the advertisement, in IPv6.
    asked_by
        Whether it is only for one port.
    """
    whole = prefix == (32 if family == 4 else 128)
    match = [f"table=Neighbors,priority={200 if whole else 110 if asked_by else 100}"]
    if asked_by:
        match.append("in_port={port}")
    address = "{ip}" if whole else f"{{ip}}/{prefix}"
    actions = ["move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]", "set_field:{mac}->eth_src"]
    if family == 4:
        match += ["arp", "arp_op=1", f"arp_tpa={address}"]
        actions += ["set_field:2->arp_op"]
    else:
        match += ["icmp6", "icmp_type=135", "icmp_code=0", f"nd_target={address}"]
        actions += [
            "move:NXM_NX_IPV6_SRC[]->NXM_NX_IPV6_DST[]",
            "move:NXM_NX_ND_TARGET[]->NXM_NX_IPV6_SRC[]",
            f"set_field:{flags:#x}->nd_reserved",
            "set_field:136->icmpv6_type",
        ]
    actions.append("resubmit(,Neighbors)")
    return Template(f"{','.join(match)},actions={','.join(actions)}", TABLES)
