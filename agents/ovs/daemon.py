"""One of Open vSwitch's daemons, as a child of this process: started, started again, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from nsxdp.backoff import Backoff
from nsxdp.logs import get_logger

__all__ = ["Daemon", "SwitchError"]

log = get_logger(__name__)

_LOGGING: Final = ("-vconsole:info", "-vsyslog:off", "-vfile:off")
_END_SECONDS: Final = 20.0
_BACKOFF: Final = Backoff(0.1, 10.0)
_STEADY_SECONDS: Final = 60.0
"""Who has lived that long is started again soon."""


class SwitchError(Exception):
    """Open vSwitch can't be run; the message says why."""


class Daemon:
    """A daemon.

    Parameters
    ----------
    name
        The program's.
    run_directory
        Where its sockets and its pidfile are.

    Attributes
    ----------
    proven
        Whether it has done its work once. Until then, its end is ours: something is wrong that
        another start doesn't mend.
    """

    def __init__(self, name: str, run_directory: Path, *arguments: str) -> None:
        self.name = name
        self.proven = False
        self._directory = run_directory
        self._arguments = arguments
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """Its process; None: it has none, for that number may be another's by now."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Start it. What one that was killed left behind is removed: processes have numbers of
        their own.
        """
        pidfile = self._directory / f"{self.name}.pid"
        for stale in (pidfile, *self._directory.glob(f"{self.name}.*.ctl")):
            stale.unlink(missing_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            *(self.name, *self._arguments, f"--pidfile={pidfile}", *_LOGGING),
            env=os.environ | {"OVS_RUNDIR": str(self._directory)},
            stdin=asyncio.subprocess.DEVNULL,
        )

    async def keep(self, started: Callable[[], Awaitable[None]] | None = None) -> None:
        """Start it again whenever it ends, and call 'started' then, until cancelled.

        Raises
        ------
        SwitchError
            It ended before it was `proven`.
        """
        delays = _BACKOFF.delays()
        while self._process is not None:
            begun = time.monotonic()
            status = await self._process.wait()
            if not self.proven:
                raise SwitchError(f"{self.name} ended by itself, with {status}")
            if time.monotonic() - begun > _STEADY_SECONDS:
                delays = _BACKOFF.delays()
            log.warning("ended by itself, and is started again", daemon=self.name, status=status)
            await asyncio.sleep(next(delays))
            await self.start()
            if started is not None:
                await started()

    async def end(self) -> None:
        """Ask it to end: ovs-vswitchd leaves flows in the kernel, which go on working."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
