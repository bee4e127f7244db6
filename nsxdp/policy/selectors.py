"""Label selectors, as policies have them: values that can be compared and shared.

Source: k8s.io/apimachinery pkg/apis/meta/v1/helpers.go (LabelSelectorAsSelector), pkg/labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from msgspec import Struct

from nsxdp.k8s.policy_objects import LabelSelector

__all__ = ["EVERYTHING", "Labels", "Requirement", "Selector"]

Labels = Mapping[str, str]
"""An object's."""

_OPERATORS: Final = ("In", "NotIn", "Exists", "DoesNotExist")


class Requirement(NamedTuple):
    """One thing that a selector asks of labels; 'values' are sorted, so equal ones are equal."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def holds(self, labels: Labels) -> bool:
        """Whether 'labels' have it. An absent key is in no set, so it is not in any."""
        value = labels.get(self.key)
        if self.operator == "In":
            return value is not None and value in self.values
        if self.operator == "NotIn":
            return value is None or value not in self.values
        return (value is not None) == (self.operator == "Exists")


class Selector(Struct, frozen=True, cache_hash=True):
    """What has to hold, all of it; with no requirements, it selects everything.

    Examples
    --------
    >>> from nsxdp.k8s.policy_objects import LabelSelector
    >>> from nsxdp.policy.selectors import Selector
    >>> web = Selector.of(LabelSelector(match_labels={"app": "web"}))
    >>> web.matches({"app": "web", "tier": "front"}), web.matches({})
    (True, False)
    """

    requirements: tuple[Requirement, ...] = ()

    @classmethod
    def of(cls, selector: LabelSelector) -> Selector:
        """The selector of an object.

        Raises
        ------
        ValueError
            It has an operator that there isn't.
        """
        found = [Requirement(k, "In", (v,)) for k, v in (selector.match_labels or {}).items()]
        for expression in selector.match_expressions:
            if expression.operator not in _OPERATORS:
                known = ", ".join(_OPERATORS)
                raise ValueError(
                    f"{expression.key}: the operator {expression.operator!r} is none of {known}"
                )
            values = tuple(sorted(set(expression.values)))
            found.append(Requirement(expression.key, expression.operator, values))
        return cls(tuple(sorted(set(found))))

    def matches(self, labels: Labels) -> bool:
        """Whether it selects what has 'labels'."""
        return all(requirement.holds(labels) for requirement in self.requirements)

    @property
    def anchor(self) -> tuple[str, str] | None:
        """A label that all which it selects have, if there must be one: to find it by."""
        for key, operator, values in self.requirements:
            if operator == "In" and len(values) == 1:
                return key, values[0]
        return None


EVERYTHING: Final = Selector()
"""Selects everything."""
