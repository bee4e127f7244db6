"""Rules at work: which conjunctions a rule is, and what is in each of them just now.

A rule is one conjunction of up to three dimensions: the kinds of pods that it is for, the peers,
the ports. Only where it names ports is it several, one for each set of numbers that the names stand
for: of ingress, at the pods that it is for; of egress, at the peers.

A rule that is for no pod of this node costs nothing: not even its peers are looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from nsxdp.pipeline.ids import Numbers
from nsxdp.pipeline.policy import DIRECTIONS, Clause, Direction, Element
from nsxdp.pipeline.service import PROTOCOLS, Family
from nsxdp.policy.flows import Conjunct, Every, Flows, Place
from nsxdp.policy.groups import GroupKey, Groups
from nsxdp.policy.kinds import Kind
from nsxdp.policy.networks import Network
from nsxdp.policy.ports import Ports, matches, merged
from nsxdp.policy.rules import Rule
from nsxdp.policy.selectors import EVERYTHING

__all__ = ["Desk", "LiveRule"]

_FIRST_RULE: Final = 0x4000_0000
_LAST_RULE: Final = 0x7FFF_FFFF

_RULES_A_PLACE: Final = 2048
"""Conjunctions that one flow of a NetworkPolicy's namespace may be part of: more than 4,000 actions
don't fit into a message. Further ones stand at the next lower priority, which is the same to them:
all of them allow."""

_POLICY_PRIORITY: Final = 200
_EVERY_PRIORITY: Final = 210
_LOWEST_PRIORITY: Final = 10
_CLUSTER_PRIORITY: Final = 60000
"""Of ClusterNetworkPolicies' rules, the first; each level has two, for OpenFlow leaves it open what
becomes of what meets a conjunction and another flow at the same priority."""

_ALL_PODS: Final = GroupKey("", EVERYTHING, EVERYTHING)


class _Parts(NamedTuple):
    """What of a conjunction doesn't change with pods.

    Attributes
    ----------
    ports, networks
        None: there is no such dimension.
    pods
        All pods are peers.
    name
        Tells a rule's conjunctions apart.
    """

    ports: tuple[Ports, ...] | None
    networks: tuple[Network, ...] | None
    pods: bool = False
    name: str = ""


class Desk:
    """What all live rules share: numbers, places, and who hears that a kind is a peer.

    Attributes
    ----------
    flows
        Where they put their flows.
    peers
        The groups of all pods.
    renamed
        Is told of each kind that rules begin, or cease, to be about at the other end; None: all.
    """

    def __init__(
        self, flows: Flows, peers: Groups, renamed: Callable[[Direction, Kind | None], None]
    ) -> None:
        self.flows = flows
        self.peers = peers
        self.renamed = renamed
        self._numbers = Numbers(_FIRST_RULE, _LAST_RULE)
        self._uses: dict[tuple[Direction, Kind], int] = {}
        self._of_all: dict[Direction, int] = dict.fromkeys(DIRECTIONS, 0)
        self._places: dict[tuple[Direction, int], list[int]] = {}

    def rule(self, number: int) -> str | None:
        """Whose conjunction it is: ``NetworkPolicy default/web ingress[0]``; None: nobody's."""
        name = self._numbers.name(number)
        return name[0] if isinstance(name, tuple) else None

    def is_peer(self, direction: Direction, kind: Kind) -> bool:
        """Whether a rule is about 'kind', at the other end."""
        return (direction, kind) in self._uses or bool(self._of_all[direction])

    def use(self, direction: Direction, kind: Kind, n: int) -> None:
        """So many more rules are about 'kind', at the other end."""
        key = direction, kind
        before = self._uses.get(key, 0)
        if before + n:
            self._uses[key] = before + n
        else:
            del self._uses[key]
        if not before or not before + n:
            self.renamed(direction, kind)

    def use_all(self, direction: Direction, n: int) -> None:
        """So many more rules are about all pods, at the other end."""
        self._of_all[direction] += n
        if self._of_all[direction] in (0, n):
            self.renamed(direction, None)

    def take(self, rule: str, parts: _Parts) -> int:
        """The number of a conjunction."""
        return self._numbers.take((rule, parts), f"{rule} {parts.name}")

    def give_back(self, rule: str, parts: _Parts) -> None:
        """It is no more."""
        self._numbers.release((rule, parts))

    def take_place(self, direction: Direction, namespace: int) -> int:
        """The priority of one more conjunction of a namespace."""
        counts = self._places.setdefault((direction, namespace), [])
        for step, count in enumerate(counts):
            if count < _RULES_A_PLACE:
                counts[step] += 1
                return _POLICY_PRIORITY - step
        step = min(len(counts), _POLICY_PRIORITY - _LOWEST_PRIORITY)
        if step == len(counts):
            counts.append(0)
        counts[step] += 1
        return _POLICY_PRIORITY - step

    def leave_place(self, direction: Direction, namespace: int, priority: int) -> None:
        """One is no more."""
        counts = self._places[direction, namespace]
        counts[_POLICY_PRIORITY - priority] -= 1
        while counts and not counts[-1]:
            counts.pop()
        if not counts:
            del self._places[direction, namespace]


