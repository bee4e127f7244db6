"""SpoofGuard: who sends may send that, and as whom.

A pod sends from its port, its MAC and one of its addresses, and asks for MAC addresses as itself::

    table=SpoofGuard, priority=300,ip,in_port=5,dl_src=POD,nw_src=10.244.0.5
        actions=set_field:0x10000/0x10000->reg0,resubmit(,Classifier)
    table=SpoofGuard, priority=310,arp,in_port=5,dl_src=POD,arp_spa=10.244.0.5,arp_op=1,arp_sha=POD
        actions=goto_table:Neighbors

With IPv6 it is asked, too, and answers for itself::

    table=SpoofGuard, priority=310,icmp6,in_port=5,dl_src=POD,ipv6_src=fd00:244::5,nw_ttl=255,
        icmp_type=136,icmp_code=0,nd_target=fd00:244::5,nd_tll=POD
        actions=goto_table:L2Forwarding

Who asks for its own address wants to know whether somebody else has it. Nobody has::

    table=SpoofGuard, priority=320,arp,in_port=5,arp_tpa=10.244.0.5 actions=drop

Another node sends what is from its pods to this node's, through a tunnel that is its own, to the
MAC that says so::

    table=SpoofGuard, priority=300,ip,tun_id=0x7,tun_src=192.0.2.2,in_port=9,
        dl_dst=02:6e:73:78:64:70,nw_src=10.244.1.0/24,nw_dst=10.244.0.0/24
        actions=set_field:GATEWAY->eth_dst,set_field:0x10000/0x10000->reg0,resubmit(,Classifier)

What nobody may send: frames with a VLAN; what only routers and DHCP servers send (there is neither
beside the node itself); what is for loopback addresses::

    table=SpoofGuard, priority=400,vlan_tci=0x1000/0x1000 actions=drop
    table=SpoofGuard, priority=350,icmp6,icmp_type=134 actions=drop
    table=SpoofGuard, priority=340,udp,tp_src=67,tp_dst=68 actions=drop
    table=SpoofGuard, priority=340,ip,nw_dst=127.0.0.0/8 actions=drop

What matches none of these is dropped. Fragments have addresses, so they pass as packets do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from nsxdp.openflow import Template
from nsxdp.pipeline.joints import ADMIT
from nsxdp.pipeline.registers import VIRTUAL_MAC
from nsxdp.pipeline.service import Family
from nsxdp.pipeline.tables import TABLES

__all__ = [
    "GUARD",
    "HOST",
    "LINK_LOCAL_ASKS",
    "ONLY_ASKED",
    "SENDER",
    "SenderTemplates",
    "from_peer",
]

_SOLICITATION: Final = "icmp6,icmp_type=135,icmp_code=0"

_ADVERTISEMENT: Final = "icmp6,icmp_type=136,icmp_code=0"

_ASKED: Final = "goto_table:Neighbors"
_ANSWERED: Final = "goto_table:L2Forwarding"

GUARD: Final = tuple(
    Template(f"table=SpoofGuard,{match},actions=drop", TABLES)
    for match in (
        "priority=400,vlan_tci=0x1000/0x1000",
        # Neighbor discovery in fragments (RFC 6980): types aren't seen in them, but who takes it
        # takes it only as it was sent.
        "priority=350,icmp6,ip_frag=yes,nw_ttl=255",
        # Router advertisement, redirect.
        *(f"priority=350,icmp6,icmp_type={kind}" for kind in (134, 137)),
        "priority=340,udp,tp_src=67,tp_dst=68",
        "priority=340,udp6,tp_src=547,tp_dst=546",
        # What is for who is on the same machine: a gateway of 127.0.0.1's might take it.
        "priority=340,ip,nw_dst=127.0.0.0/8",
    )
)
"""What nobody may send."""

ONLY_ASKED: Final = tuple(
    Template(f"table=SpoofGuard,{match},actions=drop", TABLES)
    for match in (
        # Router solicitation.
        "priority=350,icmp6,icmp_type=133",
        # Neighbor discovery that isn't, or not by who says so (RFC 4861, 7.1).
        *(f"priority=305,icmp6,icmp_type={kind}" for kind in (135, 136)),
    )
)
"""Where the bridge sees to it who is asked, and who answers."""

HOST: Final = tuple(
    Template(f"table=SpoofGuard,{match}", TABLES)
    for match in (
        f"priority=300,in_port={{port}},ip,actions={ADMIT}",
        f"priority=300,in_port={{port}},ipv6,actions={ADMIT}",
        f"priority=310,in_port={{port}},arp,arp_op=1,actions={_ASKED}",
        f"priority=310,in_port={{port}},{_SOLICITATION},nw_ttl=255,actions={_ASKED}",
        f"priority=310,in_port={{port}},{_ADVERTISEMENT},nw_ttl=255,actions={_ANSWERED}",
    )
)
"""What the node's network stack sends: it routes, so from any address. Columns: port."""


