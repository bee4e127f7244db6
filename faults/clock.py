"""Runs a Python program whose clock jumps: as a node's does when somebody sets it.

    python clock.py FILE PROGRAM [ARGUMENT ...]

What `time.time` gives is so many seconds ahead as FILE says, each time that it is asked.
"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path


def install(file: Path) -> None:
    """Let the clock be as 'file' says from now on."""
    real = time.time

    def now() -> float:
        return real() + float(file.read_text() or 0)

    vars(time).update(time=now)


if __name__ == "__main__":
    install(Path(sys.argv[1]))
    del sys.argv[:2]
    runpy.run_path(sys.argv[0], run_name="__main__")
