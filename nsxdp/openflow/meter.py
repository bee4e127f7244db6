"""Meters as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from nsxdp.openflow import codec
from nsxdp.openflow.errors import DecodeError
from nsxdp.openflow.messages import (
    HEADER,
    Band,
    MeterCommand,
    MeterDescReply,
    MeterFlags,
    MeterMod,
    decode,
)

__all__ = ["Meter"]


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
    (True, (Band(type=<BandType.DROP: 1>, rate=100, burst_size=0, prec_level=0),))
    >>> print(meter)
    meter=1 pktps bands=
    type=drop rate=100
    """

    KBPS: ClassVar = MeterFlags.KBPS
    PKTPS: ClassVar = MeterFlags.PKTPS
    BURST: ClassVar = MeterFlags.BURST
    STATS: ClassVar = MeterFlags.STATS

    meter_id: int
    flags: int
    bands: tuple[Band, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a meter in ovs-ofctl's syntax: ``meter=1,pktps,band=type=drop,rate=100``.

        Raises
        ------
        ParseError
            The text isn't one; says where.
        """
        mod = MeterMod.parse(text)
        return cls(mod.meter_id, mod.flags, mod.bands)

    @classmethod
    def decode(cls, message: bytes) -> Self:
        """Read an OFPT_METER_MOD's meter.

        Raises
        ------
        DecodeError
            These bytes aren't one, or it deletes and so has no meter.
        """
        codec.meter_format(message)
        mod = decode(message)
        if not isinstance(mod, MeterMod) or mod.command == MeterCommand.DELETE:
            raise DecodeError("a meter_mod that deletes has no meter", HEADER.size)
        return cls(mod.meter_id, mod.flags, mod.bands)

    @classmethod
    def decode_reply(cls, reply: bytes) -> list[Self]:
        """Read the meters of an OFPMP_METER_DESC reply.

        Raises
        ------
        DecodeError
            The reply is none, or a part of it is wrong.
        """
        message = decode(reply)
        if not isinstance(message, MeterDescReply):
            raise DecodeError(f"{type(message).__name__} has no meters")
        return [cls(meter.meter_id, meter.flags, meter.bands) for meter in message.meters]

    def mod(self, command: int = MeterCommand.ADD, xid: int = 0) -> MeterMod:
        """The message that does ``command`` with it."""
        if command == MeterCommand.DELETE:
            return MeterMod(MeterCommand.DELETE, MeterFlags(0), self.meter_id, xid=xid)
        flags = MeterFlags(self.flags)
        return MeterMod(MeterCommand(command), flags, self.meter_id, self.bands, xid=xid)

    def encode(self, command: int = MeterCommand.ADD, xid: int = 0) -> bytes:
        """The OFPT_METER_MOD that does ``command`` with it: `MeterCommand.ADD`, say."""
        return self.mod(command, xid).encode()

    def __str__(self) -> str:
        """The meter as ``ovs-ofctl dump-meters`` prints it: a line, and one for each band."""
        return codec.meter_format(self.encode())
