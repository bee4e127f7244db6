"""What a run of specs has come to, read from what ginkgo writes while it runs."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from nsxdp.lab.cluster.report import plain, style

_POLL_SECONDS = 0.5
_CHOSEN = re.compile(r"^Will run (\d+) of \d+ specs$")
_LINE = "-" * 30
_MARKS = re.compile(r"\[(It|BeforeEach|AfterEach)\] | \[[^][]+, [^][]+\]$")
"""In a name: which part of the spec failed, and its labels, which the name has anyway."""
_ENDED = re.compile(r"^[•S] (?:\[([A-Z]+)\] )?\[([\d.]+) seconds\]$")


class Ended(NamedTuple):
    """A spec that has ended."""

    name: str
    state: str
    seconds: float


class Reader:
    """Makes sense of ginkgo's lines, in the order in which they come.

    Attributes
    ----------
    chosen
        How many specs will be run; 0: it has not been said yet.
    ended
        How many have ended.
    failed
        How many of them did not pass, and should have.
    """

    def __init__(self) -> None:
        self.chosen = 0
        self.ended = 0
        self.failed = 0
        self._rest = ""
        self._before = ""
        self._begun = ""
        self._pending: tuple[str, float] | None = None

    def read(self, text: str) -> Iterator[Ended]:
        """Take what was written since the last call: the specs that ended."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if self._pending is not None:
                (state, seconds), self._pending = self._pending, None
                self.ended += 1
                self.failed += state not in ("passed", "skipped")
                # Where specs run one by one, the name was said when it began.
                name = self._begun if line in ("", _LINE) else line
                yield Ended(_MARKS.sub("", name), state, seconds)
            elif found := _ENDED.match(line):
                self._pending = (found[1] or "passed").lower(), float(found[2])
            elif found := _CHOSEN.match(line):
                self.chosen = int(found[1])
            elif self._before == _LINE:
                self._begun = line
            self._before = line

    @property
    def summary(self) -> str:
        """``12 of 47 specs, 1 failed``."""
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.ended} of {self.chosen or '?'} specs{failed}"


@contextmanager
def shown(log: Path, console: Console) -> Iterator[None]:
    """Show how far a run is whose log is `log`, and each spec that ends, as long as it lasts."""
    over = threading.Event()
    with console.status("specs") as status:

        def follow() -> None:
            reader = Reader()
            with log.open(encoding="utf-8", errors="replace") as lines:
                while True:
                    last = over.wait(_POLL_SECONDS)
                    for spec in reader.read(lines.read()):
                        state = f"[{style(spec.state)}]{spec.state:>8}[/]"
                        console.print(f"{state} {spec.seconds:6.1f} s  {plain(spec.name)}")
                    status.update(f"{reader.summary}; log: {log}")
                    if last:
                        return

        follower = threading.Thread(target=follow, name="progress")
        follower.start()
        try:
            yield
        finally:
            over.set()
            follower.join()
