"""Connections that policies deny: as many of their packets are told of as a meter lets through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nsxdp.logs import get_logger
from nsxdp.openflow import PacketIn2, Session
from nsxdp.pipeline.compiled import Compiled
from nsxdp.pipeline.registers import LOG_METER
from nsxdp.policy.denied import Denied, denied
from nsxdp.policy.planner import PolicyPlanner
from nsxdp_agents.common.meters import limit, make_meter
from nsxdp_agents.node_agent.dataplane import Dataplane

__all__ = ["METER", "Denials", "log_denied"]

log = get_logger(__name__)

_PER_SECOND: Final = 10
_BURST: Final = 50

METER: Final = limit(LOG_METER, _PER_SECOND, _BURST)
"""As the switch shall have it."""


class Denials:
    """Tells of packets that policies drop.

    Parameters
    ----------
    planner
        Whose flows drop them.

    Attributes
    ----------
    listeners
        Who are told.
    """

    def __init__(self, planner: PolicyPlanner) -> None:
        self.listeners: list[Callable[[Denied], None]] = []
        self._planner = planner

    async def prepare(self, session: Session) -> Compiled:
        """Have the switch have the meter: what flows need because it has, or hasn't.

        A switch refuses a flow with a meter that it hasn't, and then nothing would be denied. So
        where it has none, packets are dropped and not told.
        """
        self._planner.set_log(await make_meter(session, METER))
        return self._planner.round()

    async def keep(self, dataplane: Dataplane) -> None:
        """Tell, until cancelled."""
        async for packet in dataplane.packets():
            found = denied(self._planner, packet) if isinstance(packet, PacketIn2) else None
            if found is not None:
                for listener in self.listeners:
                    listener(found)


def log_denied(told: Denied) -> None:
    """Let the log tell of it."""
    log.info("a connection is denied", **told._asdict())
