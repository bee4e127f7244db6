"""Breaks everything around nsx-kube-proxy, and itself, at random, under traffic; as root.

    python -m faults --minutes 10 --seed 7
    python -m faults --only restarts --times 50

A node with a real Open vSwitch and a real API server gets 500 connections a second through cluster
IPs, node ports and external IPs, and some that stay. Services and endpoints change all the time.
One fault follows the other, and all must be whole again before the next. Ctrl-C ends it after the
present one. It ends with 0 only if no
connection broke but those that a fault takes with it whoever serves.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from faults.breaks import FAULTS, Fault, api_server_away
from faults.report import show, write
from faults.run import RESTARTED, break_at_random, restart_again_and_again
from faults.stage import Stage

LONG = Fault("absence", "kube-apiserver away for a minute and more", api_server_away((60, 90)))
_LONG_RUN = 300.0
"""Seconds from which a run has time for that."""


def main(words: list[str]) -> int:
    keys = {fault.key: fault for fault in (*FAULTS, LONG, RESTARTED)}
    parser = argparse.ArgumentParser(prog="faults", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="of what is random (default: 1)")
    parser.add_argument(
        "--only", nargs="+", metavar="FAULT", choices=keys, help=", ".join(keys), default=[]
    )
    parser.add_argument("--times", type=int, help="how often each, instead of how long")
    parser.add_argument(
        "--rate", type=float, default=500.0, help="connections a second (default: 500)"
    )
    parser.add_argument("--json", type=Path, help="write what became of it there, too")
    options = parser.parse_args(words)

    console = Console(highlight=False, width=110)
    chance = random.Random(options.seed)
    seconds = 60 * options.minutes
    chosen = [keys[key] for key in options.only] or [
        *FAULTS,
        *([LONG] if seconds >= _LONG_RUN else []),
    ]
    share = options.rate / 500
    console.print("a node, its pods, an API server and nsx-kube-proxy start ...")
    with (
        TemporaryDirectory() as directory,
        Stage(Path(directory), random.Random(chance.random())) as stage,
    ):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stage.stop.set())

        def say(text: str) -> None:
            console.print(f"  · {text}")

        if RESTARTED in chosen:
            outcome = restart_again_and_again(stage, options.times or 50, share, say)
        else:
            outcome = break_at_random(stage, chosen, seconds, options.times, share, chance, say)
        console.print()
        show(console, outcome)
        if options.json:
            write(options.json, outcome, seed=options.seed, rate=options.rate)
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
