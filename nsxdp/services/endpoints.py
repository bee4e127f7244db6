"""Which endpoints serve a Service port: kube-proxy's truth table (KP-20 to KP-28).

Sources: KEP-1669 (terminating endpoints), KEP-2433, KEP-4444 and KEP-3015 (topology, traffic
distribution).
"""

from enum import IntEnum
from typing import Final, Literal, NamedTuple, get_args

import numpy as np

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

__all__ = ["TRAFFIC", "Choice", "Traffic", "Verdict", "choose"]


_CONDITIONS: Final = READY | SERVING | TERMINATING
_USUAL: Final = {READY | SERVING, READY | SERVING | LOCAL}

Traffic = Literal["internal", "external"]
"""Traffic to the cluster IP, or to an external address (node port, external IP, load balancer)."""

TRAFFIC: Final[tuple[Traffic, ...]] = get_args(Traffic)
"""Both kinds."""


class Verdict(IntEnum):
    """What becomes of a connection to a Service port."""

    SERVE = 0
    """It goes to one of the endpoints."""
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

    Examples
    --------
    >>> from nsxdp.services.addresses import Family
    >>> from nsxdp.services.endpoints import choose
    >>> from nsxdp.services.model import READY, SERVING, TERMINATING
    >>> from nsxdp.services.model import Endpoints, ServicePort, ServicePortName
    >>> name = ServicePortName("default", "web", "", "TCP")
    >>> port = ServicePort(name, bytes([10, 96, 0, 10]), 80)
    >>> endpoints = Endpoints(
    ...     Family.IPV4,
    ...     bytes([10, 0, 0, 1, 10, 0, 0, 2]),
    ...     (8080).to_bytes(2, "little") * 2,
    ...     bytes([READY | SERVING, SERVING | TERMINATING]),
    ... )
    >>> choose(port, endpoints).cluster.texts()
    ['10.0.0.1:8080']
    """
    # Nothing but an endpoint's flags decides, and of flags there are few kinds.
    kinds = set(endpoints.packed_flags)
    if kinds <= _USUAL and not port.uses_local_endpoints:
        return Choice(endpoints, Endpoints(endpoints.family), endpoints, bool(kinds))
    ready = {kind for kind in kinds if kind & READY}
    ending = {kind for kind in kinds if kind & _CONDITIONS == SERVING | TERMINATING}
    cluster: set[int] = set()
    if port.uses_cluster_endpoints:
        cluster = _fit_for_topology(ready) or ending
    local: set[int] = set()
    if port.uses_local_endpoints:
        local = {kind for kind in ready if kind & LOCAL}
        local = local or {kind for kind in ending if kind & LOCAL}
    for_cluster = _of_kinds(endpoints, kinds, cluster)
    for_local = _of_kinds(endpoints, kinds, local)
    if local <= cluster:
        reachable = for_cluster
    elif cluster <= local:
        reachable = for_local
    else:
        reachable = _of_kinds(endpoints, kinds, cluster | local)
    return Choice(for_cluster, for_local, reachable, bool(ready or ending))


def _fit_for_topology(ready: set[int]) -> set[int]:
    """What the hints leave of 'ready' for this node; all, where hints are missing or don't fit."""
    for hints, hinted in ((NODE_HINTS, HINTED_NODE), (ZONE_HINTS, HINTED_ZONE)):
        if all(kind & hints for kind in ready):
            fit = {kind for kind in ready if kind & hinted}
            if fit:
                return fit
    return ready


def _of_kinds(endpoints: Endpoints, kinds: set[int], wanted: set[int]) -> Endpoints:
    """Those of 'endpoints', whose flags are of 'kinds', whose flags are 'wanted'."""
    if wanted == kinds:
        return endpoints
    if not wanted:
        return Endpoints(endpoints.family)
    is_wanted = np.zeros(256, np.bool_)
    is_wanted[list(wanted)] = True
    return endpoints.where(is_wanted[endpoints.flags])
