"""ServiceLB, ServiceAffinity and EndpointDNAT: from a virtual address to an endpoint.

A Service port is one select group; each endpoint is one bucket of it::

    group_id=G,type=select,selection_method=dp_hash,
        bucket=bucket_id:B,weight:100,actions=ct(commit,table=ServiceSNAT,zone=65312,
            nat(dst=10.244.0.5:8080),exec(set_field:0x10/0x10->ct_mark)),
        bucket=bucket_id:B,weight:100,actions=ct(commit,table=ServiceSNAT,zone=65312,
            nat(dst=10.244.1.6:8080),exec(set_field:0x10/0x10->ct_mark))

    table=ServiceLB, priority=200,tcp,nw_dst=10.96.0.10,tp_dst=80 actions=group:G

Other addresses lead to the same group. What comes to an external address is masqueraded, unless
the Service's policy for traffic from outside is Local: then only this node's endpoints may serve
the outside, a group of their own, and all see who the client is. Who isn't outside takes the short
cut to all endpoints, and only a process of the node is masqueraded there, where it has an address
that an endpoint elsewhere can't answer to: Classifier has noted that::

    table=ServiceLB, priority=200,tcp,reg0=0x8/0x8,tp_dst=30080
        actions=set_field:0x4/0x4->reg0,group:G

    table=ServiceLB, priority=210,tcp,reg0=0x9/0x9,tp_dst=30081
        actions=set_field:0/0x4->reg0,group:G
    table=ServiceLB, priority=200,tcp,reg0=0x8/0x8,tp_dst=30081
        actions=move:NXM_NX_REG0[4]->NXM_NX_REG0[2],group:G

The connection's NAT is committed with its first packet, and no later packet sees the group: a
change of the group moves no established connection. The default selection method of a group
is not the same on every datapath (and ignores UDP ports on the userspace one), so it is always
explicit.

With session affinity, the switch itself remembers which endpoint a client had. ServiceLB asks
ServiceAffinity, whose flows are learned, and then EndpointDNAT, which commits the NAT and learns::

    group_id=G,type=select,selection_method=hash,fields=ip_src,
        bucket=bucket_id:B,weight:100,actions=set_field:B->reg4,resubmit(,EndpointDNAT)

    table=ServiceLB, priority=200,tcp,nw_dst=10.96.0.20,tp_dst=80
        actions=set_field:G->reg7,set_field:G->reg8,
            resubmit(,ServiceAffinity),resubmit(,EndpointDNAT)
    table=EndpointDNAT, priority=200,tcp,reg4=B,reg8=G
        actions=learn(table=ServiceAffinity,idle_timeout=10800,priority=100,
            cookie=0x6eff000000000001,eth_type=0x800,nw_proto=6,NXM_NX_REG7[],NXM_OF_IP_SRC[],
            load:B->NXM_NX_REG4[]),
        ct(commit,table=ServiceSNAT,zone=65312,nat(dst=10.244.0.5:8080),
            exec(set_field:0x10/0x10->ct_mark))
    table=EndpointDNAT, priority=100,tcp,reg8=G actions=group:G

What the switch learns of a client::

    table=ServiceAffinity, idle_timeout=10800, priority=100,tcp,reg7=G,nw_src=10.244.0.7
        actions=set_field:B->reg4

A client has one endpoint of a Service port, by whichever address it comes. Where the policy for one
of them is Local, that leads to another group, which is in reg8, while reg7 is the same; whom the
client had last it keeps if that group has it, too: else there is no such EndpointDNAT flow.

An endpoint that is gone has no EndpointDNAT flow, so its clients fall through to the group at once
and learn anew. A learned flow is only effective after up to half a second; until then
the group must choose the same endpoint for one client, so it hashes the client's address alone
(``selection_method=hash,fields(ip_src)``). Its ``selection_method_param`` changes with time, so
that a client whose flow expired can move. Buckets are action sets, in which Open vSwitch ignores
``learn``: hence the detour by EndpointDNAT.

On the userspace datapath a later fragment has no ports, not even those that connection tracking has
found. Conntrack takes the fragments for the datagram as soon as all of them have met an action in
the same pass; what the action does, the last of them says. So where a Service has one UDP port at
its cluster IP, what has no port is for that one, and the first fragment, whose ports conntrack
knows, meets the group by the same flow as the others::

    table=ConntrackState, priority=205,ct_state=+new+trk,ipv6,nw_frag=later
        actions=set_field:0x20/0x20->reg0,goto_table:NodeAddress
    table=ServiceLB, priority=205,ct_state=+new+trk,ct_nw_proto=17,ct_tp_dst=53,udp6,
        ipv6_dst=fd00:96::a,nw_frag=first
        actions=set_field:0x20/0x20->reg0,resubmit(,ServiceLB)
    table=ServiceLB, priority=210,ipv6,reg0=0x20/0x20,ipv6_dst=fd00:96::a actions=group:G

The flow's cookie is in what distinguishes one pass from another. So a first fragment for a port
that nobody serves, which is rejected, is never taken for what the later ones belong to. A group of
several parts is passed by: a part is chosen by the source port, so fragments go to the first.

A flow can be idle for 65,535 seconds at most. What is learned for longer has the timeout in its
cookie, so that the agent can see to it (`nsxdp.services.affinity`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from nsxdp.openflow import Template
from nsxdp.pipeline.registers import BITS, REJECT_METER, ZONE
from nsxdp.pipeline.tables import TABLES

__all__ = [
    "FAMILIES",
    "PROTOCOLS",
    "TEMPLATES",
    "Act",
    "Family",
    "Frontend",
    "Protocol",
    "ServiceTemplates",
    "frontend",
]

Family = Literal[4, 6]
"""An IP family, as the version in the packet's header has it."""
Protocol = Literal["TCP", "UDP", "SCTP"]
"""Kubernetes's word for a protocol."""

