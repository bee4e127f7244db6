"""Neighbors: who asks for a MAC address is told it, and nobody hears of it whom it isn't about.

Who asks by ARP is answered by the bridge, at the port that it asked from. It asks of a pod, or of
the gateway, and is told its MAC. It asks for the address of a pod on another node, and is told the
gateway's, which routes there; the node itself is told its next hop's, as it can't send to its own::

    table=Neighbors, priority=200,arp,arp_tpa=10.244.0.5,arp_op=1
        actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],set_field:POD->eth_src,
            set_field:2->arp_op,resubmit(,Neighbors)
    table=Neighbors, priority=110,arp,in_port=LOCAL,arp_tpa=10.244.1.0/24,arp_op=1
        actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],set_field:02:6e:73:78:64:70->eth_src,
            set_field:2->arp_op,resubmit(,Neighbors)

What is an answer now gets the rest of it, and goes back::

    table=Neighbors, priority=200,arp,arp_op=2
        actions=move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],move:NXM_OF_ETH_SRC[]->NXM_NX_ARP_SHA[],
            push:NXM_OF_ARP_SPA[],move:NXM_OF_ARP_TPA[]->NXM_OF_ARP_SPA[],
            pop:NXM_OF_ARP_TPA[],IN_PORT

With IPv6 the question goes to whom it is about, and to nobody else, and that is who answers: a
bridge on the kernel's datapath can't make an answer, as it can't set an option's type. SpoofGuard
sees that pods answer for themselves alone, and the node routes none of it
(``ruleset`` of ``nsxdp.forwarding.host``)::

    table=Neighbors, priority=200,icmp6,icmp_type=135,icmp_code=0,nd_target=fd00:244::5
        actions=set_field:0x5->reg1,goto_table:Output

No question floods the bridge, and none is answered by who isn't meant. Who asks for an address that
nobody has gets no answer.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from nsxdp.openflow import Template
from nsxdp.pipeline.service import Family
from nsxdp.pipeline.tables import TABLES

__all__ = ["ANSWER", "NEIGHBOR", "elsewhere"]

ANSWER: Final = Template(
    "table=Neighbors,priority=200,arp,arp_op=2,actions=move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],"
    "move:NXM_OF_ETH_SRC[]->NXM_NX_ARP_SHA[],push:NXM_OF_ARP_SPA[],"
    "move:NXM_OF_ARP_TPA[]->NXM_OF_ARP_SPA[],pop:NXM_OF_ARP_TPA[],IN_PORT",
    TABLES,
)
"""The second step of each answer by ARP."""


def _answered(match: str) -> Template:
    return Template(
        f"table=Neighbors,{match},arp,arp_op=1,actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],"
        "set_field:{mac}->eth_src,set_field:2->arp_op,resubmit(,Neighbors)",
        TABLES,
    )


NEIGHBOR: Final[dict[Family, Template]] = {
    4: _answered("priority=200,arp_tpa={ip}"),
    6: Template(
        "table=Neighbors,priority=200,icmp6,icmp_type=135,icmp_code=0,nd_target={ip},"
        "actions=set_field:{port}->reg1,goto_table:Output",
        TABLES,
    ),
}
"""By IP family: who asks for the address of a pod of this node, or of the gateway. Columns: ip, and
mac or port (as Output has it: 16 bits)."""


@lru_cache(maxsize=64)
def elsewhere(prefix: int, *, asked_by: bool = False) -> Template:
    """Answers who asks by ARP for an address in a network with a prefix of that length.

    Columns: ip, mac, and port, where it is only for who asks from one port ('asked_by'): that
    precedes the one for everybody.
    """
    asker = "priority=110,in_port={port}" if asked_by else "priority=100"
    return _answered(f"{asker},arp_tpa={{ip}}/{prefix}")
