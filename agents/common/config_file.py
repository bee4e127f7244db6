"""Follows configuration files: when they say something else, the process has to start anew.

As kube-proxy does: who started the process (kubelet, systemd) starts it again. The network goes on
working meanwhile, by the flows on the switch. A file that can't be used would keep the process from
starting, so it is an error in the log, and what it said before goes on to count.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from nsxdp.k8s.inotify import DirectoryWatch
from nsxdp.logs import get_logger
from nsxdp_agents.common.options import OptionsError

__all__ = ["until_changed"]

log = get_logger(__name__)

_LOOK_SECONDS: Final = 30.0
"""How often it is looked at, for file systems that tell nothing."""


async def until_changed(files: Iterable[Path], read: Callable[[], object], used: object) -> None:
    """Return when 'read' gives something else than 'used' from the configuration 'files'.

    The files' directories are watched: a ConfigMap's files are links that are swapped.
    """
    said = ""
    async with AsyncExitStack() as stack:
        watches = [
            await stack.enter_async_context(DirectoryWatch(directory, _LOOK_SECONDS))
            for directory in {file.parent for file in files}
        ]
        while True:
            try:
                if read() != used:
                    return
                said = ""
            except OptionsError as error:
                if str(error) != said:
                    said = str(error)
                    log.error("the new configuration cannot be used", reason=said)
            await _any_of(watches)


async def _any_of(watches: Sequence[DirectoryWatch]) -> None:
    """Return when something may have changed in one of them."""
    waits = [asyncio.create_task(watch.wait()) for watch in watches]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
