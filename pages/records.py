"""What one makes a record from: a class of `nsxdp.openflow.record`, which griffe can't read.

A record's fields are given to it as a dataclass's are; how each stands on the wire is its value.
"""

from __future__ import annotations

from collections.abc import Iterator

import griffe

__all__ = ["default", "fields", "is_record"]


def is_record(thing: griffe.Object | None) -> bool:
    """Whether it is a class that says how it stands on the wire."""
    return isinstance(thing, griffe.Class) and any(
        str(decorator.value) == "record" for decorator in thing.decorators
    )


def default(field: griffe.Attribute) -> str:
    """What a class's field is where it isn't given; empty where it must be."""
    if is_record(field.parent) and isinstance(field.value, griffe.ExprCall):
        return _keywords(field).get("default", "")
    return str(field.value or "")


def fields(thing: griffe.Class) -> tuple[list[griffe.Attribute], list[griffe.Attribute]]:
    """A record's fields, in their order: those that may be given by position, and the others."""
    found: dict[str, griffe.Attribute] = {}
    for one in reversed([thing, *thing.mro()]):
        found.update((field.name, field) for field in _fields(one))
    named = [field for field in found.values() if "kw_only" in _keywords(field)]
    return [field for field in found.values() if field not in named], named


def _fields(thing: griffe.Object | griffe.Alias) -> Iterator[griffe.Attribute]:
    for member in thing.members.values():
        if (
            isinstance(member, griffe.Attribute)
            and isinstance(member.value, griffe.ExprCall)
            and not str(member.annotation or "ClassVar").startswith("ClassVar")
        ):
            yield member


def _keywords(field: griffe.Attribute) -> dict[str, str]:
    """The arguments with names of the call that declares a field."""
    arguments = field.value.arguments if isinstance(field.value, griffe.ExprCall) else ()
    return {
        argument.name: str(argument.value)
        for argument in arguments
        if isinstance(argument, griffe.ExprKeyword)
    }