@dataclass(frozen=True, slots=True)
class SenderTemplates:
    """What one address of who is behind a port lets pass, for one address family."""

    sends: Template
    """IP packets. Columns: port, mac, ip."""
    asks: Template
    """Questions for MAC addresses. Columns: port, mac, ip."""
    answers: tuple[Template, ...]
    """Answers to such questions; by ARP, the bridge gives them. Columns: port, mac, ip."""
    own: Template
    """Questions for its own address. Columns: port, ip."""


def _sender(family: Family) -> SenderTemplates:
    if family == 4:
        sends, asks, own = (
            "ip,nw_src={ip}",
            "arp,arp_op=1,arp_sha={mac},arp_spa={ip}",
            "arp,arp_tpa={ip}",
        )
        answers = []
    else:
        sends, asks, own = (
            "ipv6,ipv6_src={ip}",
            f"{_SOLICITATION},nw_ttl=255,ipv6_src={{ip}},nd_sll={{mac}}",
            f"{_SOLICITATION},nd_target={{ip}}",
        )
        # The answer to who asked it alone needn't say a MAC.
        answers = [
            f"{_ADVERTISEMENT},nw_ttl=255,ipv6_src={{ip}},nd_target={{ip}},nd_tll={mac}"
            for mac in ("{mac}", "00:00:00:00:00:00")
        ]
    here = "table=SpoofGuard,priority={},in_port={{port}}"
    by = f"{here},dl_src={{{{mac}}}}"
    return SenderTemplates(
        sends=Template(f"{by.format(300)},{sends},actions={ADMIT}", TABLES),
        asks=Template(f"{by.format(310)},{asks},actions={_ASKED}", TABLES),
        answers=tuple(
            Template(f"{by.format(310)},{text},actions={_ANSWERED}", TABLES) for text in answers
        ),
        own=Template(f"{here.format(320)},{own},actions=drop", TABLES),
    )


SENDER: Final[dict[Family, SenderTemplates]] = {4: _sender(4), 6: _sender(6)}
"""By IP family."""

LINK_LOCAL_ASKS: Final = Template(
    f"table=SpoofGuard,priority=310,in_port={{port}},dl_src={{mac}},{_SOLICITATION},nw_ttl=255,"
    f"ipv6_src=fe80::/10,nd_sll={{mac}},actions={_ASKED}",
    TABLES,
)
"""Neighbor solicitations from a link-local address, which the pod chooses itself. It is of no use
to take another's, as nobody may send anything but this from it. Columns: port, mac."""


@lru_cache(maxsize=1024)
def from_peer(family: Family, tunnel: Family, source: int, destination: int) -> Template:
    """What comes from another node's pods, in tunnels between addresses of family 'tunnel'.

    'source' and 'destination' are the lengths of the prefixes. Columns: port, key, node, src, dst,
    gateway_mac.
    """
    ip, src, dst = ("ip", "nw_src", "nw_dst") if family == 4 else ("ipv6", "ipv6_src", "ipv6_dst")
    tun_src = "tun_src" if tunnel == 4 else "tun_ipv6_src"
    return Template(
        f"table=SpoofGuard,priority=300,in_port={{port}},tun_id={{key}},{tun_src}={{node}},{ip},"
        f"dl_dst={VIRTUAL_MAC},{src}={{src}}/{source},{dst}={{dst}}/{destination},"
        f"actions=set_field:{{gateway_mac}}->eth_dst,{ADMIT}",
        TABLES,
    )
