"""Whether the proxy keeps up: /healthz and /livez, as kube-proxy answers them (KP-63, KP-64).

The proxy is healthy while no change has waited for the switch for longer than a timeout. The node
is *eligible* for a cloud load balancer's traffic unless it isn't known to the API server, is being
deleted, or is about to be removed by the cluster autoscaler: then healthz fails, and livez doesn't.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from nsxdp.k8s.objects import Node
from nsxdp.services.addresses import Family

__all__ = ["Health"]

TO_BE_DELETED: Final = "ToBeDeletedByClusterAutoscaler"
"""The taint of a node that the cluster autoscaler is about to remove."""


class Health:
    """When the last change came in, and when the switch had the last one."""

    def __init__(
        self, timeout: float, clock: Callable[[], float], *, needs_node: bool = False
    ) -> None:
        """'timeout' is in seconds, 'clock' gives seconds since the epoch.

        With 'needs_node' a node that isn't known is not eligible: manifests have none.
        """
        self._timeout = timeout
        self._clock = clock
        self._needs_node = needs_node
        self._queued: float | None = None
        self._started: float | None = None
        self._updated: float | None = None
        self._eligible = not needs_node

    def queued(self) -> None:
        """A change came in."""
        if self._queued is None:
            self._queued = self._clock()

    def started(self) -> None:
        """All that came in so far is on its way to the switch."""
        if self._started is None:
            self._started = self._queued
        self._queued = None

    def updated(self) -> None:
        """The switch has all that came in before the last `started`."""
        self._started = None
        self._updated = self._clock()

    def set_node(self, node: Node | None) -> None:
        """The proxy's own node is 'node' now; None: it isn't known, or gone."""
        if node is None:
            self._eligible = not self._needs_node
            return
        self._eligible = not (
            node.metadata.deletion_timestamp
            or any(taint.key == TO_BE_DELETED for taint in node.spec.taints)
        )

    @property
    def healthy(self) -> bool:
        """Whether no change waits for too long. One that never saw a change is healthy."""
        waiting = self._waiting
        return waiting is None or self._clock() - waiting <= self._timeout

    @property
    def _waiting(self) -> float | None:
        """Since when the oldest change waits."""
        return self._queued if self._started is None else self._started

    @property
    def eligible(self) -> bool:
        """Whether the node may get a cloud load balancer's traffic."""
        return self._eligible

    def answer(self, *, with_node: bool) -> tuple[int, str]:
        """Status and JSON body of healthz ('with_node') or livez."""
        now = self._clock()
        healthy = self.healthy
        body: dict[str, object] = {
            "lastUpdated": _text(now if self._waiting is None else self._updated),
            "currentTime": _text(now),
        }
        if with_node:
            body["nodeEligible"] = self._eligible
        body["healthy"] = healthy
        if self._updated is not None:
            body["status"] = {
                family: {"lastUpdated": _text(self._updated), "healthy": healthy}
                for family in (Family.IPV4.label, Family.IPV6.label)
            }
        ok = healthy and (self._eligible or not with_node)
        return 200 if ok else 503, json.dumps(body)


def _text(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
