"""The switch against the intent: what is missing, too many or different, and whose it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, NamedTuple

import numpy as np

from nsxdp.openflow import Delta, FlowTable, Group, RequestError, Switch, codec
from nsxdp.openflow.changes import diff_line
from nsxdp.openflow.stats import FLOW_ROW
from nsxdp.pipeline.registers import (
    COOKIE_FAMILY,
    COOKIE_FAMILY_MASK,
    COOKIE_PREFIX,
    LEARNED_COOKIE,
    NODE_COOKIE_FAMILY,
)
from nsxdp.pipeline.tables import STAGES, TABLES
from nsxdp.tracing.output import show_line
from nsxdp_agents.kube_proxy.inspect.intent import FlowKey, Intent, find_flow
from nsxdp_agents.kube_proxy.meter import METER

__all__ = ["Compared", "Difference", "compare", "objects", "show"]

_SETTLE_SECONDS: Final = 1.0
"""What is still different after that is not only under way."""

_FLOW_MOD: Final = 14
_GROUP_MOD: Final = 15
_NOBODY: Final = 0xFFFF_FFFF_FFFF_FFFF


class Difference(NamedTuple):
    """A flow, group or meter that is not as it should be.

    Attributes
    ----------
    owner
        Whose it is, in words; of what nobody needs, where it is.
    what
        ``flow``, ``group`` or ``meter``.
    has, wants
        The switch, and what it should have; empty: nothing.
    """

    owner: str
    what: str
    has: str
    wants: str

    @property
    def state(self) -> str:
        """``missing``, ``too many`` or ``different``."""
        if not self.has:
            return "missing"
        return "different" if self.wants else "too many"


class Compared(NamedTuple):
    """What a comparison has found.

    Attributes
    ----------
    flows, groups
        How many there are of ours on the switch that are right.
    foreign
        Somebody else's flows in our tables, and not the node agent's: they are left alone, and may
        do anything.
    """

    differences: list[Difference]
    flows: int
    groups: int
    foreign: list[str]


async def compare(intent: Intent, switch: Switch) -> Compared:
    """Compare; what differs is looked at a second time, for a change may be under way.

    Raises
    ------
    OpenFlowError
        The switch can't be asked.
    """
    first = await _compare(intent, switch)
    if not first.differences:
        return first
    await asyncio.sleep(_SETTLE_SECONDS)
    await intent.compile()
    second = await _compare(intent, switch)
    seen = set(first.differences)
    return second._replace(differences=[d for d in second.differences if d in seen])


async def _compare(intent: Intent, switch: Switch) -> Compared:
    desired = intent.desired
    desired.begin(verify=True)
    replies = []
    async for reply in switch.session.dump_flows():
        desired.installed(reply)
        replies.append(reply)
    async for reply in switch.session.dump_groups():
        desired.installed(reply)
    delta, diff = desired.diff()
    flows = FlowTable.read(replies, TABLES)
    differences = list(_flow_differences(intent, flows, delta))
    differences += [d async for d in _group_differences(intent, switch, delta)]
    differences += _old_flows(flows)
    differences += await _meter_differences(switch)
    return Compared(differences, diff.flows_right, diff.groups_right, _foreign(flows))


def _messages(data: Delta | bytes, kind: int) -> Iterator[bytes]:
    """Those of one kind."""
    view, at = bytes(data), 0
    while at < len(view):
        length = int.from_bytes(view[at + 2 : at + 4], "big")
        if view[at + 1] == kind:
            yield view[at : at + length]
        at += length


# Flows.


def _flow_differences(intent: Intent, flows: FlowTable, delta: Delta) -> Iterator[Difference]:
    ours = flows[(flows.cookie & np.uint64(COOKIE_FAMILY_MASK)) == COOKIE_FAMILY]
    messages = list(_messages(delta, _FLOW_MOD))
    keys = [codec.flow_mod_decode(message)[1][:3] for message in messages]
    owners = intent.desired.owners(*_rows(keys)).tolist()
    for message, key, owner in zip(messages, keys, owners, strict=True):
        there = find_flow(ours, key)
        has = "" if there is None else diff_line(_without_cookie(ours.flow_mod(there)), TABLES)
        if owner == _NOBODY:
            table = (TABLES.by_number[key[0]] or b"").decode() or str(key[0])
            yield Difference(f"nobody, in table {table}", "flow", has, "")
        else:
            wants = diff_line(_without_cookie(message), TABLES)
            if has == wants and there is not None:
                # The content is right, and the cookie says that it was another one's.
                has = diff_line(ours.flow_mod(there), TABLES)
            yield Difference(intent.whose(owner), "flow", has, wants)


def _rows(keys: list[FlowKey]) -> tuple[Any, bytes]:
    """Flows' keys as a `FlowTable` has them."""
    rows = np.zeros(len(keys), FLOW_ROW)
    at = 0
    for row, (table, priority, match) in zip(rows, keys, strict=True):
        row["table"], row["priority"] = table, priority
        row["match"], row["match_len"] = at, len(match)
        at += len(match)
    return rows, b"".join(match for _, _, match in keys)


