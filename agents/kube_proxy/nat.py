"""What the node's kernel has to translate: node ports at its own addresses, and who masquerades.

The kernel takes what comes to the node's own addresses for itself, so it is told to send node ports
to an address that the bridge knows (`nsxdp.pipeline.registers`). And what the bridge masqueraded
gets the node's address where it leaves for another node. Both are in one nftables table, whose sets
are changed by the elements that a change is about. Only when somebody may have changed the table is
all of it looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

import msgspec
from msgspec import DecodeError, Struct

from nsxdp.logs import get_logger
from nsxdp.pipeline.registers import (
    MASQUERADE_IPV4,
    MASQUERADE_IPV6,
    NODE_IPV4,
    NODE_IPV6,
    NODE_PORT_IPV4,
    NODE_PORT_IPV6,
)
from nsxdp.services.addresses import Family
from nsxdp.services.model import PROTOCOL_NUMBERS
from nsxdp.services.shared import SetChange, SharedSet
from nsxdp_agents.common.nft import NftError, interface, nft

__all__ = ["Element", "HostNat", "changes", "ruleset"]

log = get_logger(__name__)

TABLE: Final = "inet nsxdp"

_SETS: Final = {
    "addresses": "ipv4_addr",
    "addresses6": "ipv6_addr",
    "ports": "inet_proto . inet_service",
    "ports6": "inet_proto . inet_service",
}

_PROTOCOLS: Final = {number: name.lower() for name, number in PROTOCOL_NUMBERS.items()}


class Element(NamedTuple):
    """An element of one of the table's sets.

    Attributes
    ----------
    of
        ``addresses`` or ``addresses6``, at which the node serves node ports; ``ports`` or
        ``ports6``, which are those.
    text
        In nft's syntax: ``192.0.2.1``, ``tcp . 30080``.
    """

    of: str
    text: str

    @classmethod
    def address(cls, address: IPv4Address | IPv6Address) -> Element:
        """The node serves node ports at 'address'."""
        return cls("addresses" if address.version == 4 else "addresses6", str(address))

    @classmethod
    def node_port(cls, family: Family, protocol: str, port: int) -> Element:
        """A Service has that node port."""
        return cls("ports" if family is Family.IPV4 else "ports6", f"{protocol.lower()} . {port}")


def ruleset(gateway: str, elements: Iterable[Element]) -> str:
    """All that nftables needs to know, in nft's syntax; what the table had is gone.

    'gateway' is the interface that leads to the bridge.

    Examples
    --------
    >>> from nsxdp_agents.kube_proxy.nat import Element, ruleset
    >>> elements = [Element("addresses", "192.0.2.1"), Element("ports", "tcp . 30080")]
    >>> "elements = { tcp . 30080 }" in ruleset("br-int", elements)
    True
    """
    lines = [f"table {TABLE}", f"delete table {TABLE}", f"table {TABLE} {{"]
    texts = _by_set(elements)
    for name, kind in _SETS.items():
        has = f" elements = {texts[name]}" if name in texts else ""
        lines.append(f"  set {name} {{ type {kind};{has} }}")
    to_bridge = [
        f"ip daddr @addresses meta l4proto . th dport @ports dnat ip to {NODE_PORT_IPV4}",
        f"ip6 daddr @addresses6 meta l4proto . th dport @ports6 dnat ip6 to {NODE_PORT_IPV6}",
    ]
    elsewhere = f"oifname != {interface(gateway)}"
    from_bridge = [
        f"ip saddr {{ {MASQUERADE_IPV4}, {NODE_IPV4} }} {elsewhere} masquerade",
        f"ip6 saddr {{ {MASQUERADE_IPV6}, {NODE_IPV6} }} {elsewhere} masquerade",
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


def changes(change: SetChange[Element]) -> str:
    """What adds and deletes these elements, in nft's syntax."""
    return "".join(
        f"{verb} element {TABLE} {name} {text}\n"
        for verb, elements in (("delete", change.removed), ("add", change.added))
        for name, text in _by_set(elements).items()
    )


