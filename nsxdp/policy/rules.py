"""Policies as they are read: rules that all are of one form, whichever API they come from.

What can't be understood is told, and never allows more: an allowing rule loses the peer or the
port, a refusing one refuses everything, as the API of ClusterNetworkPolicy has it for peers of
later versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple, cast

from msgspec import Struct

from nsxdp.k8s.policy_objects import (
    ClusterNetworkPolicy,
    ClusterNetworkPolicyPeer,
    ClusterNetworkPolicyProtocol,
    ClusterNetworkPolicyRule,
    IPBlock,
    LabelSelector,
    NamespacedPod,
    NetworkPolicy,
    NetworkPolicyPeer,
    NetworkPolicyPort,
    ProtocolPort,
)
from nsxdp.pipeline.policy import DIRECTIONS, Action, Direction, Tier
from nsxdp.pipeline.service import PROTOCOLS, Protocol
from nsxdp.policy.groups import GroupKey
from nsxdp.policy.networks import Network, parse_network, without
from nsxdp.policy.ports import Ports, merged
from nsxdp.policy.selectors import EVERYTHING, Selector

__all__ = ["MAX_PREFIXES", "MAX_RULES", "Name", "Peers", "Policy", "Rule", "Wanted", "read_policy"]

MAX_RULES: Final = 25
"""Rules of one direction that a ClusterNetworkPolicy can have."""

MAX_PRIORITY: Final = 1000
"""The last priority of a ClusterNetworkPolicy."""

MAX_PREFIXES: Final = 8192
"""Prefixes that a block and its exceptions can be made into: each is a flow."""

_LAST_PORT: Final = 0xFFFF

Name = tuple[str, Protocol | None]
"""A named port, and its protocol; None: of any protocol."""


class Peers(NamedTuple):
    """Who may be at the other end.

    Attributes
    ----------
    groups
        Pods.
    networks
        Addresses, whoever has them.
    """

    groups: tuple[GroupKey, ...] = ()
    networks: tuple[Network, ...] = ()


class Wanted(NamedTuple):
    """To which ports of the receiver.

    Attributes
    ----------
    numbers
        Ranges that neither overlap nor touch.
    names
        Those that are looked up at each pod.
    """

    numbers: tuple[Ports, ...] = ()
    names: tuple[Name, ...] = ()


class Rule(Struct, frozen=True):
    """One rule of one direction.

    Attributes
    ----------
    name
        Whose it is: ``NetworkPolicy default/web ingress[0]``.
    direction, tier, action
        When it is asked, and what it does.
    level
        Of rules of its tier, the one with the lowest is asked first; those of one level don't mind.
    peers, ports
        None: any.
    """

    name: str
    direction: Direction
    tier: Tier
    action: Action
    level: int
    peers: Peers | None
    ports: Wanted | None


class Policy(Struct, frozen=True):
    """One policy.

    Attributes
    ----------
    target
        The pods that it is for.
    isolates
        In which directions these pods may do only what some rule of a NetworkPolicy allows.
    rules
        What it allows, and refuses.
    problems
        What of it can't be understood.
    """

    target: GroupKey
    isolates: frozenset[Direction]
    rules: tuple[Rule, ...]
    problems: tuple[str, ...] = ()

    @property
    def directions(self) -> frozenset[Direction]:
        """In which it has a say at all."""
        return self.isolates | {rule.direction for rule in self.rules}


def read_policy(policy: NetworkPolicy | ClusterNetworkPolicy) -> Policy:
    """Read a policy.

    Raises
    ------
    ValueError
        It doesn't say for which pods it is.
    """
    if isinstance(policy, NetworkPolicy):
        return _Reader(policy.key).network_policy(policy)
    return _Reader(policy.key).cluster_policy(policy)


class _NotUnderstood(Exception):  # noqa: N818
    """A part of a rule can't be understood; the message says why."""


