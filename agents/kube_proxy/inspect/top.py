"""The busiest Services, from what their flows have counted: columns, whatever their number.

A flow of ServiceLB meets the first packet of each connection and no other, so its count is that of
connections. What follows only connection tracking sees; whether it counts is the datapath's affair.
"""

from __future__ import annotations

import time
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from nsxdp.conntrack import read_entries
from nsxdp.openflow import FlowTable, Switch
from nsxdp.pipeline.registers import ZONE
from nsxdp.services.addresses import parse_address
from nsxdp.services.endpoints import choose
from nsxdp.services.model import ServicePort
from nsxdp_agents.kube_proxy.inspect.intent import OUR_FLOWS, Intent
from nsxdp_agents.kube_proxy.inspect.services import frontends

__all__ = ["Busy", "Sample", "Tracked", "busiest", "read_tracked", "sample", "table"]

_NOBODY: Final = 0xFFFF_FFFF_FFFF_FFFF
_APPLY: Final = 8
"""Bytes before the first action of instructions that only apply actions."""
_METER: Final = 29
"""OFPAT_METER, the first action of what goes to the proxy to be refused."""


class Tracked(NamedTuple):
    """The connections to a Service port that are tracked now.

    Attributes
    ----------
    packets, bytes
        Of both directions; None: this datapath doesn't count.
    """

    connections: int = 0
    packets: int | None = None
    bytes: int | None = None


class Sample(NamedTuple):
    """What was counted at one time.

    Attributes
    ----------
    at
        Seconds of `time.monotonic`.
    owners
        Numbers of the Service ports, ascending, shape (n,).
    served, refused
        Packets that went to a group, and those that were rejected or dropped, shape (n,).
    tracked
        By owner; None if connection tracking wasn't asked.
    """

    at: float
    owners: NDArray[np.uint64]
    served: NDArray[np.int64]
    refused: NDArray[np.int64]
    tracked: dict[int, Tracked] | None


class Busy(NamedTuple):
    """A Service port, and how busy it is. What is None isn't known."""

    port: ServicePort
    new: float
    refused: float
    total_new: int
    total_refused: int
    endpoints: int
    connections: int | None
    packets: float | None
    bytes: float | None

    @property
    def service(self) -> str:
        """The Service port's name."""
        return f"{self.port.name} {self.port.family.label}"

    def json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "service": self.port.name.service,
            "port": self.port.name.port_name,
            "protocol": self.port.protocol,
            "family": self.port.family.label,
            "new_per_second": round(self.new, 3),
            "refused_per_second": round(self.refused, 3),
            "new": self.total_new,
            "refused": self.total_refused,
            "endpoints": self.endpoints,
            "connections": self.connections,
            "packets_per_second": self.packets,
            "bytes_per_second": self.bytes,
        }


async def sample(intent: Intent, switch: Switch, *, connections: bool) -> Sample:
    """Ask the switch.

    Raises
    ------
    OpenFlowError, UnixctlError
        It can't be asked.
    """
    flows = await switch.dump(f"table=ServiceLB,{OUR_FLOWS}")
    now = time.monotonic()
    tracked = None
    if connections:
        dump = await switch.ask_daemon("dpctl/dump-conntrack", "-s", f"zone={ZONE}")
        tracked = read_tracked(dump, intent)
    owners = intent.owners(flows)
    ours = owners != _NOBODY
    found, where = np.unique(owners[ours], return_inverse=True)
    packets = flows.packets[ours].astype(np.int64)
    refuses = _refuses(flows)[ours]
    n = len(found)
    return Sample(
        now,
        found,
        np.bincount(where, np.where(refuses, 0, packets), n).astype(np.int64),
        np.bincount(where, np.where(refuses, packets, 0), n).astype(np.int64),
        tracked,
    )


def _refuses(flows: FlowTable) -> NDArray[np.bool_]:
    """Which flows reject or drop: those whose first action is the meter's, or that have none."""
    data = np.frombuffer(flows.data, np.uint8)
    acts = flows.rows["instructions_len"] >= _APPLY + 2
    at = np.where(acts, flows.rows["instructions"] + np.uint64(_APPLY), np.uint64(0))
    if not len(data):
        return np.zeros(len(flows), np.bool_)
    first = data[at].astype(np.uint16) << 8 | data[at + np.uint64(1)]
    refuses: NDArray[np.bool_] = ~acts | (first == _METER)
    return refuses


