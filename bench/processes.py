"""What processes use: time of the processor, and memory."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """What a process has used.

    Attributes
    ----------
    cpu
        Seconds, in user and system mode; of its ended children, too.
    waited
        Seconds in which it could have gone on, and others had the processors.
    resident, peak
        Bytes of memory: now (VmRSS), and the most ever (VmHWM).
    """

    cpu: float
    waited: float
    resident: int
    peak: int


def usage(pid: int) -> Usage:
    """What the process with that id has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return Usage(
        sum(map(int, fields[11:15])) / _TICKS,
        sum(map(waited, Path(f"/proc/{pid}/task").iterdir())),
        int(status["VmRSS"].split()[0]) * 1024,
        int(status["VmHWM"].split()[0]) * 1024,
    )


def waited(thread: Path) -> float:
    """Seconds in which a thread could have gone on, and had no processor.

    ``/proc/PID/task/TID`` is a thread, ``/proc/PID`` a process's first one.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.processes import waited
    >>> waited(Path("/proc/self")) < 3600
    True
    """
    return int((thread / "schedstat").read_text().split()[1]) / 1e9


def tcp_ports(pid: int) -> frozenset[int]:
    """The local ports of a process's TCP connections (proc(5)), in its network namespace."""
    process = Path(f"/proc/{pid}")
    sockets = set()
    for descriptor in process.glob("fd/*"):
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            sockets.add(str(descriptor.readlink()))
    rows = [line.split() for name in ("tcp", "tcp6") for line in _rows(process / "net" / name)]
    return frozenset(
        int(row[1].rpartition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in sockets
    )


def _rows(table: Path) -> list[str]:
    return table.read_text().splitlines()[1:]


def resident() -> int:
    """Bytes of memory of this process (VmRSS)."""
    return usage(os.getpid()).resident


def keep_bytecode(directory: Path) -> None:
    """Let processes find what they import compiled, whatever the environment says: pip compiles
    what it installs.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(directory)


@cache
def compile_imports(module: str) -> None:
    """Compile all that a module imports, where it isn't."""
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
