"""The meter that keeps packets to Services without endpoints from flooding the proxy."""

from __future__ import annotations

from typing import Final

from nsxdp.pipeline.registers import REJECT_METER
from nsxdp_agents.common.meters import limit

__all__ = ["METER"]

_REJECTS_PER_SECOND: Final = 1000
_REJECTS_BURST: Final = 1000

METER: Final = limit(REJECT_METER, _REJECTS_PER_SECOND, _REJECTS_BURST)
"""As the switch shall have it."""
