"""Label and field selectors, for a source that has no API server to apply them.

The grammar is what the agents ask for: ``key``, ``!key``, ``key=value``, ``key==value`` and
``key!=value``, joined by commas (k8s.io/apimachinery, pkg/labels and pkg/fields; a field selector
has only the last three).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from nsxdp.k8s.objects import Object, api_name

__all__ = ["Predicate", "selector"]

_TERM: Final = re.compile(r"\s*(?:(!)\s*)?([\w./-]+)\s*(?:(!=|==?)\s*([\w./:-]*))?\s*")

Predicate = Callable[[Object], bool]
"""Whether an object is selected."""


def _terms(selector: str) -> list[tuple[str, str, str]]:
    """(key, operator, value) of each term; the operator is one of ``in ! = !=``."""
    terms = []
    for text in selector.split(",") if selector else ():
        match = _TERM.fullmatch(text)
        if match is None or (match[1] and match[3]):
            raise ValueError(f"selector {selector!r}: cannot understand {text.strip()!r}")
        operator = match[1] or (match[3] or "in").replace("==", "=")
        terms.append((match[2], operator, match[4] or ""))
    return terms


def _holds(value: str | None, operator: str, wanted: str) -> bool:
    if operator == "in":
        return value is not None
    if operator == "!":
        return value is None
    # As in Kubernetes, an absent key is "not equal" to everything.
    return (value == wanted) == (operator == "=")


def _field(obj: object, path: str) -> str:
    """The value of a field by its API path; an absent one is empty, as the API has it."""
    for step in path.split("."):
        names = {api_name(name): name for name in getattr(obj, "__struct_fields__", ())}
        if step not in names:
            raise ValueError(f"field selector: no field {path!r} in {type(obj).__name__}")
        obj = getattr(obj, names[step])
    return "" if obj is None else str(obj)


def selector(labels: str = "", fields: str = "") -> Predicate:
    """A predicate that holds for the objects that both selectors select.

    Raises
    ------
    ValueError
        If a selector is not in the grammar above.

    Examples
    --------
    >>> from nsxdp.k8s.objects import ObjectMeta, Service
    >>> from nsxdp.k8s.selectors import selector
    >>> selects = selector(labels="app=web,!old", fields="metadata.namespace=default")
    >>> selects(Service(metadata=ObjectMeta(namespace="default", labels={"app": "web"})))
    True
    """
    label_terms = _terms(labels)
    field_terms = _terms(fields)
    if any(operator in ("in", "!") for _, operator, _ in field_terms):
        raise ValueError(f"field selector {fields!r}: each term needs = or !=")

    def matches(obj: Object) -> bool:
        have: Mapping[str, str] = obj.metadata.labels or {}
        return all(_holds(have.get(key), op, value) for key, op, value in label_terms) and all(
            _holds(_field(obj, path), op, value) for path, op, value in field_terms
        )

    return matches
