"""The stages of policies: who may send what to whom, asked of each connection's first packets.

What a policy sees of a pod is its *kind*: its namespace, labels and named ports, as a number
(`nsxdp.policy.kinds`). The first two stages of each direction find out the kinds of both ends; so
rules are about kinds, and one more replica of a pod is one more address::

    table=IngressPolicy, priority=200,reg1=0x5
        actions=set_field:TARGET->reg5,set_field:NAMESPACE->reg9,goto_table:IngressPeer
    table=IngressPeer, priority=200,ip,nw_src=10.244.1.7
        actions=set_field:PEER->reg6,goto_table:IngressAdmin

A rule allows (pods it is for) x (peers) x (ports). As conjunctive flows it costs their sum: a
packet that meets a flow of each of the conjunction's dimensions has its ``conj_id``. Two rules that
name the same peer or port share that flow. NetworkPolicies of different namespaces have nothing in
common: the namespace is part of the match, so that no list grows with the cluster::

    table=IngressRules, priority=200,reg5=TARGET actions=conjunction(RULE,1/3)
    table=IngressRules, priority=200,reg6=PEER,reg9=NAMESPACE actions=conjunction(RULE,2/3)
    table=IngressRules, priority=200,tcp,reg9=NAMESPACE,tp_dst=8080 actions=conjunction(RULE,3/3)
    table=IngressRules, priority=200,conj_id=RULE actions=goto_table:ConntrackCommit

The last flow counts what the rule allowed. A pod that a NetworkPolicy selects is isolated::

    table=IngressRules, priority=1,reg5=TARGET actions=goto_table:Refused

Rules of ClusterNetworkPolicies stand in tables of their own, before and after, each at a priority
of its own; ``Pass`` goes on to the next of these tables.

The first packets of connections come here from L3Forwarding and from Output, and go back there::

    table=L3Forwarding, priority=401,ct_state=-est-rel+trk,ip,reg0=0/0x20000
        actions=resubmit(,EgressPolicy)
    table=EgressBaseline, priority=0
        actions=set_field:0x20000/0x20000->reg0,resubmit(,L3Forwarding)
    table=Output, priority=401,ct_state=-est-rel+trk,ip,reg0=0/0x40000
        actions=resubmit(,IngressPolicy)
    table=ConntrackCommit, priority=200,ct_state=+new+trk,ct_zone=65312,ct_mark=0/0x10,ip
        actions=ct(commit,zone=65312),set_field:0x40000/0x40000->reg0,goto_table:Output

What came by the gateway (here it is port 1) is answered there, whoever has the address that it came
from: the node's kernel may have translated where it was for (``hostPort``), and must see the
answer, too::

    table=ConntrackCommit, priority=210,
        ct_state=+new+trk,ct_zone=65312,ct_mark=0/0x10,ip,in_port=1
        actions=ct(commit,zone=65312,exec(set_field:0x80/0x80->ct_mark)),
            set_field:0x40000/0x40000->reg0,goto_table:Output
    table=L3Forwarding, priority=236,ct_state=+rpl+trk,ct_mark=0x80/0x80,ip
        actions=set_field:GATEWAY->eth_dst,goto_table:L2Forwarding

A connection through a Service is committed already. If it is refused it is marked in the zones that
it passed: then its later packets are judged, too, as long as they are refused, and what matches it
the other way round is nobody's answer. Masqueraded clients get answers only from who sends them to
the masquerade::

    table=Refused, priority=200,ct_state=+trk,ct_zone=65312,ct_mark=0x10/0x10,ip
        actions=ct(commit,zone=65312,exec(set_field:0x100/0x100->ct_mark)),goto_table:Report
    table=ConntrackState, priority=231,ct_state=+rpl+trk,ct_mark=0x100/0x100,ip actions=drop
    table=L3Forwarding, priority=401,ct_state=-rpl+trk,ct_mark=0x100/0x100,ip,reg0=0/0x20000
        actions=resubmit(,EgressPolicy)
    table=ConntrackCommit, priority=220,ct_state=+trk,ct_zone=65312,ct_mark=0x100/0x100,ip
        actions=ct(commit,zone=65312,exec(set_field:0/0x100->ct_mark)),
            set_field:0x40000/0x40000->reg0,goto_table:Output
    table=Conntrack, priority=281,ct_state=+rpl+trk,ct_zone=65313,ip
        actions=set_field:0x80000/0x80000->reg0,ct(table=ConntrackState,zone=65312,nat)
    table=ConntrackState, priority=231,ct_state=+rpl+trk,ct_mark=0x20/0x20,ip,reg0=0/0x80000
        actions=drop

Where a refusal is to be told to the agent, it is told as fast as a meter lets it, with the rule's
number in reg10, and to the agent's own connection::

    table=Report, priority=200,reg5=0x40000000/0x40000000
        actions=meter:28162,controller(max_len=128,id=28417)

Any other is one whose answers conntrack must
be able to tell from those of a Service: a client that uses the same port for a Service, and for an
endpoint of it directly, gets another port for the latter, where the switch can bind connections
(`nsxdp.bridge.Bridge.binds`): there the action is ``ct(commit,zone=65312,nat(src))``, which
netfilter does for kube-proxy by itself.

So they see Services translated, whatever was masqueraded, and never an answer. ``-est-rel`` and not
``+new``: what conntrack finds invalid is nobody's answer, and is judged. Where in_port is the port
of a pod, that pod sent the packet; reg1 is the port to which it goes (`nsxdp.pipeline.routing`), as
Output has it: 16 bits. What comes by a port, or is for one, that nothing is known of is dropped, so
that a pod is isolated before anything is known of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from nsxdp.openflow import Template
from nsxdp.pipeline.registers import (
    BITS,
    HAIRPIN_IPV4,
    HAIRPIN_IPV6,
    LOG_METER,
    NODE_CONTROLLER,
    SNAT_ZONE,
    ZONE,
)
from nsxdp.pipeline.service import Family, Protocol
from nsxdp.pipeline.tables import POLICY_STAGES, TABLES

__all__ = [
    "BASE",
    "DIRECTIONS",
    "KIND_FIRST",
    "KIND_LAST",
    "REPORT",
    "WAYS",
    "Action",
    "Clause",
    "Direction",
    "Element",
    "Tier",
    "Way",
    "answer",
    "answer_by_gateway",
    "clause",
    "commit",
    "commit_by_gateway",
    "default",
    "every",
    "from_itself",
    "from_node",
    "not_judged",
    "peer",
    "pod_judged",
    "to_itself",
    "to_node",
]

Direction = Literal["ingress", "egress"]
"""Of a packet, as the pod sees it that a policy is for."""
Tier = Literal["admin", "policy", "baseline"]
"""Where a rule stands: a ClusterNetworkPolicy's, or between them."""
Action = Literal["accept", "deny", "pass"]
"""What a rule does."""
Element = Literal["target", "peer", "pods", "network", "port"]
"""What a flow of a conjunction is about: a kind of the pods that the rule is for, a kind of peers,
all pods as peers, addresses of peers, or a port.
"""

