"""What changes a switch's state: flows, groups, meters."""

from __future__ import annotations

from typing import ClassVar, Final, Self

from nsxdp.openflow import codec
from nsxdp.openflow.codec import Tables
from nsxdp.openflow.messages.message import HEADER, Message
from nsxdp.openflow.messages.packets import ANY_MATCH, NO_BUFFER
from nsxdp.openflow.messages.ports import ANY_PORT
from nsxdp.openflow.parts import Actions, Match
from nsxdp.openflow.record import (
    Bits,
    Code,
    Property,
    Record,
    length,
    length_of,
    many,
    match,
    others,
    prop,
    record,
    rest,
    u8,
    u16,
    u32,
    u64,
)

__all__ = [
    "ALL_BUCKETS",
    "ALL_GROUPS",
    "ALL_METERS",
    "ALL_TABLES",
    "ANY_GROUP",
    "Band",
    "BandType",
    "Bucket",
    "FlowCommand",
    "FlowFlags",
    "FlowMod",
    "GroupCommand",
    "GroupMod",
    "GroupType",
    "MeterCommand",
    "MeterFlags",
    "MeterMod",
]

ALL_TABLES: Final = 0xFF
"""OFPTT_ALL."""
ALL_GROUPS: Final = 0xFFFFFFFC
"""OFPG_ALL."""
ANY_GROUP: Final = 0xFFFFFFFF
"""OFPG_ANY."""
ALL_METERS: Final = 0xFFFFFFFF
"""OFPM_ALL."""
ALL_BUCKETS: Final = 0xFFFFFFFF
"""OFPG_BUCKET_ALL."""


class FlowCommand(Code):
    """OFPFC_*: what a `FlowMod` does."""

    ADD = codec.FLOW_ADD
    MODIFY = codec.FLOW_MODIFY
    MODIFY_STRICT = codec.FLOW_MODIFY_STRICT
    DELETE = codec.FLOW_DELETE
    DELETE_STRICT = codec.FLOW_DELETE_STRICT


class FlowFlags(Bits):
    """OFPFF_*."""

    SEND_FLOW_REM = 1 << 0
    CHECK_OVERLAP = 1 << 1
    RESET_COUNTS = 1 << 2
    NO_PKT_COUNTS = 1 << 3
    NO_BYT_COUNTS = 1 << 4


@record
class FlowMod(Message):
    """Add, change or delete flows."""

    type = 14
    cookie: int = u64(default=0)
    cookie_mask: int = u64(default=0)
    """Of those to change or delete: the bits that must be as in ``cookie``."""
    table_id: int = u8(default=0)
    command: FlowCommand = u8(FlowCommand, default=FlowCommand.ADD)
    idle_timeout: int = u16(default=0)
    hard_timeout: int = u16(default=0)
    priority: int = u16(default=0)
    buffer_id: int = u32(default=NO_BUFFER)
    out_port: int = u32(default=ANY_PORT)
    out_group: int = u32(default=ANY_GROUP)
    flags: FlowFlags = u16(FlowFlags, default=FlowFlags(0))
    importance: int = u16(default=0)
    match: Match = match(default=ANY_MATCH)
    instructions: Actions = rest(Actions, default=Actions())

    @classmethod
    def parse(cls, text: str, command: int = FlowCommand.ADD, tables: Tables | None = None) -> Self:
        """Read a flow in ovs-ofctl's syntax.

        Raises
        ------
        ParseError
            The text isn't one; says where.
        """
        message = codec.flow_parse(text, command, tables)
        return cls.read(message, HEADER.size, len(message))[0]


class GroupCommand(Code):
    """OFPGC_*: what a `GroupMod` does."""

    ADD = codec.GROUP_ADD
    MODIFY = codec.GROUP_MODIFY
    DELETE = codec.GROUP_DELETE
    INSERT_BUCKET = codec.GROUP_INSERT_BUCKET
    REMOVE_BUCKET = codec.GROUP_REMOVE_BUCKET
    ADD_OR_MOD = codec.GROUP_ADD_OR_MOD
    """Open vSwitch's."""


