"""Compiles the targets, with a core that is instrumented for them."""

from __future__ import annotations

import fcntl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "fuzz"
SOURCES = ROOT / "fuzz" / "targets"
TARGETS = sorted(path.stem for path in SOURCES.glob("*.c"))

FLAGS = [
    "-std=c11",
    "-O1",
    "-g",
    "-fno-omit-frame-pointer",
    "-fno-sanitize-recover=all",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Icsrc/include",
    "-Icsrc",
]
CORE = "-fsanitize=address,undefined,fuzzer-no-link"
TARGET = "-fsanitize=address,undefined,fuzzer"
TIMEOUT = 300
"""Seconds for one call of the compiler."""


def _clang(target: Path, inputs: list[Path], *flags: str) -> Path:
    """Make 'target' if it is older than 'inputs', and return it."""
    headers = [
        *ROOT.glob("csrc/*.h"),
        *ROOT.glob("csrc/*.def"),
        *ROOT.glob("csrc/include/*.h"),
        *SOURCES.glob("*.h"),
    ]
    newest = max(path.stat().st_mtime for path in [*inputs, *headers])
    if not target.exists() or target.stat().st_mtime < newest:
        command = ["clang", *FLAGS, *flags, *map(str, inputs), "-o", str(target)]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}:\n{done.stderr}")
    return target


def build(names: list[str]) -> dict[str, Path]:
    """Build what changed of the targets 'names'; return their programs.

    Raises
    ------
    RuntimeError
        What the compiler said.
    FileNotFoundError
        There is no clang: ``scripts/bootstrap`` installs it.
    """
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / ".lock").open("w") as lock, ThreadPoolExecutor(2) as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def core(source: Path) -> Path:
            return _clang(BUILD / f"{source.stem}.o", [source], CORE, "-c")

        def program(name: str) -> Path:
            return _clang(BUILD / name, [SOURCES / f"{name}.c", *objects], TARGET)

        objects = list(pool.map(core, sorted(ROOT.glob("csrc/*.c"))))
        return dict(zip(names, pool.map(program, names), strict=True))
