"""Every truncation of the fuzz targets' seeds, and every byte of them changed, under sanitizers.

Seeds are the texts and messages of all tests, and a message of each kind: flows, groups, meters,
packet-outs, templates, statistics. After the kinds, the shortest come first: they have one thing
each.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fuzz import seeds
from fuzz.build import TARGETS, build

INPUTS = 300_000
PER_BYTE = 6
"""Inputs that a byte of a seed is good for."""
SLOW = {"desired": 10}
"""How many times longer an input of a target takes than one of the others."""


@pytest.fixture(scope="module")
def programs() -> dict[str, Path]:
    return build(TARGETS, damage=True)


@pytest.mark.timeout(900)  # the first one waits for the compiler
@pytest.mark.parametrize("target", TARGETS)
def test_damage_is_noticed_or_harmless(
    target: str, programs: dict[str, Path], tmp_path: Path
) -> None:
    left = INPUTS // SLOW.get(target, 1) // PER_BYTE
    expected = 0
    files = []
    golden = seeds.golden()
    for seed in sorted(seeds.seeds(target), key=lambda seed: (seed not in golden, len(seed), seed)):
        left -= len(seed)
        if left < 0:
            break
        expected += 4 * len(seed)
        files.append(tmp_path / str(len(files)))
        files[-1].write_bytes(seed)
    assert len(files) > 20

    done = subprocess.run(
        [programs[target], *files],
        env={**os.environ, "ASAN_OPTIONS": "handle_abort=1"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > expected
