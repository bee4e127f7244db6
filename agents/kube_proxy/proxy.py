"""The proxy: it joins the parts, and has no logic of its own.

The source's batches go to the planner, a round's flows to the writer, and the writer's commits to
the metrics. While a commit is in flight, changes gather for the next round.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final, NamedTuple

from nsxdp.k8s.objects import Node
from nsxdp.k8s.source import Batch, Op, Source
from nsxdp.logs import get_logger
from nsxdp.openflow import Connection, ConnectionLost, PacketOut
from nsxdp.services.addresses import Family
from nsxdp.services.conntrack import Stale
from nsxdp.services.endpoints import TRAFFIC
from nsxdp.services.planner import ServicePlanner
from nsxdp.services.reject import reject
from nsxdp.services.tracker import Changes
from nsxdp.writer import Writer
from nsxdp_agents.common import memory
from nsxdp_agents.common.wait import until_set
from nsxdp_agents.kube_proxy.affinity import keep_long_affinity
from nsxdp_agents.kube_proxy.events import Events
from nsxdp_agents.kube_proxy.forgetting import Forgetting
from nsxdp_agents.kube_proxy.health import Health
from nsxdp_agents.kube_proxy.intake import Intake
from nsxdp_agents.kube_proxy.metrics import Metrics
from nsxdp_agents.kube_proxy.node import NodeSide
from nsxdp_agents.kube_proxy.service_health import Check, ServiceHealth

__all__ = ["Proxy"]

log = get_logger(__name__)

_MAX_PROBLEMS: Final = 1000

_COUNT_AFTER: Final = 0.005
"""Seconds after which what came in is counted: the switch has its message first."""


class _Planned(NamedTuple):
    """What is left to do of a round that was handed to the writer.

    Its flows are not kept: at the start they are megabytes.

    Attributes
    ----------
    started
        When it began; seconds of `time.monotonic`, as all times here.
    received
        When the bytes of its oldest change had come in; None where the clock alone asked for it.
    """

    changes: Changes
    stale: list[Stale]
    started: float
    received: float | None


class Proxy:
    """Serves the Services of one source on one node."""

    def __init__(
        self,
        planner: ServicePlanner,
        source: Source,
        node: NodeSide,
        connection: Connection,
        writer: Writer,
        *,
        control: Path | None,
        health: Health,
        service_health: ServiceHealth,
        metrics: Metrics,
        events: Events,
        look_period: float,
    ) -> None:
        self._planner = planner
        self._intake = Intake(source, planner, node)
        self._node = node
        self._connection = connection
        self._writer = writer
        self._forgetting = Forgetting(connection, control, planner.stale_entries, metrics)
        self._health = health
        self._service_health = service_health
        self._metrics = metrics
        self._events = events
        self._look_period = look_period
        self._changed = asyncio.Event()
        self._received: float | None = None
        """When the bytes of the oldest change that isn't planned yet had come in."""
        self._problems: set[str] = set()

    async def run(self) -> None:
        """Serve until cancelled. What is on the switch stays there."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_source())
            await self._intake.loaded()
            await self._node.compile()
            self._take_addresses()
            rounds = self._rounds(self._plan())
            # From here on the writer may remove what isn't wanted: all that is wanted is known.
            tasks.create_task(self._writer.run())
            tasks.create_task(self._node.follow())
            tasks.create_task(self._node.keep(self._take_addresses))
            tasks.create_task(rounds)
            tasks.create_task(self._forgetting.run())
            tasks.create_task(self._service_health.run())
            tasks.create_task(self._reject_packets())
            tasks.create_task(keep_long_affinity(self._connection, self._look_period))

    # What comes in.

    async def _follow_source(self) -> None:
        async for batch, changed in self._intake.follow():
            self._note(batch, changed)

    def _note(self, batch: Batch, changed: bool) -> None:
        if changed:
            self._health.queued()
            if self._received is None:
                self._received = batch.received_at
            self._changed.set()
        if batch.kind == "Node":
            for op, obj in batch.events:
                if isinstance(obj, Node):
                    self._health.set_node(None if op is Op.DELETE else obj)
            if batch.synced and not batch.events and not self._health.eligible:
                log.warning("there is no such Node: is it the one that --node-name means?")
            self._changed.set()
        came = batch.kind, len(batch.events), changed, time.time()
        asyncio.get_running_loop().call_later(_COUNT_AFTER, self._count, *came)

    def _count(self, kind: str, n: int, changed: bool, at: float) -> None:
        """Have it in the metrics that 'n' objects of a kind came in."""
        tracker = self._planner.tracker
        if kind == "Service":
            self._metrics.services_changed(n, tracker.pending_services)
        elif kind == "EndpointSlice":
            self._metrics.endpoints_changed(n, tracker.pending_slices)
        if changed:
            self._metrics.queued(at)

    def _take_addresses(self) -> None:
        self._planner.set_node_addresses(self._node.addresses)
        self._service_health.set_addresses(self._node.node_port_addresses)
        self._changed.set()

    # Rounds.

    async def _rounds(self, first: _Planned) -> None:
        await self._confirm(first)
        del first
        await self._forgetting.all_old()
        memory.loaded()
        while True:
            await self._wait()
            await self._confirm(self._plan())

    async def _wait(self) -> None:
        """Wait for a change, or until the planner has something to do by itself."""
        due = self._planner.next_rotation
        await until_set(self._changed, None if due is None else max(0.0, due - time.time()))

    def _plan(self) -> _Planned:
        """Plan all that changed, and hand it to the writer."""
        self._changed.clear()
        self._health.started()
        started = time.monotonic()
        received, self._received = self._received, None
        planned = self._planner.round(time.time())
        self._metrics.round_began()
        self._node.expose(planned.exposed)
        self._tell_service_health(planned.changes)
        if len(planned.owned.owners):
            self._writer.replace(planned.owned)
        self._complain(planned.changes.problems)
        return _Planned(planned.changes, planned.stale, started, received)

    def _tell_service_health(self, changes: Changes) -> None:
        tracker = self._planner.tracker
        for service in changes.services:
            for family in Family:
                found = tracker.health_check(service, family)
                self._service_health.set(service, family, Check(*found) if found else None)

    async def _confirm(self, planned: _Planned) -> None:
        """Wait for the switch, then do what had to wait for it."""
        done = await self._writer.settled()
        now = time.time() - (time.monotonic() - done)
        seconds = None if planned.received is None else done - planned.received
        log.debug("round", confirmed_at=now, seconds=seconds)
        self._health.updated()
        self._metrics.round_done(
            done - planned.started,
            seconds,
            now,
            planned.changes.trigger_times,
            {
                (family.label, traffic): self._planner.without_local_endpoints(family, traffic)
                for family in Family
                for traffic in TRAFFIC
            },
        )
        self._forgetting.soon(planned.stale)

    # The rest.

    async def _reject_packets(self) -> None:
        """Refuse first packets to Services without endpoints (KP-25)."""
        async for packet in self._connection.packet_ins():
            answer = reject(packet.data)
            port = packet.in_port
            if answer is None or port is None:
                continue
            try:
                self._connection.send(PacketOut.parse(answer, "IN_PORT", port))
                self._metrics.rejected_packets.inc()
            except ConnectionLost:
                continue

    def _complain(self, problems: list[str]) -> None:
        """Tell what is wrong with objects: once each."""
        for problem in problems:
            if problem not in self._problems:
                log.warning("cannot be used", reason=problem)
                self._events.unusable(problem)
        self._problems = (
            (self._problems | set(problems))
            if len(self._problems) < _MAX_PROBLEMS
            else set(problems)
        )
