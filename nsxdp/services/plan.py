"""What a Service port shall do on this node: the step between its endpoints and its flows."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from nsxdp.services.endpoints import Verdict, choose
from nsxdp.services.model import Endpoints, ServicePort

__all__ = ["MAX_AFFINITY_TIMEOUT", "Plan", "basis_period", "make_plan"]

MAX_AFFINITY_TIMEOUT: Final = 65535
"""Seconds: the longest that a learned flow can stay idle (16 bits in OpenFlow)."""

_MIN_BASIS_PERIOD: Final = 10.0


class Plan(Struct, frozen=True, gc=False):
    """A Service port, what becomes of connections to its cluster IP, and the endpoints for them.

    'basis' is the hash basis of its group, which only session affinity needs.
    """

    port: ServicePort
    verdict: Verdict
    endpoints: Endpoints
    basis: int = 0


def make_plan(port: ServicePort, endpoints: Endpoints, now: float) -> Plan:
    """The plan of 'port' with all its 'endpoints' at 'now' (seconds since the epoch).

    The hash basis changes once in a `basis_period`, so that a client whose affinity expired can
    move to another endpoint; in between, all first connections of a client that race the learned
    flow agree. It only depends on the clock, so a restarted agent comes to the same one.
    """
    chosen, verdict = choose(port, endpoints).for_traffic(port, "internal")
    basis = 0
    if port.affinity_timeout is not None:
        basis = int(now // basis_period(port.affinity_timeout)) & 0xFFFF_FFFF
    return Plan(port, verdict, chosen, basis)


def basis_period(affinity_timeout: int) -> float:
    """How long (seconds) the hash basis of a group with 'affinity_timeout' (seconds) holds."""
    return max(float(affinity_timeout), _MIN_BASIS_PERIOD)
