"""Lists of flows, groups and meters, and what they have done; the switch's description."""

from __future__ import annotations

from typing import ClassVar, Self

from nsxdp.openflow.codec import Tables
from nsxdp.openflow.messages.message import MultipartReply, MultipartRequest
from nsxdp.openflow.messages.mods import (
    ALL_GROUPS,
    ALL_METERS,
    ALL_TABLES,
    ANY_GROUP,
    Band,
    Bucket,
    FlowCommand,
    FlowFlags,
    FlowMod,
    GroupType,
    MeterFlags,
)
from nsxdp.openflow.messages.oxs import OXS, Stats
from nsxdp.openflow.messages.packets import ANY_MATCH
from nsxdp.openflow.messages.ports import ANY_PORT
from nsxdp.openflow.parts import Actions, Match
from nsxdp.openflow.record import (
    Bits,
    Property,
    Record,
    length,
    length_of,
    many,
    match,
    others,
    part,
    record,
    rest,
    text,
    u8,
    u16,
    u32,
    u64,
)

__all__ = [
    "AggregateStatsReply",
    "AggregateStatsRequest",
    "BandStats",
    "BucketCounter",
    "DescReply",
    "DescRequest",
    "FlowDesc",
    "FlowDescReply",
    "FlowDescRequest",
    "GroupCapabilities",
    "GroupDesc",
    "GroupDescReply",
    "GroupDescRequest",
    "GroupFeaturesReply",
    "GroupFeaturesRequest",
    "GroupStats",
    "GroupStatsReply",
    "GroupStatsRequest",
    "MeterDesc",
    "MeterDescReply",
    "MeterDescRequest",
    "MeterFeaturesReply",
    "MeterFeaturesRequest",
    "MeterStats",
    "MeterStatsReply",
    "MeterStatsRequest",
]


@record
class DescRequest(MultipartRequest):
    """Of which make are you?"""

    kind = 0


@record
class DescReply(MultipartReply):
    """Of which make the switch is."""

    kind = 0
    mfr_desc: str = text(256)
    hw_desc: str = text(256)
    sw_desc: str = text(256)
    serial_num: str = text(32)
    dp_desc: str = text(256)


# Flows.


@record
class FlowDescRequest(MultipartRequest):
    """Which flows have you, of those that match this?"""

    kind = 1
    table_id: int = u8(pad=3, default=ALL_TABLES)
    out_port: int = u32(default=ANY_PORT)
    out_group: int = u32(pad=4, default=ANY_GROUP)
    cookie: int = u64(default=0)
    cookie_mask: int = u64(default=0)
    match: Match = match(default=ANY_MATCH)

    @classmethod
    def parse(cls, text: str, tables: Tables | None = None) -> Self:
        """Select flows by a text in ovs-ofctl's syntax: ``table=1,ip,cookie=5/-1``.

        Raises
        ------
        ParseError
            The text is no selection.
        """
        mod = FlowMod.parse(text, FlowCommand.DELETE, tables)
        return cls(
            mod.table_id, mod.out_port, mod.out_group, mod.cookie, mod.cookie_mask, mod.match
        )


@record
class FlowDesc(Record):
    """A flow, and what it has done."""

    _length: ClassVar = length(pad=2)
    table_id: int = u8(pad=1)
    priority: int = u16()
    idle_timeout: int = u16()
    hard_timeout: int = u16()
    flags: FlowFlags = u16(FlowFlags)
    importance: int = u16()
    cookie: int = u64()
    match: Match = match()
    stats: Stats = part(OXS)
    instructions: Actions = rest(Actions)


@record
class FlowDescReply(MultipartReply):
    """Flows.  `nsxdp.openflow.stats.FlowTable` reads many at once."""

    kind = 1
    flows: tuple[FlowDesc, ...] = many(FlowDesc)


@record
class AggregateStatsRequest(FlowDescRequest):
    """What have the flows that match this done together?"""

    kind = 2


@record
class AggregateStatsReply(MultipartReply):
    """What flows have done together."""

    kind = 2
    stats: Stats = part(OXS)


# Groups.


@record
class GroupStatsRequest(MultipartRequest):
    """What have your groups done?"""

    kind = 6
    group_id: int = u32(pad=4, default=ALL_GROUPS)


