"""What the node's kernel has to translate: node ports at its own addresses, and who masquerades.

The kernel takes what comes to the node's own addresses for itself, so it is told to send node ports
to an address that the bridge knows (`nsxdp.pipeline.registers`). And what the bridge masqueraded
gets the node's address where it leaves for another node. Both are in one nftables table, which is
changed as little as a change needs; what somebody else did to it is undone when it is looked at.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterable
from typing import Final

import structlog
from msgspec import Struct

from nsxdp.pipeline.registers import (
    MASQUERADE_IPV4,
    MASQUERADE_IPV6,
    NODE_IPV4,
    NODE_IPV6,
    NODE_PORT_IPV4,
    NODE_PORT_IPV6,
)

__all__ = ["HostNat", "NatPlan", "NftError", "changes", "ruleset"]

log = structlog.get_logger(__name__)

TABLE: Final = "inet nsxdp"

_SECONDS: Final = 30.0

_INTERFACE: Final = re.compile(r"[\w.@:-]{1,15}", re.ASCII)


class NatPlan(Struct, frozen=True):
    """What is to be translated.

    Attributes
    ----------
    gateway
        The interface that leads to the bridge.
    addresses, addresses6
        At which the node serves node ports, as text.
    ports, ports6
        Those node ports, as nftables has them: ``tcp . 30080``.
    """

    gateway: str
    addresses: frozenset[str] = frozenset()
    addresses6: frozenset[str] = frozenset()
    ports: frozenset[str] = frozenset()
    ports6: frozenset[str] = frozenset()


_SETS: Final = {
    "addresses": "ipv4_addr",
    "addresses6": "ipv6_addr",
    "ports": "inet_proto . inet_service",
    "ports6": "inet_proto . inet_service",
}


def ruleset(plan: NatPlan) -> str:
    """All that nftables needs to know, in nft's syntax; what the table had is gone.

    Examples
    --------
    >>> from nsxdp_agents.kube_proxy.nat import NatPlan, ruleset
    >>> plan = NatPlan("br-int", frozenset({"192.0.2.1"}), ports=frozenset({"tcp . 30080"}))
    >>> "elements = { tcp . 30080 }" in ruleset(plan)
    True
    """
    lines = [f"table {TABLE}", f"delete table {TABLE}", f"table {TABLE} {{"]
    for name, kind in _SETS.items():
        elements = sorted(getattr(plan, name))
        has = f" elements = {{ {', '.join(elements)} }}" if elements else ""
        lines.append(f"  set {name} {{ type {kind};{has} }}")
    to_bridge = [
        f"ip daddr @addresses meta l4proto . th dport @ports dnat ip to {NODE_PORT_IPV4}",
        f"ip6 daddr @addresses6 meta l4proto . th dport @ports6 dnat ip6 to {NODE_PORT_IPV6}",
    ]
    from_bridge = [
        f'ip saddr {{ {MASQUERADE_IPV4}, {NODE_IPV4} }} oifname != "{plan.gateway}" masquerade',
        f'ip6 saddr {{ {MASQUERADE_IPV6}, {NODE_IPV6} }} oifname != "{plan.gateway}" masquerade',
    ]
    for name, hook, priority, rules in (
        ("prerouting", "prerouting", "dstnat", to_bridge),
        ("output", "output", "-100", to_bridge),
        ("postrouting", "postrouting", "srcnat", from_bridge),
    ):
        lines.append(f"  chain {name} {{")
        lines.append(f"    type nat hook {hook} priority {priority}; policy accept;")
        lines += [f"    {rule}" for rule in rules]
        lines.append("  }")
    return "\n".join([*lines, "}", ""])


def changes(old: NatPlan, new: NatPlan) -> str:
    """What turns the one into the other, which has the same gateway; empty: nothing."""
    lines = []
    for name in _SETS:
        before, after = getattr(old, name), getattr(new, name)
        for verb, elements in (("delete", before - after), ("add", after - before)):
            if elements:
                lines.append(f"{verb} element {TABLE} {name} {{ {', '.join(sorted(elements))} }}\n")
    return "".join(lines)


class HostNat:
    """Keeps the kernel's table as it has to be, in this process's network namespace."""

    def __init__(self) -> None:
        self._plan: NatPlan | None = None
        self._seen = ""
        self._doubtful = False
        self._problem = ""

    def doubt(self) -> None:
        """Let the next `set` see whether somebody changed the table."""
        self._doubtful = True

    async def set(self, plan: NatPlan) -> None:
        """Have the kernel translate that; what it refuses is logged once."""
        try:
            await self._set(plan)
        except NftError as error:
            self._plan = None
            if str(error) != self._problem:
                self._problem = str(error)
                log.warning(
                    "node ports at the node's own interfaces, and endpoints on other nodes, may "
                    "not be reached",
                    reason=self._problem,
                )
        else:
            self._problem = ""

    async def _set(self, plan: NatPlan) -> None:
        if not _INTERFACE.fullmatch(plan.gateway):
            raise NftError(f"the gateway's name can't stand in a rule: {plan.gateway!r}")
        if self._plan is not None and self._doubtful and await _list() != self._seen:
            log.warning("somebody changed the nftables table: it is made anew", table=TABLE)
            self._plan = None
        self._doubtful = False
        if self._plan is not None and self._plan.gateway == plan.gateway:
            text = changes(self._plan, plan)
            if not text:
                return
        else:
            text = ruleset(plan)
        await _nft("-f", "-", text=text)
        self._seen = await _list()
        self._plan = plan

    async def clear(self) -> None:
        """Remove the table."""
        self._plan = None
        await _nft("-f", "-", text=f"table {TABLE}\ndelete table {TABLE}\n")


class NftError(Exception):
    """nft can't be run, or refuses; the message is one line."""


async def _list() -> str:
    try:
        return await _nft("--stateless", "list", "table", *TABLE.split())
    except NftError:
        return ""


async def _nft(*arguments: str, text: str = "") -> str:
    """Run nft; in a thread, as it ends before an event loop has met it."""
    return await asyncio.to_thread(_run, arguments, text)


def _run(arguments: tuple[str, ...], text: str) -> str:
    try:
        done = subprocess.run(
            ["nft", *arguments],
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except OSError as error:
        raise NftError(f"nft: {error.strerror}: install nftables") from None
    except subprocess.TimeoutExpired:
        raise NftError(f"nft: no end within {_SECONDS:g} s") from None
    if done.returncode:
        raise NftError(_first_line(done.stderr.splitlines()))
    return done.stdout


def _first_line(lines: Iterable[str]) -> str:
    return next((line.strip() for line in lines if line.strip()), "nft failed without a word")
