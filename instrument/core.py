"""Compiles the core with a caller's flags, and tells cffi what its header declares."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = sorted(ROOT.glob("csrc/*.c"))
WARNINGS = ["-Wall", "-Wextra", "-Werror"]
TIMEOUT = 300
"""Seconds for one call of the compiler."""

COVERAGE = "NSXDP_COVERAGE"
"""In the environment: the directory to build in while lines are counted."""


def build_directory(name: str) -> Path:
    """Where one who builds the core has what is built."""
    return Path(os.environ.get(COVERAGE, ROOT / "build"), name)


def declarations() -> str:
    """The public header as cffi reads it."""
    header = (ROOT / "csrc/include/nsxdp.h").read_text()
    done = subprocess.run(
        ["gcc", "-E", "-P", "-U__GNUC__", "-"],
        input=re.sub(r"^#include.*$", "", header, flags=re.MULTILINE),
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT,
    )
    return done.stdout


@dataclass(frozen=True)
class Build:
    """A way to compile the core, and the directory for what it gives.

    Raises
    ------
    RuntimeError
        What the compiler said.
    """

    directory: Path
    flags: list[str]
    compiler: str = "gcc"
    headers: list[Path] = field(default_factory=list)
    """Of the caller's own."""

    @contextmanager
    def locked(self) -> Iterator[ThreadPoolExecutor]:
        """Nobody else builds here meanwhile; yields the threads that compile."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / ".lock").open("w") as lock, ThreadPoolExecutor(2) as pool:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield pool

    def make(self, target: Path, inputs: list[Path], *flags: str) -> Path:
        """Make 'target' if it is older than 'inputs' or a header; return it."""
        headers = [
            *ROOT.glob("csrc/*.h"),
            *ROOT.glob("csrc/*.def"),
            *ROOT.glob("csrc/include/*.h"),
            *self.headers,
        ]
        newest = max(path.stat().st_mtime for path in [*inputs, *headers])
        if target.exists() and target.stat().st_mtime >= newest:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        count = ["-O0", "--coverage"] if COVERAGE in os.environ else []
        command = [self.compiler, "-std=c11", "-Icsrc/include", "-Icsrc", *WARNINGS, *self.flags]
        command += [*count, *flags, *map(str, inputs), "-o", str(target)]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}:\n{done.stderr}")
        return target

    def objects(self, pool: ThreadPoolExecutor) -> list[Path]:
        """Compile what changed of the core."""

        def compile_one(source: Path) -> Path:
            return self.make(self.directory / f"{source.stem}.o", [source], "-c")

        return list(pool.map(compile_one, SOURCES))

    def library(self) -> Path:
        """The core as a shared library."""
        with self.locked() as pool:
            return self.make(self.directory / "libnsxdp.so", self.objects(pool), "-shared")
