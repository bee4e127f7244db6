"""What the switch needs for policies, flow by flow; and of that, what changed.

Each flow (two, where it is the same for IPv4 and IPv6) is an *owner* by itself, for several rules
share it: a flow of a conjunction has one action for each rule that names its peer or its port. So a
change of one rule sends anew only the flows that the rule is part of.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from nsxdp.openflow import Template
from nsxdp.pipeline import policy as stages
from nsxdp.pipeline.compiled import Compiled, Piece
from nsxdp.pipeline.policy import Action, Clause, Direction, Tier
from nsxdp.pipeline.service import FAMILIES

if TYPE_CHECKING:
    from nsxdp.openflow.template import Column

__all__ = ["Conjunct", "Every", "Flows", "Place", "Stamp"]

_FIRST_OWNER: Final = 1 << 32
"""Owners of flows of other stages have lower numbers."""

Value = int | bytes
Stamp = tuple[Template, dict[str, Value]]
"""A flow: its template, and the value of each hole."""


class Place(NamedTuple):
    """Where rules stand: those of one place are asked at once."""

    direction: Direction
    tier: Tier
    priority: int


class Conjunct(NamedTuple):
    """A flow of conjunctions: where it stands, what it is about, and the values of its holes.

    Attributes
    ----------
    value
        A kind's number or an address.
    namespace
        Of what is scoped, the namespace's number.
    """

    place: Place
    clause: Clause
    value: Value
    namespace: int


class Every(NamedTuple):
    """A flow for all packets of a kind of pods."""

    place: Place
    kind: int


class Flows:
    """The flows that are needed now, and those that changed since the last `compile`.

    Parameters
    ----------
    others
        Gives the flows, other than rules', that something needs now.
    """

    def __init__(self, others: Callable[[Hashable], Iterator[Stamp]]) -> None:
        self._other = others
        self._conjuncts: dict[Conjunct, dict[int, int]] = {}
        self._answers: dict[int, tuple[Place, Action]] = {}
        self._every: dict[Every, dict[str, tuple[int, Action]]] = {}
        self._owners: dict[Hashable, int] = {}
        self._next = _FIRST_OWNER
        self._dirty: dict[Hashable, None] = {}

    def add(self, what: Conjunct, rule: int, dimensions: int) -> None:
        """'what' is part of a rule's conjunction, which has so many dimensions."""
        self._conjuncts.setdefault(what, {})[rule] = dimensions
        self._dirty[what] = None

    def remove(self, what: Conjunct, rule: int) -> None:
        """It is no more."""
        rules = self._conjuncts[what]
        del rules[rule]
        if not rules:
            del self._conjuncts[what]
        self._dirty[what] = None

    def answer(self, rule: int, place: Place, action: Action) -> None:
        """What becomes of what a rule's conjunction matches."""
        self._answers[rule] = place, action
        self._dirty[rule] = None

    def no_answer(self, rule: int) -> None:
        """There is no such conjunction any more."""
        del self._answers[rule]
        self._dirty[rule] = None

    def add_every(self, what: Every, rule: str, number: int, action: Action) -> None:
        """'rule', which has that number, is for all packets of a kind."""
        self._every.setdefault(what, {})[rule] = number, action
        self._dirty[what] = None

    def remove_every(self, what: Every, rule: str) -> None:
        """It is no more."""
        rules = self._every[what]
        del rules[rule]
        if not rules:
            del self._every[what]
        self._dirty[what] = None

    def mark(self, what: Hashable) -> None:
        """The flows other than rules' that 'what' needs may have changed."""
        self._dirty[what] = None

    def compile(self) -> Compiled:
        """What has to change since the last time."""
        owners: list[int] = []
        batches: dict[Template, _Batch] = {}
        for what in self._dirty:
            row = len(owners)
            known = self._owners.get(what)
            n = 0
            for template, values in self._stamps(what):
                batch = batches.get(template)
                if batch is None:
                    batch = batches[template] = _Batch(list(values))
                batch.add(row, values)
                n += 1
            if known is None:
                if not n:
                    continue
                known = self._owners[what] = self._next
                self._next += 1
            elif not n:
                del self._owners[what]
            owners.append(known)
        self._dirty.clear()
        return Compiled(owners, [batch.stamp(template) for template, batch in batches.items()])

    def owner(self, what: Hashable) -> int | None:
        """The number of the owner of 'what'; None: it needs no flow."""
        return self._owners.get(what)

    def deciding(self) -> Iterator[tuple[int, str | int, Action]]:
        """The owners whose flows decide: by which rule, and how.

        A rule for all packets has its name here, one that is a conjunction that one's number.
        """
        for rule, (_, action) in self._answers.items():
            if (owner := self._owners.get(rule)) is not None:
                yield owner, rule, action
        for every, rules in self._every.items():
            if (owner := self._owners.get(every)) is not None:
                name = min(rules)
                yield owner, name, rules[name][1]

    def _stamps(self, what: Hashable) -> Iterator[Stamp]:
        if isinstance(what, Conjunct):
            yield from self._conjunct(what)
        elif isinstance(what, int):
            if (found := self._answers.get(what)) is not None:
                place, action = found
                yield stages.answer(*place, action), {"rule": what}
        elif isinstance(what, Every):
            yield from self._every_flow(what)
        else:
            yield from self._other(what)

    def _conjunct(self, what: Conjunct) -> Iterator[Stamp]:
        rules = self._conjuncts.get(what)
        if rules is None:
            return
        two = sorted(rule for rule, dimensions in rules.items() if dimensions == 2)
        three = sorted(rule for rule, dimensions in rules.items() if dimensions == 3)
        values: dict[str, Value] = {f"rule{i}": rule for i, rule in enumerate((*two, *three))}
        clause = what.clause
        if clause.element in ("target", "peer"):
            values["kind"] = what.value
        elif clause.element == "network" and clause.length:
            values["ip"] = what.value
        if clause.scoped:
            values["namespace"] = what.namespace
        families = FAMILIES if clause.element == "port" else (clause.family,)
        for family in families:
            one = clause._replace(family=family)
            yield stages.clause(*what.place, one, len(two), len(three)), values

    def _every_flow(self, what: Every) -> Iterator[Stamp]:
        rules = self._every.get(what)
        if rules is not None:
            # Those that contradict each other have the same precedence: any may be chosen.
            number, action = rules[min(rules)]
            by: dict[str, Value] = {"rule": number} if action == "deny" else {}
            yield stages.every(*what.place, action), {"kind": what.kind, **by}


class _Batch:
    """Rows of one template."""

    def __init__(self, holes: list[str]) -> None:
        self._rows: list[int] = []
        self._columns: dict[str, list[Value]] = {hole: [] for hole in holes}

    def add(self, row: int, values: dict[str, Value]) -> None:
        self._rows.append(row)
        for hole, value in values.items():
            self._columns[hole].append(value)

    def stamp(self, template: Template) -> Piece:
        columns: dict[str, Column] = {hole: _column(v) for hole, v in self._columns.items()}
        return template.stamp(**columns), np.array(self._rows, np.uint32)


def _column(values: list[Value]) -> Column:
    if isinstance(values[0], int):
        return np.array(values, np.uint32)
    packed = np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1)  # type: ignore[arg-type]
    return packed.view(">u4").reshape(-1).astype(np.uint32) if packed.shape[1] == 4 else packed