@record
class BucketCounter(Record):
    """What a bucket has done."""

    packet_count: int = u64()
    byte_count: int = u64()


@record
class GroupStats(Record):
    """What a group has done."""

    _length: ClassVar = length(pad=2)
    group_id: int = u32()
    ref_count: int = u32(pad=4)
    packet_count: int = u64()
    byte_count: int = u64()
    duration_sec: int = u32()
    duration_nsec: int = u32()
    bucket_stats: tuple[BucketCounter, ...] = many(BucketCounter)


@record
class GroupStatsReply(MultipartReply):
    """What groups have done."""

    kind = 6
    stats: tuple[GroupStats, ...] = many(GroupStats)


@record
class GroupDesc(Record):
    """A group."""

    _length: ClassVar = length()
    type: GroupType = u8(GroupType, pad=1)
    group_id: int = u32()
    _bucket_array_len: ClassVar = length_of("buckets", pad=6)
    buckets: tuple[Bucket, ...] = many(Bucket)
    properties: tuple[Property, ...] = others(default=())
    """The selection method and its fields, for one."""


@record
class GroupDescRequest(MultipartRequest):
    """What are your groups?"""

    kind = 7
    group_id: int = u32(pad=4, default=ALL_GROUPS)


@record
class GroupDescReply(MultipartReply):
    """Groups."""

    kind = 7
    groups: tuple[GroupDesc, ...] = many(GroupDesc)


class GroupCapabilities(Bits):
    """OFPGFC_*."""

    SELECT_WEIGHT = 1 << 0
    SELECT_LIVENESS = 1 << 1
    CHAINING = 1 << 2
    CHAINING_CHECKS = 1 << 3


@record
class GroupFeaturesRequest(MultipartRequest):
    """What can your groups do?"""

    kind = 8


@record
class GroupFeaturesReply(MultipartReply):
    """What groups can do: for each `GroupType`, how many there may be, and their actions."""

    kind = 8
    types: int = u32()
    capabilities: GroupCapabilities = u32(GroupCapabilities)
    max_groups_all: int = u32()
    max_groups_select: int = u32()
    max_groups_indirect: int = u32()
    max_groups_ff: int = u32()
    actions_all: int = u32()
    """Bits: 1 << OFPAT_*."""
    actions_select: int = u32()
    actions_indirect: int = u32()
    actions_ff: int = u32()


# Meters.


@record
class MeterStatsRequest(MultipartRequest):
    """What have your meters done?"""

    kind = 9
    meter_id: int = u32(pad=4, default=ALL_METERS)


@record
class BandStats(Record):
    """What a band has done."""

    packet_band_count: int = u64()
    byte_band_count: int = u64()


@record
class MeterStats(Record):
    """What a meter has done."""

    meter_id: int = u32()
    _length: ClassVar = length(pad=6)
    ref_count: int = u32()
    packet_in_count: int = u64()
    byte_in_count: int = u64()
    duration_sec: int = u32()
    duration_nsec: int = u32()
    band_stats: tuple[BandStats, ...] = many(BandStats)


@record
class MeterStatsReply(MultipartReply):
    """What meters have done."""

    kind = 9
    stats: tuple[MeterStats, ...] = many(MeterStats)


@record
class MeterDesc(Record):
    """A meter."""

    _length: ClassVar = length()
    flags: MeterFlags = u16(MeterFlags)
    meter_id: int = u32()
    bands: tuple[Band, ...] = many(Band)


@record
class MeterDescRequest(MultipartRequest):
    """What are your meters?"""

    kind = 10
    meter_id: int = u32(pad=4, default=ALL_METERS)


@record
class MeterDescReply(MultipartReply):
    """Meters."""

    kind = 10
    meters: tuple[MeterDesc, ...] = many(MeterDesc)


@record
class MeterFeaturesRequest(MultipartRequest):
    """What can your meters do?"""

    kind = 11


@record
class MeterFeaturesReply(MultipartReply):
    """What meters can do."""

    kind = 11
    max_meter: int = u32()
    band_types: int = u32()
    """Bits: 1 << `BandType`."""
    capabilities: MeterFlags = u32(MeterFlags)
    max_bands: int = u8()
    max_color: int = u8(pad=2)