def _without_cookie(flow_mod: bytes) -> bytes:
    return flow_mod[:8] + bytes(8) + flow_mod[16:]


def _prefixes(flows: FlowTable) -> Any:
    return flows.cookie >> np.uint64(48)


def _old_flows(flows: FlowTable) -> list[Difference]:
    """Flows of other versions of the pipeline."""
    prefixes = _prefixes(flows)
    ours = (flows.cookie & np.uint64(COOKIE_FAMILY_MASK)) == COOKIE_FAMILY
    old = ours & (prefixes != COOKIE_PREFIX) & (prefixes != LEARNED_COOKIE >> 48)
    return [
        Difference("another version of the pipeline", "flow", line, "")
        for line in flows[old].lines(stats=False)
    ]


def _foreign(flows: FlowTable) -> list[str]:
    families = flows.cookie & np.uint64(COOKIE_FAMILY_MASK)
    known = np.isin(families, np.array([COOKIE_FAMILY, NODE_COOKIE_FAMILY], np.uint64))
    numbers = [stage.number for stage in STAGES]
    return list(flows[~known & np.isin(flows.table, numbers)].lines(stats=False))


# Groups and the meter.


async def _group_differences(
    intent: Intent, switch: Switch, delta: Delta
) -> AsyncIterator[Difference]:
    numbers = sorted({codec.group_mod_decode(m)[2][0] for m in _messages(delta, _GROUP_MOD)})
    if not numbers:
        return
    wanted = _wanted_groups(intent, set(numbers))
    for number in numbers:
        has = ""
        async for reply in switch.session.dump_groups(number):
            has = "".join(group.format(TABLES) for group in Group.decode_reply(reply))
        owner = intent.whose(number) if number in wanted else "nobody, a group"
        yield Difference(owner, "group", has, wanted.get(number, ""))


def _wanted_groups(intent: Intent, numbers: set[int]) -> dict[int, str]:
    """Some of the groups of the intent, as text."""
    parts: dict[int, bytes] = {}
    for message in _messages(intent.desired.dump(), _GROUP_MOD):
        number = codec.group_mod_decode(message)[2][0]
        if number in numbers:
            parts[number] = parts.get(number, b"") + message
    return {number: Group.decode(data).format(TABLES) for number, data in parts.items()}


async def _meter_differences(switch: Switch) -> list[Difference]:
    try:
        found = [str(meter) for meter in await switch.meters(METER.meter_id)]
    except RequestError:
        found = []
    wants, has = (text.replace("\n", " ") for text in (str(METER), "".join(found)))
    return [] if has == wants else [Difference("every node", "meter", has, wants)]


# To people and programs.


def show(compared: Compared, *, summary: bool = False) -> None:
    """Print the differences by owner: ``-`` the switch has, ``+`` it should have."""
    by_owner: dict[str, list[Difference]] = {}
    for difference in compared.differences:
        by_owner.setdefault(difference.owner, []).append(difference)
    for owner, found in sorted(by_owner.items()):
        kinds: dict[str, int] = {}
        for difference in found:
            kind = f"{difference.what} {difference.state}"
            kinds[kind] = kinds.get(kind, 0) + 1
        said = ", ".join(f"{n} {kind.replace(' ', 's ', 1) if n > 1 else kind}"
                         for kind, n in kinds.items())  # fmt: skip
        show_line(f"{owner}: {said}")
        if summary:
            continue
        for difference in found:
            if difference.has:
                show_line(f"-{difference.has}", "red")
            if difference.wants:
                show_line(f"+{difference.wants}", "green")
    for line in compared.foreign:
        show_line(f"somebody else's flow, left alone: {line}", "yellow")
    if not compared.differences:
        show_line(f"alike: {compared.flows:,} flows, {compared.groups:,} groups")


def objects(compared: Compared) -> Iterator[dict[str, Any]]:
    """The differences for programs."""
    for difference in compared.differences:
        yield {**difference._asdict(), "state": difference.state}
    for line in compared.foreign:
        yield {"owner": "", "what": "flow", "has": line, "wants": "", "state": "foreign"}
