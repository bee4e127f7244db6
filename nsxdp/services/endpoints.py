"""Which endpoints serve a Service port: kube-proxy's truth table (KP-20 to KP-28).

Sources: KEP-1669 (terminating endpoints), KEP-2433, KEP-4444 and KEP-3015 (topology, traffic
distribution).
"""

from enum import IntEnum
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nsxdp.services.model import (
    HINTED_NODE,
    HINTED_ZONE,
    LOCAL,
    NODE_HINTS,
    READY,
    SERVING,
    TERMINATING,
    ZONE_HINTS,
    Endpoints,
    ServicePort,
)

__all__ = ["Choice", "Traffic", "Verdict", "choose"]


Traffic = Literal["internal", "external"]
"""Traffic to the cluster IP, or to an external address (node port, external IP, load balancer)."""


class Verdict(IntEnum):
    """What becomes of a connection to a Service port."""

    SERVE = 0
    REJECT = 1
    """There is no endpoint anywhere: say so (KP-25)."""
    DROP = 2
    """There are endpoints, but none that this node may use: be silent (KP-23, KP-24)."""


class Choice(NamedTuple):
    """The endpoints of a Service port that are of use on this node.

    Attributes
    ----------
    cluster
        Those for traffic with the policy ``Cluster``; empty if there is no such traffic.
    local
        Those for traffic with the policy ``Local``; empty if there is no such traffic.
    reachable
        Both together.
    has_any
        Whether there are usable endpoints anywhere in the cluster.
    """

    cluster: Endpoints
    local: Endpoints
    reachable: Endpoints
    has_any: bool

    def for_traffic(self, port: ServicePort, traffic: Traffic) -> tuple[Endpoints, Verdict]:
        """The endpoints of 'port' for 'traffic', and what becomes of that traffic.

        External traffic is what comes from outside the cluster. Traffic of this node and its pods
        to an external address goes to `cluster`, whatever the external policy is (KP-31).
        """
        is_local = port.internal_local if traffic == "internal" else port.external_local
        endpoints = self.local if is_local else self.cluster
        if not self.has_any:
            return endpoints, Verdict.REJECT
        return endpoints, Verdict.SERVE if endpoints else Verdict.DROP


def choose(port: ServicePort, endpoints: Endpoints) -> Choice:
    """Choose among all 'endpoints' of 'port' those that serve it on this node.

    - Ready ones; if there are none, those that terminate but still serve (KP-20), decided for the
      cluster and for this node by itself (KP-21).
    - If every ready endpoint has hints for nodes and one is hinted for this node: those that are.
      Else, if every ready endpoint has hints for zones and one is hinted for this node's zone:
      those that are (KP-26). Neither holds for traffic with the policy ``Local`` nor for
      terminating endpoints (KP-27).
    """
    none = Endpoints(endpoints.family)
    if endpoints.plain and not port.uses_local_endpoints:
        return Choice(endpoints, none, endpoints, bool(endpoints))
    if not endpoints:
        return Choice(none, none, none, False)
    flags = endpoints.flags
    ready = (flags & READY) != 0
    ending = (flags & (READY | SERVING | TERMINATING)) == SERVING | TERMINATING
    has_any = bool(ready.any() or ending.any())

    cluster_mask = np.zeros(len(flags), np.bool_)
    if port.uses_cluster_endpoints:
        cluster_mask = ready & _fits_topology(flags, ready) if ready.any() else ending
    if not port.uses_local_endpoints:
        cluster = endpoints.where(cluster_mask)
        return Choice(cluster, none, cluster, has_any)

    local = (flags & LOCAL) != 0
    local_mask = local & ready
    if not local_mask.any():
        local_mask = local & ending
    return Choice(
        endpoints.where(cluster_mask),
        endpoints.where(local_mask),
        endpoints.where(cluster_mask | local_mask),
        has_any,
    )


def _fits_topology(flags: NDArray[np.uint8], ready: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which endpoints the hints leave for this node; all, where hints are missing or don't fit."""
    ready_flags = flags[ready]
    every = int(np.bitwise_and.reduce(ready_flags))
    some = int(np.bitwise_or.reduce(ready_flags))
    for hints, hinted in ((NODE_HINTS, HINTED_NODE), (ZONE_HINTS, HINTED_ZONE)):
        if every & hints and some & hinted:
            return (flags & np.uint8(hinted)).astype(np.bool_)
    return np.ones(len(flags), np.bool_)
