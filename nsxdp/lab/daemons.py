"""Servers that run in a namespace for as long as the lab does: started, awaited and ended."""

import contextlib
import http.client
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from nsxdp.lab import tools
from nsxdp.lab.errors import LabError
from nsxdp.lab.netns import Netns

_START_SECONDS = 90.0


class Daemons:
    """The servers of `netns`, by name, with their logs in `directory`."""

    def __init__(self, netns: Netns, directory: Path) -> None:
        self.netns = netns
        self.directory = directory
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, argv: Sequence[str | os.PathLike[str]]) -> None:
        """Start a server that isn't running.

        Raises
        ------
        LabError
            It runs.
        """
        if self.running(name):
            raise LabError(f"{name} in {self.netns.name} runs already")
        with self.log(name).open("ab") as log:
            self._processes[name] = self.netns.popen(argv, stdout=log, stderr=log)

    def await_ready(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait until `ready` says so of a server that doesn't announce itself.

        It is asked ever less often. What it raises as long as nobody listens is no answer.

        Raises
        ------
        LabError
            The server ended, or takes too long; with the end of its log.
        """
        deadline = time.monotonic() + _START_SECONDS
        pause = 0.01
        while True:
            with contextlib.suppress(OSError, LabError, http.client.HTTPException):
                if ready():
                    return
            if not self.running(name) or time.monotonic() > deadline:
                raise LabError(f"{name} did not start; its log ends:\n{tools.tail(self.log(name))}")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.1)

    def running(self, name: str) -> bool:
        """Whether a server was started and has not ended."""
        process = self._processes.get(name)
        return process is not None and process.poll() is None

    def end(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a server a signal that ends it, and wait until it has ended."""
        if process := self._processes.pop(name, None):
            process.send_signal(number)
            process.wait()

    def close(self) -> None:
        """Kill them all."""
        for name in list(self._processes):
            self.end(name)

    def pid(self, name: str) -> int:
        """Process id of a server."""
        return self._processes[name].pid

    def log(self, name: str) -> Path:
        """The log of a server."""
        return self.directory / f"{name}.log"
