"""nsx-kube-proxy as a process: its life, its log, and what it says of itself."""

from __future__ import annotations

import http.client
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeVar

from nsxdp.lab import LabError, Netns, Node
from nsxdp.lab.tools import slowness

__all__ = ["NODE", "PROGRAM", "SECONDS", "Agent", "until"]

_T = TypeVar("_T")

NODE = "this-node"
SECONDS = 60.0
"""Within which everything has to have happened, on a machine of usual speed: far more than it ever
takes."""

PROGRAM = Path(sys.executable).with_name("nsx-kube-proxy")


def until(what: str, look: Callable[[], _T], seconds: float = SECONDS) -> _T:
    """Look again and again until it is true; what was seen then. Errors of looking are a "no"."""
    seconds *= slowness()
    deadline = time.monotonic() + seconds
    pause = 0.005
    error: Exception | None = None
    while True:
        try:
            if seen := look():
                return seen
            error = None
        except (OSError, LabError, http.client.HTTPException) as failure:
            error = failure
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what} ({error})")
        time.sleep(pause)
        pause = min(pause * 1.3, 0.1)


class Agent:
    """A running nsx-kube-proxy.

    Parameters
    ----------
    node
        Whose bridge it serves.
    log
        Where its standard error goes.
    netns
        Where it runs; on the node, if not given.
    launcher
        What is before the program's name on the command line.
    """

    def __init__(
        self,
        node: Node,
        log: Path,
        *flags: str,
        netns: Netns | None = None,
        launcher: Iterable[str] = (),
    ) -> None:
        self.log = log
        self.netns = netns or node.netns
        given = {flag.partition("=")[0] for flag in flags}
        defaults = {
            "--ovsdb": node.ovsdb,
            "--bridge": node.bridge,
            "--node-name": NODE,
            "--sync-period": "1",
        }
        if "--config" in given:
            defaults = {}
        self._argv = [
            *launcher,
            str(PROGRAM),
            *flags,
            *(f"{flag}={value}" for flag, value in defaults.items() if flag not in given),
        ]
        with log.open("ab") as file:
            self.process = self.netns.popen(self._argv, stdout=file, stderr=file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    # Its life.

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It does nothing for the length of ``with``."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        self.process.kill()
        self.process.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS * slowness())

    def wait(self) -> int:
        """Wait until it has ended by itself; its exit code."""
        return self.process.wait(SECONDS * slowness())

    def await_ready(self) -> None:
        """Wait until the switch has all that it should have."""
        try:
            until("all is on the switch", lambda: self._alive() and self.synced > 0)
        except AssertionError as error:
            raise AssertionError(f"{error}; its log:\n{self.log.read_text()}") from None

    def _alive(self) -> bool:
        assert self.process.poll() is None, (
            f"ended with {self.process.returncode}; its log:\n{self.log.read_text()}"
        )
        return True

    # What it says.

    def lines(self, pattern: str = "") -> list[str]:
        """The lines of its log that contain such a text."""
        text = self.log.read_text(errors="replace")
        return [line for line in text.splitlines() if re.search(pattern, line)]

    def await_log(self, pattern: str, count: int = 1) -> list[str]:
        """Wait until as many lines of its log contain such a text."""
        return until(
            f"the log says {pattern!r}",
            lambda: found if len(found := self.lines(pattern)) >= count else [],
        )

    def get(self, path: str, port: int = 10256) -> tuple[int, str]:
        """GET from one of its HTTP servers: status and body."""
        with self.netns.enter():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5 * slowness())
            try:
                connection.request("GET", path, headers={"Connection": "close"})
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
            finally:
                connection.close()

    def metrics(self) -> dict[str, float]:
        """All samples of /metrics: 'name' or 'name{labels}' without its prefix and its value."""
        samples = {}
        for line in self.get("/metrics", 10249)[1].splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                samples[name.removeprefix("kubeproxy_")] = float(value)
        return samples

    def metric(self, name: str, labels: str = 'ip_family="IPv4"') -> float:
        """One sample of /metrics."""
        return self.metrics()[f"{name}{{{labels}}}" if labels else name]

    @property
    def synced(self) -> float:
        """When the switch last had all that it should have (epoch seconds); 0: not yet."""
        return self.metric("sync_proxy_rules_last_timestamp_seconds")

    @property
    def messages(self) -> float:
        """How many flow and group messages it has sent."""
        return self.metric("sync_proxy_rules_openflow_messages_total")

    @property
    def drift(self) -> float:
        """How many messages repaired what somebody else had changed."""
        return self.metric("sync_proxy_rules_openflow_drift_total")

    def await_comparison(self) -> None:
        """Wait until the agent has compared the switch with what it should have, once more."""
        name = "sync_full_proxy_rules_duration_seconds_count"
        # One may be under way that began before.
        wanted = self.metric(name) + 2
        until("a comparison", lambda: self.metric(name) >= wanted)
