"""Keeps session affinity that lasts longer than a flow can be idle (`nsxdp.services.affinity`)."""

from __future__ import annotations

import asyncio

from nsxdp.logs import get_logger
from nsxdp.openflow import Connection, FlowTable, OpenFlowError
from nsxdp.pipeline.registers import LONG_COOKIE, LONG_COOKIE_MASK
from nsxdp.services.affinity import corrections

__all__ = ["keep_long_affinity"]

log = get_logger(__name__)


async def keep_long_affinity(connection: Connection, period: float) -> None:
    """Look at what was learned, every 'period' seconds, until cancelled."""
    while True:
        await asyncio.sleep(period)
        try:
            replies = [r async for r in connection.dump_flows(LONG_COOKIE, LONG_COOKIE_MASK)]
            messages = corrections(FlowTable.read(replies))
            if messages:
                await connection.commit(messages)
        except OpenFlowError as error:
            log.debug("session affinity is not looked after now", reason=str(error))
