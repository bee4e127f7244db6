"""The machine and the programs, as far as they matter for what is measured; no names of hosts."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

from nsxdp.lab import build

_PACKAGES = ("numpy", "msgspec", "aiohttp", "uvloop", "os-ken")


def describe() -> dict[str, str]:
    """What and how fast this machine is, and which versions run on it."""
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    return {
        "Processor": f"{_processor()}, {os.cpu_count()} cores",
        "Memory": f"{int(memory[1]) / 1e6:.0f} GB" if memory else "unknown",
        "Kernel": platform.release().split("-")[0],
        "Python": platform.python_version(),
        "Open vSwitch": f"{_version('ovs-vswitchd')}, userspace datapath",
        "OVN": _version("ovn-controller") if shutil.which("ovn-controller") else "none",
        "Kubernetes": build.VERSION,
        "Packages": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
        "nsxdp": _commit(),
        "Load at the start": f"{os.getloadavg()[0]:.2f}",
    }


def _processor() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def _version(program: str) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return said.split("\n", 1)[0].rpartition(" ")[2]


def _commit() -> str:
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{version('nsxdp')} ({said.stdout.strip() or 'no git'})"
