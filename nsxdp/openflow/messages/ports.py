"""Ports: what they are, what they have done, and how they are set."""

from __future__ import annotations

from typing import ClassVar, Final

from nsxdp.openflow.messages.message import Message, MultipartReply, MultipartRequest
from nsxdp.openflow.record import (
    Bits,
    Code,
    Property,
    Record,
    length,
    mac,
    many,
    nested,
    others,
    prop,
    record,
    text,
    u8,
    u16,
    u32,
    u64,
)

__all__ = [
    "ALL_QUEUES",
    "ANY_PORT",
    "EthernetPort",
    "EthernetStats",
    "OpticalPort",
    "OpticalStats",
    "Port",
    "PortConfig",
    "PortDescReply",
    "PortDescRequest",
    "PortFeatures",
    "PortMod",
    "PortReason",
    "PortState",
    "PortStats",
    "PortStatsReply",
    "PortStatsRequest",
    "PortStatus",
    "QueueDesc",
    "QueueDescReply",
    "QueueDescRequest",
    "QueueStats",
    "QueueStatsReply",
    "QueueStatsRequest",
]

ANY_PORT: Final = 0xFFFFFFFF
"""OFPP_ANY: all ports, or none."""
ALL_QUEUES: Final = 0xFFFFFFFF
"""OFPQ_ALL."""


class PortConfig(Bits):
    """OFPPC_*: how a port is set."""

    PORT_DOWN = 1 << 0
    NO_STP = 1 << 1
    NO_RECV = 1 << 2
    NO_FWD = 1 << 5
    NO_PACKET_IN = 1 << 6


class PortState(Bits):
    """OFPPS_*: how a port is."""

    LINK_DOWN = 1 << 0
    BLOCKED = 1 << 1
    LIVE = 1 << 2


class PortFeatures(Bits):
    """OFPPF_*: speeds and media."""

    _10MB_HD = 1 << 0
    _10MB_FD = 1 << 1
    _100MB_HD = 1 << 2
    _100MB_FD = 1 << 3
    _1GB_HD = 1 << 4
    _1GB_FD = 1 << 5
    _10GB_FD = 1 << 6
    _40GB_FD = 1 << 7
    _100GB_FD = 1 << 8
    _1TB_FD = 1 << 9
    OTHER = 1 << 10
    COPPER = 1 << 11
    FIBER = 1 << 12
    AUTONEG = 1 << 13
    PAUSE = 1 << 14
    PAUSE_ASYM = 1 << 15


@record
class EthernetPort(Record):
    """What an Ethernet port can."""

    curr: PortFeatures = u32(PortFeatures, before=4)
    advertised: PortFeatures = u32(PortFeatures)
    supported: PortFeatures = u32(PortFeatures)
    peer: PortFeatures = u32(PortFeatures)
    curr_speed: int = u32()
    """kbit/s."""
    max_speed: int = u32()
    """kbit/s."""


@record
class OpticalPort(Record):
    """What an optical port can; frequencies in MHz, power in dBm times 10."""

    supported: int = u32(before=4)
    tx_min_freq_lmda: int = u32()
    tx_max_freq_lmda: int = u32()
    tx_grid_freq_lmda: int = u32()
    rx_min_freq_lmda: int = u32()
    rx_max_freq_lmda: int = u32()
    rx_grid_freq_lmda: int = u32()
    tx_pwr_min: int = u16()
    tx_pwr_max: int = u16()


@record
class Port(Record):
    """A port: ``struct ofp_port``."""

    port_no: int = u32()
    _length: ClassVar = length(pad=2)
    hw_addr: str = mac(pad=2)
    name: str = text(16)
    config: PortConfig = u32(PortConfig)
    state: PortState = u32(PortState)
    ethernet: EthernetPort | None = prop(0, EthernetPort, default=None)
    optical: OpticalPort | None = prop(1, OpticalPort, default=None)
    others: tuple[Property, ...] = others(default=())


class PortReason(Code):
    """OFPPR_*: what has become of a port."""

    ADD = 0
    DELETE = 1
    MODIFY = 2


@record
class PortStatus(Message):
    """A port has come, gone or changed."""

    type = 12
    reason: PortReason = u8(PortReason, pad=7)
    desc: Port = nested(Port)