class _Conjunction:
    """(kinds of pods) x (peers) x (ports): what is in one rule's flows now."""

    def __init__(self, desk: Desk, rule: Rule, parts: _Parts, scope: int) -> None:
        self._desk = desk
        self._rule = rule
        self._parts = parts
        self._scope = scope
        self.targets: set[Kind] = set()
        self.peers: set[Kind] = set()
        self._dimensions = 1 + (parts.networks is not None) + (parts.ports is not None)
        priority = _CLUSTER_PRIORITY - 2 * rule.level
        if rule.tier == "policy":
            priority = _EVERY_PRIORITY
            if self._dimensions > 1:
                priority = desk.take_place(rule.direction, scope)
        elif self._dimensions == 1:
            priority += 1
        self._place = Place(rule.direction, rule.tier, priority)
        self._number = desk.take(rule.name, parts)
        if self._dimensions > 1:
            desk.flows.answer(self._number, self._place, rule.action)
            for what in self._fixed():
                desk.flows.add(what, self._number, self._dimensions)
            if parts.pods:
                desk.use_all(rule.direction, 1)

    def close(self) -> None:
        """It is no more."""
        for kind in [*self.targets]:
            self.remove_target(kind)
        for kind in [*self.peers]:
            self.remove_peer(kind)
        if self._dimensions > 1:
            for what in self._fixed():
                self._desk.flows.remove(what, self._number)
            if self._parts.pods:
                self._desk.use_all(self._rule.direction, -1)
            self._desk.flows.no_answer(self._number)
            if self._rule.tier == "policy":
                self._desk.leave_place(self._rule.direction, self._scope, self._place.priority)
        self._desk.give_back(self._rule.name, self._parts)

    def add_target(self, kind: Kind) -> None:
        """It is for pods of 'kind'."""
        self.targets.add(kind)
        if self._dimensions == 1:
            every = Every(self._place, kind.number)
            self._desk.flows.add_every(every, self._rule.name, self._number, self._rule.action)
        else:
            self._desk.flows.add(self._of("target", kind), self._number, self._dimensions)

    def remove_target(self, kind: Kind) -> None:
        """It isn't any more."""
        self.targets.discard(kind)
        if self._dimensions == 1:
            every = Every(self._place, kind.number)
            self._desk.flows.remove_every(every, self._rule.name)
        else:
            self._desk.flows.remove(self._of("target", kind), self._number)

    def add_peer(self, kind: Kind) -> None:
        """Pods of 'kind' may be at the other end."""
        self.peers.add(kind)
        self._desk.flows.add(self._of("peer", kind), self._number, self._dimensions)
        self._desk.use(self._rule.direction, kind, 1)

    def remove_peer(self, kind: Kind) -> None:
        """They may not be any more."""
        self.peers.discard(kind)
        self._desk.flows.remove(self._of("peer", kind), self._number)
        self._desk.use(self._rule.direction, kind, -1)

    def _of(self, element: Element, kind: Kind) -> Conjunct:
        # A target's kind is of a namespace anyway.
        scoped = element == "peer" and bool(self._scope)
        clause = Clause(element, scoped=scoped)
        return Conjunct(self._place, clause, kind.number, self._scope if scoped else 0)

    def _fixed(self) -> Iterator[Conjunct]:
        """What doesn't change with pods: networks, ports, and all of them."""
        scoped = bool(self._scope)
        if self._parts.pods:
            yield Conjunct(self._place, Clause("pods", scoped=scoped), 0, self._scope)
        for address, length in self._parts.networks or ():
            family: Family = 4 if len(address) == 4 else 6
            clause = Clause("network", family, length, scoped=scoped)
            yield Conjunct(self._place, clause, address, self._scope)
        for ports in self._parts.ports or ():
            for text in matches(ports.first, ports.last):
                clause = Clause("port", protocol=ports.protocol, port=text, scoped=scoped)
                yield Conjunct(self._place, clause, 0, self._scope)


