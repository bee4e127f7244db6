"""Pods on a platform's network: each has its own VLAN on the trunk that is the bridge's uplink.

The platform switches, routes and filters, also between two pods of one node: what a pod sends
leaves with its VLAN, and what comes with a VLAN is for that pod, whatever its addresses::

    table=L2Forwarding, priority=301,in_port=5
        actions=push_vlan:0x8100,set_field:4107->vlan_vid,set_field:0x1->reg1,
            goto_table:Output
    table=SpoofGuard, priority=410,in_port=1,dl_vlan=11
        actions=pop_vlan,set_field:0x5->reg1,set_field:0x10000/0x10000->reg0,resubmit(,Classifier)
    table=L2Forwarding, priority=311,reg1=0x5 actions=goto_table:Output

Between them are the Service stages. A client's packets are translated when they leave, and the
answers when they come. An endpoint on the same node answers by the platform, too, which knows its
own address alone: so what is an answer isn't translated when it leaves its pod::

    table=Conntrack, priority=261,ct_state=-trk,ip,in_port=5
        actions=ct(table=Conntrack,zone=65312)
    table=Conntrack, priority=271,ct_state=+rpl+trk,ip,in_port=5 actions=goto_table:L3Forwarding

Only a pod that reaches itself isn't the platform's affair::

    table=Conntrack, priority=281,ip,in_port=5,nw_dst=169.254.0.252
        actions=move:NXM_OF_IP_SRC[]->NXM_OF_IP_DST[],set_field:0->in_port,
            set_field:02:6e:73:78:64:70->eth_src,set_field:POD->eth_dst,set_field:0x5->reg1,
            ct(table=ConntrackState,zone=65312,nat)

ARP and neighbor discovery are the platform's to answer, and a pod's, about itself::

    table=SpoofGuard, priority=310,arp,in_port=5,dl_src=POD,arp_spa=10.244.0.5,arp_sha=POD
        actions=goto_table:L2Forwarding
    table=Classifier, priority=311,arp,reg0=0x10000/0x10000,in_port=1
        actions=goto_table:L2Forwarding
"""

from __future__ import annotations

from typing import Final

from nsxdp.openflow import Template
from nsxdp.pipeline.joints import ADMIT
from nsxdp.pipeline.registers import BITS, HAIRPIN_IPV4, HAIRPIN_IPV6, VIRTUAL_MAC, ZONE
from nsxdp.pipeline.service import Family
from nsxdp.pipeline.tables import TABLES

__all__ = ["ADDRESS", "POD", "POD_IPV6", "REFUSED", "UPLINK"]

_ADMITTED: Final = BITS["Admitted"].mask
_OUT: Final = "goto_table:L2Forwarding"
_FROM_POD: Final = "table=SpoofGuard,priority=310,in_port={port},dl_src={mac}"
_ND: Final = "icmp6,icmp_code=0,nw_ttl=255,icmp_type"
_LINK_LOCAL: Final = "fe80::/10"


def _templates(*texts: str) -> tuple[Template, ...]:
    return tuple(Template(text, TABLES) for text in texts)


def _answers(ip: str) -> tuple[str, str]:
    """A pod's own, from the address that they are about: it has no other to send them from."""
    of = f"{_FROM_POD},{_ND}=136,ipv6_src={ip},nd_target={ip}"
    # The answer to who asked it alone needn't say a MAC.
    return f"{of},nd_tll={{mac}},actions={_OUT}", f"{of},nd_tll=00:00:00:00:00:00,actions={_OUT}"


REFUSED: Final = _templates(
    # What no flow of a pod says: advertisements of others' addresses, say.
    *(
        f"table=SpoofGuard,priority=305,icmp6,icmp_type={kind},actions=drop"
        for kind in (133, 135, 136)
    )
)
"""Neighbor discovery by who isn't who it says."""

UPLINK: Final = _templates(
    *(
        f"table=Classifier,priority=311,{what},reg0={_ADMITTED:#x}/{_ADMITTED:#x},in_port={{uplink}},"
        f"actions={_OUT}"
        for what in ("arp", *(f"icmp6,icmp_type={kind}" for kind in range(133, 138)))
    ),
    "table=Classifier,priority=41,in_port={uplink},actions=drop",
)
"""What comes by the uplink, for a pod, and isn't for the Service stages. Columns: uplink."""

POD: Final = _templates(
    f"table=SpoofGuard,priority=410,in_port={{uplink}},dl_vlan={{vlan}},"
    f"actions=pop_vlan,set_field:{{port}}->reg1,{ADMIT}",
    "table=L2Forwarding,priority=301,in_port={port},actions=push_vlan:0x8100,"
    "mod_vlan_vid:{vlan},set_field:{uplink}->reg1,goto_table:Output",
    "table=L2Forwarding,priority=311,reg1={port},actions=goto_table:Output",
    f"{_FROM_POD},arp,arp_op=1,arp_sha={{mac}},arp_spa=0.0.0.0,actions={_OUT}",
    *(
        text
        for ip, dst, hairpin, answer in (
            ("ip", "nw_dst", HAIRPIN_IPV4, "move:NXM_OF_IP_SRC[]->NXM_OF_IP_DST[]"),
            ("ipv6", "ipv6_dst", HAIRPIN_IPV6, "move:NXM_NX_IPV6_SRC[]->NXM_NX_IPV6_DST[]"),
        )
        for text in (
            f"table=Conntrack,priority=261,ct_state=-trk,{ip},in_port={{port}},"
            f"actions=ct(table=Conntrack,zone={ZONE})",
            f"table=Conntrack,priority=271,ct_state=+rpl+trk,{ip},in_port={{port}},"
            "actions=goto_table:L3Forwarding",
            f"table=Conntrack,priority=281,{ip},in_port={{port}},{dst}={hairpin},actions={answer},"
            f"set_field:0->in_port,set_field:{VIRTUAL_MAC}->eth_src,set_field:{{mac}}->eth_dst,"
            f"set_field:{{port}}->reg1,ct(table=ConntrackState,zone={ZONE},nat)",
        )
    ),
)
"""A pod. Columns: port, mac, vlan, uplink."""

POD_IPV6: Final = _templates(
    f"{_FROM_POD},icmp6,icmp_type=133,nw_ttl=255,ipv6_src={_LINK_LOCAL},actions={_OUT}",
    f"{_FROM_POD},icmp6,icmp_type=143,ipv6_src={_LINK_LOCAL},actions={_OUT}",
    f"{_FROM_POD},{_ND}=135,ipv6_src={_LINK_LOCAL},nd_sll={{mac}},actions={_OUT}",
    f"{_FROM_POD},{_ND}=135,ipv6_src=::,nd_target={_LINK_LOCAL},actions={_OUT}",
    *_answers(_LINK_LOCAL),
)
"""A pod that has an IPv6 address: its link-local ones, which it chooses itself. Columns: port, mac.
"""


ADDRESS: Final[dict[Family, tuple[Template, ...]]] = {
    4: _templates(f"{_FROM_POD},arp,arp_sha={{mac}},arp_spa={{ip}},actions={_OUT}"),
    6: _templates(
        f"{_FROM_POD},{_ND}=135,ipv6_src={{ip}},nd_sll={{mac}},actions={_OUT}",
        f"{_FROM_POD},{_ND}=135,ipv6_src=::,nd_target={{ip}},actions={_OUT}",
        *_answers("{ip}"),
    ),
}
"""An address of a pod, by IP family. Columns: port, mac, ip."""
