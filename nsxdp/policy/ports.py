"""Ports of rules: ranges, and the matches that a range is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from nsxdp.pipeline.service import PROTOCOLS, Protocol

__all__ = ["ALL_PORTS", "Ports", "matches", "merged"]

_LAST: Final = 0xFFFF


class Ports(NamedTuple):
    """Ports of a protocol, both ends included; from 0 on, they are all that it has."""

    protocol: Protocol
    first: int
    last: int


ALL_PORTS: Final = tuple(Ports(protocol, 0, _LAST) for protocol in PROTOCOLS)
"""Of each protocol, all."""


def merged(ports: Iterable[Ports]) -> tuple[Ports, ...]:
    """The same ports, in ranges that neither overlap nor touch.

    Examples
    --------
    >>> from nsxdp.policy.ports import Ports, merged
    >>> merged([Ports("TCP", 80, 90), Ports("TCP", 91, 91), Ports("TCP", 85, 88)])
    (Ports(protocol='TCP', first=80, last=91),)
    """
    found: list[Ports] = []
    for one in sorted(ports):
        if found and found[-1].protocol == one.protocol and one.first <= found[-1].last + 1:
            found[-1] = found[-1]._replace(last=max(found[-1].last, one.last))
        else:
            found.append(one)
    return tuple(found)


@lru_cache(maxsize=4096)
def matches(first: int, last: int) -> tuple[str, ...]:
    """What ``tp_dst`` has to be, for the ports from 'first' to 'last'; an empty text is anything.

    A range is as few prefixes as it can be made of: at most 30.

    Examples
    --------
    >>> from nsxdp.policy.ports import matches
    >>> matches(80, 80), matches(8000, 8010)
    (('80',), ('0x1f40/0xfff8', '0x1f48/0xfffe', '8010'))
    """
    return tuple(_prefixes(first, last))


def _prefixes(first: int, last: int) -> Iterator[str]:
    while first <= last:
        # The largest block that begins here, and ends in the range.
        size = first & -first or _LAST + 1
        while first + size - 1 > last:
            size >>= 1
        mask = _LAST + 1 - size
        yield str(first) if size == 1 else f"{first:#x}/{mask:#x}" if mask else ""
        first += size