class LiveRule:
    """A rule, and the pods that it is about now.

    It is the user of the group of pods that it is for: those of this node.
    """

    def __init__(self, desk: Desk, rule: Rule) -> None:
        self._desk = desk
        self._rule = rule
        self._scope = 0
        self._targets: set[Kind] = set()
        self._peers = _Peers(self)
        self._conjunctions: dict[_Parts, _Conjunction] = {}
        self._by_target = rule.direction == "ingress"
        peers, ports = rule.peers, rule.ports
        self._groups = peers.groups if peers is not None else ()
        all_pods = _ALL_PODS in self._groups
        self._plain = _Parts(
            ports.numbers if ports is not None else None,
            peers.networks if peers is not None else None,
            all_pods,
        )
        self._names = ports.names if ports is not None else ()
        if peers is None or all_pods:
            # Only where a name may stand for something else at each pod, each is looked at.
            self._groups = (_ALL_PODS,) if self._names and not self._by_target else ()
        self._one_by_one = peers is not None and not all_pods

    def enter(self, kind: Kind) -> None:
        """It is for pods of 'kind', which are on this node."""
        if not self._targets:
            self._scope = kind.namespace_number if self._rule.tier == "policy" else 0
        self._targets.add(kind)
        if len(self._targets) == 1:
            self._wake()
        if self._by_target:
            parts = self._parts_at_target(kind)
            if parts is not None:
                self._conjunction(parts).add_target(kind)
        else:
            for conjunction in self._conjunctions.values():
                if kind not in conjunction.targets:
                    conjunction.add_target(kind)

    def leave(self, kind: Kind) -> None:
        """It isn't any more, or they aren't on this node."""
        self._targets.discard(kind)
        for parts, conjunction in [*self._conjunctions.items()]:
            if kind in conjunction.targets:
                conjunction.remove_target(kind)
                if not conjunction.targets:
                    self._conjunctions.pop(parts).close()
        if not self._targets:
            for key in self._groups:
                self._desk.peers.release(key, self._peers)

    def peer_enters(self, kind: Kind) -> None:
        """Pods of 'kind' are peers."""
        if self._by_target:
            for conjunction in self._conjunctions.values():
                conjunction.add_peer(kind)
            return
        if self._one_by_one and self._plain.ports != ():
            self._conjunction(self._plain).add_peer(kind)
        parts = self._parts_at_peer(kind)
        if parts is not None:
            self._conjunction(parts).add_peer(kind)

    def peer_leaves(self, kind: Kind) -> None:
        """They aren't any more."""
        for parts, conjunction in [*self._conjunctions.items()]:
            if kind in conjunction.peers:
                conjunction.remove_peer(kind)
                if not conjunction.peers and parts.name and not self._by_target:
                    self._conjunctions.pop(parts).close()

    def _wake(self) -> None:
        """The first pod that it is for has come."""
        if not self._by_target and self._plain.ports != ():
            self._conjunction(self._plain)
        for key in self._groups:
            self._desk.peers.acquire(key, self._peers)

    def _conjunction(self, parts: _Parts) -> _Conjunction:
        """The conjunction of 'parts', with the pods that there are; of ingress, without targets."""
        found = self._conjunctions.get(parts)
        if found is None:
            found = _Conjunction(self._desk, self._rule, parts, self._scope)
            self._conjunctions[parts] = found
            if self._by_target:
                for kind in self._peers.counts:
                    found.add_peer(kind)
            else:
                for kind in self._targets:
                    found.add_target(kind)
        return found

    def _parts_at_target(self, kind: Kind) -> _Parts | None:
        """Of ingress: the ports as they are at pods of 'kind'; None: they have none of them."""
        if not self._names:
            return self._plain
        ports = merged([*(self._plain.ports or ()), *self._resolved(kind)])
        return self._plain._replace(ports=ports, name=f"at {_text(ports)}") if ports else None

    def _parts_at_peer(self, kind: Kind) -> _Parts | None:
        """Of egress: the ports that are named, as they are at pods of 'kind'; None: likewise."""
        ports = merged(self._resolved(kind))
        return _Parts(ports, (), name=f"to {_text(ports)}") if ports else None

    def _resolved(self, kind: Kind) -> Iterator[Ports]:
        for name, protocol in self._names:
            for one in (protocol,) if protocol else PROTOCOLS:
                number = kind.port(name, one)
                if number is not None:
                    yield Ports(one, number, number)


class _Peers:
    """The user of a rule's groups of peers: a kind may be in several of them."""

    def __init__(self, rule: LiveRule) -> None:
        self._rule = rule
        self.counts: dict[Kind, int] = {}

    def enter(self, kind: Kind) -> None:
        before = self.counts.get(kind, 0)
        self.counts[kind] = before + 1
        if not before:
            self._rule.peer_enters(kind)

    def leave(self, kind: Kind) -> None:
        left = self.counts[kind] - 1
        if left:
            self.counts[kind] = left
        else:
            del self.counts[kind]
            self._rule.peer_leaves(kind)


def _text(ports: tuple[Ports, ...]) -> str:
    return ",".join(f"{one.protocol}:{one.first}-{one.last}" for one in ports)