FAMILIES: Final[tuple[Family, ...]] = (4, 6)
"""All families."""
PROTOCOLS: Final[tuple[Protocol, ...]] = ("TCP", "UDP", "SCTP")
"""All protocols."""

_NUMBER: Final[dict[Protocol, int]] = {"TCP": 6, "UDP": 17, "SCTP": 132}

LARGE_SPREAD: Final = 0x07FE
"""The bits of the source port by which a large group chooses one of its parts: 1024 values.
Bit 0 is left out: Linux gives connect() odd ports far more seldom than even ones."""


_REJECT: Final = f"meter:{REJECT_METER},controller(max_len=256)"

_MASQUERADE: Final = BITS["Masquerade"].mask
_NODE: Final = BITS["Node"].first
_NODE_ADDRESS: Final = BITS["NodeAddress"].mask
_OUTSIDE: Final = BITS["Outside"].mask
_FRAGMENT: Final = BITS["Fragment"].mask

Act = Literal["balance", "stick", "reject", "drop"]
"""What becomes of a first packet: it goes to the group; likewise, by way of ServiceAffinity; it
goes to the agent, which answers with a TCP reset or an ICMP error; nothing."""


class Frontend(NamedTuple):
    """Which first packets a flow of ServiceLB is for, and what it does with them.

    Attributes
    ----------
    act
        What becomes of them.
    masquerade
        Whether the endpoint shall take the node for the client; None: as the packet's origin says;
        ``node``: only if a process of the node, with another address than the gateway's, sent them.
    node_port
        They are for a node port at one of the node's addresses, not for a virtual address.
    outside
        They come from outside the cluster.
    source
        They come from this prefix; empty: from anywhere.
    others
        They come from where no flow with a ``source`` says.
    fragment
        They are fragments of datagrams: each datagram's first one, which is noted, and then meets
        the other flow; or those that are noted.
    """

    act: Act
    masquerade: bool | Literal["node"] | None = None
    node_port: bool = False
    outside: bool = False
    source: str = ""
    others: bool = False
    fragment: Literal["", "first", "noted"] = ""


@lru_cache(maxsize=4096)
def frontend(family: Family, protocol: Protocol, what: Frontend) -> Template:
    """The flow of a Service port.

    Columns: vip (not of a node port), port (not of fragments that are noted), and, where it goes to
    a group, group; with affinity, service.
    """
    ip = protocol.lower() + ("" if family == 4 else "6")
    if what.fragment == "noted":
        # Open vSwitch takes a later fragment in IPv6 for a packet of protocol 44.
        ip = "ip" if family == 4 else "ipv6"
    dst, src = ("nw_dst", "nw_src") if family == 4 else ("ipv6_dst", "ipv6_src")
    # Of those that are for a packet, the one that says most about where it comes from.
    priority = 200 + 10 * what.outside + 20 * bool(what.source) + 15 * what.others
    priority += {"": 0, "first": 5, "noted": 10}[what.fragment]
    match = [f"table=ServiceLB,priority={priority},{ip}"]
    bits = _NODE_ADDRESS * what.node_port | _OUTSIDE * what.outside
    bits |= _FRAGMENT * (what.fragment == "noted")
    if bits:
        match.append(f"reg0={bits:#x}/{bits:#x}")
    if what.source:
        match.append(f"{src}={what.source}")
    if not what.node_port:
        match.append(f"{dst}={{vip}}")
    if what.fragment == "first":
        match.append(
            f"nw_frag=first,ct_state=+new+trk,ct_nw_proto={_NUMBER[protocol]},ct_tp_dst={{port}},"
            f"actions=set_field:{_FRAGMENT:#x}/{_FRAGMENT:#x}->reg0,resubmit(,ServiceLB)"
        )
        return Template(",".join(match), TABLES)
    if not what.fragment:
        match.append("tp_dst={port}")
    actions = []
    if what.masquerade == "node":
        actions.append(f"move:NXM_NX_REG0[{_NODE}]->NXM_NX_REG0[{BITS['Masquerade'].first}]")
    elif what.masquerade is not None:
        actions.append(f"set_field:{_MASQUERADE * what.masquerade:#x}/{_MASQUERADE:#x}->reg0")
    actions += {
        "balance": ["group:{group}"],
        "stick": [
            "set_field:{service}->reg7",
            "set_field:{group}->reg8",
            "resubmit(,ServiceAffinity)",
            "resubmit(,EndpointDNAT)",
        ],
        "reject": [_REJECT],
        "drop": ["drop"],
    }[what.act]
    return Template(f"{','.join(match)},actions={','.join(actions)}", TABLES)