class GroupType(Code):
    """OFPGT_*: what becomes of a packet in a group."""

    ALL = 0
    SELECT = 1
    INDIRECT = 2
    FF = 3


@record
class Bucket(Record):
    """One of the things that a group may do."""

    _length: ClassVar = length()
    _action_array_len: ClassVar = length_of("actions")
    bucket_id: int = u32()
    actions: bytes = rest()
    weight: int | None = prop(0, u16(), pad=2, default=None)
    watch_port: int | None = prop(1, u32(), default=None)
    watch_group: int | None = prop(2, u32(), default=None)
    others: tuple[Property, ...] = others(default=())


@record
class GroupMod(Message):
    """Add, change or delete a group."""

    type = 15
    command: GroupCommand = u16(GroupCommand)
    kind: GroupType = u8(GroupType, pad=1)
    """OpenFlow's ``type``."""
    group_id: int = u32()
    _bucket_array_len: ClassVar = length_of("buckets", pad=2)
    command_bucket_id: int = u32(default=ALL_BUCKETS)
    """The bucket to insert after, or to remove."""
    buckets: tuple[Bucket, ...] = many(Bucket, default=())
    properties: tuple[Property, ...] = others(default=())
    """The selection method and its fields, for one."""

    @classmethod
    def parse(
        cls, text: str, command: int = GroupCommand.ADD, tables: Tables | None = None
    ) -> list[Self]:
        """Read a group in ovs-ofctl's syntax; a long one takes more than one message.

        Raises
        ------
        ParseError
            The text isn't one; says where.
        """
        data, at, mods = codec.group_parse(text, command, tables), 0, []
        while at < len(data):
            end = at + int.from_bytes(data[at + 2 : at + 4], "big")
            mods.append(cls.read(data, at + HEADER.size, end)[0])
            at = end
        return mods


class MeterCommand(Code):
    """OFPMC_*: what a `MeterMod` does."""

    ADD = codec.METER_ADD
    MODIFY = codec.METER_MODIFY
    DELETE = codec.METER_DELETE


class MeterFlags(Bits):
    """OFPMF_*: what a meter counts."""

    KBPS = 1 << 0
    PKTPS = 1 << 1
    BURST = 1 << 2
    STATS = 1 << 3


class BandType(Code):
    """OFPMBT_*: what becomes of packets above a band's rate."""

    DROP = 1
    DSCP_REMARK = 2
    EXPERIMENTER = 0xFFFF


@record
class Band(Record):
    """What is done with packets above a rate (OpenFlow 1.5, 7.3.4.4).

    Attributes
    ----------
    DROP, DSCP_REMARK
        The types: drop the packet, or raise the drop precedence in its IP header.
    rate
        Kilobits or packets a second, as the meter's flags say.
    burst_size
        Kilobits or packets.
    prec_level
        Of DSCP_REMARK: by how much the drop precedence rises.
    """

    type: BandType = u16(BandType)
    _length: ClassVar = length()
    rate: int = u32()
    burst_size: int = u32(default=0)
    prec_level: int = u8(pad=3, default=0)

    DROP: ClassVar = BandType.DROP
    DSCP_REMARK: ClassVar = BandType.DSCP_REMARK


@record
class MeterMod(Message):
    """Add, change or delete a meter.  Meters can't be in bundles."""

    type = 29
    command: MeterCommand = u16(MeterCommand)
    flags: MeterFlags = u16(MeterFlags)
    meter_id: int = u32()
    bands: tuple[Band, ...] = many(Band, default=())

    @classmethod
    def parse(cls, text: str, command: int = MeterCommand.ADD) -> Self:
        """Read a meter in ovs-ofctl's syntax: ``meter=1,pktps,band=type=drop,rate=100``.

        Raises
        ------
        ParseError
            The text isn't one; says where.
        """
        message = codec.meter_parse(text, command)
        return cls.read(message, HEADER.size, len(message))[0]