def _by_set(elements: Iterable[Element]) -> dict[str, str]:
    """Each set's 'elements', in nft's syntax."""
    texts: dict[str, list[str]] = {}
    for element in elements:
        texts.setdefault(element.of, []).append(element.text)
    return {name: f"{{ {', '.join(sorted(of_set))} }}" for name, of_set in texts.items()}


class HostNat:
    """Keeps the kernel's table as it has to be, in this process's network namespace."""

    def __init__(self) -> None:
        self._wanted = SharedSet[Element]()
        self._made: _Made | None = None
        self._doubtful = False
        self._problem = ""

    def replace(self, before: Iterable[Element], after: Iterable[Element]) -> None:
        """Who wanted 'before' in the sets wants 'after' from now on (see `apply`)."""
        self._wanted.replace(before, after)

    def doubt(self) -> None:
        """Let the next `apply` see whether somebody changed the table."""
        self._doubtful = True

    async def apply(self, gateway: str) -> None:
        """Have the kernel translate what is wanted, where 'gateway' leads to the bridge.

        What it refuses is logged once. The next call tries all of it again.
        """
        try:
            await self._apply(gateway)
        except NftError as error:
            self._made = None
            if str(error) != self._problem:
                self._problem = str(error)
                log.warning(
                    "node ports at the node's own interfaces, and endpoints on other nodes, may "
                    "not be reached",
                    reason=self._problem,
                )
        else:
            self._problem = ""

    async def _apply(self, gateway: str) -> None:
        made = self._made
        if made is not None and made.gateway == gateway:
            try:
                if await self._change(made.rules):
                    return
            except NftError:
                pass  # an element isn't there any more, or all of the table
            log.warning("somebody changed the nftables table: it is made anew", table=TABLE)
        self._wanted.changes()
        self._doubtful = False
        await nft("-f", "-", text=ruleset(gateway, self._wanted))
        self._made = _Made(gateway, (await _list()).rules)

    async def _change(self, rules: list[object]) -> bool:
        """Change what has to be; False: the table isn't as it was left, where that is in doubt."""
        change = self._wanted.changes()
        if self._doubtful:
            left = _Table(rules, (frozenset(self._wanted) - change.added) | change.removed)
            self._doubtful = False
            if await _list() != left:
                return False
        if change:
            await nft("-f", "-", text=changes(change))
        return True

    async def clear(self) -> None:
        """Remove the table."""
        await nft("-f", "-", text=f"table {TABLE}\ndelete table {TABLE}\n")


class _Made(NamedTuple):
    """What was made: for which gateway, and what nft said of its rules then."""

    gateway: str
    rules: list[object]


class _Table(NamedTuple):
    """What nft says of the table: rules and chains, and the sets' elements."""

    rules: list[object]
    elements: frozenset[Element]


class _Listed(Struct):
    """What ``nft --json`` prints (libnftables-json(5))."""

    nftables: list[dict[str, object]]


class _Set(Struct):
    """A set in that."""

    name: str
    elem: list[object] = []


async def _list() -> _Table:
    listed = await nft("--json", "--numeric", "list", "table", *TABLE.split())
    rules: list[object] = []
    elements: list[Element] = []
    try:
        for item in msgspec.json.decode(listed, type=_Listed).nftables:
            if "set" in item:
                found = msgspec.convert(item["set"], _Set)
                elements += [Element(found.name, _text(element)) for element in found.elem]
            elif "metainfo" not in item:
                rules.append(item)
    except DecodeError as error:
        raise NftError(f"nft --json printed something unknown: {error}") from None
    return _Table(rules, frozenset(elements))


def _text(element: object) -> str:
    """An element as `Element` has it; what can't be one of ours, somehow."""
    match element:
        case {"concat": [int(protocol), port]}:
            return f"{_PROTOCOLS.get(protocol, protocol)} . {port}"
        case str(text):
            with suppress(ValueError):
                return str(ip_address(text))
    return str(element)