@dataclass(frozen=True, slots=True)
class ServiceTemplates:
    """The groups and flows of Service ports of one address family and protocol.

    Each one's columns are its text's holes. ``group`` and ``slot`` are 32-bit numbers, addresses
    uint32 or (n, 16) uint8, ports uint16, ``timeout`` is seconds, ``cookie`` is that of
    what is learned.
    """

    group: Template
    """One bucket an endpoint, at most 256 of them: the most that dp_hash tells apart."""
    large_group: Template
    """One bucket a part, each a group of its own."""
    affinity_group: Template
    """One bucket an endpoint, at most 256 of them: their number is what choosing costs."""
    large_affinity_group: Template
    """One bucket a part, each an `affinity_group`."""
    endpoint: Template
    """EndpointDNAT: learns which endpoint it was, and translates to it."""
    choose: Template
    """EndpointDNAT: no endpoint yet, so the group chooses one."""
    unserved: Template
    """ServiceLB: a cluster IP's ports that no Service has (KP-13). Columns: vip."""


def _templates(family: Family, protocol: Protocol) -> ServiceTemplates:
    ip = protocol.lower() + ("" if family == 4 else "6")
    dst = "nw_dst" if family == 4 else "ipv6_dst"
    src = "NXM_OF_IP_SRC[]" if family == 4 else "NXM_NX_IPV6_SRC[]"
    eth_type = "0x800" if family == 4 else "0x86dd"
    to = "{ip}:{endpoint_port}" if family == 4 else "[{ip}]:{endpoint_port}"

    dnat = (
        f"ct(commit,table=ServiceSNAT,zone={ZONE},nat(dst={to}),exec(set_field:0x10/0x10->ct_mark))"
    )
    by_client = (
        "group_id={group},type=select,selection_method=hash,selection_method_param={basis},"
        f"fields({'ip' if family == 4 else 'ipv6'}_src)"
    )
    learn = (
        "learn(table=ServiceAffinity,idle_timeout={timeout},priority=100,"
        f"cookie={{cookie}},eth_type={eth_type},nw_proto={_NUMBER[protocol]},"
        f"NXM_NX_REG7[],{src},load:{{slot}}->NXM_NX_REG4[])"
    )

    def template(text: str) -> Template:
        return Template(text, TABLES)

    return ServiceTemplates(
        group=template(
            "group_id={group},type=select,selection_method=dp_hash,"
            f"bucket=bucket_id:{{slot}},weight:100,actions={dnat}"
        ),
        large_group=template(
            "group_id={group},type=select,selection_method=hash,"
            f"fields({protocol.lower()}_src={LARGE_SPREAD:#x}),"
            "bucket=bucket_id:{slot},weight:100,actions=group:{part}"
        ),
        affinity_group=template(
            f"{by_client},bucket=bucket_id:{{slot}},weight:100,"
            "actions=set_field:{slot}->reg4,resubmit(,EndpointDNAT)"
        ),
        large_affinity_group=template(
            f"{by_client},bucket=bucket_id:{{slot}},weight:100,actions=group:{{part}}"
        ),
        endpoint=template(
            f"table=EndpointDNAT,priority=200,{ip},reg4={{slot}},reg8={{group}},"
            f"actions={learn},{dnat}"
        ),
        choose=template(
            f"table=EndpointDNAT,priority=100,{ip},reg8={{group}},actions=group:{{group}}"
        ),
        unserved=template(
            f"table=ServiceLB,priority=150,{'ip' if family == 4 else 'ipv6'},{dst}={{vip}},"
            f"actions={_REJECT}"
        ),
    )


TEMPLATES: Final[dict[tuple[int, str], ServiceTemplates]] = {
    (family, protocol): _templates(family, protocol)
    for family in FAMILIES
    for protocol in PROTOCOLS
}
"""What compiles a Service port of each address family and protocol."""
