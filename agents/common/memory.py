"""Keeps the process small: what the start needed for a moment goes back to the system.

At the start all Services of the cluster pass through the process. What stays of them is small and
mostly in a few big arrays, but the allocator keeps the peak, and Python's collector would walk
all that stays again and again.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
from collections.abc import Iterator
from typing import Final

__all__ = ["before_load", "importing", "loaded"]

_COLLECT_AFTER: Final = 50_000
"""New container objects, more than those that went, before the collector looks at them."""


_AUTHORITIES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Where OpenSSL finds the system's certificate authorities."""


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Around the first imports of a process that stays.

    Of what importing makes hardly anything goes again: the collector would look in vain, until
    `before_load`. aiohttp reads the system's certificate authorities, twice, for who brings no TLS
    context of his own, as an agent always does: 80 ms and 2 MB. And numpy's linear algebra, which
    nobody here uses, starts a thread for each processor, which spins for 50 ms.
    """
    gc.disable()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    before = {name: os.environ.get(name) for name in _AUTHORITIES}
    os.environ.update(dict.fromkeys(_AUTHORITIES, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


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
