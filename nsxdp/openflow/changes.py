"""What has to be sent so that a switch has some flows and no others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from nsxdp.openflow import codec
from nsxdp.openflow.codec import Tables
from nsxdp.openflow.flow import Flow
from nsxdp.openflow.messages import HEADER
from nsxdp.openflow.stats import FlowTable

__all__ = ["Changes", "FlowLike", "between", "compare", "diff_line", "flow_mods"]

FlowLike = Flow | str | bytes
"""A flow, its text in ovs-ofctl's syntax, or the OFPT_FLOW_MOD that adds it."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference between flows that are installed and flows that are wanted.

    It is false where there is none.  Each flow is the OFPT_FLOW_MOD that would add it.

    Attributes
    ----------
    added, removed
        Flows that are only wanted, and that are only installed.
    changed
        Of each flow that is otherwise than it is wanted, the installed and the wanted one.
    unchanged
        How many are right.

    Examples
    --------
    >>> from nsxdp.openflow.changes import between, flow_mods
    >>> old = flow_mods(["tcp,tp_dst=80 actions=drop", "tcp,tp_dst=22 actions=LOCAL"])
    >>> new = flow_mods(["tcp,tp_dst=80 actions=LOCAL", "tcp,tp_dst=22 actions=LOCAL"])
    >>> changes = between(old, new)
    >>> changes.unchanged
    1
    >>> for line in changes.lines():
    ...     print(line)
    -tcp,tp_dst=80 actions=drop
    +tcp,tp_dst=80 actions=LOCAL
    """

    added: list[bytes] = field(default_factory=list)
    changed: list[tuple[bytes, bytes]] = field(default_factory=list)
    removed: list[bytes] = field(default_factory=list)
    unchanged: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def messages(self) -> bytes:
        """What makes the installed flows the wanted ones: additions first, then deletions."""
        new = [*self.added, *(new for _, new in self.changed)]
        return b"".join([*new, *(_delete_strict(old) for old in self.removed)])

    def lines(self, tables: Tables | None = None) -> list[str]:
        """As ``ovs-ofctl diff-flows`` prints it, sorted by flow: - installed, + wanted.

        Parameters
        ----------
        tables
            Names to print instead of numbers.
        """
        pairs = [("-", flow) for flow in self.removed] + [("+", flow) for flow in self.added]
        for old, new in self.changed:
            pairs += [("-", old), ("+", new)]
        rank = {"-": 0, "+": 1}
        pairs.sort(key=lambda pair: (_order(pair[1]), rank[pair[0]]))
        return [sign + diff_line(flow, tables) for sign, flow in pairs]


def flow_mods(flows: Iterable[FlowLike], tables: Tables | None = None) -> list[bytes]:
    """The OFPT_FLOW_MODs that add some flows.

    Raises
    ------
    ParseError
        A text is no flow; says where.
    """
    mods = []
    for flow in flows:
        if isinstance(flow, str):
            mods.append(codec.flow_parse(flow, codec.FLOW_ADD, tables))
        else:
            mods.append(flow.encode() if isinstance(flow, Flow) else flow)
    return mods


def compare(installed: FlowTable, wanted: Iterable[bytes]) -> Changes:
    """Compare what a switch has with what it should have; of equal flows the last one counts.

    Cookie, timeouts, importance and instructions are compared, as ``ovs-ofctl replace-flows``
    compares them.

    Parameters
    ----------
    installed
        What a switch has: `Switch.dump`.
    wanted
        The OFPT_FLOW_MODs that add what it should have: `flow_mods`.

    Raises
    ------
    DecodeError
        Something that is wanted is no OFPT_FLOW_MOD.
    """
    removed, changed, unchanged = [], [], 0
    missing = _by_key(wanted)
    for i in range(len(installed)):
        found = missing.pop(installed.key(i), None)
        if found is None:
            removed.append(installed.flow_mod(i))
        elif found[0] != installed.content(i):
            changed.append((installed.flow_mod(i), found[1]))
        else:
            unchanged += 1
    return Changes([mod for _, mod in missing.values()], changed, removed, unchanged)


def between(before: Iterable[bytes], after: Iterable[bytes]) -> Changes:
    """Compare two lists of the OFPT_FLOW_MODs that add flows, as `compare` does.

    Raises
    ------
    DecodeError
        Something among them is no OFPT_FLOW_MOD.
    """
    old, new = _by_key(before), _by_key(after)
    both = old.keys() & new.keys()
    changed = [
        (old[key][1], new[key][1]) for key in old if key in both and old[key][0] != new[key][0]
    ]
    return Changes(
        [mod for key, (_, mod) in new.items() if key not in both],
        changed,
        [mod for key, (_, mod) in old.items() if key not in both],
        len(both) - len(changed),
    )


_Key = tuple[int, int, bytes]
_Content = tuple[int, int, int, int, bytes]


def _by_key(mods: Iterable[bytes]) -> dict[_Key, tuple[_Content, bytes]]:
    found = {}
    for mod in mods:
        _, (table, priority, match, instructions, *rest) = codec.flow_mod_decode(mod)
        cookie, idle, hard, importance, _ = rest
        content = (cookie, idle, hard, importance, instructions)
        found[table, priority, match] = (content, mod)
    return found


def diff_line(flow_mod: bytes, tables: Tables | None = None) -> str:
    """A flow as ``ovs-ofctl diff-flows`` prints it, without its sign."""
    _, fields = codec.flow_mod_decode(flow_mod)
    table, _, _, _, cookie, idle, hard, importance, _ = fields
    # The same in table 0 with nothing but match and instructions.
    bare = bytearray(flow_mod)
    bare[8:30] = bytes(22)
    bare[44:48] = bytes(4)
    match, _, actions = codec.flow_format(bytes(bare)).partition("actions=")
    parts = []
    if table:
        name = tables.by_number[table] if tables is not None else None
        parts.append(f"table={name.decode() if name else table}")
    # Nothing to match still has its place.
    parts.append(match.rstrip())
    if cookie:
        parts.append(f"cookie={cookie:#x}")
    if idle:
        parts.append(f"idle_timeout={idle}")
    if hard:
        parts.append(f"hard_timeout={hard}")
    if importance:
        parts.append(f"importance={importance}")
    if tables is not None:
        actions = codec.flow_format(flow_mod, tables).partition("actions=")[2]
    return " ".join([*parts, f"actions={actions}"])


def _order(flow_mod: bytes) -> tuple[int, int, bytes]:
    _, (table, priority, match, *_) = codec.flow_mod_decode(flow_mod)
    return table, -priority, match


def _delete_strict(flow_mod: bytes) -> bytes:
    """The OFPT_FLOW_MOD that deletes this flow only, whatever its cookie."""
    _, (_, _, match, *_) = codec.flow_mod_decode(flow_mod)
    head = bytearray(flow_mod[: HEADER.size + 40])
    head[8:24] = bytes(16)
    head[25] = codec.FLOW_DELETE_STRICT
    head[26:30] = bytes(4)
    head[44:48] = bytes(4)
    length = len(head) + len(match)
    head[2:4] = length.to_bytes(2, "big")
    return bytes(head) + match
