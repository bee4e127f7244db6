"""The numbers by which a switch knows Service ports: the same after every restart.

A restarted agent compares what it wants with what is installed. It touches nothing that is right
only if it comes to the same numbers without having kept any. So a number is a hash of what it
stands for, and in the rare case that it is taken, the next one that is free.
"""

from __future__ import annotations

from collections.abc import Hashable
from zlib import crc32

__all__ = ["GroupIds"]


class GroupIds:
    """Gives a group id of the range 'first' to 'last' to each name, and takes it back.

    The range's size must be a power of two.

    Examples
    --------
    >>> from nsxdp.services.ids import GroupIds
    >>> ids = GroupIds(0x4000_0000, 0x7FFF_FFFF)
    >>> ids.take("web", "10.96.0.10:80/TCP") == ids.take("web", "10.96.0.10:80/TCP")
    True
    """

    def __init__(self, first: int, last: int) -> None:
        self._first = first
        self._mask = last - first
        if self._mask & (self._mask + 1):
            raise ValueError(f"{last - first + 1} ids: not a power of two")
        self._ids: dict[Hashable, int] = {}
        self._names: dict[int, Hashable] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def get(self, name: Hashable) -> int | None:
        """The id of 'name', None if it has none."""
        return self._ids.get(name)

    def name(self, number: int) -> Hashable | None:
        """Whose id 'number' is, None if it is nobody's."""
        return self._names.get(number)

    def take(self, name: Hashable, text: str) -> int:
        """The id of 'name', whose hash is that of 'text'; the same until `release`.

        Raises
        ------
        OverflowError
            All ids are taken.
        """
        if name in self._ids:
            return self._ids[name]
        if len(self._ids) > self._mask:
            raise OverflowError(f"{text}: all {len(self._ids)} group ids are taken")
        offset = crc32(text.encode()) & self._mask
        while (number := self._first + offset) in self._names:
            offset = (offset + 1) & self._mask
        self._ids[name] = number
        self._names[number] = name
        return number

    def release(self, name: Hashable) -> None:
        """'name' needs no id any more."""
        number = self._ids.pop(name, None)
        if number is not None:
            del self._names[number]
