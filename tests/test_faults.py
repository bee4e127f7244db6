"""The fault run: a short one of it, and that it sees what it is there to see."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from faults import run, starvation
from faults.breaks import FAULTS, Fault
from faults.intent import History
from faults.load import PLAN, Broken, Load
from faults.run import Outcome, Window
from faults.stage import Stage
from nsxdp.lab import LabError

ROOT = Path(__file__).parents[1]


def faults(tmp_path: Path, *words: str) -> dict[str, Any]:
    """What a run of the command writes; it must have held."""
    file = tmp_path / "faults.json"
    done = subprocess.run(
        [sys.executable, "-m", "faults", f"--json={file}", "--rate=100", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(file.read_text())
    assert told["held"] is True
    assert told["wrong"] == []
    assert told["drift"] == 0
    assert told["connections"]["sent"] > 500
    return told


@pytest.mark.timeout(300)
def test_faults_cost_no_connection_but_those_that_they_take_along(tmp_path: Path) -> None:
    free = {"kill", "kill-early", "pipeline", "clock", "ovsdb", "refusal"}
    costly = {"group", "vswitchd"}
    told = faults(tmp_path, "--times=1", "--seed=3", "--only", *free, *costly)
    keys = {fault.name: fault.key for fault in FAULTS}
    rows = {keys[row["fault"]]: row for row in told["faults"] if row["times"]}
    assert rows.keys() == free | costly
    for key in free:
        broken = {rows[key][kind] for kind in ("failed", "reset", "misdirected", "long")}
        assert broken == {0}, rows[key]
    assert told["long"]["asked"] > 0


@pytest.mark.timeout(300)
def test_restarts_send_nothing_and_break_nothing(tmp_path: Path) -> None:
    told = faults(tmp_path, "--only=restarts", "--times=6")
    assert told["messages"] == 0
    (row,) = told["faults"]
    assert (row["times"], row["failed"], row["reset"], row["misdirected"], row["long"]) == (
        *(6, 0, 0, 0, 0),
    )
    assert told["connections"]["answered"] == told["connections"]["sent"]
    assert told["long"]["answered"] == told["long"]["asked"]


def test_a_change_that_fails_is_told_and_ends_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = threading.Event()
    fails = iter([True, True])

    def change() -> None:
        if next(fails, False):
            raise LabError("services/scratch-2: 422 invalid")
        changed.set()

    stage: Any = SimpleNamespace(
        change=change, changing=threading.RLock(), _chance=random.Random(1)
    )
    stage.keep_changing = partial(Stage.keep_changing, stage)
    monkeypatch.setattr(run, "_CHANGE_PAUSE", 0.001)
    outcome = Outcome()
    said: list[str] = []
    with run._changes(stage, outcome, said.append):
        assert changed.wait(60)
    assert said == outcome.wrong
    (wrong,) = said
    assert "services/scratch-2: 422 invalid" in wrong


# The judge.

FREE = Fault("free", "free", lambda *_: None)
COSTLY = Fault("costly", "costly", lambda *_: None, "some")


def judged(
    windows: list[Window],
    *loads: Load,
    history: History,
    starved: Sequence[float] = (),
    **more: int,
) -> Outcome:
    """What is said of loads that have ended, on a stage where all else is well."""
    stage: Any = SimpleNamespace(
        loads=loads,
        history=history,
        starvation=SimpleNamespace(seen=list(starved)),
        fds=more.get("fds", 0),
        memory=more.get("memory", 0),
        await_news=lambda: None,
        await_intent=lambda: None,
        complaints=list,
    )
    outcome = Outcome(windows=windows, messages=more.get("messages", 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "restart", lambda _, **__: more.get("drift", 0))
        run._judge(stage, outcome)
    return outcome


@pytest.fixture
def history() -> History:
    """Web had both pods, and then lost one."""
    history = History()
    history.say("web", frozenset({"web-1", "web-2"}))
    history.said["web"] = [(time.time() - 100, frozenset({"web-1", "web-2"}))]
    history.said["web"].append((time.time() - 50, frozenset({"web-1"})))
    return history


def test_a_broken_connection_is_of_the_fault_that_it_met(history: History) -> None:
    now = time.time()
    windows = [Window(FREE, now - 90, now - 80), Window(COSTLY, now - 70, now - 60)]
    load = Load(PLAN[0], broken=[Broken(PLAN[0], now - 65, 0.1, "TimeoutError")], sent=3)
    outcome = judged(windows, load, history=history)
    assert outcome.causes == {"costly": Counter(failed=1)}
    assert outcome.wrong == []

    load.broken.append(Broken(PLAN[0], now - 85, 0.1, "ConnectionResetError"))
    load.broken.append(Broken(PLAN[0], now - 10, 0.1, "ConnectionRefusedError"))
    outcome = judged(windows, load, history=history)
    assert outcome.causes["free"] == Counter(reset=1)
    assert outcome.causes["nothing but changes of Services"] == Counter(failed=1)
    assert len(outcome.wrong) == 2
    assert "pod to web by cluster IPv4: ConnectionResetError after 0.100 s" in outcome.wrong[0]


def test_what_breaks_between_pods_too_is_the_machine_s_if_the_switch_starves(
    history: History,
) -> None:
    now = time.time()
    direct = next(want for want in PLAN if want.by == "pod")
    straight = Load(direct, broken=[Broken(direct, now - 84, 0.1, "TimeoutError")])
    load = Load(PLAN[0], broken=[Broken(PLAN[0], now - 85, 0.1, "TimeoutError")])
    windows = [Window(FREE, now - 90, now - 80)]
    outcome = judged(windows, load, straight, history=history, starved=[now - 84.5])
    assert outcome.causes == {"the machine is overloaded": Counter(failed=2)}
    for starved in ([], [now - 90], [now - 80]):
        assert len(judged(windows, load, straight, history=history, starved=starved).wrong) == 2
    load.broken.append(Broken(PLAN[0], now - 80, 0.1, "TimeoutError"))
    assert len(judged(windows, load, straight, history=history, starved=[now - 84.5]).wrong) == 1


def test_a_process_that_gets_no_processor_starves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its waits: none while it idles, the whole time later; a new process begins anew."""
    stop = threading.Event()
    known = iter([(1, 0.0), (1, 0.0), (1, 1e6), (2, 3e6), None, (2, 3e6), (2, 3e6)])
    looks: list[int] = []

    def pid() -> int:
        look = next(known, (0, 0.0))
        if look is None:
            raise KeyError("ovs-vswitchd")
        if not look[0]:
            stop.set()
        looks.append(look[0])
        monkeypatch.setattr(starvation, "waited", lambda _: look[1])
        return look[0]

    monkeypatch.setattr(starvation, "_PERIOD", 0.001)
    watched = starvation.Starvation(pid)
    watched.watch(stop)
    assert looks == [1, 1, 1, 2, 2, 2, 0]
    assert len(watched.seen) == 1


