"""One run: traffic, changes, and faults one after the other; then what became of it."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Final

from faults.breaks import Fault, restart
from faults.load import PLAN, TIMEOUT, Broken
from faults.misdirected import Misdirected, misdirected
from faults.stage import Stage
from nsxdp_agents.kube_proxy.ovs_conntrack import CLOSED

__all__ = [
    "MACHINE",
    "RESTARTED",
    "Outcome",
    "Window",
    "break_at_random",
    "restart_again_and_again",
]

_SETTLE: Final = 2.0
"""Seconds after which what breaks has nothing to do any more with a fault that is over."""

_LAG: Final = 3.0
"""Seconds that a change may take until packets meet it: far more than it takes."""

_CHANGE_PAUSE: Final = 0.4

RESTARTED: Final = Fault("restarts", "nsx-kube-proxy restarted, nothing changed", lambda *_: None)
_NOTHING: Final = Fault("nothing", "nothing but changes of Services", lambda *_: None)
MACHINE: Final = Fault(
    "machine",
    "the machine is overloaded",
    lambda *_: None,
    "between pods, too, without a Service",
)


@dataclass(frozen=True)
class Window:
    """When a fault began, and when all was whole again."""

    fault: Fault
    begun: float
    whole: float

    def meets(self, first: float, last: float) -> bool:
        """Whether it may have to do with what happened then."""
        return self.begun <= last and self.whole + _SETTLE >= first


@dataclass
class Outcome:
    """What became of a run.

    Attributes
    ----------
    seconds
        Under traffic.
    sent, answered
        New connections.
    asked, told
        Requests on connections that stay, and answers.
    windows
        The faults, in their order.
    causes
        By the name of a fault: what broke with it, by kind.
    messages
        Flow and group messages that were sent when nothing had changed.
    drift
        Those by which the switch differed from the intent at the end.
    fds, memory
        By how much an agent grew, at most: file descriptors, bytes.
    wrong
        What must not be, in words; empty: all held.
    """

    seconds: float = 0.0
    sent: int = 0
    answered: int = 0
    asked: int = 0
    told: int = 0
    windows: list[Window] = field(default_factory=list)
    causes: dict[str, Counter[str]] = field(default_factory=dict)
    messages: float = 0
    drift: float = 0
    fds: int = 0
    memory: int = 0
    wrong: list[str] = field(default_factory=list)


MOST_FDS: Final = 8
MOST_MEMORY: Final = 32 * 1024 * 1024
"""By which an agent may grow after it was ready: five watches come only with the API server."""


def break_at_random(
    stage: Stage,
    faults: Sequence[Fault],
    seconds: float,
    times: int | None,
    share: float,
    chance: random.Random,
    say: Callable[[str], None],
) -> Outcome:
    """Let faults happen, all in turn, in random order: so many times, or for so many seconds."""
    outcome = Outcome()
    with _traffic(stage, share, outcome), _changes(stage, outcome, say):
        deadline = time.monotonic() + seconds
        try:
            for fault in _in_turns(faults, times, chance):
                if stage.stop.is_set() or (times is None and time.monotonic() >= deadline):
                    break
                say(fault.name)
                _happen(stage, fault, partial(fault.happen, stage, chance), outcome)
                time.sleep(chance.uniform(0, 1))
        except AssertionError as error:
            outcome.wrong.append(str(error))
    _judge(stage, outcome)
    return outcome


def restart_again_and_again(
    stage: Stage, times: int, share: float, say: Callable[[str], None]
) -> Outcome:
    """Restart the agent so many times, by SIGKILL and SIGTERM in turn, while nothing changes."""
    outcome = Outcome()
    with _traffic(stage, share, outcome):
        for number in range(times):
            if stage.stop.is_set():
                break
            say(f"restart {number + 1} of {times}")

            def happen(kill: bool = number % 2 == 0) -> None:
                outcome.messages += restart(stage, kill=kill)

            _happen(stage, RESTARTED, happen, outcome)
    _judge(stage, outcome)
    return outcome


def _in_turns(faults: Sequence[Fault], times: int | None, chance: random.Random) -> Iterator[Fault]:
    """Those that must cost nothing first: what breaks with them is not another's."""
    free = [fault for fault in faults if not fault.costs]
    others = [fault for fault in faults if fault.costs]
    for number in count() if times is None else range(times):
        if number and free and others:
            # Whatever the last one broke has failed by then.
            time.sleep(TIMEOUT)
        yield from chance.sample(free, len(free))
        yield from chance.sample(others, len(others))


