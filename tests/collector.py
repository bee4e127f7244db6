"""A collector of IPFIX that others made."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nsxdp.lab import Netns, tools

__all__ = ["Nfcapd"]


class Nfcapd:
    """A collector of nfdump's, in a network namespace of its own."""

    def __init__(self, netns: Netns, directory: Path) -> None:
        tools.require("nfcapd", "nfdump")
        self.directory = directory
        self.netns = netns
        self.log = directory.with_suffix(".log")
        directory.mkdir()
        with self.log.open("w") as log:
            self.process = netns.popen(
                ["nfcapd", "-p", "4739", "-b", "127.0.0.1", "-w", str(directory), "-I", "t"],
                stdout=log,
                stderr=log,
            )
        self._until(lambda: "Startup" in self.log.read_text())

    def flows(self) -> list[dict[str, Any]]:
        """End it, once it has read all that came; what it got."""
        self._until(lambda: "ipfix exporter" in self.log.read_text() and not self._waits())
        self.process.terminate()
        self.process.wait(30)
        assert "Sequence Errors: 0, Bad Packets: 0" in self.log.read_text()
        argv = ["nfdump", "-R", str(self.directory), "-o", "json"]
        shown = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        found: list[dict[str, Any]] = json.loads(shown)
        return found

    def _waits(self) -> bool:
        """Whether datagrams wait for it."""
        sockets = self.netns.run(["cat", "/proc/net/udp"]).stdout.splitlines()
        (own,) = (line.split() for line in sockets if ":1283 " in line.split(maxsplit=2)[1] + " ")
        return int(own[4].partition(":")[2], 16) > 0

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30 * tools.slowness()
        while not condition():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.01)
