"""Waiting for a directory to change (inotify, Linux).

Only the fact that something changed is told: the events' names aren't looked at, so a full event
queue, a rename storm or a swapped symbolic link are all the same, and whoever waits scans anew.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from nsxdp.logs import get_logger

__all__ = ["DirectoryWatch"]

log = get_logger(__name__)

# <sys/inotify.h>
_ATTRIB: Final = 0x4
_CLOSE_WRITE: Final = 0x8
_MOVED_FROM: Final = 0x40
_MOVED_TO: Final = 0x80
_CREATE: Final = 0x100
_DELETE: Final = 0x200
_DELETE_SELF: Final = 0x400
_MOVE_SELF: Final = 0x800
_ONLYDIR: Final = 0x1000000
_MASK: Final = (
    _ATTRIB
    | _CLOSE_WRITE
    | _MOVED_FROM
    | _MOVED_TO
    | _CREATE
    | _DELETE
    | _DELETE_SELF
    | _MOVE_SELF
    | _ONLYDIR
)

_HINTS: Final = {
    errno.EMFILE: "raise sysctl fs.inotify.max_user_instances",
    errno.ENOSPC: "raise sysctl fs.inotify.max_user_watches",
}


class DirectoryWatch:
    """Tells when something in a directory may have changed. An asynchronous context manager.

    Parameters
    ----------
    path
        The directory. It may vanish and come back.
    interval
        The longest wait in seconds: for file systems that don't report changes made elsewhere,
        and for targets of symbolic links outside the directory.
    """

    def __init__(self, path: Path, interval: float) -> None:
        self._path = os.fsencode(path)
        self._interval = interval
        self._libc: Any = ctypes.CDLL(None, use_errno=True)
        self._fd = -1
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            self._cannot("inotify_init1")
        else:
            asyncio.get_running_loop().add_reader(self._fd, self._drain)
        self._add()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    async def wait(self) -> None:
        """Return when something may have changed since the last return."""
        try:
            async with asyncio.timeout(self._interval):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()
        # The same directory again is no new watch; another one of that name is.
        self._add()

    def _add(self) -> None:
        if self._fd >= 0 and self._libc.inotify_add_watch(self._fd, self._path, _MASK) < 0:
            code = ctypes.get_errno()
            # A directory that is not there now is looked for again after each wait.
            if code not in (errno.ENOENT, errno.ENOTDIR):
                self._cannot("inotify_add_watch")

    def _drain(self) -> None:
        try:
            while os.read(self._fd, 64 << 10):
                pass
        except BlockingIOError:
            pass
        self._changed.set()

    def _cannot(self, call: str) -> None:
        code = ctypes.get_errno()
        log.warning(
            "cannot be told of changes: looking now and then",
            path=os.fsdecode(self._path),
            seconds=self._interval,
            error=f"{call}: {os.strerror(code)}",
            hint=_HINTS.get(code, ""),
        )
