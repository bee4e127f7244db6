"""A packet's way through flows, as OpenFlow and ovs-fields(7) have it: a small interpreter of text.

It is there to ask about many packets in little time; `test_on_a_switch.py` holds it to a real
switch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address, ip_network

__all__ = ["Dropped", "FlowTables", "Left", "packet_of"]

Fields = dict[str, int]
"""A packet: each field's value. Addresses and registers are numbers, too."""

_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1}
_ACTION = re.compile(r"[^,(]+(?:\([^)]*\))?")
_CT_STATE = {"new": 1, "est": 2, "rel": 4, "rpl": 8, "inv": 16, "trk": 32}


@dataclass(frozen=True)
class Left:
    """The packet went out of these tables: to that one."""

    table: str


@dataclass(frozen=True)
class Dropped:
    """It didn't; this is why: the flow."""

    flow: str
    told: bool


@dataclass(frozen=True)
class _Flow:
    priority: int
    mask: tuple[tuple[str, int], ...]
    value: tuple[int, ...]
    actions: tuple[str, ...]
    text: str

    @property
    def conjunctions(self) -> list[tuple[int, int, int]]:
        found = (re.fullmatch(r"conjunction\((\d+),(\d+)/(\d+)\)", a) for a in self.actions)
        return [(int(m[1]), int(m[2]), int(m[3])) for m in found if m]


@dataclass
class _Table:
    """Flows by the fields and bits that they match: one look for each such mask."""

    masks: dict[tuple[tuple[str, int], ...], dict[tuple[int, ...], list[_Flow]]] = field(
        default_factory=dict
    )

    def add(self, flow: _Flow) -> None:
        self.masks.setdefault(flow.mask, {}).setdefault(flow.value, []).append(flow)

    def matching(self, packet: Mapping[str, int]) -> Iterator[_Flow]:
        for mask, flows in self.masks.items():
            if all(name in packet for name, _ in mask):
                yield from flows.get(tuple(packet[name] & bits for name, bits in mask), ())


class FlowTables:
    """Flows as `FakeSwitch.dump_flows` shows them."""

    def __init__(self, flows: list[str]) -> None:
        self._tables: dict[str, _Table] = {}
        for text in flows:
            table, flow = _read(text)
            self._tables.setdefault(table, _Table()).add(flow)

    def send(self, packet: Fields, table: str, until: frozenset[str]) -> Left | Dropped:
        """Send a packet to 'table': until it comes to one of those others, or ends."""
        packet = dict(packet)
        for _ in range(20):
            flow = self._lookup(table, packet)
            if flow is None:
                return Dropped(f"table={table}: no flow", told=False)
            following = ""
            for action in flow.actions:
                if found := re.fullmatch(r"set_field:(\w+)(?:/\w+)?->(\w+)", action):
                    packet[found[2]] = int(found[1], 0)
                elif found := re.fullmatch(r"goto_table:(\w+)|resubmit\(,(\w+)\)", action):
                    following = found[1] or found[2]
            if not following:
                return Dropped(flow.text, any(a.startswith("controller(") for a in flow.actions))
            if following in until:
                return Left(following)
            table = following
        raise AssertionError("the packet goes round and round")

    def _lookup(self, table: str, packet: Fields) -> _Flow | None:
        """Of the highest priority at which a flow matches, or all of a conjunction does."""
        flows = list(self._tables[table].matching(packet))
        plain = [flow for flow in flows if not flow.conjunctions]
        for priority in sorted({flow.priority for flow in flows}, reverse=True):
            here = [flow for flow in plain if flow.priority == priority]
            parts: dict[tuple[int, int], set[int]] = {}
            for flow in flows:
                if flow.priority == priority:
                    for number, k, n in flow.conjunctions:
                        parts.setdefault((number, n), set()).add(k)
            assert not (here and parts), "what OpenFlow leaves open"
            assert len(here) <= 1, "likewise"
            if here:
                return here[0]
            whole = [number for (number, n), found in parts.items() if len(found) == n]
            if whole:
                found = [self._plain(table, packet | {"conj_id": n}) for n in whole]
                assert all(found)
                assert len({flow.actions for flow in found if flow}) == 1, "likewise"
                return found[0]
        return None

    def _plain(self, table: str, packet: Fields) -> _Flow | None:
        found = [f for f in self._tables[table].matching(packet) if not f.conjunctions]
        return max(found, key=lambda flow: flow.priority, default=None)


def packet_of(protocol: str, source: str, target: str, port: int = 0) -> Fields:
    """The fields of a connection's first packet, as conntrack knows it."""
    version = ip_address(source).version
    name = protocol.lower()
    packet = {"eth_type": 0x800 if version == 4 else 0x86DD, "conj_id": 0}
    packet["ct_state"] = _CT_STATE["trk"] | _CT_STATE["new"]
    packet["reg6"] = packet["reg5"] = packet["reg9"] = packet["reg0"] = 0
    prefix = "nw" if version == 4 else "ipv6"
    packet[f"{prefix}_src"] = int(ip_address(source))
    packet[f"{prefix}_dst"] = int(ip_address(target))
    packet["nw_proto"] = 58 if (name, version) == ("icmp", 6) else _PROTOCOLS[name]
    if name != "icmp":
        packet["tp_dst"] = port
    return packet


@lru_cache(maxsize=65536)
def _read(text: str) -> tuple[str, _Flow]:
    match_text, actions = text.split(" actions=")
    table, _, rest = match_text.removeprefix("table=").partition(", ")
    priority = 32768
    fields: dict[str, tuple[int, int]] = {}
    for part in rest.split(","):
        name, _, value = part.partition("=")
        if name == "priority":
            priority = int(value)
        elif value:
            fields[name] = _value(name, value)
        elif part:
            fields |= _word(part)
    ordered = sorted(fields.items())
    return table, _Flow(
        priority,
        tuple((name, mask) for name, (_, mask) in ordered),
        tuple(value & mask for _, (value, mask) in ordered),
        tuple(_ACTION.findall(actions)),
        text,
    )


def _word(word: str) -> dict[str, tuple[int, int]]:
    """What a match's protocol stands for."""
    six = word in ("ipv6", "icmp6") or word.endswith("6")
    found = {"eth_type": (0x86DD if six else 0x800, 0xFFFF)}
    name = word.removesuffix("6")
    if name in _PROTOCOLS:
        found["nw_proto"] = (_PROTOCOLS[name], 0xFF)
    else:
        assert word in ("ip", "ipv6"), word
    return found


def _value(name: str, text: str) -> tuple[int, int]:
    """A field's value and mask."""
    if name == "ct_state":
        bits = re.findall(r"([+-])(\w+)", text)
        mask = sum(_CT_STATE[flag] for _, flag in bits)
        return sum(_CT_STATE[flag] for sign, flag in bits if sign == "+"), mask
    if name.startswith(("nw_s", "nw_d", "ipv6_")):
        network = ip_network(text)
        return int(network.network_address), int(network.netmask)
    value, _, mask = text.partition("/")
    number = 0xFFFFFFFE if value == "LOCAL" else int(value, 0)
    return number, int(mask, 0) if mask else (1 << 32) - 1
