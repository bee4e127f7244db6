"""What a run has to tell: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from faults.run import MACHINE, Outcome

__all__ = ["show", "write"]

KINDS = ("failed", "reset", "misdirected")
_SHOWN = 20


def show(console: Console, outcome: Outcome) -> None:
    """Print it."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("fault")
    for name in ("times", *KINDS, "long ones broken"):
        table.add_column(name, justify="right")
    table.add_column("may cost")
    for row in _rows(outcome):
        free = not row["costs"]
        cells = [Text(str(row[kind]), _style(row[kind], free)) for kind in (*KINDS, "long")]
        table.add_row(row["fault"], str(row["times"]), *cells, row["costs"] or "nothing")
    console.print(table)
    console.print(
        f"\n{outcome.seconds:.0f} s: {outcome.sent:,} connections "
        f"({outcome.sent / max(outcome.seconds, 1):.0f} a second), {outcome.answered:,} answered; "
        f"{outcome.asked:,} requests on long ones, {outcome.told:,} answered.\n"
        f"Messages when nothing had changed: {outcome.messages:g}. "
        f"At the end the switch differed from the intent by {outcome.drift:g} messages. "
        f"An agent grew by {outcome.fds} file descriptors "
        f"and {outcome.memory / 2**20:.1f} MiB at most."
    )
    for text in outcome.wrong[:_SHOWN]:
        console.print(Text(f"✗ {text}", "bold red"), soft_wrap=True)
    if len(outcome.wrong) > _SHOWN:
        console.print(Text(f"✗ and {len(outcome.wrong) - _SHOWN} more", "bold red"))
    if not outcome.wrong:
        console.print(Text("All of it held.", "bold green"))


def write(path: Path, outcome: Outcome, **more: object) -> None:
    """Write it as JSON."""
    told = {
        **more,
        "held": not outcome.wrong,
        "seconds": round(outcome.seconds, 1),
        "connections": {"sent": outcome.sent, "answered": outcome.answered},
        "long": {"asked": outcome.asked, "answered": outcome.told},
        "faults": list(_rows(outcome)),
        "messages": outcome.messages,
        "drift": outcome.drift,
        "fds": outcome.fds,
        "memory": outcome.memory,
        "wrong": outcome.wrong,
    }
    path.write_text(json.dumps(told, indent=1) + "\n")


def _rows(outcome: Outcome) -> list[dict[str, Any]]:
    times = Counter(window.fault.name for window in outcome.windows)
    costs = {window.fault.name: window.fault.costs for window in outcome.windows} | {
        MACHINE.name: MACHINE.costs
    }
    rows = []
    for name in [*times, *(cause for cause in outcome.causes if cause not in times)]:
        broken = outcome.causes.get(name, Counter[str]())
        row = {"fault": name, "times": times[name], "costs": costs.get(name, "")}
        row |= {kind: broken[kind] for kind in KINDS}
        row["long"] = sum(n for kind, n in broken.items() if kind.startswith("long "))
        rows.append(row)
    return rows


def _style(count: int, free: bool) -> str:
    return "green" if not count else "bold red" if free else "yellow"