def test_an_answer_of_an_endpoint_that_went_is_misdirected(history: History) -> None:
    now = time.time()
    windows = [Window(FREE, now - 90, now - 80)]
    load = Load(PLAN[0], seen=[(now - 48, {"web-2": [(1, now - 49)]})])
    # What was answered late began when that pod was an endpoint.
    load.seen.append((now - 40, {"web-2": [(2, now - 48.5)]}))
    assert judged(windows, load, history=history).wrong == []
    load.seen.append((now - 30, {"web-1": [(3, now - 31)], "web-2": [(4, now - 31)]}))
    load.seen.append((now - 29, {"echo-1": [(5, now - 30)]}))
    outcome = judged(windows, load, history=history)
    assert outcome.causes == {"nothing but changes of Services": Counter(misdirected=2)}
    assert "answered by web-2" in outcome.wrong[0]
    assert "answered by echo-1" in outcome.wrong[1]


def test_whoever_goes_the_way_of_a_forgotten_connection_has_to_do_with_that(
    history: History,
) -> None:
    """The client had that port before, to the same pod, soon after all connections went."""
    now = time.time()
    forgetful = Fault("forgets", "forgets", lambda *_: None, "all", True)
    load = Load(PLAN[0], seen=[(now - 52, {"web-2": [(1, now - 53), (2, now - 52.5)]})])
    load.seen.append((now - 30, {"web-2": [(1, now - 31)]}))
    load.seen.append((now - 8, {"web-2": [(1, now - 9)]}))
    windows = [Window(forgetful, now - 110, now - 105)]
    outcome = judged(windows, load, history=history)
    assert outcome.causes == {"forgets": Counter(misdirected=2)}
    assert outcome.wrong == []
    load.seen.append((now - 7, {"web-2": [(3, now - 8)]}))  # who had no such connection
    load.seen.append((now - 5, {"web-2": [(2, now - 6)]}))  # long after it was forgotten
    assert len(judged(windows, load, history=history).wrong) == 2
    for other in (Window(forgetful, now - 200, now - 190), Window(FREE, now - 110, now - 105)):
        assert len(judged([other], load, history=history).wrong) == 4


@pytest.mark.parametrize("what", ["messages", "drift", "fds", "memory"])
def test_leaks_and_needless_messages_are_wrong(history: History, what: str) -> None:
    windows = [Window(FREE, 0, 1)]
    assert judged(windows, Load(PLAN[0]), history=history).wrong == []
    (wrong,) = judged(windows, Load(PLAN[0]), history=history, **{what: 1 << 30}).wrong
    assert wrong
