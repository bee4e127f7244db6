"""Runs a command in the machine: its output comes out here, its exit status is ours.

Of several machines, NSXDP_PART tells each which it is: 1/2, say, is the first of two. Their lines
begin with their numbers.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from machine import debian, emulator, initramfs
from nsxdp.lab.errors import LabError, MissingTool

HERE = Path(__file__).resolve().parent


def _task(command: Sequence[str], environment: Mapping[str, str], modules: Path) -> str:
    """A shell script that says what to do, and where."""
    exports = [
        f"    export {name}={shlex.quote(value)}"
        for name, value in environment.items()
        if name.isidentifier()
    ]
    lines = [
        f"MODULES={shlex.quote(str(modules))}",
        f"INIT={shlex.quote(str(HERE / 'init'))}",
        "task() {",
        *exports,
        f"    cd {shlex.quote(str(Path.cwd()))}",
        f"    {shlex.join(command)}",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _environment() -> dict[str, str]:
    """Ours; the machine's terminal is one, whatever ours is."""
    seen = {"COLUMNS": str(shutil.get_terminal_size().columns)}
    if not sys.stdout.isatty():
        seen["TERM"] = "dumb"
    return {**os.environ, **seen}


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python -m machine", description=__doc__)
    parser.add_argument(
        "--timeout", type=float, default=3600, help="seconds (default: %(default)s)"
    )
    parser.add_argument("--memory", default="4G", help="default: %(default)s")
    # One is left for what emulation does beside the processors.
    processors = max(1, (os.cpu_count() or 1) - 1)
    parser.add_argument("--processors", type=int, default=processors, help="default: %(default)s")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what to run, and its arguments")
    parser.add_argument("--machines", type=int, default=1, help="at once; default: %(default)s")
    options = parser.parse_args()
    if not options.command:
        parser.error("no command to run")
    if platform.machine() != "x86_64" or os.geteuid():
        raise MissingTool("the machine is an x86_64 like this one, and started by root")
    debian.install()
    files = debian.files()
    (modules,) = (files / "modules").iterdir()
    parts = (f"{number}/{options.machines}" for number in range(1, options.machines + 1))
    tasks = [
        _task(options.command, {**_environment(), "NSXDP_PART": part}, modules.parent)
        for part in parts
    ]
    started = time.monotonic()
    print(f"machine: Linux {modules.name}", flush=True)
    statuses = emulator.run(
        files / "vmlinuz",
        [initramfs.archive(files / "busybox", HERE / "boot", modules, task) for task in tasks],
        memory=options.memory,
        processors=options.processors,
        seconds=options.timeout,
    )
    said = ", ".join(map(str, statuses))
    print(f"machine: exit status {said} after {time.monotonic() - started:.0f} s", flush=True)
    return max(statuses)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"machine: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
