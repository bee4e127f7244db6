"""Policies in words: what holds for a pod, for who asks an agent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Final

from nsxdp.pipeline.policy import DIRECTIONS, Direction, Tier
from nsxdp.policy.groups import GroupKey
from nsxdp.policy.kinds import Kind
from nsxdp.policy.ports import Ports
from nsxdp.policy.rules import Peers, Policy, Rule, Wanted
from nsxdp.policy.selectors import EVERYTHING, Requirement, Selector

__all__ = ["holding"]

_LAST_PORT: Final = 0xFFFF
_ORDER: Final[tuple[Tier, ...]] = ("admin", "policy", "baseline")
_VERBS: Final = {"accept": "allow", "deny": "deny", "pass": "leave to the next tier"}
_END: Final[dict[Direction, str]] = {"ingress": "from", "egress": "to"}


def holding(kind: Kind, policies: Iterable[tuple[str, Policy]]) -> Iterator[str]:
    """What holds for pods of 'kind', whom these policies, by name, are for; in lines.

    Examples
    --------
    >>> from nsxdp.k8s.objects import ObjectMeta
    >>> from nsxdp.k8s.policy_objects import (
    ...     IPBlock, NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    ...     NetworkPolicySpec, Pod,
    ... )
    >>> from nsxdp.policy.kinds import Kinds
    >>> from nsxdp.policy.rules import read_policy
    >>> from nsxdp.policy.words import holding
    >>> peer = NetworkPolicyPeer(ip_block=IPBlock("192.0.2.0/24"))
    >>> rule = NetworkPolicyIngressRule((NetworkPolicyPort("UDP", 53),), (peer,))
    >>> meta = ObjectMeta(name="dns", namespace="a")
    >>> policy = NetworkPolicy(metadata=meta, spec=NetworkPolicySpec(ingress=(rule,)))
    >>> _, kind = Kinds().upsert(Pod(metadata=ObjectMeta(name="p", namespace="a")), ())
    >>> for line in holding(kind, [("NetworkPolicy a/dns", read_policy(policy))]):
    ...     print(line)
    ingress: isolated by NetworkPolicy a/dns
      NetworkPolicy a/dns ingress[0]: allow UDP 53 from 192.0.2.0/24
      else: deny
    egress: everything is allowed
    """
    found = list(policies)
    for direction in DIRECTIONS:
        yield from _of_direction(kind, direction, found)


def _of_direction(
    kind: Kind, direction: Direction, policies: list[tuple[str, Policy]]
) -> Iterator[str]:
    isolating = sorted(name for name, policy in policies if direction in policy.isolates)
    rules = sorted(
        (rule for _, policy in policies for rule in policy.rules if rule.direction == direction),
        key=lambda rule: (_ORDER.index(rule.tier), rule.level, rule.name),
    )
    if isolating:
        yield f"{direction}: isolated by {', '.join(isolating)}"
    else:
        yield f"{direction}: {'isolated by none' if rules else 'everything is allowed'}"
    for rule in rules:
        if rule.tier != "baseline" or not isolating:
            yield f"  {rule.name}: {_rule(rule, kind)}"
    if isolating or rules:
        yield f"  else: {'deny' if isolating else 'allow'}"


def _rule(rule: Rule, kind: Kind) -> str:
    end = _END[rule.direction]
    peers = "anywhere" if rule.peers is None else _peers(rule.peers)
    named = kind if rule.direction == "ingress" else None
    ports = "everything" if rule.ports is None else _wanted(rule.ports, named)
    return f"{_VERBS[rule.action]} {ports} {end} {peers}"


def _peers(peers: Peers) -> str:
    texts = [_group(group) for group in peers.groups]
    texts += [f"{ip_address(address)}/{length}" for address, length in peers.networks]
    return ", ".join(texts) or "nobody"


def _group(group: GroupKey) -> str:
    pods = "all pods" if group.pods == EVERYTHING else f"pods with {_selector(group.pods)}"
    if group.namespace:
        return f"{pods} of {group.namespace}"
    if group.namespaces == EVERYTHING:
        return f"{pods} of all namespaces"
    return f"{pods} of namespaces with {_selector(group.namespaces)}"


def _selector(selector: Selector) -> str:
    return " and ".join(map(_requirement, selector.requirements))


def _requirement(one: Requirement) -> str:
    if one.operator == "In" and len(one.values) == 1:
        return f"{one.key}={one.values[0]}"
    if one.operator in ("In", "NotIn"):
        word = "in" if one.operator == "In" else "not in"
        return f"{one.key} {word} ({', '.join(one.values)})"
    return one.key if one.operator == "Exists" else f"no {one.key}"


def _wanted(ports: Wanted, kind: Kind | None) -> str:
    """Ports; the named ones with their numbers, where they are those of pods of 'kind'."""
    texts = [_range(one) for one in ports.numbers]
    for name, protocol in ports.names:
        text = f"{protocol} {name}" if protocol else name
        if kind is not None:
            numbers = {str(n) for known, p, n in kind.ports if (known, protocol or p) == (name, p)}
            text += f" ({', '.join(sorted(numbers)) or 'it has none of that name'})"
        texts.append(text)
    return ", ".join(texts) or "nothing"


def _range(ports: Ports) -> str:
    if (ports.first, ports.last) == (0, _LAST_PORT):
        return str(ports.protocol)
    last = "" if ports.last == ports.first else f"-{ports.last}"
    return f"{ports.protocol} {ports.first}{last}"
