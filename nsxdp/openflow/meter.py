"""Meters as values."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from nsxdp.openflow import codec
from nsxdp.openflow.errors import DecodeError
from nsxdp.openflow.messages import HEADER, MeterMod, frame

__all__ = ["Band", "Meter"]


@dataclass(frozen=True, slots=True)
class Band:
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

    DROP: ClassVar = 1
    DSCP_REMARK: ClassVar = 2

    type: int
    rate: int
    burst_size: int = 0
    prec_level: int = 0

    _LAYOUT: ClassVar = struct.Struct("!HHIIB3x")

    def encode(self) -> bytes:
        """The ``struct ofp_meter_band_header``, with what its type adds."""
        return self._LAYOUT.pack(
            self.type, self._LAYOUT.size, self.rate, self.burst_size, self.prec_level
        )


@dataclass(frozen=True, slots=True)
class Meter:
    """A meter: limits the rate of what flows send through it.

    Attributes
    ----------
    KBPS, PKTPS, BURST, STATS
        Flags: what rates count, whether bands have a burst size, whether the meter shall count.
    meter_id
        From 1.
    flags
        KBPS or PKTPS, and BURST if the bands have a burst size.
    bands
        Of those whose rate is exceeded, the one with the highest rate is applied.

    Examples
    --------
    >>> from nsxdp.openflow import Meter
    >>> meter = Meter.parse("meter=1,pktps,band=type=drop,rate=100")
    >>> meter.flags == Meter.PKTPS, meter.bands
    (True, (Band(type=1, rate=100, burst_size=0, prec_level=0),))
    >>> print(meter)
    meter=1 pktps bands=
    type=drop rate=100
    """

    KBPS: ClassVar = 1
    PKTPS: ClassVar = 2
    BURST: ClassVar = 4
    STATS: ClassVar = 8

    meter_id: int
    flags: int
    bands: tuple[Band, ...]

    _HEAD: ClassVar = struct.Struct("!HHI")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a meter in ovs-ofctl's syntax: ``meter=1,pktps,band=type=drop,rate=100``.

        Raises
        ------
        ParseError
            The text isn't one; says where.
        """
        return cls._read(codec.meter_parse(text))

    @classmethod
    def decode(cls, message: bytes) -> Self:
        """Read an OFPT_METER_MOD's meter.

        Raises
        ------
        DecodeError
            These bytes aren't one, or it deletes and so has no meter.
        """
        codec.meter_format(message)
        return cls._read(message)

    @classmethod
    def _read(cls, message: bytes) -> Self:
        start = HEADER.size + cls._HEAD.size
        command, flags, meter_id = cls._HEAD.unpack_from(message, HEADER.size)
        if command == codec.METER_DELETE:
            raise DecodeError("a meter_mod that deletes has no meter", HEADER.size)
        bands = []
        for at in range(start, len(message), Band._LAYOUT.size):
            kind, _, rate, burst, level = Band._LAYOUT.unpack_from(message, at)
            bands.append(Band(kind, rate, burst, level))
        return cls(meter_id, flags, tuple(bands))

    def encode(self, command: int = codec.METER_ADD, xid: int = 0) -> bytes:
        """The OFPT_METER_MOD that does ``command`` with it: `codec.METER_ADD`, say."""
        if command == codec.METER_DELETE:
            return frame(MeterMod.type, xid, self._HEAD.pack(command, 0, self.meter_id))
        head = self._HEAD.pack(command, self.flags, self.meter_id)
        return frame(MeterMod.type, xid, head + b"".join(band.encode() for band in self.bands))

    def __str__(self) -> str:
        """The meter as ``ovs-ofctl dump-meters`` prints it: a line, and one for each band."""
        return codec.meter_format(self.encode())