def read_tracked(dump: str, intent: Intent) -> dict[int, Tracked]:
    """By owner, what ``ovs-appctl dpctl/dump-conntrack -s`` tells of its connections."""
    known = frontends(intent.planner.tracker)
    found: dict[int, Tracked] = {}
    for entry in read_entries(dump):
        key = entry.protocol.upper(), entry.dst_port
        port = known.get((*key, parse_address(entry.dst))) or known.get((*key, None))
        owner = intent.planner.compiler.group_id(port.name, port.family) if port else None
        if owner is None:
            continue
        before = found.get(owner, Tracked())
        packets, bytes_ = before.packets, before.bytes
        if entry.packets is not None or entry.reply_packets is not None:
            packets = (packets or 0) + (entry.packets or 0) + (entry.reply_packets or 0)
            bytes_ = (bytes_ or 0) + (entry.bytes or 0) + (entry.reply_bytes or 0)
        found[owner] = Tracked(before.connections + 1, packets, bytes_)
    return found


def busiest(intent: Intent, now: Sample, before: Sample, number: int) -> list[Busy]:
    """The Service ports with the most going on between two samples, the busiest first."""
    seconds = max(now.at - before.at, 1e-9)
    served = now.served - _of(before.owners, before.served, now.owners)
    refused = now.refused - _of(before.owners, before.refused, now.owners)
    # A flow that was made anew counts from 0.
    served = np.where(served < 0, now.served, served)
    refused = np.where(refused < 0, now.refused, refused)
    order = np.lexsort((now.owners, -(now.served + now.refused), -(served + refused)))
    busy: list[Busy] = []
    for row in order.tolist():
        if len(busy) == number:
            break
        owner = int(now.owners[row])
        found = intent.planner.compiler.whose(owner)
        port = intent.planner.tracker.ports(found[1]).get(found[0]) if found else None
        if port is None:
            continue
        tracked = (now.tracked or {}).get(owner, Tracked())
        earlier = (before.tracked or {}).get(owner, Tracked())
        busy.append(
            Busy(
                port,
                float(served[row]) / seconds,
                float(refused[row]) / seconds,
                int(now.served[row]),
                int(now.refused[row]),
                _endpoints(intent, port),
                None if now.tracked is None else tracked.connections,
                _rate(tracked.packets, earlier.packets, seconds),
                _rate(tracked.bytes, earlier.bytes, seconds),
            )
        )
    return busy


def _of(
    owners: NDArray[np.uint64], counts: NDArray[np.int64], wanted: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """The counts of the owners that are wanted; 0 of one that wasn't there."""
    if not len(owners):
        return np.zeros(len(wanted), np.int64)
    at = np.minimum(np.searchsorted(owners, wanted), len(owners) - 1)
    return np.where(owners[at] == wanted, counts[at], 0)


def _rate(now: int | None, before: int | None, seconds: float) -> float | None:
    """Connections that ended took their counts along: a rate is not less than nothing."""
    return None if now is None else round(max(now - (before or 0), 0) / seconds, 3)


def _endpoints(intent: Intent, port: ServicePort) -> int:
    endpoints = intent.planner.tracker.endpoints(port.name, port.family)
    return len(choose(port, endpoints).reachable)


_COLUMNS: Final = ("NEW/S", "REFUSED/S", "NEW", "REFUSED", "ENDPOINTS")
_TRACKED_COLUMNS: Final = ("CONNECTIONS", "PACKETS/S", "BYTES/S")


def cells(busy: Busy, *, connections: bool) -> list[str]:
    """A row of the table."""
    row = [
        f"{busy.new:,.1f}",
        f"{busy.refused:,.1f}",
        f"{busy.total_new:,}",
        f"{busy.total_refused:,}",
        f"{busy.endpoints:,}",
    ]
    if connections:
        row.append(f"{busy.connections or 0:,}")
        row += ["-" if n is None else f"{n:,.0f}" for n in (busy.packets, busy.bytes)]
    return row


def headings(*, connections: bool) -> list[str]:
    """What is above the numbers."""
    return [*_COLUMNS, *(_TRACKED_COLUMNS if connections else ())]


def table(found: list[Busy], *, connections: bool) -> Table:
    """For a terminal."""
    shown = Table(expand=True, pad_edge=False, box=None)
    shown.add_column("SERVICE PORT", ratio=1, overflow="fold")
    for name in headings(connections=connections):
        shown.add_column(name, justify="right", no_wrap=True)
    for busy in found:
        style = "bold" if busy.new or busy.refused else "dim"
        shown.add_row(busy.service, *cells(busy, connections=connections), style=style)
    return shown


def lines(found: list[Busy], *, connections: bool) -> list[str]:
    """For a pipe: columns that fit what is in them."""
    rows = [["SERVICE PORT", *headings(connections=connections)]]
    rows += [[busy.service, *cells(busy, connections=connections)] for busy in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
