"""What flows have done, as OpenFlow 1.5 says it: each statistic has a header."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

from nsxdp.openflow.errors import DecodeError
from nsxdp.openflow.record import Part

__all__ = ["OXS", "Stats"]


@dataclass(frozen=True, slots=True)
class Stats:
    """What flows have done: OFPXST_OFB_*; None where the switch doesn't know."""

    duration: tuple[int, int] | None = None
    """Seconds and nanoseconds."""
    idle_time: tuple[int, int] | None = None
    """Likewise."""
    packet_count: int | None = None
    byte_count: int | None = None
    flow_count: int | None = None


_FIELDS: Final = (
    ("duration", 0, struct.Struct("!II")),
    ("idle_time", 1, struct.Struct("!II")),
    ("packet_count", 4, struct.Struct("!Q")),
    ("byte_count", 5, struct.Struct("!Q")),
    ("flow_count", 3, struct.Struct("!I")),
)
"""In the order in which Open vSwitch sends them."""


class _Oxs(Part[Stats]):
    """A ``struct ofp_stats``, padded."""

    _HEAD: Final = struct.Struct("!2xH")
    _FIELD: Final = struct.Struct("!HBB")
    _BASIC: Final = 0x8002

    def read(self, data: bytes, at: int, end: int) -> tuple[Stats, int]:
        (size,) = self._HEAD.unpack_from(data, at) if end - at >= self._HEAD.size else (0,)
        stop, after = at + size, at + -(-size // 8) * 8
        if size < self._HEAD.size or after > end:
            raise DecodeError(f"statistics of {size} bytes where there are {end - at}", at)
        at += self._HEAD.size
        found: dict[str, Any] = {}
        while at < stop:
            start = at + self._FIELD.size
            if start > stop or start + data[start - 1] > stop:
                raise DecodeError("statistics are cut off", at)
            oxs_class, field, length = self._FIELD.unpack_from(data, at)
            for name, number, layout in _FIELDS:
                if (oxs_class, field >> 1, length) == (self._BASIC, number, layout.size):
                    values = layout.unpack_from(data, start)
                    found[name] = values if len(values) > 1 else values[0]
            at = start + length
        return Stats(**found), after

    def write(self, value: Stats) -> bytes:
        found = b""
        for name, number, layout in _FIELDS:
            one = getattr(value, name)
            if one is not None:
                found += self._FIELD.pack(self._BASIC, number << 1, layout.size)
                found += layout.pack(*(one if isinstance(one, tuple) else (one,)))
        size = self._HEAD.size + len(found)
        return self._HEAD.pack(size) + found + bytes(-size % 8)


OXS: Final = _Oxs()
"""A ``struct ofp_stats``."""
