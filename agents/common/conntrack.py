"""Runs conntrack(8), which speaks to connection tracking of this process's network namespace."""

from __future__ import annotations

import asyncio
import subprocess
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from nsxdp.logs import get_logger

__all__ = ["forget"]

log = get_logger(__name__)

_SECONDS: Final = 30.0

_NONE_FOUND: Final = "0 flow entries have been deleted"


async def forget(
    protocol: str,
    version: int,
    port: int,
    *,
    at: IPv4Address | IPv6Address | None = None,
    pod: IPv4Address | IPv6Address | None = None,
) -> None:
    """Have the kernel forget connections to 'port'; what it can't do is logged, as they end anyway.

    Parameters
    ----------
    version
        Of IP.
    at
        To that address alone.
    pod
        Those alone that are translated to it.
    """
    arguments = ["-D", "-f", f"ipv{version}", "-p", protocol, "--orig-port-dst", str(port)]
    if at is not None:
        arguments += ["--orig-dst", str(at)]
    if pod is not None:
        arguments += ["--reply-src", str(pod)]
    problem = await asyncio.to_thread(_run, arguments)
    if problem:
        log.warning("old connections go on as they were", port=port, reason=problem)


def _run(arguments: list[str]) -> str:
    """Why it fails; empty: it doesn't."""
    try:
        done = subprocess.run(
            ["conntrack", *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except OSError as error:
        return f"conntrack: {error.strerror}: install conntrack"
    except subprocess.TimeoutExpired:
        return f"conntrack: no end within {_SECONDS:g} s"
    if done.returncode == 0 or _NONE_FOUND in done.stderr:
        return ""
    return (done.stderr.strip().splitlines() or ["it failed without a word"])[0]
