"""Keeps the process small: what the start needed for a moment goes back to the system.

At the start all Services of the cluster pass through the process. What stays of them is small and
mostly in a few big arrays, but the allocator keeps the peak, and Python's collector would walk
all that stays again and again.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
from typing import Final

__all__ = ["before_import", "before_load", "loaded"]

_COLLECT_AFTER: Final = 50_000
"""New container objects, more than those that went, before the collector looks at them."""


def before_import() -> None:
    """Of what importing makes hardly anything goes again: the collector would look in vain."""
    gc.disable()


def before_load() -> None:
    """What is there now (modules, classes) stays for ever: the collector needs not look at it."""
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 100)
    gc.enable()


def loaded() -> None:
    """The first load is done: give back what it needed for a moment."""
    gc.collect()
    gc.freeze()
    with contextlib.suppress(AttributeError):  # another C library has no such function
        ctypes.CDLL(None).malloc_trim(0)
