"""Connections that were answered by a pod which wasn't the Service's endpoint.

Where Open vSwitch forgets all connections, their servers don't: each holds what it closed for a
minute (TIME_WAIT). A client that is masqueraded may be given the port of such a connection, and is
answered for that one first. What is tracked then is neither the one nor the other, its end is not
seen, and for half a minute the next connection from the client's port goes where this one went.
Such connections have a predecessor, and its beginning tells which fault they have to do with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from faults.intent import History
from faults.load import Broken, Load

__all__ = ["Misdirected", "misdirected"]

_HALF_OPEN: Final = 30.0
"""Seconds for which Open vSwitch remembers a connection that only one end has opened."""


@dataclass(frozen=True)
class Misdirected(Broken):
    """One of them.

    Attributes
    ----------
    heir_of
        When the first of those began whose way it went; None: it had no predecessor.
    """

    heir_of: float | None = None

    @property
    def kind(self) -> str:
        """``misdirected``."""
        return "misdirected"


def misdirected(
    load: Load, history: History, unsure_since: Callable[[float, float], float]
) -> Iterator[Misdirected]:
    """Find them in a load's new connections.

    Parameters
    ----------
    unsure_since
        Of when a connection began and was answered: how far back a change lies at most that the
        switch may not have had then.
    """
    service = load.want.service
    for number, (seen, answered) in enumerate(load.seen):
        for pod, connections in answered.items():
            earliest = min(began for _, began in connections)
            if pod in history.between(service, unsure_since(earliest, seen), seen):
                continue
            for port, began in connections:
                heir_of = _first(load, number, pod, port, began)
                error = f"answered by {pod}"
                yield Misdirected(load.want, began, seen - began, error, heir_of)


def _first(load: Load, number: int, pod: str, port: int, began: float) -> float | None:
    """When the first connection of a chain began: same port, same pod, and soon after the last."""
    first = None
    for seen, answered in reversed(load.seen[: number + 1]):
        if seen < began - _HALF_OPEN:
            break
        before = [at for other, at in answered.get(pod, ()) if other == port and at < began]
        if before:
            first = began = max(before)
    return first
