"""Flows and groups as values: for one at a time, in tests, tools and messages to people.

Bulk work doesn't come here: it is done on columns and bytes, by `nsxdp.openflow.template` and
`nsxdp.openflow.desired`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Self

from nsxdp.openflow import codec
from nsxdp.openflow.codec import Tables
from nsxdp.openflow.messages import HEADER, NO_BUFFER, FlowMod, GroupMod, frame
from nsxdp.openflow.parts import Actions, Match

__all__ = ["Flow", "FlowStats", "Group"]

_ANY = 0xFFFFFFFF
_FLOW_MOD = struct.Struct("!QQBBHHHIIIHH")
_GROUP_MOD = struct.Struct("!HBxIH2xI")
_ALL_BUCKETS = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class FlowStats:
    """What a flow has done."""

    packets: int
    bytes: int
    duration: float
    """Seconds since the flow was added."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow.  Two are equal if all that the switch keeps of them is, but for statistics."""

    table: int
    priority: int
    match: Match
    instructions: bytes
    cookie: int = 0
    idle_timeout: int = 0
    hard_timeout: int = 0
    importance: int = 0
    flags: int = 0

    @classmethod
    def parse(cls, text: str, tables: Tables | None = None) -> Self:
        """Read a flow in ovs-ofctl's syntax.

        Raises
        ------
        ParseError
        """
        # What a switch would refuse is a flow all the same: no check of the bytes.
        message = codec.flow_parse(text, tables=tables)
        body = message[HEADER.size :]
        head = _FLOW_MOD.unpack_from(body)
        cookie, _, table, _, idle_timeout, hard_timeout, priority = head[:7]
        match = body[_FLOW_MOD.size :]
        end = (int.from_bytes(match[2:4], "big") + 7) // 8 * 8
        return cls(
            table,
            priority,
            Match(match[:end]),
            match[end:],
            cookie,
            idle_timeout,
            hard_timeout,
            importance=head[11],
            flags=head[10],
        )

    @classmethod
    def decode(cls, message: bytes) -> Self:
        """Read an OFPT_FLOW_MOD's flow.

        Raises
        ------
        DecodeError
        """
        _, fields = codec.flow_mod_decode(message)
        return cls._of(fields)

    @classmethod
    def decode_reply(cls, reply: bytes) -> list[tuple[Self, FlowStats]]:
        """Read the flows of an OFPMP_FLOW_DESC reply.

        Raises
        ------
        DecodeError
        """
        return [(cls._of(fields), FlowStats(*stats)) for fields, stats in codec.flow_descs(reply)]

    @classmethod
    def _of(cls, fields: codec.FlowFields) -> Self:
        return cls(fields[0], fields[1], Match(fields[2]), *fields[3:])

    @property
    def actions(self) -> Actions:
        """The instructions, as a value of their own."""
        return Actions(self.instructions)

    def encode(self, command: int = codec.FLOW_ADD, xid: int = 0) -> bytes:
        """The OFPT_FLOW_MOD that does ``command`` with it."""
        head = _FLOW_MOD.pack(
            self.cookie,
            0,
            self.table,
            command,
            self.idle_timeout,
            self.hard_timeout,
            self.priority,
            NO_BUFFER,
            _ANY,
            _ANY,
            self.flags,
            self.importance,
        )
        return frame(FlowMod.type, xid, head + self.match + self.instructions)

    def format(self, tables: Tables | None = None, *, cookie: bool = False) -> str:
        """The flow as ``ovs-ofctl dump-flows --no-stats`` prints it."""
        return codec.flow_format(self.encode(), tables, cookie)

    def without_cookie(self) -> Self:
        """The same flow with cookie 0."""
        return replace(self, cookie=0)

    def __str__(self) -> str:
        return self.format(cookie=self.cookie != 0)


@dataclass(frozen=True, slots=True)
class Group:
    """A group."""

    group_id: int
    type: int
    buckets: bytes
    """``struct ofp15_bucket``, one after the other."""
    properties: bytes = b""
    """The selection method and its fields."""

    @classmethod
    def parse(cls, text: str, tables: Tables | None = None) -> Self:
        """Read a group in ovs-ofctl's syntax; however long, it is one here.

        Raises
        ------
        ParseError
        """
        # What a switch would refuse is a group all the same: no check of the bytes.
        view = memoryview(codec.group_parse(text, tables=tables))
        group_id = kind = 0
        buckets, properties = b"", b""
        while len(view):
            body = view[HEADER.size : int.from_bytes(view[2:4], "big")]
            _, part, group_id, length, _ = _GROUP_MOD.unpack_from(body)
            end = _GROUP_MOD.size + length
            if not buckets:
                kind, properties = part, bytes(body[end:])
            buckets += body[_GROUP_MOD.size : end]
            view = view[HEADER.size + len(body) :]
        return cls(group_id, kind, buckets, properties)

    @classmethod
    def decode(cls, messages: bytes) -> Self:
        """Read an OFPT_GROUP_MOD's group, with the INSERT_BUCKETs that follow if it is long.

        Raises
        ------
        DecodeError
        """
        parts = []
        view = memoryview(messages)
        while len(view):
            length = max(int.from_bytes(view[2:4], "big"), 1)
            _, _, fields = codec.group_mod_decode(view[:length])
            parts.append(fields)
            view = view[length:]
        first = parts[0] if parts else codec.group_mod_decode(b"")[2]
        return cls(first[0], first[1], b"".join(part[2] for part in parts), first[3])

    @classmethod
    def decode_reply(cls, reply: bytes) -> list[Self]:
        """Read the groups of an OFPMP_GROUP_DESC reply.

        Raises
        ------
        DecodeError
        """
        return [cls(*fields) for fields in codec.group_descs(reply)]

    def encode(self, command: int = codec.GROUP_ADD, xid: int = 0) -> bytes:
        """The OFPT_GROUP_MOD that does ``command`` with it.

        Raises
        ------
        ValueError
            The group is too long for one message.
        """
        head = _GROUP_MOD.pack(command, self.type, self.group_id, len(self.buckets), _ALL_BUCKETS)
        return frame(GroupMod.type, xid, head + self.buckets + self.properties)

    def format(self, tables: Tables | None = None) -> str:
        """The group as ``ovs-ofctl dump-groups`` prints it."""
        return codec.group_format(self.encode(), tables)

    def __str__(self) -> str:
        return self.format()