def _happen(stage: Stage, fault: Fault, happen: Callable[[], None], outcome: Outcome) -> None:
    begun = time.time()
    try:
        happen()
    finally:
        outcome.windows.append(Window(fault, begun, time.time()))
        stage.note_growth()


@contextmanager
def _traffic(stage: Stage, share: float, outcome: Outcome) -> Iterator[None]:
    stage.start_loads(PLAN, share)
    begun = time.monotonic()
    stop = threading.Event()
    thread = threading.Thread(target=stage.starvation.watch, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        outcome.seconds = time.monotonic() - begun
        stage.stop_loads()
        stop.set()
        thread.join()


@contextmanager
def _changes(stage: Stage, outcome: Outcome, say: Callable[[str], None]) -> Iterator[None]:
    def failed(error: Exception) -> None:
        text = f"a change failed: {error!r}"
        if text not in outcome.wrong:
            say(text)
            outcome.wrong.append(text)

    stop = threading.Event()
    thread = threading.Thread(target=stage.keep_changing, args=(stop, _CHANGE_PAUSE, failed))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


# What became of it.


def _judge(stage: Stage, outcome: Outcome) -> None:
    """Fill in the rest of 'outcome'."""
    try:
        stage.await_news()
        stage.await_intent()
        # A fresh agent finds nothing to do: what is on the switch is the intent.
        outcome.drift = restart(stage, kill=False)
    except AssertionError as error:
        outcome.wrong.append(str(error))
    outcome.fds, outcome.memory = stage.fds, stage.memory
    broken = [one for load in stage.loads for one in load.broken]
    for load in stage.loads:
        if load.want.long:  # They stay with an endpoint that went, as they should.
            outcome.asked += load.sent
            outcome.told += load.answered
            continue
        outcome.sent += load.sent
        outcome.answered += load.answered
        if load.want.by != "pod":
            broken += misdirected(load, stage.history, partial(_unsure_since, outcome.windows))
    stalls = [one for one in broken if one.want.by == "pod"]
    for one in broken:
        fault = _cause(one, outcome.windows)
        if not fault.costs and any(_same_time(one, stall) for stall in stalls):
            # A switch that has a processor, and doesn't forward, is kept from it by somebody.
            fault = MACHINE if _starved(one, stage.starvation.seen) else fault
        kind = f"long {one.kind}" if one.want.long else one.kind
        outcome.causes.setdefault(fault.name, Counter())[kind] += 1
        if not fault.costs:
            outcome.wrong.append(
                f"{fault.name}: {one.want}: {one.error} after {one.seconds:.3f} s, "
                f"{one.began - outcome.windows[0].begun:.1f} s from the first fault"
            )
    if outcome.messages:
        outcome.wrong.append(f"{outcome.messages:g} messages were sent, and nothing had changed")
    if outcome.drift:
        outcome.wrong.append(f"{outcome.drift:g} messages made the switch as it should have been")
    if outcome.fds > MOST_FDS:
        outcome.wrong.append(f"an agent had {outcome.fds} file descriptors more")
    if outcome.memory > MOST_MEMORY:
        outcome.wrong.append(f"an agent had {outcome.memory >> 20} MiB more")
    outcome.wrong += stage.complaints()


def _same_time(one: Broken, other: Broken) -> bool:
    """Whether both may have lost the same moment."""
    return one.began <= other.began + _LAG and other.began <= one.began + _LAG


def _starved(one: Broken, seen: Sequence[float]) -> bool:
    """Whether the switch got no processor at that time."""
    return any(one.began - _LAG <= at <= one.ended + _LAG for at in seen)


def _cause(broken: Broken, windows: Sequence[Window]) -> Fault:
    """What it had to do with: if with several faults, one that costs something."""
    found = [w.fault for w in windows if w.meets(broken.began, broken.ended)]
    if isinstance(broken, Misdirected) and broken.heir_of is not None:
        # What Open vSwitch had forgotten then, servers may still have held.
        forgot = [w for w in windows if w.fault.forgets]
        found += [w.fault for w in forgot if w.begun <= broken.heir_of <= w.whole + CLOSED]
    return min(found, key=lambda fault: not fault.costs, default=_NOTHING)


def _unsure_since(windows: Sequence[Window], began: float, seen: float) -> float:
    """How far back a change may lie of which packets knew nothing: a fault delays all in it."""
    first = began - _LAG
    return min([w.begun - _LAG for w in windows if w.meets(first, seen)] + [first])
