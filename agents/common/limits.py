"""What the system lets a process have (getrlimit(2))."""

from __future__ import annotations

import resource
from contextlib import suppress

__all__ = ["open_many_files"]


def open_many_files() -> None:
    """Let this process, and those that it starts, have as many open files as it may.

    What it may by itself is for programs that use select(2), which knows 1024 of them.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # the system's own limit is lower by now
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
