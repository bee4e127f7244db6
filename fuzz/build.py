"""Compiles the targets, with a core that is instrumented for them."""

from __future__ import annotations

from pathlib import Path

from instrument.core import ROOT, Build

BUILD = ROOT / "build" / "fuzz"
SOURCES = ROOT / "fuzz" / "targets"
TARGETS = sorted(path.stem for path in SOURCES.glob("*.c"))

FLAGS = ["-O1", "-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"]
CORE = "-fsanitize=address,undefined,fuzzer-no-link"
TARGET = "-fsanitize=address,undefined,fuzzer"
DAMAGE = "-fsanitize=address,undefined"


def build(names: list[str], *, damage: bool = False) -> dict[str, Path]:
    """Build what changed of the targets 'names'; return their programs.

    'damage': those that damage seeds in turn (damage.c), not at random.

    Raises
    ------
    RuntimeError
        What the compiler said.
    FileNotFoundError
        There is no clang: ``scripts/bootstrap`` installs it.
    """
    core = Build(BUILD, [*FLAGS, CORE], "clang")
    flags = [*FLAGS, DAMAGE if damage else TARGET]
    target = Build(BUILD, flags, "clang", list(SOURCES.glob("*.h")))
    driver = [SOURCES.parent / "damage.c"] if damage else []
    directory = BUILD / "damage" if damage else BUILD
    with core.locked() as pool:
        objects = core.objects(pool)

        def program(name: str) -> Path:
            return target.make(directory / name, [SOURCES / f"{name}.c", *driver, *objects])

        return dict(zip(names, pool.map(program, names), strict=True))
