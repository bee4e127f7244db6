"""The numbers by which a switch knows what is compiled for it: the same after every restart.

A restarted agent compares what it wants with what is installed. It touches nothing that is right
only if it comes to the same numbers without having kept any. So a number is a hash of what it
stands for, and in the rare case that it is taken, the next one that is free.
"""

from __future__ import annotations

from collections.abc import Hashable
from zlib import crc32

__all__ = ["Numbers"]


class Numbers:
    """Gives a number of the range 'first' to 'last' to each name, and takes it back.

    The range's size must be a power of two.

    Examples
    --------
    >>> from nsxdp.pipeline.ids import Numbers
    >>> groups = Numbers(0x4000_0000, 0x7FFF_FFFF)
    >>> groups.take("web", "10.96.0.10:80/TCP") == groups.take("web", "10.96.0.10:80/TCP")
    True
    """

    def __init__(self, first: int, last: int) -> None:
        self._first = first
        self._mask = last - first
        if self._mask & (self._mask + 1):
            raise ValueError(f"{last - first + 1} numbers: not a power of two")
        self._numbers: dict[Hashable, int] = {}
        self._names: dict[int, Hashable] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def get(self, name: Hashable) -> int | None:
        """The number of 'name', None if it has none."""
        return self._numbers.get(name)

    def name(self, number: int) -> Hashable | None:
        """Whose 'number' is, None if it is nobody's."""
        return self._names.get(number)

    def take(self, name: Hashable, text: str) -> int:
        """The number of 'name', whose hash is that of 'text'; the same until `release`.

        Raises
        ------
        OverflowError
            All numbers are taken.
        """
        if name in self._numbers:
            return self._numbers[name]
        if len(self._numbers) > self._mask:
            raise OverflowError(f"{text}: all {len(self._numbers)} numbers are taken")
        offset = crc32(text.encode()) & self._mask
        while (number := self._first + offset) in self._names:
            offset = (offset + 1) & self._mask
        self._numbers[name] = number
        self._names[number] = name
        return number

    def release(self, name: Hashable) -> None:
        """'name' needs no number any more."""
        number = self._numbers.pop(name, None)
        if number is not None:
            del self._names[number]