@record
class PortMod(Message):
    """Set a port."""

    type = 16
    port_no: int = u32(pad=4)
    hw_addr: str = mac(pad=2)
    """The port's: Open vSwitch refuses another."""
    config: PortConfig = u32(PortConfig, default=PortConfig(0))
    mask: PortConfig = u32(PortConfig, default=PortConfig(0))
    """The bits of ``config`` that are to be set."""
    advertise: PortFeatures | None = prop(0, u32(PortFeatures), default=None)
    others: tuple[Property, ...] = others(default=())


@record
class PortDescRequest(MultipartRequest):
    """What are your ports?"""

    kind = 13
    port_no: int = u32(pad=4, default=ANY_PORT)


@record
class PortDescReply(MultipartReply):
    """Ports."""

    kind = 13
    ports: tuple[Port, ...] = many(Port)


@record
class EthernetStats(Record):
    """What has gone wrong at an Ethernet port."""

    rx_frame_err: int = u64(before=4)
    rx_over_err: int = u64()
    rx_crc_err: int = u64()
    collisions: int = u64()


@record
class OpticalStats(Record):
    """An optical port's light; frequencies in MHz, power in dBm times 10."""

    flags: int = u32(before=4)
    tx_freq_lmda: int = u32()
    tx_offset: int = u32()
    tx_grid_span: int = u32()
    rx_freq_lmda: int = u32()
    rx_offset: int = u32()
    rx_grid_span: int = u32()
    tx_pwr: int = u16()
    rx_pwr: int = u16()
    bias_current: int = u16()
    temperature: int = u16()


@record
class PortStats(Record):
    """What a port has done; all ones where the switch doesn't know."""

    _length: ClassVar = length(pad=2)
    port_no: int = u32()
    duration_sec: int = u32()
    duration_nsec: int = u32()
    rx_packets: int = u64()
    tx_packets: int = u64()
    rx_bytes: int = u64()
    tx_bytes: int = u64()
    rx_dropped: int = u64()
    tx_dropped: int = u64()
    rx_errors: int = u64()
    tx_errors: int = u64()
    ethernet: EthernetStats | None = prop(0, EthernetStats, default=None)
    optical: OpticalStats | None = prop(1, OpticalStats, default=None)
    others: tuple[Property, ...] = others(default=())


@record
class PortStatsRequest(MultipartRequest):
    """What have your ports done?"""

    kind = 4
    port_no: int = u32(pad=4, default=ANY_PORT)


@record
class PortStatsReply(MultipartReply):
    """What ports have done."""

    kind = 4
    stats: tuple[PortStats, ...] = many(PortStats)


# Queues.


@record
class QueueDesc(Record):
    """A port's queue."""

    port_no: int = u32()
    queue_id: int = u32()
    _length: ClassVar = length(pad=6)
    min_rate: int | None = prop(1, u16(), pad=2, default=None)
    """In tenths of a per cent; more than 1000: not set."""
    max_rate: int | None = prop(2, u16(), pad=2, default=None)
    others: tuple[Property, ...] = others(default=())


@record
class QueueDescRequest(MultipartRequest):
    """What are your queues?"""

    kind = 15
    port_no: int = u32(default=ANY_PORT)
    queue_id: int = u32(default=ALL_QUEUES)


@record
class QueueDescReply(MultipartReply):
    """Queues."""

    kind = 15
    queues: tuple[QueueDesc, ...] = many(QueueDesc)


@record
class QueueStats(Record):
    """What a queue has done."""

    _length: ClassVar = length(pad=6)
    port_no: int = u32()
    queue_id: int = u32()
    tx_bytes: int = u64()
    tx_packets: int = u64()
    tx_errors: int = u64()
    duration_sec: int = u32()
    duration_nsec: int = u32()
    others: tuple[Property, ...] = others(default=())


@record
class QueueStatsRequest(MultipartRequest):
    """What have your queues done?"""

    kind = 5
    port_no: int = u32(default=ANY_PORT)
    queue_id: int = u32(default=ALL_QUEUES)


@record
class QueueStatsReply(MultipartReply):
    """What queues have done."""

    kind = 5
    stats: tuple[QueueStats, ...] = many(QueueStats)
