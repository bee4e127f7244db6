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


class FlowStats(Struct, frozen=True, gc=False):
    """What a flow has done; packets and bytes are 2**64 - 1 where the switch doesn't know."""

    packets: int
    bytes: int
    duration: float
    """Seconds since the flow was added."""


class Flow(Struct, frozen=True, gc=False):
    """A flow.  Two are equal if all that the switch keeps of them is, but for statistics.

    Attributes
    ----------
    table
        0 to 254.
    priority
        0 to 65535; of the flows of a table that match a packet, the highest one counts.
    match
        What packets it is for.
    instructions
        What it does with them, as in OpenFlow's flow_mod; `actions` reads them.
    cookie
        64 bits of whoever adds it.
    idle_timeout, hard_timeout
        Seconds after which it goes: without packets, or in any case; 0: never.
    importance
        Where the table is full, those with less go first.
    flags
        Bits of OFPFF_*: 1 is ``send_flow_rem``.

    Examples
    --------
    >>> from nsxdp.openflow import Flow
    >>> flow = Flow.parse("table=20,priority=200,tcp,nw_dst=10.96.0.10,tp_dst=80,actions=group:7")
    >>> flow.priority, flow.match, flow.actions
    (200, Match.parse('tcp,nw_dst=10.96.0.10,tp_dst=80'), Actions.parse('group:7'))
    >>> Flow.decode(flow.encode()) == flow
    True
    >>> print(flow)
    table=20, priority=200,tcp,nw_dst=10.96.0.10,tp_dst=80 actions=group:7
    """

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

        Parameters
        ----------
        tables
            Names that the text may use for tables.

        Raises
        ------
        ParseError
            The text isn't one; says where.
        """
        return cls._of(codec.flow_parse_fields(text, tables))

    @classmethod
    def decode(cls, message: bytes) -> Self:
        """Read an OFPT_FLOW_MOD's flow, whatever its command.

        Raises
        ------
        DecodeError
            These bytes aren't one whole OFPT_FLOW_MOD of OpenFlow 1.5.
        """
        _, fields = codec.flow_mod_decode(message)
        return cls._of(fields)

    @classmethod
    def decode_reply(cls, reply: bytes) -> list[tuple[Self, FlowStats]]:
        """Read the flows of an OFPMP_FLOW_DESC reply, each with its statistics.

        Raises
        ------
        DecodeError
            The reply is none, or a part of it is wrong.
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
        """The OFPT_FLOW_MOD that does ``command`` with it: `codec.FLOW_ADD`, say."""
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
        """The flow as ``ovs-ofctl dump-flows --no-stats`` prints it; ``str()`` does it too.

        Parameters
        ----------
        tables
            Names to print instead of numbers.
        cookie
            Whether to print the cookie; ``str()`` does where it isn't 0.
        """
        return codec.flow_format(self.encode(), tables, cookie)

    def without_cookie(self) -> Self:
        """The same flow with cookie 0."""
        return replace(self, cookie=0)

    def __str__(self) -> str:
        return self.format(cookie=self.cookie != 0)


class Group(Struct, frozen=True, gc=False):
    """A group.

    Attributes
    ----------
    group_id
        0 to 0xffffff00.
    type
        OFPGT_*: 0 all, 1 select, 2 indirect, 3 fast failover.
    buckets
        ``struct ofp15_bucket``, one after the other.
    properties
        The selection method and its fields (Open vSwitch's extension NTR).

    Examples
    --------
    >>> from nsxdp.openflow import Group
    >>> group = Group.parse("group_id=7,type=select,bucket=weight:100,actions=output:1")
    >>> group.type, len(group.encode())
    (1, 56)
    >>> print(group)
    group_id=7,type=select,bucket=bucket_id:0,weight:100,actions=output:1
    """

    group_id: int
    type: int
    buckets: bytes
    properties: bytes = b""

    @classmethod
    def parse(cls, text: str, tables: Tables | None = None) -> Self:
        """Read a group in ovs-ofctl's syntax; however long, it is one here.

        Parameters
        ----------
        tables
            Names that the text may use for tables.

        Raises
        ------
        ParseError
            The text isn't one; says where.
        """
        return cls(*codec.group_parse_fields(text, tables))

    @classmethod
    def decode(cls, messages: bytes) -> Self:
        """Read an OFPT_GROUP_MOD's group, with the INSERT_BUCKETs that follow if it is long.

        Raises
        ------
        DecodeError
            These bytes aren't such messages of OpenFlow 1.5.
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
            The reply is none, or a part of it is wrong.
        """
        return [cls(*fields) for fields in codec.group_descs(reply)]

    def encode(self, command: int = codec.GROUP_ADD, xid: int = 0) -> bytes:
        """The OFPT_GROUP_MOD that does ``command`` with it: `codec.GROUP_ADD`, say.

        Raises
        ------
        ValueError
            The group is too long for one message, which has at most 65535 bytes.
        """
        fields = (self.group_id, self.type, self.buckets, self.properties)
        return codec.group_mod_encode(fields, command, xid)

    def format(self, tables: Tables | None = None) -> str:
        """The group as ``ovs-ofctl dump-groups`` prints it, with names of ``tables``."""
        return codec.group_format(self.encode(), tables)

    def __str__(self) -> str:
        return self.format()
