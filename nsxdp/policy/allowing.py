"""Which rule lets a connection through: what the flows decide, asked of the rules themselves.

A switch doesn't say by which flow a connection came about that it tracks; but who is at its ends is
known, and the rules that are for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from nsxdp.pipeline.policy import Direction, Tier
from nsxdp.policy.groups import GroupKey
from nsxdp.policy.kinds import Kind
from nsxdp.policy.networks import Network
from nsxdp.policy.rules import Rule, Wanted
from nsxdp.policy.selectors import EVERYTHING

__all__ = ["Asked", "allowing", "in_order"]

_ORDER: Final[tuple[Tier, ...]] = ("admin", "policy", "baseline")
_ALL_PODS: Final = GroupKey("", EVERYTHING, EVERYTHING)


class Asked(NamedTuple):
    """A connection, as the policies of one of its ends see it.

    Attributes
    ----------
    kind
        Of the pod whose policies are asked.
    other, address
        The other end: of what kind it is, None if it is no pod; and its address, packed.
    protocol, port
        ``TCP`` and to which port, 0 where there is none.
    """

    direction: Direction
    kind: Kind
    other: Kind | None
    address: bytes
    protocol: str
    port: int


def in_order(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Rules as they are asked; by name, where it doesn't matter."""
    return tuple(sorted(rules, key=lambda rule: (_ORDER.index(rule.tier), rule.level, rule.name)))


def allowing(
    rules: Iterable[Rule],
    asked: Asked,
    selects: Callable[[GroupKey, Kind], bool],
    *,
    isolated: bool,
    implied: bool,
) -> str:
    """The name of the rule that lets a connection through; empty: none does, or none has to.

    Parameters
    ----------
    rules
        That are for pods of that kind in that direction, `in_order`.
    selects
        Whether a group has a kind.
    isolated
        Whether NetworkPolicies let through nothing but what a rule allows.
    implied
        Whether they let this through by themselves, as they do to the pod's own node.
    """
    passed: Tier | None = None
    for rule in rules:
        if rule.tier == passed:
            continue
        if rule.tier == "policy" and implied:
            return ""
        if rule.tier == "baseline" and isolated:
            return ""
        if _matches(rule, asked, selects):
            if rule.action != "pass":
                return rule.name if rule.action == "accept" else ""
            passed = rule.tier
    return ""


def _matches(rule: Rule, asked: Asked, selects: Callable[[GroupKey, Kind], bool]) -> bool:
    peers, ports = rule.peers, rule.ports
    is_pod = asked.other is not None and (
        peers is None or any(g == _ALL_PODS or selects(g, asked.other) for g in peers.groups)
    )
    is_peer = is_pod or peers is None or any(_has(net, asked.address) for net in peers.networks)
    if ports is None or not is_peer:
        return is_peer
    if any(
        one.protocol == asked.protocol and one.first <= asked.port <= one.last
        for one in ports.numbers
    ):
        return True
    # A name is looked up at the pod that gets the packet, and as a peer, only pods have names.
    if asked.direction == "ingress":
        return _named(ports, asked.kind, asked)
    return is_pod and asked.other is not None and _named(ports, asked.other, asked)


def _named(ports: Wanted, receiver: Kind, asked: Asked) -> bool:
    return any(
        protocol in (None, asked.protocol) and receiver.port(name, asked.protocol) == asked.port
        for name, protocol in ports.names
    )


def _has(network: Network, address: bytes) -> bool:
    prefix, length = network
    if len(prefix) != len(address):
        return False
    rest = 8 * len(prefix) - length
    return int.from_bytes(prefix) >> rest == int.from_bytes(address) >> rest
