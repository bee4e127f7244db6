"""The numbers by which a switch knows Service ports and endpoints: the same after every restart.

A restarted agent compares what it wants with what is installed. It touches nothing that is right
only if it comes to the same numbers without having kept any. So a number is a hash of what it
stands for, and in the rare case that it is taken, the next one that is free.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

__all__ = ["GroupIds", "endpoint_slots"]

_LAST_SLOT: Final = 0x7FFF_FFFF
"""A bucket id must be below OFPG_BUCKET_MAX, 0xffffff00."""


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


def endpoint_slots(
    addresses: NDArray[np.uint8], ports: NDArray[np.uint16], offsets: NDArray[np.uint64]
) -> NDArray[np.uint32]:
    """A bucket id for each endpoint, different from those of its group's other ones.

    Parameters
    ----------
    addresses
        Shape (n, 4) or (n, 16), in network byte order.
    ports
        Shape (n,).
    offsets
        Shape (groups + 1,): group i has the endpoints offsets[i] to offsets[i + 1].

    Returns
    -------
    Shape (n,), from 1 to 2**31 - 1. An endpoint's number only depends on its address and port,
    unless another endpoint of the group has the same hash.
    """
    words: NDArray[np.uint64]
    if addresses.shape[1] == 4:
        words = addresses.view(">u4").astype(np.uint64)[:, 0]
    else:
        halves = addresses.view(">u8").astype(np.uint64)
        words = _mix(halves[:, 0]) ^ halves[:, 1]
    keys = ((words << 16) ^ (words >> 48) ^ ports).astype(np.uint64, copy=False)
    slots = (_mix(keys) >> np.uint64(33)).astype(np.uint32)
    slots[slots == 0] = 1
    groups = np.repeat(
        np.arange(len(offsets) - 1, dtype=np.uint64), np.diff(offsets).astype(np.int64)
    )
    pairs = np.sort(groups << np.uint64(32) | slots)
    for group in set((pairs[1:][pairs[1:] == pairs[:-1]] >> np.uint64(32)).tolist()):
        _separate(slots[int(offsets[group]) : int(offsets[group + 1])])
    return slots


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spreads each word's bits over the whole word (the finalizer of SplitMix64)."""
    words = (words ^ words >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ words >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return words ^ words >> np.uint64(31)


def _separate(slots: NDArray[np.uint32]) -> None:
    """Gives a later one of two equal slots the next number that is free."""
    taken: set[int] = set()
    for row, slot in enumerate(slots.tolist()):
        while slot in taken:
            slot = slot % _LAST_SLOT + 1
        taken.add(slot)
        slots[row] = slot
