"""Tables: what they are, how they are set, and what they have done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nsxdp.openflow.errors import DecodeError
from nsxdp.openflow.messages.message import Message, MultipartReply, MultipartRequest
from nsxdp.openflow.record import (
    Bits,
    Code,
    Part,
    Property,
    Record,
    length,
    many,
    nested,
    others,
    part,
    prop,
    record,
    text,
    u8,
    u32,
    u64,
)

__all__ = [
    "EvictionFlags",
    "FeatureId",
    "TableConfig",
    "TableDesc",
    "TableDescReply",
    "TableDescRequest",
    "TableFeatures",
    "TableFeaturesCommand",
    "TableFeaturesReply",
    "TableFeaturesRequest",
    "TableMod",
    "TableReason",
    "TableStats",
    "TableStatsReply",
    "TableStatsRequest",
    "TableStatus",
    "Vacancy",
]


class TableConfig(Bits):
    """OFPTC_*: how a table is set, or can be."""

    TABLE_MISS_CONTINUE = 1 << 0
    """With `TABLE_MISS_DROP`, the two bits of what becomes of a packet without a flow; Open vSwitch
    uses them to speak of older versions of OpenFlow."""
    TABLE_MISS_DROP = 1 << 1
    EVICTION = 1 << 2
    VACANCY_EVENTS = 1 << 3


class EvictionFlags(Bits):
    """OFPTMPEF_*: by what the flows that have to go are chosen."""

    OTHER = 1 << 0
    IMPORTANCE = 1 << 1
    LIFETIME = 1 << 2


@record
class Vacancy(Record):
    """When a table tells of its room: per cent of it."""

    vacancy_down: int = u8()
    vacancy_up: int = u8()
    vacancy: int = u8(pad=1, default=0)
    """Of a description: what there is."""


@record
class TableMod(Message):
    """Set a table."""

    type = 17
    table_id: int = u8(pad=3)
    config: TableConfig = u32(TableConfig)
    eviction: EvictionFlags | None = prop(2, u32(EvictionFlags), default=None)
    vacancy: Vacancy | None = prop(3, Vacancy, default=None)
    others: tuple[Property, ...] = others(default=())


@record
class TableDesc(Record):
    """How a table is set."""

    _length: ClassVar = length()
    table_id: int = u8(pad=1)
    config: TableConfig = u32(TableConfig)
    eviction: EvictionFlags | None = prop(2, u32(EvictionFlags), default=None)
    vacancy: Vacancy | None = prop(3, Vacancy, default=None)
    others: tuple[Property, ...] = others(default=())


@record
class TableDescRequest(MultipartRequest):
    """How are your tables set?"""

    kind = 14


@record
class TableDescReply(MultipartReply):
    """How tables are set."""

    kind = 14
    tables: tuple[TableDesc, ...] = many(TableDesc)


class TableReason(Code):
    """OFPTR_*: what has become of a table."""

    VACANCY_DOWN = 3
    VACANCY_UP = 4


@record
class TableStatus(Message):
    """A table is nearly full, or is no longer."""

    type = 31
    reason: TableReason = u8(TableReason, pad=7)
    table: TableDesc = nested(TableDesc)


@record
class TableStats(Record):
    """What a table has done."""

    table_id: int = u8(pad=3)
    active_count: int = u32()
    lookup_count: int = u64()
    matched_count: int = u64()


@record
class TableStatsRequest(MultipartRequest):
    """What have your tables done?"""

    kind = 3


@record
class TableStatsReply(MultipartReply):
    """What tables have done."""

    kind = 3
    stats: tuple[TableStats, ...] = many(TableStats)


# Features.


@dataclass(frozen=True, slots=True)
class FeatureId:
    """An instruction or an action that a table can do."""

    type: int
    experimenter: bytes = b""
    """Of type 0xffff: whose it is, and which."""


class _Features(Part[tuple[FeatureId, ...]]):
    """Instructions' or actions' headers, until the end."""

    def read(self, data: bytes, at: int, end: int) -> tuple[tuple[FeatureId, ...], int]:
        found = []
        while at < end:
            size = int.from_bytes(data[at + 2 : at + 4], "big") if at + 4 <= end else 0
            if size < 4 or at + size > end:
                raise DecodeError(f"feature of {size} bytes", at)
            number = int.from_bytes(data[at : at + 2], "big")
            found.append(FeatureId(number, data[at + 4 : at + size]))
            at += size
        return tuple(found), at

    def write(self, value: tuple[FeatureId, ...]) -> bytes:
        return b"".join(
            feature.type.to_bytes(2, "big")
            + (4 + len(feature.experimenter)).to_bytes(2, "big")
            + feature.experimenter
            for feature in value
        )


class _Oxms(Part[tuple[int, ...]]):
    """Fields' OXM headers, of 64 bits where an experimenter's, until the end."""

    def read(self, data: bytes, at: int, end: int) -> tuple[tuple[int, ...], int]:
        found = []
        while at < end:
            size = 8 if data[at : at + 2] == b"\xff\xff" else 4
            if at + size > end:
                raise DecodeError("a field's header is cut off", at)
            found.append(int.from_bytes(data[at : at + size], "big"))
            at += size
        return tuple(found), at

    def write(self, value: tuple[int, ...]) -> bytes:
        return b"".join(oxm.to_bytes(8 if oxm >> 32 else 4, "big") for oxm in value)


class TableFeaturesCommand(Code):
    """OFPTFC_*: what a request with features does."""

    REPLACE = 0
    MODIFY = 1
    ENABLE = 2
    DISABLE = 3


@record
class TableFeatures(Record):
    """What a table can do.

    What ends in ``_miss`` is of its flow without a match of the lowest priority; None: the same.
    Tables are their numbers, fields their OXM headers.  Properties are in Open vSwitch's order.
    """

    _length: ClassVar = length()
    table_id: int = u8()
    command: TableFeaturesCommand = u8(TableFeaturesCommand)
    features: int = u32()
    name: str = text(32)
    metadata_match: int = u64()
    metadata_write: int = u64()
    capabilities: TableConfig = u32(TableConfig)
    max_entries: int = u32()
    instructions: tuple[FeatureId, ...] | None = prop(0, part(_Features()), default=None)
    next_tables: tuple[int, ...] | None = prop(2, many("B"), default=None)
    write_actions: tuple[FeatureId, ...] | None = prop(4, part(_Features()), default=None)
    write_setfield: tuple[int, ...] | None = prop(12, part(_Oxms()), default=None)
    apply_actions: tuple[FeatureId, ...] | None = prop(6, part(_Features()), default=None)
    apply_setfield: tuple[int, ...] | None = prop(14, part(_Oxms()), default=None)
    instructions_miss: tuple[FeatureId, ...] | None = prop(1, part(_Features()), default=None)
    next_tables_miss: tuple[int, ...] | None = prop(3, many("B"), default=None)
    write_actions_miss: tuple[FeatureId, ...] | None = prop(5, part(_Features()), default=None)
    write_setfield_miss: tuple[int, ...] | None = prop(13, part(_Oxms()), default=None)
    apply_actions_miss: tuple[FeatureId, ...] | None = prop(7, part(_Features()), default=None)
    apply_setfield_miss: tuple[int, ...] | None = prop(15, part(_Oxms()), default=None)
    match: tuple[int, ...] | None = prop(8, part(_Oxms()), default=None)
    wildcards: tuple[int, ...] | None = prop(10, part(_Oxms()), default=None)
    others: tuple[Property, ...] = others(default=())


@record
class TableFeaturesRequest(MultipartRequest):
    """What can your tables do? With features: have those."""

    kind = 12
    tables: tuple[TableFeatures, ...] = many(TableFeatures, default=())


@record
class TableFeaturesReply(MultipartReply):
    """What tables can do."""

    kind = 12
    tables: tuple[TableFeatures, ...] = many(TableFeatures)
