"""Queues that let out so many bytes a second (tc-tbf(8))."""

from __future__ import annotations

import struct
from typing import Final

from msgspec import Struct

from nsxdp.rtnetlink.wire import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RTM,
    MalformedError,
    Request,
    attribute,
    attributes,
)

__all__ = ["Tbf"]

_TCMSG: Final = struct.Struct("=BxxxiIII")
"""struct tcmsg: family, interface, handle, parent, info."""

_ROOT: Final = 0xFFFF_FFFF
_KIND: Final = b"tbf\0"
_TCA_KIND, _TCA_OPTIONS = 1, 2
_PARAMETERS, _RATE64, _BURST = 1, 4, 6

_QOPT: Final = struct.Struct("=xBxxxxxxI12xIII")
"""struct tc_tbf_qopt: the link layer and the rate of its rates' first; limit, buffer, mtu."""

_ETHERNET: Final = 1
_MOST: Final = 0xFFFF_FFFF
_U32: Final = struct.Struct("=I")
_U64: Final = struct.Struct("=Q")


class Tbf(Struct, frozen=True, gc=False):
    """What an interface sends waits in a queue until it may go: a token bucket filter.

    Attributes
    ----------
    index
        The interface's number.
    rate
        Bytes a second; fewer than 2 to the 64th.
    limit
        Bytes that wait; what is more is dropped.
    burst
        Bytes that may go at once after a pause. What the kernel tells of it isn't read.
    """

    index: int
    rate: int
    limit: int
    burst: int = 0

    @classmethod
    def decode(cls, body: bytes) -> Tbf | None:
        """Of the body of an RTM_NEWQDISC; None: it is of another kind, or somewhere inside.

        Raises
        ------
        MalformedError
            It is none.
        """
        if len(body) < _TCMSG.size:
            raise MalformedError(f"qdisc: {len(body)} bytes, and its struct has {_TCMSG.size}")
        _, index, _, parent, _ = _TCMSG.unpack_from(body)
        found = attributes("qdisc", body, _TCMSG.size)
        if parent != _ROOT or found.get(_TCA_KIND) != _KIND:
            return None
        options = attributes("tbf", found.get(_TCA_OPTIONS, b""), 0)
        parameters = options.get(_PARAMETERS, b"")
        wide = options.get(_RATE64)
        if len(parameters) != _QOPT.size or (wide is not None and len(wide) != _U64.size):
            raise MalformedError(f"tbf: {len(parameters)} bytes of parameters, or another rate")
        _, rate, limit, _, _ = _QOPT.unpack(parameters)
        return cls(index, _U64.unpack(wide)[0] if wide else rate, limit)

    def replace(self) -> Request:
        """Have this one, in place of what queue there is."""
        parameters = _QOPT.pack(_ETHERNET, min(self.rate, _MOST), min(self.limit, _MOST), 0, 0)
        options = attribute(_PARAMETERS, parameters)
        options += attribute(_BURST, _U32.pack(min(self.burst, _MOST)))
        if self.rate > _MOST:
            options += attribute(_RATE64, _U64.pack(self.rate))
        body = _TCMSG.pack(0, self.index, 0, _ROOT, 0)
        body += attribute(_TCA_KIND, _KIND) + attribute(_TCA_OPTIONS, options)
        return Request(RTM.NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, body)

    @staticmethod
    def asked() -> Request:
        """What asks for all queues there are."""
        return Request(RTM.GETQDISC, 0, _TCMSG.pack(0, 0, 0, 0, 0))
