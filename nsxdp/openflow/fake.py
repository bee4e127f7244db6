"""A switch in memory, for tests without one.

It takes encoded messages, all of them or none, as a bridge takes a bundle; applies OpenFlow's
semantics with Open vSwitch's errors; and shows what it has as text, or as the replies that a bridge
would send.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Final

from typing_extensions import Buffer

from nsxdp.openflow.codec import (
    FLOW_ADD,
    FLOW_DELETE,
    FLOW_DELETE_STRICT,
    GROUP_ADD,
    GROUP_ADD_OR_MOD,
    GROUP_DELETE,
    GROUP_INSERT_BUCKET,
    GROUP_MODIFY,
    GROUP_REMOVE_BUCKET,
    Tables,
    flow_format,
    flow_mod_decode,
    group_format,
    group_mod_decode,
    message_format,
)
from nsxdp.openflow.errors import CommitError
from nsxdp.openflow.requests import ALL_GROUPS, ALL_TABLES

__all__ = ["FakeGroup", "FakeSwitch", "FlowKey"]

FlowKey = tuple[int, int, bytes]
"""Table, priority, match."""

_VERSION: Final = 6
_FLOW_MOD: Final = 14
_GROUP_MOD: Final = 15
_MULTIPART_REPLY: Final = 19
_FLOW_DESC: Final = 1
_GROUP_DESC: Final = 7
_REPLY_MORE: Final = 1

_EMPTY_MATCH: Final = b"\0\1\0\4\0\0\0\0"
_BUCKET_FIRST: Final = 0xFFFFFFFD
_BUCKET_LAST: Final = 0xFFFFFFFE
_BUCKET_ALL: Final = 0xFFFFFFFF
_MAX_BODY: Final = 60000

_USES_GROUP = re.compile(r"\bgroup:(\d+)")


class _Refused(Exception):  # noqa: N818
    """A message has an error, whose name this is."""


@dataclass(frozen=True, slots=True)
class FakeGroup:
    """A group: its type, properties, and its buckets by id, in their order."""

    type: int
    properties: bytes
    buckets: dict[int, bytes]


class FakeSwitch:
    """A bridge's flows and groups.

    Attributes
    ----------
    flows
        For each flow the flow_mod that added it.
    groups
        By id.
    messages
        How many messages were applied so far.

    Examples
    --------
    >>> from nsxdp.openflow import Flow
    >>> from nsxdp.openflow.fake import FakeSwitch
    >>> switch = FakeSwitch()
    >>> switch.apply(Flow.parse("table=1,tcp,tp_dst=80,actions=drop").encode())
    1
    >>> switch.dump_flows()
    ['table=1, tcp,tp_dst=80 actions=drop']
    >>> switch.apply(Flow.parse("actions=group:5").encode())
    Traceback (most recent call last):
      ...
    nsxdp.openflow.errors.CommitError: OFPBAC_BAD_OUT_GROUP: message 0: ...
    """

    def __init__(self, tables: Tables | None = None) -> None:
        self.flows: dict[FlowKey, bytes] = {}
        self.groups: dict[int, FakeGroup] = {}
        self.messages = 0
        self._tables = tables
        self._uses: dict[FlowKey, frozenset[int]] = {}

    def apply(self, messages: Buffer) -> int:
        """Apply flow_mods and group_mods, all or none, and return how many there were.

        Raises
        ------
        CommitError
            A message is not valid at its place; nothing was changed.
        """
        before = dict(self.flows), dict(self.groups), dict(self._uses)
        n = 0
        for index, message in enumerate(_split(bytes(messages))):
            try:
                self._apply_one(message)
            except _Refused as e:
                self.flows, self.groups, self._uses = before
                text = message_format(message, self._tables)
                raise CommitError(str(e), text, index, message) from None
            n = index + 1
        self.messages += n
        return n

    def dump_flows(self, *, cookies: bool = False) -> list[str]:
        """The flows as ``ovs-ofctl dump-flows --no-stats --sort`` would print them."""
        ordered = sorted(self.flows, key=lambda key: (key[0], -key[1], key[2]))
        return [flow_format(self.flows[key], self._tables, cookies) for key in ordered]

    def dump_groups(self) -> list[str]:
        """The groups, by id, as ``ovs-ofctl dump-groups`` would print them."""
        return [self._group_text(group_id) for group_id in sorted(self.groups)]

    def replies(self) -> list[bytes]:
        """What a bridge would answer to OFPMP_FLOW_DESC and OFPMP_GROUP_DESC requests."""
        flows = [_flow_desc(message) for message in self.flows.values()]
        groups = [_group_desc(group_id, group) for group_id, group in self.groups.items()]
        return [*_replies(_FLOW_DESC, flows), *_replies(_GROUP_DESC, groups)]

    def _apply_one(self, message: bytes) -> None:
        if message[1] == _FLOW_MOD:
            self._flow_mod(message)
        elif message[1] == _GROUP_MOD:
            self._group_mod(message)
        else:
            raise _Refused("OFPBRC_BAD_TYPE")

    # Flows.

    def _flow_mod(self, message: bytes) -> None:
        command, (table, priority, match, *_) = flow_mod_decode(message)
        key = (table, priority, match)
        if command == FLOW_ADD:
            uses = frozenset(map(int, _USES_GROUP.findall(flow_format(message))))
            if not uses <= self.groups.keys():
                raise _Refused("OFPBAC_BAD_OUT_GROUP")
            self.flows[key] = message
            self._uses[key] = uses
        elif command == FLOW_DELETE_STRICT:
            self._delete(key)
        elif command == FLOW_DELETE and match == _EMPTY_MATCH:
            cookie, mask = struct.unpack_from(">QQ", message, 8)
            for other, flow in list(self.flows.items()):
                theirs: int = struct.unpack_from(">Q", flow, 8)[0]
                if table in (ALL_TABLES, other[0]) and theirs & mask == cookie & mask:
                    self._delete(other)
        else:
            raise NotImplementedError(message_format(message, self._tables))

    def _delete(self, key: FlowKey) -> None:
        self.flows.pop(key, None)
        self._uses.pop(key, None)

    # Groups.

    def _group_mod(self, message: bytes) -> None:
        command, bucket_id, (group_id, kind, buckets, properties) = group_mod_decode(message)
        if command in (GROUP_ADD, GROUP_MODIFY, GROUP_ADD_OR_MOD):
            if command == GROUP_ADD and group_id in self.groups:
                raise _Refused("OFPGMFC_GROUP_EXISTS")
            if command == GROUP_MODIFY and group_id not in self.groups:
                raise _Refused("OFPGMFC_UNKNOWN_GROUP")
            self.groups[group_id] = FakeGroup(kind, properties, _insert({}, buckets, _BUCKET_LAST))
        elif command == GROUP_DELETE:
            deleted = set(self.groups) if group_id == ALL_GROUPS else {group_id}
            for other in deleted:
                self.groups.pop(other, None)
            for key, uses in list(self._uses.items()):
                if uses & deleted:
                    self._delete(key)
        elif command in (GROUP_INSERT_BUCKET, GROUP_REMOVE_BUCKET):
            group = self.groups.get(group_id)
            if group is None:
                raise _Refused("OFPGMFC_UNKNOWN_GROUP")
            if command == GROUP_INSERT_BUCKET:
                left = _insert(group.buckets, buckets, bucket_id)
            elif bucket_id == _BUCKET_ALL:
                left = {}
            else:
                left = {i: bucket for i, bucket in group.buckets.items() if i != bucket_id}
                if len(left) == len(group.buckets):
                    raise _Refused("OFPGMFC_UNKNOWN_BUCKET")
            self.groups[group_id] = FakeGroup(group.type, group.properties, left)
        else:
            raise _Refused("OFPGMFC_BAD_COMMAND")

    def _group_text(self, group_id: int) -> str:
        group = self.groups[group_id]
        texts = [
            group_format(_group_mod(group_id, group, buckets), self._tables)
            for buckets in _pieces(list(group.buckets.values())) or [b""]
        ]
        more = [text[text.index(",bucket=") :] for text in texts[1:]]
        return texts[0] + "".join(more)


def _split(messages: bytes) -> list[bytes]:
    split = []
    start = 0
    while start < len(messages):
        length = struct.unpack_from(">H", messages, start + 2)[0]
        split.append(messages[start : start + length])
        start += length
    return split


def _insert(old: dict[int, bytes], buckets: bytes, where: int) -> dict[int, bytes]:
    """The buckets of a group after those of an insert_bucket went 'where' it says."""
    new: dict[int, bytes] = {}
    start = 0
    while start < len(buckets):
        length, _, bucket_id = struct.unpack_from(">HHI", buckets, start)
        if bucket_id in old or bucket_id in new:
            raise _Refused("OFPGMFC_BUCKET_EXISTS")
        new[bucket_id] = buckets[start : start + length]
        start += length
    if where == _BUCKET_LAST:
        return {**old, **new}
    if where == _BUCKET_FIRST:
        return {**new, **old}
    if where not in old:
        raise _Refused("OFPGMFC_UNKNOWN_BUCKET")
    ids = list(old)
    after = ids.index(where) + 1
    head = {i: old[i] for i in ids[:after]}
    return {**head, **new, **{i: old[i] for i in ids[after:]}}


def _pieces(items: list[bytes]) -> list[bytes]:
    """The items, joined to pieces that fit into a message."""
    pieces: list[list[bytes]] = []
    size = _MAX_BODY
    for item in items:
        if size + len(item) > _MAX_BODY:
            pieces.append([])
            size = 0
        pieces[-1].append(item)
        size += len(item)
    return [b"".join(piece) for piece in pieces]


def _group_mod(group_id: int, group: FakeGroup, buckets: bytes) -> bytes:
    length = 24 + len(buckets) + len(group.properties)
    header = struct.pack(">BBHI", _VERSION, _GROUP_MOD, length, 0)
    body = struct.pack(">HBxIHxxI", 0, group.type, group_id, len(buckets), _BUCKET_ALL)
    return header + body + buckets + group.properties


def _flow_desc(message: bytes) -> bytes:
    _, (table, priority, match, instructions, cookie, idle, hard, importance, flags) = (
        flow_mod_decode(message)
    )
    stats = struct.pack(">HH4x", 0, 4)
    rest = match + stats + instructions
    return (
        struct.pack(
            ">HxxBxHHHHHQ",
            24 + len(rest),
            table,
            priority,
            idle,
            hard,
            flags,
            importance,
            cookie,
        )
        + rest
    )


def _group_desc(group_id: int, group: FakeGroup) -> bytes:
    buckets = b"".join(group.buckets.values())
    length = 16 + len(buckets) + len(group.properties)
    header = struct.pack(">HBxIH6x", length, group.type, group_id, len(buckets))
    return header + buckets + group.properties


def _replies(kind: int, items: list[bytes]) -> list[bytes]:
    bodies = _pieces(items) or [b""]
    replies = []
    for i, body in enumerate(bodies):
        more = _REPLY_MORE if i < len(bodies) - 1 else 0
        header = struct.pack(">BBHI", _VERSION, _MULTIPART_REPLY, 16 + len(body), 0)
        replies.append(header + struct.pack(">HH4x", kind, more) + body)
    return replies
