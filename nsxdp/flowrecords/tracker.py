"""Which connections began, went on and ended, from looking at those that are tracked now and then.

A connection is tracked for a while after its end, longer than the time between two looks: so a
short one is seen, too. What had ended before the first look, somebody else has told of.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from nsxdp.conntrack import Entry
from nsxdp.flowrecords.record import Reason

__all__ = ["Flow", "FlowTracker"]

_CLOSED: Final = frozenset({"TIME_WAIT", "CLOSE", "CLOSED"})
"""States of TCP in which nothing more is said."""

_Key = tuple[str, str, str, int, int, int]


class Flow(NamedTuple):
    """A connection that is to be told of.

    Attributes
    ----------
    start, end
        When it was first seen, and last; seconds since 1970.
    """

    entry: Entry
    start: float
    end: float
    reason: Reason


@dataclass(slots=True)
class _Live:
    entry: Entry
    start: float
    seen: float
    told: float
    ended: bool = False


class FlowTracker:
    """Remembers the connections that there are.

    Parameters
    ----------
    active
        Seconds after which one that goes on is told of again.
    most
        Connections that are remembered; of more nothing is told.

    Attributes
    ----------
    left_out
        How many there were too many when it looked last.
    """

    def __init__(self, *, active: float = 60.0, most: int = 100_000) -> None:
        self.left_out = 0
        self._active = active
        self._most = most
        self._live: dict[_Key, _Live] = {}
        self._looked = False

    def __len__(self) -> int:
        return len(self._live)

    def update(self, entries: Iterable[Entry], now: float) -> list[Flow]:
        """These are tracked 'now', in seconds since 1970: what is to be told?

        The clock may be set while connections go on: then they are told of once more.
        """
        told: list[Flow] = []
        left_out = 0
        for entry in entries:
            key = _key(entry)
            live = self._live.get(key)
            if live is not None and _is_another(live, entry):
                if not live.ended:
                    told.append(Flow(live.entry, live.start, live.seen, "end"))
                live = None
            if live is None:
                if key not in self._live and len(self._live) >= self._most:
                    left_out += 1
                    continue
                live = self._live[key] = _Live(entry, now, now, now)
                live.ended = not self._looked and entry.state in _CLOSED
            live.entry, live.seen = entry, now
            live.start = min(live.start, now)
            if live.ended:
                continue
            if entry.state in _CLOSED:
                live.ended = True
                told.append(Flow(entry, live.start, now, "end"))
            elif not 0 <= now - live.told < self._active:
                live.told = now
                told.append(Flow(entry, live.start, now, "active"))
        gone = [key for key, live in self._live.items() if live.seen != now]
        for key in gone:
            live = self._live.pop(key)
            if not live.ended:
                reason: Reason = "end" if live.entry.protocol == "tcp" else "idle"
                told.append(Flow(live.entry, live.start, live.seen, reason))
        self.left_out, self._looked = left_out, True
        return told


def _key(entry: Entry) -> _Key:
    """By which a connection is known at the next look."""
    ports = entry.src_port, entry.dst_port
    return (entry.protocol, entry.src, entry.dst, *ports, entry.icmp_id)


def _is_another(live: _Live, entry: Entry) -> bool:
    """Whether an entry is of a later connection between the same two ports."""
    if live.ended and entry.state not in _CLOSED:
        return True
    had = live.entry
    if (had.reply_src, had.reply_src_port) != (entry.reply_src, entry.reply_src_port):
        return True
    return had.packets is not None and (entry.packets or 0) < had.packets
