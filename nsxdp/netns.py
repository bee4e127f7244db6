"""Network namespaces: the calling thread goes into one, and comes back (setns(2)).

Sockets that are made meanwhile belong to it, and stay in it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

__all__ = ["entered", "is_netns"]

_CLONE_NEWNET: Final = 0x40000000
_NS_GET_NSTYPE: Final = 0xB703
_libc: Any = ctypes.CDLL(None, use_errno=True)


@contextmanager
def entered(netns: int) -> Iterator[None]:
    """Put the calling thread into a namespace, an open file, for the length of ``with``.

    Other threads are not touched. In a coroutine, don't ``await`` inside: other tasks would move
    too.

    Raises
    ------
    OSError
        It can't be entered, or not be left again.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(netns)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def is_netns(file: int) -> bool:
    """Whether an open file is a network namespace."""
    try:
        return fcntl.ioctl(file, _NS_GET_NSTYPE) == _CLONE_NEWNET
    except OSError:
        return False


def _setns(netns: int) -> None:
    if _libc.setns(netns, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")
