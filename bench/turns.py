"""Contestants that take turns, so that the machine is the same to all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from random import Random

from bench.conftest import Record

Work = Callable[[], float]
"""Does it once; the seconds it took."""


def timed(do: Callable[[], object], setup: Callable[[], object] = lambda: None) -> Work:
    """What takes as long as ``do`` takes; ``setup`` comes before it each time."""

    def work() -> float:
        setup()
        begin = time.perf_counter()
        do()
        return time.perf_counter() - begin

    return work


def take_turns(
    record: Record,
    group: str,
    works: Mapping[str, Work],
    *,
    rounds: int,
    items: int = 1,
    unit: str = "",
    facts: Callable[[str], dict[str, str]] = lambda _: {},
) -> None:
    """Measure in turns; those whose name doesn't begin with nsxdp are peers.

    Each round has an order of its own: what one leaves behind, the next one finds. What else there
    is to say of each is asked for at the end.
    """
    seconds: dict[str, list[float]] = {who: [] for who in works}
    for number in range(rounds):
        for who in Random(number).sample(list(works), len(works)):
            seconds[who].append(works[who]())
    for who, times in seconds.items():
        peer = not who.startswith("nsxdp")
        record(group, who, times, items=items, unit=unit, peer=peer, facts=facts(who))