class _Reader:
    """Reads one policy, and notes what is wrong with it."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._problems: list[str] = []

    # NetworkPolicy.

    def network_policy(self, policy: NetworkPolicy) -> Policy:
        spec = policy.spec
        types = spec.policy_types or ("Ingress", *(("Egress",) if spec.egress else ()))
        isolates = frozenset(d for d in DIRECTIONS if d.capitalize() in types)
        rules = []
        if "ingress" in isolates:
            for i, one in enumerate(spec.ingress):
                rules.append(self._allow("ingress", i, policy.namespace, one.from_, one.ports))
        if "egress" in isolates:
            for i, other in enumerate(spec.egress):
                rules.append(self._allow("egress", i, policy.namespace, other.to, other.ports))
        target = GroupKey(policy.namespace, EVERYTHING, Selector.of(spec.pod_selector))
        return Policy(target, isolates, tuple(rules), tuple(self._problems))

    def _allow(
        self,
        direction: Direction,
        index: int,
        namespace: str,
        peers: tuple[NetworkPolicyPeer, ...],
        ports: tuple[NetworkPolicyPort, ...],
    ) -> Rule:
        end = "from" if direction == "ingress" else "to"
        path = f"spec.{direction}[{index}]"
        return Rule(
            f"NetworkPolicy {self._key} {direction}[{index}]",
            direction,
            "policy",
            "accept",
            0,
            self._peers(f"{path}.{end}", namespace, peers) if peers else None,
            self._ports(f"{path}.ports", ports) if ports else None,
        )

    def _peers(self, path: str, namespace: str, peers: tuple[NetworkPolicyPeer, ...]) -> Peers:
        groups: list[GroupKey] = []
        networks: list[Network] = []
        for i, peer in enumerate(peers):
            try:
                if peer.ip_block is not None:
                    networks += _block(peer.ip_block)
                elif peer.namespace_selector is not None:
                    namespaces = Selector.of(peer.namespace_selector)
                    groups.append(GroupKey("", namespaces, _selector(peer.pod_selector)))
                elif peer.pod_selector is not None:
                    groups.append(GroupKey(namespace, EVERYTHING, Selector.of(peer.pod_selector)))
                else:
                    raise _NotUnderstood("none of the fields that are known is set")
            except (_NotUnderstood, ValueError) as error:
                self._problems.append(f"{path}[{i}]: {error}")
        return _tidy(groups, networks)

    def _ports(self, path: str, ports: tuple[NetworkPolicyPort, ...]) -> Wanted:
        numbers: list[Ports] = []
        names: list[Name] = []
        for i, port in enumerate(ports):
            protocol = port.protocol or "TCP"
            if protocol not in PROTOCOLS:
                known = ", ".join(PROTOCOLS)
                self._problems.append(f"{path}[{i}].protocol: {protocol!r} is none of {known}")
            elif isinstance(port.port, str):
                names.append((port.port, protocol))
            elif port.port is None:
                numbers.append(Ports(protocol, 0, _LAST_PORT))
            else:
                last = port.port if port.end_port is None else port.end_port
                if 0 < port.port <= last <= _LAST_PORT:
                    numbers.append(Ports(protocol, port.port, last))
                else:
                    self._problems.append(f"{path}[{i}]: {port.port} to {last} are no ports")
        return Wanted(merged(numbers), tuple(dict.fromkeys(names)))

    # ClusterNetworkPolicy.

    def cluster_policy(self, policy: ClusterNetworkPolicy) -> Policy:
        spec = policy.spec
        if spec.subject.pods is not None:
            target = _pods(spec.subject.pods)
        elif spec.subject.namespaces is not None:
            target = GroupKey("", Selector.of(spec.subject.namespaces), EVERYTHING)
        else:
            raise ValueError("spec.subject: none of the fields that are known is set")
        if not 0 <= spec.priority <= MAX_PRIORITY:
            raise ValueError(f"spec.priority: {spec.priority} is not between 0 and {MAX_PRIORITY}")
        rules: list[Rule] = []
        for direction in DIRECTIONS:
            given = spec.ingress if direction == "ingress" else spec.egress
            if len(given) > MAX_RULES:
                raise ValueError(f"spec.{direction}: {len(given)} rules are more than {MAX_RULES}")
            for i, rule in enumerate(given):
                level = spec.priority * MAX_RULES + i
                tier: Tier = "admin" if spec.tier == "Admin" else "baseline"
                rules += self._rule(direction, tier, level, i, rule)
        return Policy(target, frozenset(), tuple(rules), tuple(self._problems))

    def _rule(
        self,
        direction: Direction,
        tier: Tier,
        level: int,
        index: int,
        rule: ClusterNetworkPolicyRule,
    ) -> Iterator[Rule]:
        """The rule; none, if it would allow what isn't understood."""
        name = f"ClusterNetworkPolicy {self._key} {direction}[{index}]"
        path = f"spec.{direction}[{index}]"
        action = rule.action.lower()
        try:
            if action not in ("accept", "deny", "pass"):
                raise _NotUnderstood(f"the action {rule.action!r} is none of Accept, Deny, Pass")
            peers = _cluster_peers(rule.from_ if direction == "ingress" else rule.to)
            ports = _cluster_ports(rule.protocols) if rule.protocols else None
            if peers.networks and ports is not None and ports.names:
                raise _NotUnderstood("networks have no named ports: give numbers, or other peers")
        except (_NotUnderstood, ValueError) as error:
            self._problems.append(f"{path}: {error}")
            if action != "accept":
                yield Rule(name, direction, tier, "deny", level, None, None)
            return
        yield Rule(name, direction, tier, cast(Action, action), level, peers, ports)


