"""Session affinity for longer than Open vSwitch can leave a flow idle: 65,535 seconds, 16 bits.

What the switch learns of a client carries the Service's timeout in its cookie, where that is
longer. Such a flow is looked at now and then (`corrections`). Once it has been idle for so long
that what is left of the timeout fits in 16 bits, it gets that as its hard timeout, in place of the
idle timeout: then the switch itself ends it in time. When its client comes again before that, it is
idle no more, and gets its idle timeout back. For a timeout of T seconds::

    idle_timeout=65535          idle for less than T - 65535 s
    hard_timeout=T - idle       idle for longer

Which of both is right can be seen from the flow alone, so nothing is remembered, and who looks may
be restarted; it has to look once while the client is away for T - 65535 to 65535 seconds. When a
flow is replaced by itself, Open vSwitch goes on counting since when it is idle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from nsxdp.pipeline.registers import LEARNED_COOKIE, LONG_COOKIE, LONG_TIMEOUT_SHIFT

if TYPE_CHECKING:
    from nsxdp.openflow import FlowTable

__all__ = ["MOST_IDLE", "Learned", "corrections", "learned"]

MOST_IDLE: Final = 65535
"""Seconds: the longest timeout of a flow."""

_TIMEOUT_BITS: Final = 0x7FFF_FFFF


class Learned(NamedTuple):
    """Columns of what is learned: idle timeouts in seconds, and cookies."""

    timeouts: NDArray[np.uint16]
    cookies: NDArray[np.uint64]


def learned(timeouts: list[int]) -> Learned:
    """What is learned for Service ports whose affinity lasts for that many seconds."""
    wanted = np.array(timeouts, np.uint64)
    long = np.uint64(LONG_COOKIE) | wanted << np.uint64(LONG_TIMEOUT_SHIFT)
    return Learned(
        np.minimum(wanted, MOST_IDLE).astype(np.uint16),
        np.where(wanted > MOST_IDLE, long, np.uint64(LEARNED_COOKIE)),
    )


def corrections(flows: FlowTable) -> bytes:
    """The messages that give learned flows the timeouts that they need now.

    Parameters
    ----------
    flows
        Those whose cookie has the bits of `LONG_COOKIE`, as the switch has them.
    """
    bits = flows.cookie >> np.uint64(LONG_TIMEOUT_SHIFT)
    timeout = (bits & np.uint64(_TIMEOUT_BITS)).astype(np.int64)
    ends = flows.hard_timeout > 0
    shall_end = flows.idle_age >= timeout - MOST_IDLE
    messages = []
    for i in np.flatnonzero(ends != shall_end).tolist():
        left = int(timeout[i] - flows.idle_age[i]) if shall_end[i] else 0
        messages.append(
            replace(
                flows.flow(i), idle_timeout=0 if left else MOST_IDLE, hard_timeout=left
            ).encode()
        )
    return b"".join(messages)
