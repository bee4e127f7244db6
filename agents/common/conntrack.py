"""Runs conntrack(8), which speaks to connection tracking of this process's network namespace."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from nsxdp.logs import get_logger
from nsxdp_agents.common.tools import ToolError, run

__all__ = ["forget"]

log = get_logger(__name__)

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
    try:
        await asyncio.to_thread(
            run, "conntrack", *arguments, package="conntrack", harmless=_NONE_FOUND
        )
    except ToolError as error:
        log.warning("old connections go on as they were", port=port, reason=str(error))
