"""The meter that keeps packets to Services without endpoints from flooding the proxy."""

from __future__ import annotations

from typing import Final

from nsxdp.logs import get_logger
from nsxdp.openflow import Band, Meter, MeterCommand, RequestError, Session
from nsxdp.pipeline.registers import REJECT_METER

__all__ = ["METER", "make_meter"]

log = get_logger(__name__)

_REJECTS_PER_SECOND: Final = 1000
_REJECTS_BURST: Final = 1000

METER: Final = Meter(
    REJECT_METER,
    Meter.PKTPS | Meter.BURST,
    (Band(Band.DROP, _REJECTS_PER_SECOND, _REJECTS_BURST),),
)
"""As the switch shall have it."""


async def make_meter(session: Session) -> None:
    """Have the switch have it.

    A datapath may have no meters: then those Services' flows are refused, and no others. Mostly
    it is there already, and the switch logs every refusal: so the first try is to modify it.
    """
    for command in (MeterCommand.MODIFY, MeterCommand.ADD):
        try:
            await session.perform(METER.mod(command))
        except RequestError as error:
            if command is MeterCommand.ADD or error.name != "OFPMMFC_UNKNOWN_METER":
                log.error("the switch refused", error=error.name, refused=error.request)
                return
        else:
            return