KIND_FIRST: Final = 0x4000_0000
KIND_LAST: Final = 0x7FFF_FFFF
"""Numbers of kinds, and of namespaces: what has the first one's bit is some pod."""

DIRECTIONS: Final[tuple[Direction, ...]] = ("ingress", "egress")
"""Both."""

_SERVICE: Final = BITS["ServiceConnection"].mask
_BY_GATEWAY: Final = BITS["ByGateway"].mask
_LET_OUT: Final = BITS["LetOut"].mask
_LET_IN: Final = BITS["LetIn"].mask
_MASQUERADED: Final = BITS["Masqueraded"].mask
_REFUSED: Final = BITS["Refused"].mask
_UNMASKED: Final = BITS["Unmasked"].mask
_IS_REFUSED: Final = f"ct_mark={_REFUSED:#x}/{_REFUSED:#x}"
_JUDGED: Final = ("ct_state=-est-rel+trk", f"ct_state=-rpl+trk,{_IS_REFUSED}")
"""First packets, and the later ones of what is refused."""
_DIMENSION: Final[dict[Element, int]] = {
    "target": 1,
    "peer": 2,
    "pods": 2,
    "network": 2,
    "port": 3,
}


class Way(NamedTuple):
    """The tables of one direction.

    Attributes
    ----------
    entry, peer
        Those that find out who is at either end.
    tiers
        Those of rules, in their order.
    accept
        What becomes of an allowed packet.
    port
        The field with the number of the port of the pod that is judged for.
    other
        Which address is the peer's: ``src`` or ``dst``.
    """

    entry: str
    peer: str
    tiers: dict[Tier, str]
    accept: str
    port: str
    other: str

    def skip(self, tier: Tier) -> str:
        """What becomes of what a tier passes on."""
        following = [*self.tiers.values()][[*self.tiers].index(tier) + 1 :]
        return f"goto_table:{following[0]}" if following else self.accept


