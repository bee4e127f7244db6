"""One run of the machine: what it says comes out live, and its task's exit status is ours."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from nsxdp.lab import tools
from nsxdp.lab.errors import LabError

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def run(kernel: Path, initramfs: bytes, *, memory: str, processors: int, seconds: float) -> int:
    """Start the machine and wait for its end; the exit status that it tells.

    Raises
    ------
    LabError
        It ended without telling, or didn't end in time.
    """
    status, status_in = os.pipe()
    start = os.memfd_create("initramfs")
    try:
        with os.fdopen(os.dup(start), "wb") as file:
            file.write(initramfs)
        machine = subprocess.Popen(
            _command(kernel, start, status_in, memory, processors),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            pass_fds=(start, status_in),
            preexec_fn=_end_with_parent,
        )
    finally:
        os.close(start)
        os.close(status_in)
    with machine, os.fdopen(status) as told:
        try:
            _relay(machine, time.monotonic() + seconds)
        except BaseException:
            machine.kill()
            raise
        machine.wait()
        text = told.read().strip()
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


def _relay(machine: subprocess.Popen[bytes], deadline: float) -> None:
    """Write what the machine says as it comes, until it has ended."""
    assert machine.stdout is not None
    while True:
        ready, _, _ = select.select([machine.stdout], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            raise LabError("the machine did not end in time: give it more by --timeout")
        if not (said := os.read(machine.stdout.fileno(), 65536)):
            return
        sys.stdout.buffer.write(said)
        sys.stdout.buffer.flush()
