"""The traffic: who connects to what, how often, and what became of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from threading import Thread
from typing import Final

from faults.intent import SERVICES, Served
from nsxdp.lab import Netns

__all__ = ["PLAN", "Broken", "Load", "Want"]

TIMEOUT: Final = 10.0
"""Seconds after which a connection has failed: more than a loaded machine ever takes."""


@dataclass(frozen=True)
class Want:
    """Connections to one address of a Service.

    Attributes
    ----------
    source
        ``pod``, ``node`` or ``outside``.
    service
        The Service's name.
    by
        ``cluster``, ``external`` or ``node``: which of its addresses. ``pod``: not by the Service,
        but straight to its first pod.
    version
        Of IP.
    rate
        Connections a second; of long ones, how often one of them is asked.
    long
        So many connections that stay; 0: each is new.
    """

    source: str
    service: str
    by: str
    version: int
    rate: int
    long: int = 0

    @property
    def served(self) -> Served:
        """The Service."""
        return next(served for served in SERVICES if served.name == self.service)

    def __str__(self) -> str:
        kind = "long " if self.long else ""
        return f"{kind}{self.source} to {self.service} by {self.by} IPv{self.version}"


PLAN: Final = (
    Want("pod", "web", "cluster", 4, 60),
    Want("pod", "web", "cluster", 6, 60),
    Want("pod", "web", "external", 4, 40),
    Want("pod", "web", "node", 4, 30),
    Want("pod", "echo", "cluster", 4, 60),
    Want("pod", "echo", "cluster", 6, 40),
    Want("pod", "sticky", "cluster", 4, 20),
    Want("node", "web", "cluster", 4, 40),
    Want("node", "web", "external", 6, 20),
    Want("node", "echo", "cluster", 6, 30),
    Want("outside", "web", "node", 4, 40),
    Want("outside", "web", "node", 6, 30),
    Want("outside", "web", "external", 4, 10),
    Want("outside", "echo", "node", 4, 20),
    Want("pod", "web", "pod", 4, 20),
    Want("pod", "echo", "pod", 4, 20),
    Want("pod", "lines", "cluster", 4, 20, long=10),
    Want("pod", "lines", "cluster", 6, 20, long=10),
    Want("node", "lines", "cluster", 4, 10, long=5),
    Want("outside", "lines", "node", 4, 10, long=5),
)
"""500 new connections a second to Services, and 30 that stay; and some between pods, to compare."""

_RESETS: Final = {"ConnectionResetError", "BrokenPipeError", "ConnectionAbortedError"}


@dataclass(frozen=True)
class Broken:
    """A connection, or a request on a long one, that got no answer, or a wrong one."""

    want: Want
    began: float
    seconds: float
    error: str

    @property
    def kind(self) -> str:
        """``failed`` or ``reset``."""
        return "reset" if self.error in _RESETS else "failed"

    @property
    def ended(self) -> float:
        """When that was known."""
        return self.began + self.seconds


@dataclass
class Load:
    """One `Want`, under way.

    Attributes
    ----------
    seen
        When, and by which pods its new connections were answered in the second before: the
        client's port of each, and when it began.
    """

    want: Want
    seen: list[tuple[float, dict[str, list[tuple[int, float]]]]] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    sent: int = 0
    answered: int = 0
    failed: int = 0

    def start(self, source: Netns, address: str, port: int, share: float) -> None:
        """Begin, with that share of the rate."""
        want = self.want
        protocol = "tcp" if want.long else "udp" if want.served.protocol == "UDP" else "http"
        self._traffic = source.traffic(
            protocol,
            address,
            port,
            rate=max(want.rate * share, 1),
            timeout=TIMEOUT,
            resend=1.0,
            connections=want.long or 10,
        )
        self._reader = Thread(target=self._read, name=str(want), daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for report in self._traffic:
            known = {(one.began, one.seconds) for one in self.broken}
            if report.get("done"):
                self.sent, self.answered = report["sent"], report["answered"]
                self.failed = report["failed"]
                missing = self.failed - len(self.broken)
            else:
                self.seen.append((time.time(), report["connections"]))
                missing = report["failed"]
            told = [Broken(self.want, *one) for one in report["failures"]]
            told = [one for one in told if (one.began, one.seconds) not in known]
            # Of very many, not each one is told.
            self.broken += [told[min(n, len(told) - 1)] for n in range(missing if told else 0)]

    def ask_to_stop(self) -> None:
        """Send nothing more."""
        self._traffic.process.terminate()

    def wait(self) -> None:
        """Wait for what is under way."""
        self._reader.join(2 * TIMEOUT + 30)
