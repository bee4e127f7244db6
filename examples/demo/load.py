"""Traffic that runs beside the demo, and what became of it."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

from nsxdp.lab import LabError, Netns

LONGEST_SECONDS = 120.0
"""A load that nobody ends, and a wait for one, end after this time."""


@dataclass
class Result:
    """Counts of requests, each of them a connection of its own."""

    sent: int = 0
    answered: int = 0
    lost: int = 0
    slowest_ms: float = 0.0
    backends: Counter[str] = field(default_factory=Counter)

    def add(self, report: dict[str, Any]) -> None:
        """Count what a report of the client says."""
        self.sent += report["sent"]
        self.answered += report["answered"]
        self.lost += report["failed"]
        self.slowest_ms = max(self.slowest_ms, report["latency_ms"]["max"])
        self.backends.update(report["backends"])

    def __add__(self, other: Result) -> Result:
        return Result(
            self.sent + other.sent,
            self.answered + other.answered,
            self.lost + other.lost,
            max(self.slowest_ms, other.slowest_ms),
            self.backends + other.backends,
        )


class Load:
    """Requests from 'source' to a virtual address; a new connection, or source port, for each.

    Attributes
    ----------
    label
        What it is, for people.
    so_far
        Its counts, a second old at most.
    on_report
        Told of them, from another thread.
    """

    def __init__(
        self,
        source: Netns,
        protocol: str,
        address: str,
        port: int,
        *,
        rate: float,
        count: int | None = None,
        timeout: float = 5.0,
    ) -> None:
        shown = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        self.label = f"{rate:g} connections a second to {shown}"
        self.so_far = Result()
        self.on_report: Callable[[Result], None] | None = None
        self._total: Result | None = None
        self._traffic = source.traffic(
            protocol,
            address,
            port,
            rate=rate,
            count=count,
            timeout=timeout,
            seconds=LONGEST_SECONDS,
        )
        self._reader = Thread(target=self._read, name=self.label, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for report in self._traffic:
            if report.get("done"):
                self._total = Result()
                self._total.add(report)
                return
            self.so_far.add(report)
            if self.on_report is not None:
                self.on_report(self.so_far)

    def wait(self) -> Result:
        """Wait until it has sent all, and all is answered or lost."""
        self._reader.join(LONGEST_SECONDS)
        if self._total is None:
            raise LabError(f"{self.label}: the client ended without a report")
        return self._total

    def stop(self) -> Result:
        """Send nothing more, and wait for what is under way."""
        with suppress(ProcessLookupError):
            self._traffic.process.send_signal(signal.SIGTERM)
        return self.wait()
