"""What a source delivers, handed to the planner and to the node's side of the bridge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from nsxdp.k8s.objects import Node, ServiceCIDR
from nsxdp.k8s.source import Batch, Op, Source
from nsxdp.services.planner import ServicePlanner
from nsxdp_agents.kube_proxy.node import NodeSide

__all__ = ["Intake"]

ZONE_LABEL: Final = "topology.kubernetes.io/zone"
_NEEDED: Final = frozenset({"Service", "EndpointSlice"})
"""Nothing is programmed before all of these have been seen (KP-10)."""

_EXPECTED: Final = frozenset({"Node", "ServiceCIDR"})
_EXPECTED_SECONDS: Final = 1.0
"""These are waited for that long: an old API server has no ServiceCIDRs, and who starts without
what it had before would take away what it put on the switch then."""


class Intake:
    """Follows one source, which is open.

    Parameters
    ----------
    node
        None: there is no bridge.
    """

    def __init__(self, source: Source, planner: ServicePlanner, node: NodeSide | None) -> None:
        self._source = source
        self._planner = planner
        self._node = node
        self._missing = set(_NEEDED)
        self._synced = asyncio.Event()
        self._expected = set(_EXPECTED)
        self._complete = asyncio.Event()

    async def follow(self) -> AsyncIterator[tuple[Batch, bool]]:
        """Each batch that was handed on, and whether a Service or its endpoints changed by it."""
        async for batch in self._source:
            yield batch, self._take(batch)

    async def loaded(self) -> None:
        """Wait until everything that existed at the start has been handed on."""
        await self._synced.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(_EXPECTED_SECONDS):
                await self._complete.wait()

    def _take(self, batch: Batch) -> bool:
        changed = False
        for op, obj in batch.events:
            if isinstance(obj, Node):
                self._take_node(None if op is Op.DELETE else obj)
            elif isinstance(obj, ServiceCIDR):
                if self._node is not None:
                    self._node.set_range(obj.key, () if op is Op.DELETE else obj.spec.cidrs)
            elif self._planner.take(op, obj):
                changed = True
        if batch.kind == "ServiceCIDR" and batch.synced and self._node is not None:
            self._node.all_ranges_known()
        if batch.synced:
            self._missing.discard(batch.kind)
            self._expected.discard(batch.kind)
            if not self._missing:
                self._synced.set()
            if not self._expected:
                self._complete.set()
        return changed

    def _take_node(self, node: Node | None) -> None:
        if self._node is not None:
            self._node.set_node(node)
        labels = (node.metadata.labels if node else None) or {}
        self._planner.tracker.set_zone(labels.get(ZONE_LABEL, ""))
