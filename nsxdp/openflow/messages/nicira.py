"""Open vSwitch's own messages but those of packets: its include/openflow/nicira-ext.h."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import ClassVar, Final

from nsxdp.openflow.errors import DecodeError
from nsxdp.openflow.messages.connection import FlowRemovedReasons, PacketInReasons, PortReasons
from nsxdp.openflow.messages.message import Nicira, NiciraReply, NiciraRequest
from nsxdp.openflow.messages.news import FlowRemovedReason
from nsxdp.openflow.parts import Match
from nsxdp.openflow.record import (
    Code,
    Part,
    Property,
    Record,
    length_of,
    many,
    match_fields,
    others,
    part,
    prop,
    record,
    u8,
    u16,
    u32,
    u64,
    u128,
)

__all__ = [
    "CtFlush",
    "CtFlushZone",
    "CtTuple",
    "FlowAge",
    "FlowModTableId",
    "IpfixBridgeReply",
    "IpfixBridgeRequest",
    "IpfixFlowReply",
    "IpfixFlowRequest",
    "IpfixStats",
    "NiciraFlowRemoved",
    "NiciraRole",
    "NiciraRoleReply",
    "NiciraRoleRequest",
    "SetAsyncConfig",
    "SetControllerId",
    "TlvCommand",
    "TlvMap",
    "TlvTableMod",
    "TlvTableReply",
    "TlvTableRequest",
]


class NiciraRole(Code):
    """NX_ROLE_*: `nsxdp.openflow.messages.Role` before OpenFlow had it."""

    OTHER = 0
    PRIMARY = 1
    SECONDARY = 2


@record
class NiciraRoleRequest(Nicira):
    """Be my switch: NXT_ROLE_REQUEST."""

    subtype = 10
    role: NiciraRole = u32(NiciraRole)


@record
class NiciraRoleReply(Nicira):
    """What the controller is to the switch: NXT_ROLE_REPLY."""

    subtype = 11
    role: NiciraRole = u32(NiciraRole)


@record
class NiciraFlowRemoved(Nicira):
    """A flow has gone: NXT_FLOW_REMOVED, which OpenFlow 1.5 says otherwise."""

    subtype = 14
    cookie: int = u64()
    priority: int = u16()
    reason: FlowRemovedReason = u8(FlowRemovedReason)
    table_id: int = u8()
    """Plus one; 0: unknown."""
    duration_sec: int = u32()
    duration_nsec: int = u32()
    idle_timeout: int = u16()
    _match_len: ClassVar = length_of("match")
    packet_count: int = u64()
    byte_count: int = u64()
    match: Match = match_fields(align=8)


@record
class FlowModTableId(Nicira):
    """Whether tables of flow_mods have numbers: always, in OpenFlow 1.5."""

    subtype = 15
    set: bool = u8(bool, pad=7)


@record
class FlowAge(Nicira):
    """NXT_FLOW_AGE: dumps with ages, as they are without it in OpenFlow 1.5."""

    subtype = 18


@record
class SetAsyncConfig(Nicira):
    """What the switch shall tell this controller unasked: `SetAsync` before OpenFlow had it."""

    subtype = 19
    packet_in_primary: PacketInReasons = u32(PacketInReasons)
    packet_in_secondary: PacketInReasons = u32(PacketInReasons)
    port_status_primary: PortReasons = u32(PortReasons)
    port_status_secondary: PortReasons = u32(PortReasons)
    flow_removed_primary: FlowRemovedReasons = u32(FlowRemovedReasons)
    flow_removed_secondary: FlowRemovedReasons = u32(FlowRemovedReasons)


@record
class SetControllerId(Nicira):
    """Be the controller that ``controller(id=...)`` means."""

    subtype = 20
    controller_id: int = u16(before=6)


# Tunnel options, and which fields they are.


class TlvCommand(Code):
    """NXTTMC_*."""

    ADD = 0
    DELETE = 1
    CLEAR = 2


@record
class TlvMap(Record):
    """A tunnel option (Geneve's) that is a field: tun_metadata."""

    option_class: int = u16()
    option_type: int = u8()
    option_len: int = u8()
    """Bytes: a multiple of 4."""
    index: int = u16(pad=2)
    """Of the field."""


@record
class TlvTableMod(Nicira):
    """Change which tunnel options are which fields."""

    subtype = 24
    command: TlvCommand = u16(TlvCommand, pad=6)
    mappings: tuple[TlvMap, ...] = many(TlvMap, default=())


@record
class TlvTableRequest(Nicira):
    """Which tunnel options are which fields?"""

    subtype = 25


@record
class TlvTableReply(Nicira):
    """Which tunnel options are which fields."""

    subtype = 26
    max_option_space: int = u32()
    """Bytes of all options."""
    max_fields: int = u16(pad=10)
    mappings: tuple[TlvMap, ...] = many(TlvMap)


# Connection tracking.

_V4_PREFIX: Final = bytes(10) + b"\xff\xff"


class _Address(Part[IPv4Address | IPv6Address]):
    """An IPv6 address; an IPv4 address is mapped to one."""

    def read(self, data: bytes, at: int, end: int) -> tuple[IPv4Address | IPv6Address, int]:
        packed = data[at : min(at + 16, end)]
        if len(packed) < 16:
            raise DecodeError(f"address of {len(packed)} bytes", at)
        address = IPv6Address(packed)
        return address.ipv4_mapped or address, at + 16

    def write(self, value: IPv4Address | IPv6Address) -> bytes:
        return value.packed if value.version == 6 else _V4_PREFIX + value.packed


@record
class CtTuple(Record):
    """One direction of the connections to forget; what isn't given is not compared."""

    src: IPv4Address | IPv6Address | None = prop(0, part(_Address()), default=None)
    dst: IPv4Address | IPv6Address | None = prop(1, part(_Address()), default=None)
    src_port: int | None = prop(2, u16(), pad=2, default=None)
    dst_port: int | None = prop(3, u16(), pad=2, default=None)
    icmp_id: int | None = prop(4, u16(), pad=2, default=None)
    icmp_type: int | None = prop(5, u8(), pad=0, default=None)
    icmp_code: int | None = prop(6, u8(), pad=0, default=None)
    others: tuple[Property, ...] = others(default=())


@record
class CtFlush(Nicira):
    """Forget tracked connections: NXT_CT_FLUSH, since Open vSwitch 3.1."""

    subtype = 32
    ip_proto: int = u8(pad=7, default=0)
    """Only of this IP protocol; needed where a port is given."""
    original: CtTuple | None = prop(0, CtTuple, before=4, default=None)
    """Only those whose first packet had these addresses and ports."""
    reply: CtTuple | None = prop(1, CtTuple, before=4, default=None)
    """Only those whose answers have these: where the endpoint of a Service is seen."""
    zone_id: int | None = prop(2, u16(), pad=2, default=None)
    """Only of this zone."""
    mark: int | None = prop(3, u32(), default=None)
    """Only those with this mark, since Open vSwitch 3.3, which this and what follows need."""
    mark_mask: int | None = prop(4, u32(), default=None)
    """The bits of ``mark`` that are compared; None: all."""
    labels: int | None = prop(5, u128(), default=None)
    labels_mask: int | None = prop(6, u128(), default=None)
    others: tuple[Property, ...] = others(default=())


@record
class CtFlushZone(Nicira):
    """Forget all tracked connections of a zone."""

    subtype = 29
    zone_id: int = u16(before=6)


# IPFIX.


@record
class IpfixStats(Record):
    """What an IPFIX exporter has done."""

    total_flows: int = u64()
    current_flows: int = u64()
    pkts: int = u64()
    ipv4_pkts: int = u64()
    ipv6_pkts: int = u64()
    error_pkts: int = u64()
    ipv4_error_pkts: int = u64()
    ipv6_error_pkts: int = u64()
    tx_pkts: int = u64()
    tx_errors: int = u64()
    collector_set_id: int = u32(pad=4)


@record
class IpfixBridgeRequest(NiciraRequest):
    """What has the bridge's IPFIX exporter done?"""

    subtype = 3


@record
class IpfixBridgeReply(NiciraReply):
    """What the bridge's IPFIX exporter has done."""

    subtype = 3
    stats: tuple[IpfixStats, ...] = many(IpfixStats)


@record
class IpfixFlowRequest(NiciraRequest):
    """What have the IPFIX exporters of flows done?"""

    subtype = 4


@record
class IpfixFlowReply(NiciraReply):
    """What the IPFIX exporters of flows have done."""

    subtype = 4
    stats: tuple[IpfixStats, ...] = many(IpfixStats)
