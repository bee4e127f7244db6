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
            self._stamp_plain(batch, plain, pieces)
        if sticky:
            self._stamp_sticky(batch, sticky, pieces)
        if silent:
            pieces.append(batch.flows(templates.drop, silent))
        if refused:
            pieces.append(batch.flows(templates.reject, refused))

    def _stamp_plain(self, batch: _Batch, rows: list[int], pieces: list[Piece]) -> None:
        """Service ports that balance: a group each, and the flow that leads to it."""
        templates = batch.templates
        small, large = _by_size(batch, rows)
        if small:
            endpoints = batch.endpoints(small)
            stamped = templates.group.stamp_groups(
                endpoints.offsets,
                group=batch.groups[small],
                slot=endpoints.slots,
                ip=endpoints.ips,
                endpoint_port=endpoints.ports,
            )
            pieces.append((stamped, np.array(small, np.uint32)))
        for row in large:
            split = self._split(batch, row)
            ends = split.endpoints
            parts = templates.group.stamp_groups(
                split.endpoints.offsets,
                group=split.parts,
                slot=ends.slots,
                ip=ends.ips,
                endpoint_port=ends.ports,
            )
            whole = templates.large_group.stamp_groups(
                split.offsets, group=batch.groups[[row]], slot=split.slots, part=split.parts
            )
            pieces += [(parts, split.owners), (whole, split.owners[:1])]
        pieces.append(batch.flows(templates.balance, rows, group=batch.groups[rows]))

    def _stamp_sticky(self, batch: _Batch, rows: list[int], pieces: list[Piece]) -> None:
        """Service ports with session affinity: also a flow for each endpoint."""
        templates = batch.templates
        small, large = _by_size(batch, rows)
        groups = batch.groups[rows]
        owners = np.array(rows, np.uint32)
        if small:
            endpoints = batch.endpoints(small)
            stamped = templates.affinity_group.stamp_groups(
                endpoints.offsets,
                group=batch.groups[small],
                basis=batch.bases(small),
                slot=endpoints.slots,
            )
            pieces.append((stamped, np.array(small, np.uint32)))
        for row in large:
            split = self._split(batch, row)
            basis = batch.bases([row])
            parts = templates.affinity_group.stamp_groups(
                split.endpoints.offsets,
                group=split.parts,
                basis=np.repeat(basis, len(split.parts)),
                slot=split.endpoints.slots,
            )
            whole = templates.large_affinity_group.stamp_groups(
                split.offsets,
                group=batch.groups[[row]],
                basis=basis,
                slot=split.slots,
                part=split.parts,
            )
            pieces += [(parts, split.owners), (whole, split.owners[:1])]
        endpoints = batch.endpoints(rows)
        counts = np.diff(endpoints.offsets).astype(np.int64)
        commits = templates.endpoint.stamp(
            group=np.repeat(groups, counts),
            slot=endpoints.slots,
            ip=endpoints.ips,
            endpoint_port=endpoints.ports,
            timeout=np.repeat(batch.timeouts(rows), counts),
        )
        pieces += [
            (commits, np.repeat(owners, counts)),
            (templates.choose.stamp(group=groups), owners),
            batch.flows(templates.balance_with_affinity, rows, group=groups),
        ]

    def _split(self, batch: _Batch, row: int) -> _Split:
        """Deal the endpoints of a large Service port to its parts, by their slots."""
        port = batch.plans[row].port
        n = self._parts[int(batch.groups[row])]
        ids = [self._take_part(port.name, port.family, part) for part in range(n)]
        endpoints = batch.endpoints([row])
        part_of = endpoints.slots % n
        order = np.argsort(part_of, kind="stable")
        offsets = np.concatenate(([0], np.cumsum(np.bincount(part_of, minlength=n))))
        return _Split(
            owners=np.full(n, row, np.uint32),
            parts=np.array(ids, np.uint32),
            slots=np.arange(1, n + 1, dtype=np.uint32),
            offsets=np.array([0, n], np.uint64),
            endpoints=_Endpoints(
                offsets.astype(np.uint64),
                endpoints.ips[order],
                endpoints.ports[order],
                endpoints.slots[order],
            ),
        )

    def _set_parts(self, plan: Plan, group: int) -> None:
        """Settle how many parts the group of 'plan' has, and give back ids of parts it had.

        A power of two: while it stays, no endpoint moves to another part.
        """
        n = len(plan.endpoints)
        needed = 1 << (-(-n // _PART_SIZE) - 1).bit_length() if n > MAX_BUCKETS else 0
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


class _Split(Struct, frozen=True):
    """A large Service port: its parts, each a group, and the group that chooses one of them.

    'offsets' and 'slots' are the choosing group's; those of 'endpoints' tell whose are whose.
    """

    owners: NDArray[np.uint32]
    parts: NDArray[np.uint32]
    slots: NDArray[np.uint32]
    offsets: NDArray[np.uint64]
    endpoints: _Endpoints


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

    def bases(self, rows: list[int]) -> NDArray[np.uint64]:
        """The hash basis of each of 'rows'."""
        return np.array([self.plans[row].basis for row in rows], np.uint64)

    def timeouts(self, rows: list[int]) -> NDArray[np.uint16]:
        """The affinity timeout of each of 'rows', in seconds."""
        wanted = [self.plans[row].port.affinity_timeout or 0 for row in rows]
        return np.minimum(wanted, MAX_AFFINITY_TIMEOUT).astype(np.uint16)

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


def _by_size(batch: _Batch, rows: list[int]) -> tuple[list[int], list[int]]:
    """Those of 'rows' whose endpoints fit one group, and the others."""
    small: list[int] = []
    large: list[int] = []
    for row in rows:
        (small if len(batch.plans[row].endpoints) <= MAX_BUCKETS else large).append(row)
    return small, large


def _addresses(family: Family, packed: bytes) -> NDArray[np.uint32] | NDArray[np.uint8]:
    """Packed addresses as a column: numbers for IPv4, rows of 16 bytes for IPv6."""
    if family is Family.IPV4:
        return np.frombuffer(packed, ">u4").astype(np.uint32)
    return np.frombuffer(packed, np.uint8).reshape(-1, 16)
