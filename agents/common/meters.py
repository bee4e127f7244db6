"""Meters that keep packets from flooding an agent."""

from __future__ import annotations

from nsxdp.logs import get_logger
from nsxdp.openflow import Band, Meter, MeterCommand, RequestError, Session

__all__ = ["limit", "make_meter"]

log = get_logger(__name__)


def limit(number: int, packets: int, burst: int) -> Meter:
    """The meter of that 'number' that lets through so many packets a second, or at once."""
    return Meter(number, Meter.PKTPS | Meter.BURST, (Band(Band.DROP, packets, burst),))


async def make_meter(session: Session, meter: Meter) -> bool:
    """Have the switch have it; whether it has.

    A datapath may have no meters: then flows that use it are refused, and no others. Mostly it is
    there already, and the switch logs every refusal: so the first try is to modify it.
    """
    for command in (MeterCommand.MODIFY, MeterCommand.ADD):
        try:
            await session.perform(meter.mod(command))
        except RequestError as error:
            if command is MeterCommand.ADD or error.name != "OFPMMFC_UNKNOWN_METER":
                log.error("the switch refused", error=error.name, refused=error.request)
                return False
        else:
            return True
    return False
