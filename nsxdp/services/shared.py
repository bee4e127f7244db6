"""A set of what several ask for, and what came to it and went: nobody has to walk all of it."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

__all__ = ["SetChange", "SharedSet"]

_T = TypeVar("_T", bound=Hashable)


class SetChange(NamedTuple, Generic[_T]):
    """What came to a set, and what went: never the same element."""

    added: frozenset[_T] = frozenset()
    removed: frozenset[_T] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)


class SharedSet(Collection[_T]):
    """A set whose elements stay until the last who asked for them doesn't any more.

    Each operation costs what it is given, or what changed, whatever the set has.

    Examples
    --------
    >>> from nsxdp.services.shared import SharedSet
    >>> ports = SharedSet()
    >>> ports.replace([], [80, 443])
    >>> ports.replace([], [80])
    >>> ports.changes().added == {80, 443}
    True
    >>> ports.replace([80, 443], [])
    >>> ports.changes()
    SetChange(added=frozenset(), removed=frozenset({443}))
    >>> list(ports)
    [80]
    """

    def __init__(self) -> None:
        self._counts: dict[_T, int] = {}
        self._added: set[_T] = set()
        self._removed: set[_T] = set()

    def __contains__(self, element: object) -> bool:
        return element in self._counts

    def __iter__(self) -> Iterator[_T]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)

    def replace(self, before: Iterable[_T], after: Iterable[_T]) -> None:
        """Who asked for 'before' asks for 'after' from now on."""
        for element in after:
            count = self._counts.get(element, 0)
            self._counts[element] = count + 1
            if not count:
                _move(element, self._removed, self._added)
        for element in before:
            count = self._counts[element] - 1
            if count:
                self._counts[element] = count
            else:
                del self._counts[element]
                _move(element, self._added, self._removed)

    def changes(self) -> SetChange[_T]:
        """What came and went since the last call; the first time, all that there is."""
        change = SetChange(frozenset(self._added), frozenset(self._removed))
        self._added.clear()
        self._removed.clear()
        return change


def _move(element: _T, opposite: set[_T], to: set[_T]) -> None:
    """Note that 'element' came or went; both, one after the other, are nothing."""
    if element in opposite:
        opposite.remove(element)
    else:
        to.add(element)
