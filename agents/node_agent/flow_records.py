"""Tells who talked with whom, and who was not let: from connection tracking, and of what is denied.

Connection tracking is asked once in an interval, whatever goes on; reading the answer is another
thread's work. The answer's size and the connections that are remembered have a limit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Final

from nsxdp.conntrack import Entry, read_entries
from nsxdp.flowrecords.record import FlowRecord
from nsxdp.flowrecords.tracker import Flow, FlowTracker
from nsxdp.logs import get_logger
from nsxdp.pipeline.registers import BITS, ZONE
from nsxdp.policy.denied import Denied
from nsxdp.tracing.names import AgentNames
from nsxdp.unixctl import UnixctlError, call, control_socket
from nsxdp_agents.node_agent.flow_outputs import Queued
from nsxdp_agents.node_agent.who import End, Rules

__all__ = ["FlowRecords"]

log = get_logger(__name__)

_MOST: Final = 64 << 20
"""Bytes of an answer: some 400,000 connections."""
_SECONDS: Final = 30.0

_PART: Final = 250
_PAUSE: Final = 0.01
"""After so many records, so many seconds for everything else: outputs write meanwhile."""

_NAMES: Final = 500
"""Places that the Service proxy is asked about at once."""
_KNOWN: Final = 10_000
_KNOWN_SECONDS: Final = 60.0
"""How many Services' names are kept, and for how long."""

_REFUSED: Final = BITS["Refused"].mask

_PROTOCOLS: Final = {"icmpv6": "ICMPv6"}

_Place = tuple[str, str, int]


class FlowRecords:
    """Keeps telling of connections.

    Parameters
    ----------
    node
        This node's name.
    directory
        Open vSwitch's run directory.
    interval
        Seconds between two looks.
    outputs
        Where records go.
    end
        Knows who has an address.
    rules
        Knows which rules let a connection through.
    lose
        Is told how many connections were too many to be told of.
    """

    def __init__(
        self,
        node: str,
        directory: Path,
        interval: float,
        outputs: Iterable[Queued],
        end: Callable[[str], End],
        rules: Callable[[Entry], Rules],
        lose: Callable[[str, int], None],
    ) -> None:
        self._node = node
        self._directory = directory
        self._interval = interval
        self._outputs = tuple(outputs)
        self._end = end
        self._rules = rules
        self._lose = lose
        self._tracker = FlowTracker(active=max(60.0, interval))
        self._services: dict[_Place, str] = {}
        self._services_until = 0.0
        self._problem = ""

    def denied(self, told: Denied) -> None:
        """Tell of a packet that policies dropped."""
        now = time.time()
        self._put(
            FlowRecord(
                node=self._node,
                start=now,
                end=now,
                verdict="deny",
                reason="denied",
                protocol=told.protocol,
                source=told.source,
                source_port=told.source_port or 0,
                source_pod=told.source_pod,
                source_node=self._end(told.source).node,
                destination=told.destination,
                destination_port=told.destination_port or 0,
                destination_pod=told.destination_pod,
                destination_node=self._end(told.destination).node,
                direction=told.direction,
                policy=told.policy,
                rule=told.rule,
            )
        )

    async def keep(self) -> None:
        """Tell until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for output in self._outputs:
                tasks.create_task(output.run())
            while True:
                await self._look()
                await asyncio.sleep(self._interval)

    async def _look(self) -> None:
        problem = ""
        try:
            dump = await call(
                control_socket(self._directory),
                *("dpctl/dump-conntrack", "-s", f"zone={ZONE}"),
                seconds=_SECONDS,
                most=_MOST,
            )
        except UnixctlError as error:
            problem = str(error)
            if problem != self._problem:
                log.warning("connections are not recorded", reason=problem)
        else:
            entries = (entry for entry in read_entries(dump) if not entry.mark & _REFUSED)
            flows = await asyncio.to_thread(self._tracker.update, entries, time.time())
            if self._tracker.left_out:
                self._lose("tracked", self._tracker.left_out)
            await self._tell(flows)
        self._problem = problem

    async def _tell(self, flows: list[Flow]) -> None:
        left = iter(flows)
        try:
            await self._name({place for flow in flows if (place := _service_place(flow))})
            while part := list(islice(left, _PART)):
                for flow in part:
                    self._put(self._record(flow))
                await asyncio.sleep(_PAUSE)
        finally:
            for flow in left:
                self._put(self._record(flow))

    def _put(self, record: FlowRecord) -> None:
        for output in self._outputs:
            output.put(record)

    def _record(self, flow: Flow) -> FlowRecord:
        entry, place = flow.entry, _service_place(flow)
        source, destination = self._end(entry.src), self._end(entry.reply_src)
        rules = self._rules(entry)
        return FlowRecord(
            node=self._node,
            start=flow.start,
            end=flow.end,
            verdict="allow",
            reason=flow.reason,
            protocol=_PROTOCOLS.get(entry.protocol, entry.protocol.upper()),
            source=entry.src,
            source_port=entry.src_port,
            source_pod=source.pod,
            source_node=source.node,
            destination=entry.reply_src,
            destination_port=entry.reply_src_port,
            destination_pod=destination.pod,
            destination_node=destination.node,
            service=self._services.get(place, "") if place else "",
            service_address=entry.dst if place else "",
            service_port=entry.dst_port if place else 0,
            packets=entry.packets,
            bytes=entry.bytes,
            reply_packets=entry.reply_packets,
            reply_bytes=entry.reply_bytes,
            egress_rule=rules.egress,
            ingress_rule=rules.ingress,
        )

    async def _name(self, places: set[_Place]) -> None:
        """Ask for the Services' names that aren't known."""
        now = time.monotonic()
        if now >= self._services_until or len(self._services) > _KNOWN:
            self._services.clear()
            self._services_until = now + _KNOWN_SECONDS
        unknown = sorted(places - self._services.keys())
        names = AgentNames(self._directory)
        for first in range(0, len(unknown), _NAMES):
            part = unknown[first : first + _NAMES]
            found = await names.services_at(part)
            if found is not None and len(found) == len(part):
                self._services.update(zip(part, found, strict=True))


def _service_place(flow: Flow) -> _Place | None:
    """Where a connection was sent that was translated; None: it wasn't."""
    entry = flow.entry
    if (entry.dst, entry.dst_port) == (entry.reply_src, entry.reply_src_port):
        return None
    return entry.protocol, entry.dst, entry.dst_port