WAYS: Final[dict[Direction, Way]] = {
    "egress": Way(
        "EgressPolicy",
        "EgressPeer",
        {"admin": "EgressAdmin", "policy": "EgressRules", "baseline": "EgressBaseline"},
        f"set_field:{_LET_OUT:#x}/{_LET_OUT:#x}->reg0,resubmit(,L3Forwarding)",
        "in_port",
        "dst",
    ),
    "ingress": Way(
        "IngressPolicy",
        "IngressPeer",
        {"admin": "IngressAdmin", "policy": "IngressRules", "baseline": "IngressBaseline"},
        "goto_table:ConntrackCommit",
        "reg1",
        "src",
    ),
}
"""By direction."""


def _template(text: str) -> Template:
    return Template(text, TABLES)


def _ip(family: Family) -> str:
    return "ip" if family == 4 else "ipv6"


def _address(family: Family, which: str) -> str:
    return f"nw_{which}" if family == 4 else f"ipv6_{which}"


def _base(ip: str) -> Iterator[str]:
    """What sends packets to policies, and what becomes of connections that they refuse."""
    for packets in _JUDGED:
        yield (
            f"table=L3Forwarding,priority=401,{ip},{packets},reg0=0/{_LET_OUT:#x},"
            "actions=resubmit(,EgressPolicy)"
        )
        yield (
            f"table=Output,priority=401,{ip},{packets},reg0=0/{_LET_IN:#x},"
            "actions=resubmit(,IngressPolicy)"
        )
    for zone, committed in ((ZONE, f",ct_mark={_SERVICE:#x}/{_SERVICE:#x}"), (SNAT_ZONE, "")):
        here = f"{ip},ct_state=+trk,ct_zone={zone}"
        commit = f"ct(commit,zone={zone},exec(set_field:{{:#x}}/{_REFUSED:#x}->ct_mark))"
        yield (
            f"table=Refused,priority=200,{here}{committed},"
            f"actions={commit.format(_REFUSED)},goto_table:Report"
        )
        yield (
            f"table=ConntrackCommit,priority=220,{here},{_IS_REFUSED},actions={commit.format(0)},"
            f"set_field:{_LET_IN:#x}/{_LET_IN:#x}->reg0,goto_table:Output"
        )
    answers = f"{ip},ct_state=+rpl+trk"
    yield f"table=ConntrackState,priority=231,{answers},{_IS_REFUSED},actions=drop"
    yield (
        f"table=ConntrackState,priority=231,{answers},ct_mark={_MASQUERADED:#x}/{_MASQUERADED:#x},"
        f"reg0=0/{_UNMASKED:#x},actions=drop"
    )
    masqueraded = f"table=Conntrack,priority={{}},{answers},ct_zone={SNAT_ZONE}"
    yield f"{masqueraded.format(286)},{_IS_REFUSED},actions=drop"
    yield (
        f"{masqueraded.format(281)},actions=set_field:{_UNMASKED:#x}/{_UNMASKED:#x}->reg0,"
        f"ct(table=ConntrackState,zone={ZONE},nat)"
    )


BASE: Final = tuple(
    _template(text)
    for text in (
        *(
            f"table={stage.name},priority=0,actions={stage.miss}"
            for stage in POLICY_STAGES
            if stage.miss
        ),
        *(text for ip in ("ip", "ipv6") for text in _base(ip)),
    )
)
"""The flows that are there whatever pods and policies there are."""


@lru_cache
def commit(family: Family, *, bind: bool) -> Template:
    """What policies let in is a connection from then on, with a port of its own if that is bound.
    No columns.
    """
    return _commit(200, _ip(family), "", bind=bind)


