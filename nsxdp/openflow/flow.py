"""Flows and groups as values: for one at a time, in tests, tools and messages to people.

Bulk work doesn't come here: it is done on columns and bytes, by `nsxdp.openflow.template` and
`nsxdp.openflow.desired`.
"""

from __future__ import annotations

from typing import Self

from msgspec import Struct
from msgspec.structs import replace

from nsxdp.openflow import codec
from nsxdp.openflow.codec import Tables
from nsxdp.openflow.parts import Actions, Match

__all__ = ["Flow", "FlowStats", "Group"]


class FlowStats(Struct, frozen=True):
    """What a flow has done."""

    packets: int
    bytes: int
    duration: float
    """Seconds since the flow was added."""


class Flow(Struct, frozen=True):
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
        """Read a flow in ovs-ofctl's syntax; it may be one that a switch would refuse.

        Raises
        ------
        ParseError
        """
        return cls._of(codec.flow_parse_fields(text, tables))

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
        fields = (
            self.table,
            self.priority,
            self.match,
            self.instructions,
            self.cookie,
            self.idle_timeout,
            self.hard_timeout,
            self.importance,
            self.flags,
        )
        return codec.flow_mod_encode(fields, command, xid)

    def format(self, tables: Tables | None = None, *, cookie: bool = False) -> str:
        """The flow as ``ovs-ofctl dump-flows --no-stats`` prints it."""
        return codec.flow_format(self.encode(), tables, cookie)

    def without_cookie(self) -> Self:
        """The same flow with cookie 0."""
        return replace(self, cookie=0)

    def __str__(self) -> str:
        return self.format(cookie=self.cookie != 0)


class Group(Struct, frozen=True):
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
        return cls(*codec.group_parse_fields(text, tables))

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
        fields = (self.group_id, self.type, self.buckets, self.properties)
        return codec.group_mod_encode(fields, command, xid)

    def format(self, tables: Tables | None = None) -> str:
        """The group as ``ovs-ofctl dump-groups`` prints it."""
        return codec.group_format(self.encode(), tables)

    def __str__(self) -> str:
        return self.format()