def _selector(selector: LabelSelector | None) -> Selector:
    return EVERYTHING if selector is None else Selector.of(selector)


def _pods(pods: NamespacedPod) -> GroupKey:
    return GroupKey("", Selector.of(pods.namespace_selector), Selector.of(pods.pod_selector))


def _network(text: str) -> Network:
    network = parse_network(text)
    if network is None:
        raise _NotUnderstood(f"{text!r} is not a prefix")
    return network


def _block(block: IPBlock) -> list[Network]:
    left = without(_network(block.cidr), [_network(text) for text in block.except_])
    found = [*islice(left, MAX_PREFIXES + 1)]
    if len(found) > MAX_PREFIXES:
        raise _NotUnderstood(
            f"{block.cidr} without its {len(block.except_)} exceptions is more than {MAX_PREFIXES} "
            "prefixes: fewer exceptions are needed, or shorter ones"
        )
    return found


def _tidy(groups: Iterable[GroupKey], networks: Iterable[Network]) -> Peers:
    return Peers(tuple(dict.fromkeys(groups)), tuple(sorted(set(networks))))


def _cluster_peers(peers: tuple[ClusterNetworkPolicyPeer, ...]) -> Peers:
    groups: list[GroupKey] = []
    networks: list[Network] = []
    if not peers:
        raise _NotUnderstood("at least one peer is needed")
    for peer in peers:
        if peer.pods is not None:
            groups.append(_pods(peer.pods))
        elif peer.namespaces is not None:
            groups.append(GroupKey("", Selector.of(peer.namespaces), EVERYTHING))
        elif peer.networks is not None:
            networks += [_network(text) for text in peer.networks]
        elif peer.nodes is not None or peer.domain_names is not None:
            field = "nodes" if peer.nodes is not None else "domainNames"
            raise _NotUnderstood(f"peers of the field {field} are not supported")
        else:
            raise _NotUnderstood("none of the fields of a peer that are known is set")
    return _tidy(groups, networks)


def _cluster_ports(protocols: tuple[ClusterNetworkPolicyProtocol, ...]) -> Wanted:
    numbers: list[Ports] = []
    names: list[Name] = []
    for one in protocols:
        given: tuple[tuple[Protocol, ProtocolPort | None], ...] = (
            ("TCP", one.tcp),
            ("UDP", one.udp),
            ("SCTP", one.sctp),
        )
        found = [_range(protocol, port) for protocol, port in given if port is not None]
        numbers += found
        if one.destination_named_port:
            names.append((one.destination_named_port, None))
        elif not found:
            raise _NotUnderstood("none of the fields of a protocol that are known is set")
    return Wanted(merged(numbers), tuple(dict.fromkeys(names)))


def _range(protocol: Protocol, port: ProtocolPort) -> Ports:
    where = port.destination_port
    if where is None:
        return Ports(protocol, 0, _LAST_PORT)
    first, last = (where.range.start, where.range.end) if where.range else (where.number,) * 2
    if not 0 < first <= last:
        raise _NotUnderstood(f"{first} to {last} are no ports")
    return Ports(protocol, first, last)