@lru_cache
def commit_by_gateway(family: Family, *, bind: bool) -> Template:
    """Likewise, of what comes by the gateway. Columns: port."""
    mark = f",exec(set_field:{_BY_GATEWAY:#x}/{_BY_GATEWAY:#x}->ct_mark)"
    return _commit(210, f"{_ip(family)},in_port={{port}}", mark, bind=bind)


def _commit(priority: int, match: str, execute: str, *, bind: bool) -> Template:
    nat = ",nat(src)" if bind else ""
    return _template(
        f"table=ConntrackCommit,priority={priority},{match},ct_state=+new+trk,ct_zone={ZONE},"
        f"ct_mark=0/{_SERVICE:#x},actions=ct(commit,zone={ZONE}{nat}{execute}),"
        f"set_field:{_LET_IN:#x}/{_LET_IN:#x}->reg0,goto_table:Output"
    )


@lru_cache
def answer_by_gateway(family: Family) -> Template:
    """The answers to what came by the gateway. Columns: gateway_mac."""
    return _template(
        f"table=L3Forwarding,priority=236,{_ip(family)},ct_state=+rpl+trk,"
        f"ct_mark={_BY_GATEWAY:#x}/{_BY_GATEWAY:#x},"
        "actions=set_field:{gateway_mac}->eth_dst,goto_table:L2Forwarding"
    )


# --- Who is at either end -----------------------------------------------------------------------


@lru_cache
def not_judged(direction: Direction) -> Template:
    """A port that is no pod's, or that of a pod which no policy is for. Columns: port."""
    way = WAYS[direction]
    return _template(f"table={way.entry},priority=200,{way.port}={{port}},actions={way.accept}")


@lru_cache
def pod_judged(direction: Direction) -> Template:
    """A pod that policies are for. Columns: port, kind, namespace."""
    way = WAYS[direction]
    return _template(
        f"table={way.entry},priority=200,{way.port}={{port}},actions=set_field:{{kind}}->reg5,"
        f"set_field:{{namespace}}->reg9,goto_table:{way.peer}"
    )


@lru_cache
def peer(direction: Direction, family: Family) -> Template:
    """An address of a pod that rules are about. Columns: ip, kind."""
    way = WAYS[direction]
    return _template(
        f"table={way.peer},priority=200,{_ip(family)},{_address(family, way.other)}={{ip}},"
        f"actions=set_field:{{kind}}->reg6,goto_table:{way.tiers['admin']}"
    )


@lru_cache
def from_node(family: Family) -> Template:
    """What the node itself sends to its pods: kubelet's probes, say. No policy has a say in that.
    Columns: port (the gateway's), ip (the node's).
    """
    return _template(
        f"table=IngressPolicy,priority=240,{_ip(family)},in_port={{port}},"
        f"{_address(family, 'src')}={{ip}},actions={WAYS['ingress'].accept}"
    )


# --- Rules --------------------------------------------------------------------------------------


def _acts(direction: Direction, tier: Tier, action: Action) -> str:
    way = WAYS[direction]
    if action == "deny":
        return "set_field:{rule}->reg10,goto_table:Refused"
    return way.accept if action == "accept" else way.skip(tier)


class Clause(NamedTuple):
    """A flow that is part of conjunctions.

    Attributes
    ----------
    element
        What it is about.
    family
        Of a network or a port.
    length
        Of a network: its prefix's bits.
    protocol
        Of a port.
    port
        Likewise, as a match has it: ``80``, or ``0x1f40/0xfff0``; empty: all ports.
    scoped
        Whether it holds for one namespace's pods alone.
    """

    element: Element
    family: Family = 4
    length: int = 0
    protocol: Protocol = "TCP"
    port: str = ""
    scoped: bool = False


def _match(what: Clause, direction: Direction) -> str:
    scope = ",reg9={namespace}" if what.scoped else ""
    if what.element == "target":
        return "reg5={kind}"
    if what.element == "peer":
        return f"reg6={{kind}}{scope}"
    if what.element == "pods":
        return f"reg6={KIND_FIRST:#x}/{KIND_FIRST:#x}{scope}"
    if what.element == "network":
        field = _address(what.family, WAYS[direction].other)
        address = f",{field}={{ip}}/{what.length}" if what.length else ""
        return f"{_ip(what.family)}{address}{scope}"
    name = what.protocol.lower() + ("" if what.family == 4 else "6")
    return f"{name}{scope}{f',tp_dst={what.port}' if what.port else ''}"


