"""Service ports to the groups and flows of the Service stages.

The work is done in columns: all Service ports that need the same templates are stamped together,
be it one after a change or ten thousand at the start. Each Service port of each family is an
*owner*, whose messages replace what it had; its number is its group's id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from nsxdp.openflow import Template
from nsxdp.pipeline.compiled import Compiled, Piece
from nsxdp.pipeline.registers import GROUP_FIRST, GROUP_LAST
from nsxdp.pipeline.service import TEMPLATES, ServiceTemplates
from nsxdp.services.addresses import Family
from nsxdp.services.endpoints import Verdict
from nsxdp.services.ids import GroupIds, endpoint_slots
from nsxdp.services.model import ServicePortName
from nsxdp.services.plan import MAX_AFFINITY_TIMEOUT, Plan

__all__ = ["ServiceCompiler"]

MAX_BUCKETS: Final = 256
"""Buckets that dp_hash tells apart; with more, Open vSwitch asks its slow path for each
connection (ofproto-dpif.c, group_setup_dp_hash_table())."""

_PART_SIZE: Final = 128
"""Endpoints that a part of a large group has on average: half of what it can hold."""

_Key = tuple[Family, str]


class ServiceCompiler:
    """Compiles Service ports; remembers nothing but which group id is whose."""

    def __init__(self) -> None:
        self._ids = GroupIds(GROUP_FIRST, GROUP_LAST)
        self._parts: dict[int, int] = {}

    def group_id(self, name: ServicePortName, family: Family) -> int | None:
        """The group of a Service port that was compiled, None if there is none."""
        return self._ids.get((name, family))

    def compile(
        self, plans: Sequence[Plan], removed: Iterable[tuple[ServicePortName, Family]] = ()
    ) -> Compiled:
        """Compile 'plans'; the Service ports 'removed' need nothing any more.

        The cost is proportional to what is given.
        """
        kinds: dict[_Key, list[int]] = {}
        owners = [self._take(plan) for plan in plans]
        for row, plan in enumerate(plans):
            kinds.setdefault((plan.port.family, plan.port.protocol), []).append(row)
        groups = np.array(owners, np.uint32)
        pieces: list[Piece] = []
        for (family, protocol), rows in kinds.items():
            batch = _Batch(TEMPLATES[family, protocol], family, plans, rows, groups)
            self._stamp(batch, pieces)
        for name, family in removed:
            owner = self._ids.get((name, family))
            if owner is not None:
                owners.append(owner)
                self._release(name, family, owner)
        return Compiled(owners, pieces)

    def _stamp(self, batch: _Batch, pieces: list[Piece]) -> None:
        """Stamp what the Service ports of one family and protocol need."""
        plain: list[int] = []
        sticky: list[int] = []
        silent: list[int] = []
        refused: list[int] = []
        for row in batch.rows:
            plan = batch.plans[row]
            self._set_parts(plan, int(batch.groups[row]))
            if plan.verdict is Verdict.REJECT:
                refused.append(row)
            elif plan.verdict is Verdict.DROP:
                silent.append(row)
            elif plan.port.affinity_timeout is not None:
                sticky.append(row)
            else:
                plain.append(row)
        templates = batch.templates
        if plain:
            small = [row for row in plain if len(batch.plans[row].endpoints) <= MAX_BUCKETS]
            if small:
                pieces.append(batch.groups_of(small, templates.group))
            for row in plain:
                if len(batch.plans[row].endpoints) > MAX_BUCKETS:
                    pieces.extend(self._large(batch, row))
            pieces.append(batch.flows(templates.balance, plain, group=batch.groups[plain]))
        if sticky:
            pieces.extend(_sticky(batch, sticky))
        if silent:
            pieces.append(batch.flows(templates.drop, silent))
        if refused:
            pieces.append(batch.flows(templates.reject, refused))

    def _large(self, batch: _Batch, row: int) -> list[Piece]:
        """More endpoints than one group can hold: groups of a part each, and one that chooses."""
        ends = batch.endpoints([row])
        group = int(batch.groups[row])
        n_parts = self._parts[group]
        port = batch.plans[row].port
        parts = [self._take_part(port.name, port.family, part) for part in range(n_parts)]
        part_of = ends.slots % n_parts
        order = np.argsort(part_of, kind="stable")
        offsets = np.concatenate(([0], np.cumsum(np.bincount(part_of, minlength=n_parts))))
        owner = np.array([row], np.uint32)
        stamped = batch.templates.group.stamp_groups(
            offsets.astype(np.uint64),
            group=np.array(parts, np.uint32),
            slot=ends.slots[order],
            ip=ends.ips[order],
            endpoint_port=ends.ports[order],
        )
        whole = batch.templates.large_group.stamp_groups(
            np.array([0, n_parts], np.uint64),
            group=np.array([group], np.uint32),
            slot=np.arange(1, n_parts + 1, dtype=np.uint32),
            part=np.array(parts, np.uint32),
        )
        return [(stamped, np.repeat(owner, n_parts)), (whole, owner)]

    def _set_parts(self, plan: Plan, group: int) -> None:
        """Settle how many parts the group of 'plan' has, and give back ids of parts it had.

        A power of two: while it stays, no endpoint moves to another part.
        """
        n = len(plan.endpoints)
        large = plan.port.affinity_timeout is None and n > MAX_BUCKETS
        needed = 1 << (-(-n // _PART_SIZE) - 1).bit_length() if large else 0
        for part in range(needed, self._parts.get(group, 0)):
            self._ids.release((plan.port.name, plan.port.family, part))
        if needed:
            self._parts[group] = needed
        else:
            self._parts.pop(group, None)

    def _take(self, plan: Plan) -> int:
        name, family = plan.port.name, plan.port.family
        return self._ids.take((name, family), f"{name}/{family.label}")

    def _take_part(self, name: ServicePortName, family: Family, part: int) -> int:
        return self._ids.take((name, family, part), f"{name}/{family.label}/{part}")

    def _release(self, name: ServicePortName, family: Family, group: int) -> None:
        for part in range(self._parts.pop(group, 0)):
            self._ids.release((name, family, part))
        self._ids.release((name, family))


class _Endpoints(Struct, frozen=True):
    """Columns of the endpoints of several Service ports: 'offsets' tell whose rows are whose."""

    offsets: NDArray[np.uint64]
    ips: NDArray[np.uint32] | NDArray[np.uint8]
    ports: NDArray[np.uint16]
    slots: NDArray[np.uint32]


class _Batch(Struct, frozen=True):
    """The Service ports 'rows' of 'plans', which are of one family and protocol."""

    templates: ServiceTemplates
    family: Family
    plans: Sequence[Plan]
    rows: list[int]
    groups: NDArray[np.uint32]

    def flows(self, template: Template, rows: list[int], **columns: NDArray[np.uint32]) -> Piece:
        """A flow that matches the virtual address of each of 'rows'."""
        vips = b"".join([self.plans[row].port.cluster_ip for row in rows])
        ports = np.array([self.plans[row].port.port for row in rows], np.uint16)
        stamped = template.stamp(vip=_addresses(self.family, vips), port=ports, **columns)
        return stamped, np.array(rows, np.uint32)

    def groups_of(
        self, rows: list[int], template: Template, **columns: NDArray[np.uint32]
    ) -> Piece:
        """A group of each of 'rows', with a bucket for each endpoint."""
        endpoints = self.endpoints(rows)
        stamped = template.stamp_groups(
            endpoints.offsets,
            group=self.groups[rows],
            slot=endpoints.slots,
            ip=endpoints.ips,
            endpoint_port=endpoints.ports,
            **columns,
        )
        return stamped, np.array(rows, np.uint32)

    def endpoints(self, rows: list[int]) -> _Endpoints:
        """The endpoints of 'rows'."""
        lists = [self.plans[row].endpoints for row in rows]
        counts = np.fromiter(map(len, lists), np.uint64, len(lists))
        offsets = np.concatenate((np.zeros(1, np.uint64), np.cumsum(counts, dtype=np.uint64)))
        packed = b"".join([endpoints.packed_addresses for endpoints in lists])
        ports = np.frombuffer(b"".join([endpoints.packed_ports for endpoints in lists]), np.uint16)
        octets = np.frombuffer(packed, np.uint8).reshape(-1, self.family.width)
        slots = endpoint_slots(octets, ports, offsets)
        return _Endpoints(offsets, _addresses(self.family, packed), ports, slots)


def _sticky(batch: _Batch, rows: list[int]) -> list[Piece]:
    """Service ports with session affinity."""
    templates = batch.templates
    plans = [batch.plans[row] for row in rows]
    groups = batch.groups[rows]
    endpoints = batch.endpoints(rows)
    counts = np.diff(endpoints.offsets).astype(np.int64)
    owners = np.array(rows, np.uint32)
    timeouts = np.array(
        [min(plan.port.affinity_timeout or 0, MAX_AFFINITY_TIMEOUT) for plan in plans], np.uint16
    )
    stamped = templates.affinity_group.stamp_groups(
        endpoints.offsets,
        group=groups,
        basis=np.array([plan.basis for plan in plans], np.uint64),
        slot=endpoints.slots,
    )
    commits = templates.endpoint.stamp(
        group=np.repeat(groups, counts),
        slot=endpoints.slots,
        ip=endpoints.ips,
        endpoint_port=endpoints.ports,
        timeout=np.repeat(timeouts, counts),
    )
    return [
        (stamped, owners),
        (commits, np.repeat(owners, counts)),
        (templates.choose.stamp(group=groups), owners),
        batch.flows(templates.balance_with_affinity, rows, group=groups),
    ]


def _addresses(family: Family, packed: bytes) -> NDArray[np.uint32] | NDArray[np.uint8]:
    """Packed addresses as a column: numbers for IPv4, rows of 16 bytes for IPv6."""
    if family is Family.IPV4:
        return np.frombuffer(packed, ">u4").astype(np.uint32)
    return np.frombuffer(packed, np.uint8).reshape(-1, 16)
