"""Has the node's kernel route, which its pods need, and lose nothing by it.

A host may have its default route of IPv6 from what routers advertise (RFC 4861, 6.3.4). One that
routes is no host: where ``accept_ra`` is 1, Linux then forgets that route, and hears of no other
one. With 2 it does as before.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["let_route", "let_route_all"]

_IPV6: Final = Path("/proc/sys/net/ipv6/conf")
_FORWARDING: Final = {
    4: Path("/proc/sys/net/ipv4/ip_forward"),
    6: _IPV6 / "all" / "forwarding",
}


def let_route(version: int) -> None:
    """Have the kernel route packets of that version of IP, in this network namespace.

    Where it does already, nothing is touched.

    Raises
    ------
    OSError
        It can't be had; in a container all of /proc/sys may be read-only.
    """
    if _FORWARDING[version].read_text().strip() != "0":
        return
    if version == 6:
        _keep_hearing_routers()
    _FORWARDING[version].write_text("1\n")


def let_route_all() -> None:
    """Likewise for each version that the kernel has.

    Raises
    ------
    OSError
        As of `let_route`.
    """
    for version, file in _FORWARDING.items():
        if file.exists():
            let_route(version)


def _keep_hearing_routers() -> None:
    """Of interfaces, those that do; those that come hear them, too."""
    for interface in _IPV6.iterdir():
        setting = interface / "accept_ra"
        with suppress(FileNotFoundError):  # the interface went meanwhile
            if interface.name != "all" and setting.read_text().strip() == "1":
                setting.write_text("2\n")
