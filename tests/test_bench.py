"""The benchmarks work, and compare the same with the same: each is run once, unmeasured."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("part", ["stamp", "codec", "desired"])
def test_each_runs(part: str) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", f"bench/bench_{part}.py", "--benchmark-disable"),
            *("--quiet", "--override-ini=addopts=--strict-markers"),
            *("--override-ini=python_files=bench_*.py", "--override-ini=python_functions=bench_*"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