def clause(
    direction: Direction, tier: Tier, priority: int, what: Clause, of_two: int, of_three: int
) -> Template:
    """A flow of one dimension of so many conjunctions that have two, and that have three.

    Columns: rule0, rule1, ..., first those of two; kind of a target or peer, ip of a network unless
    it is all, namespace of what is scoped.
    """
    make = _few if of_two + of_three <= _FEW else _many
    return make(direction, tier, priority, what, of_two, of_three)


def _clause(
    direction: Direction, tier: Tier, priority: int, what: Clause, of_two: int, of_three: int
) -> Template:
    at = _DIMENSION[what.element]
    actions = [f"conjunction({{rule{i}}},{min(at, 2)}/2)" for i in range(of_two)]
    actions += [f"conjunction({{rule{of_two + i}}},{at}/3)" for i in range(of_three)]
    return _template(
        f"table={WAYS[direction].tiers[tier]},priority={priority},{_match(what, direction)},"
        f"actions={','.join(actions)}"
    )


_FEW: Final = 16
"""Conjunctions of a template of which thousands are kept: each is 300 bytes of it, and a namespace
that gets one rule after the other needs a template of each size.
"""
_few = lru_cache(maxsize=8192)(_clause)
_many = lru_cache(maxsize=64)(_clause)


@lru_cache(maxsize=1024)
def answer(direction: Direction, tier: Tier, priority: int, action: Action) -> Template:
    """What becomes of what a conjunction matches. Columns: rule."""
    return _template(
        f"table={WAYS[direction].tiers[tier]},priority={priority},conj_id={{rule}},"
        f"actions={_acts(direction, tier, action)}"
    )


@lru_cache(maxsize=1024)
def every(direction: Direction, tier: Tier, priority: int, action: Action) -> Template:
    """A rule that has neither peers nor ports: for all packets of a kind of pods. Columns: kind,
    and rule of one that denies.
    """
    return _template(
        f"table={WAYS[direction].tiers[tier]},priority={priority},reg5={{kind}},"
        f"actions={_acts(direction, tier, action)}"
    )


@lru_cache
def default(direction: Direction) -> Template:
    """A kind of pods that a NetworkPolicy selects: what no rule allows is refused.
    Columns: kind.
    """
    return _template(
        f"table={WAYS[direction].tiers['policy']},priority=1,reg5={{kind}},"
        "actions=goto_table:Refused"
    )


REPORT: Final = _template(
    f"table=Report,priority=200,reg5={KIND_FIRST:#x}/{KIND_FIRST:#x},"
    f"actions=meter:{LOG_METER},controller(max_len=128,id={NODE_CONTROLLER})"
)
"""What is refused is told to the node agent."""


@lru_cache
def to_node(family: Family) -> Template:
    """A kind of pods that a NetworkPolicy selects reaches its own node. Columns: kind, ip."""
    return _template(
        f"table=EgressRules,priority=230,{_ip(family)},reg5={{kind}},"
        f"{_address(family, 'dst')}={{ip}},actions={WAYS['egress'].accept}"
    )


@lru_cache
def to_itself(family: Family) -> Template:
    """A pod that a NetworkPolicy selects reaches itself through a Service. Columns: port, ip."""
    return _template(
        f"table=EgressRules,priority=230,{_ip(family)},in_port={{port}},"
        f"{_address(family, 'dst')}={{ip}},actions={WAYS['egress'].accept}"
    )


@lru_cache
def from_itself(family: Family) -> Template:
    """Likewise, at the other end: its source is rewritten then. Columns: port."""
    source = HAIRPIN_IPV4 if family == 4 else HAIRPIN_IPV6
    return _template(
        f"table=IngressRules,priority=230,{_ip(family)},reg1={{port}},"
        f"{_address(family, 'src')}={source},actions={WAYS['ingress'].accept}"
    )
