"""A run of the machine, or of several: what they say comes out live, and their exit statuses."""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from nsxdp.lab import tools
from nsxdp.lab.errors import LabError

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def run(
    kernel: Path, starts: Sequence[bytes], *, memory: str, processors: int, seconds: float
) -> list[int]:
    """Start machines, one for each initramfs, and wait for their ends; the exit statuses they tell.

    Raises
    ------
    LabError
        One ended without telling, or they didn't end in time.
    """
    with ExitStack() as stack:
        machines = [
            stack.enter_context(_Machine(kernel, start, memory, processors)) for start in starts
        ]
        _relay([machine.process for machine in machines], time.monotonic() + seconds)
        return [machine.status() for machine in machines]


class _Machine:
    """One that runs until it ends itself, or until ``with`` does."""

    def __init__(self, kernel: Path, initramfs: bytes, memory: str, processors: int) -> None:
        status, status_in = os.pipe()
        self._status = os.fdopen(status)
        start = os.memfd_create("initramfs")
        try:
            with os.fdopen(os.dup(start), "wb") as file:
                file.write(initramfs)
            self.process = subprocess.Popen(
                _command(kernel, start, status_in, memory, processors),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                pass_fds=(start, status_in),
                preexec_fn=_end_with_parent,
            )
        finally:
            os.close(start)
            os.close(status_in)

    def __enter__(self) -> _Machine:
        return self

    def __exit__(self, *_: object) -> None:
        with self.process, self._status:
            self.process.kill()

    def status(self) -> int:
        """What its task ended with."""
        self.process.wait()
        text = self._status.read().strip()
        if not text:
            raise LabError("the machine ended before its task did")
        return int(text)


def _command(kernel: Path, initramfs: int, status: int, memory: str, processors: int) -> list[str]:
    words = {
        # Terminal, and where the exit status goes.
        "console": "ttyS0",
        # End rather than hang.
        "panic": "-1",
        # What guards against other guests' code costs time, and there is none.
        "mitigations": "off",
    }
    append = " ".join(["quiet", "nokaslr", *(f"{key}={value}" for key, value in words.items())])
    share = ("local", "path=/", "mount_tag=outside", "security_model=none")
    return [
        tools.program("qemu-system-x86_64"),
        *("-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max,la57=off"),
        *("-m", memory, "-smp", str(processors)),
        *("-nodefaults", "-display", "none", "-no-reboot"),
        *("-kernel", str(kernel), "-initrd", f"/dev/fd/{initramfs}", "-append", append),
        *("-serial", "stdio", "-serial", f"file:/dev/fd/{status}"),
        # File systems mounted below are seen as parts of one, so their inodes get other numbers.
        *("-virtfs", ",".join([*share, "readonly=on", "multidevs=remap"])),
    ]


def _end_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _relay(machines: Sequence[subprocess.Popen[bytes]], deadline: float) -> None:
    """Write what they say as it comes, until all have ended; of several, numbered lines."""
    with selectors.DefaultSelector() as selector:
        for number, machine in enumerate(machines, 1):
            assert machine.stdout is not None
            prefix = f"{number}: ".encode() if len(machines) > 1 else b""
            selector.register(machine.stdout, selectors.EVENT_READ, Lines(prefix))
        while selector.get_map():
            ready = selector.select(max(0, deadline - time.monotonic()))
            if not ready:
                raise LabError("the machine did not end in time: give it more by --timeout")
            for key, _ in ready:
                said = os.read(key.fd, 65536)
                sys.stdout.buffer.write(key.data.take(said))
                if not said:
                    selector.unregister(key.fileobj)
            sys.stdout.buffer.flush()


class Lines:
    """What comes out with a prefix comes by whole lines."""

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._rest = b""

    def take(self, data: bytes) -> bytes:
        """What there is to be written after some more; empty: that was all."""
        if not self._prefix:
            return data
        *lines, self._rest = (self._rest + data).split(b"\n")
        if not data and self._rest:
            lines.append(self._rest)
        return b"".join(b"%s%s\n" % (self._prefix, line) for line in lines)
