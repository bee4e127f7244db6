"""The lab's servers and load clients as their starter sees them: handles on processes."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from nsxdp.lab import server, tools, traffic
from nsxdp.lab.errors import LabError

if TYPE_CHECKING:
    from nsxdp.lab.netns import Netns

_MOST = 1000.0
"""Requests a second that a machine of usual speed answers for sure, whatever else it does."""


def _python(module: object, *arguments: str) -> list[str]:
    # By path and without site-packages: starts in hundredths of a second.
    path = str(Path(str(getattr(module, "__file__", ""))).resolve())
    return [sys.executable, "-ISE", path, *arguments]


class Server:
    """A running :mod:`nsxdp.lab.server`; listens when the constructor returns."""

    def __init__(
        self,
        netns: "Netns",
        name: str,
        *,
        http: Sequence[int] = (),
        tcp: Sequence[int] = (),
        udp: Sequence[int] = (),
        sctp: Sequence[int] = (),
    ) -> None:
        options = ["--name", name]
        for protocol, ports in (("http", http), ("tcp", tcp), ("udp", udp), ("sctp", sctp)):
            for port in ports:
                options += [f"--{protocol}", str(port)]
        self.name = name
        self.process = netns.popen(
            _python(server, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        if _stream(self.process.stdout).readline() != b"ready\n":
            said = _stream(self.process.stderr).read().decode().strip()
            self.close()
            raise LabError(f"{name}: server with {' '.join(options[2:])}: {said}")

    def close(self) -> None:
        """Stop serving: connections are cut, the ports are free."""
        self.process.kill()
        self.process.wait()
        _close_streams(self.process)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Traffic:
    """A load client that runs; made by `Netns.traffic`, which tells of the arguments.

    A report is what JSON can hold: ``sent``, ``answered``, ``failed``, counts by who answered
    (``backends``; ``connections``: its port and beginning for each) and by error (``errors``), and
    times in milliseconds.
    """

    def __init__(
        self,
        netns: "Netns",
        protocol: str,
        address: str,
        port: int,
        *,
        rate: float = 100.0,
        seconds: float | None = None,
        count: int | None = None,
        timeout: float = 5.0,
        resend: float | None = None,
        connections: int = 10,
    ) -> None:
        slowness = tools.slowness()
        options = [protocol, address, str(port), f"--connections={connections}"]
        if slowness > 1:
            rate = min(rate, _MOST / slowness)
        options.append(f"--rate={rate}")
        options.append(f"--timeout={timeout * slowness}")
        if resend is not None:
            options.append(f"--resend={resend * slowness}")
        if seconds is not None:
            options.append(f"--seconds={seconds}")
        if count is not None:
            options.append(f"--count={count}")
        self.process = netns.popen(
            _python(traffic, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The reports of each second as they come, the last with ``"done": true``."""
        for line in _stream(self.process.stdout):
            yield json.loads(line)

    def wait(self) -> dict[str, Any]:
        """Wait for the end of the run; its last report.

        Raises
        ------
        LabError
            If the client ended without one.
        """
        last: dict[str, Any] = {}
        for report in self:
            last = report
        said = _stream(self.process.stderr).read().decode().strip()
        self.process.wait()
        _close_streams(self.process)
        if not last.get("done"):
            raise LabError(f"traffic client ended early: {said or self.process.returncode}")
        return last

    def stop(self) -> dict[str, Any]:
        """Send nothing more, wait for what is under way; the last report."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        return self.wait()


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _close_streams(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
