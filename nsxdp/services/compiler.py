"""Service ports to the groups and flows of the Service stages.

The work is done in columns: all Service ports that need the same templates are stamped together,
be it one after a change or ten thousand at the start. Each Service port of each family is an
*owner*, whose messages replace what it had; its number is its group's id.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from nsxdp.pipeline.columns import packed_ips
from nsxdp.pipeline.compiled import Compiled, Piece
from nsxdp.pipeline.ids import Numbers
from nsxdp.pipeline.registers import GROUP_FIRST, GROUP_LAST
from nsxdp.pipeline.service import TEMPLATES, Act, Frontend, Protocol, frontend
from nsxdp.services.addresses import Family, format_address
from nsxdp.services.affinity import Learned, learned
from nsxdp.services.endpoints import Verdict
from nsxdp.services.model import Endpoints, ServicePort, ServicePortName
from nsxdp.services.plan import Plan
from nsxdp.services.slots import endpoint_columns

if TYPE_CHECKING:
    from nsxdp.openflow.template import Column

__all__ = ["ServiceCompiler"]

MAX_BUCKETS: Final = 256
"""Buckets that dp_hash tells apart; with more, Open vSwitch asks its slow path for each
connection (ofproto-dpif.c, group_setup_dp_hash_table())."""

_PART_SIZE: Final = 128
"""Endpoints that a part of a large group has on average: half of what it can hold."""

_ACTS: Final[dict[Verdict, Act]] = {
    Verdict.SERVE: "balance",
    Verdict.REJECT: "reject",
    Verdict.DROP: "drop",
}


class ServiceCompiler:
    """Compiles Service ports; remembers nothing but which group id is whose."""

    def __init__(self) -> None:
        self._ids = Numbers(GROUP_FIRST, GROUP_LAST)
        self._parts: dict[int, int] = {}

    def group_id(self, name: ServicePortName, family: Family, *, local: bool = False) -> int | None:
        """The group of a Service port that was compiled, None if there is none.

        ``local``: the one of this node's endpoints alone.
        """
        return self._ids.get((name, family, "local") if local else (name, family))

    def service_of(self, group: int) -> str | None:
        """Whose the group is: ``namespace/name``; None: nobody's."""
        found = self.whose(group)
        return found and found[0].service

    def whose(self, number: int) -> tuple[ServicePortName, Family] | None:
        """The Service port that a group, or an owner of flows, is of; None: of none."""
        found = cast("tuple[ServicePortName, Family] | None", self._ids.name(number))
        return found and found[:2]

    def compile(
        self, plans: Sequence[Plan], removed: Iterable[tuple[ServicePortName, Family]] = ()
    ) -> Compiled:
        """Compile 'plans'; the Service ports 'removed' need nothing any more.

        The cost is proportional to what is given.
        """
        batches: dict[tuple[Family, str], _Batch] = {}
        owners = []
        for row, plan in enumerate(plans):
            port = plan.port
            kind = port.family, port.protocol
            batch = batches.get(kind)
            if batch is None:
                batch = batches[kind] = _Batch(*kind)
            # The owner's number is the id of its group, be there one or not.
            owners.append(self._ids.take((port.name, port.family), _text(port)))
            self._add(batch, row, plan, owners[-1])
        pieces: list[Piece] = []
        for batch in batches.values():
            self._stamp_groups(batch, pieces)
            batch.stamp_frontends(pieces, owners)
        for name, family in removed:
            owner = self._ids.get((name, family))
            if owner is not None:
                owners.append(owner)
                self._release(name, family)
                self._release(name, family, "local")
        return Compiled(owners, pieces)

    # A plan to pools and frontends.

    def _add(self, batch: _Batch, row: int, plan: Plan, owner: int) -> None:
        """Note what a Service port needs."""
        port = plan.port
        cluster = local = part = 0
        if port.uses_cluster_endpoints:
            cluster = owner
            part = self._add_pool(batch, row, plan, cluster)
        if port.uses_local_endpoints and plan.local:
            key = port.name, port.family, "local"
            local = self._ids.take(key, f"{_text(port)}/local")
            local_part = self._add_pool(batch, row, plan, local, local=True)
            part = local_part if port.internal_local else part
        else:
            self._release(port.name, port.family, "local")
        batch.add(
            row,
            Frontend(_act(plan, plan.internal)),
            port.cluster_ip,
            port.port,
            local if port.internal_local else cluster,
        )
        if port.protocol == "UDP" and port.alone and _act(plan, plan.internal) == "balance":
            batch.add(row, Frontend("balance", fragment="first"), port.cluster_ip, port.port, part)
            batch.add(row, Frontend("balance", fragment="noted"), port.cluster_ip, 0, part)
        batch.served.append((row, port.cluster_ip))
        if port.externally_accessible:
            _add_external(batch, row, plan, cluster, local)

    def _add_pool(
        self, batch: _Batch, row: int, plan: Plan, group: int, *, local: bool = False
    ) -> int:
        """Note endpoints; which group chooses one of them without asking for a source port."""
        endpoints = plan.local if local else plan.cluster
        pool = _Pool(row, group, plan.port, plan.basis, endpoints, local)
        self._set_parts(pool)
        if endpoints:
            sticky = plan.port.affinity_timeout is not None
            (batch.sticky if sticky else batch.plain).append(pool)
        if group in self._parts:
            return self._ids.take(pool.part(0), pool.part_text(0))
        return group

    # Groups.

    def _stamp_groups(self, batch: _Batch, pieces: list[Piece]) -> None:
        """Stamp the groups of one family and protocol, and session affinity's flows."""
        templates = batch.templates
        small, large = _by_size(batch.plain)
        if small:
            columns = _columns(small)
            stamped = templates.group.stamp_groups(
                columns.offsets,
                group=_groups(small),
                slot=columns.slots,
                ip=columns.ips,
                endpoint_port=columns.ports,
            )
            pieces.append((stamped, _rows(small)))
        for pool in large:
            split = self._split(pool)
            columns = split.endpoints
            parts = templates.group.stamp_groups(
                columns.offsets,
                group=split.parts,
                slot=columns.slots,
                ip=columns.ips,
                endpoint_port=columns.ports,
            )
            whole = templates.large_group.stamp_groups(
                split.offsets, group=pool.group, slot=split.slots, part=split.parts
            )
            pieces += [(parts, split.owners), (whole, split.owners[:1])]
        if batch.sticky:
            self._stamp_sticky(batch, pieces)

    def _stamp_sticky(self, batch: _Batch, pieces: list[Piece]) -> None:
        """Service ports with session affinity: also a flow for each endpoint."""
        templates = batch.templates
        small, large = _by_size(batch.sticky)
        if small:
            columns = _columns(small)
            stamped = templates.affinity_group.stamp_groups(
                columns.offsets, group=_groups(small), basis=_bases(small), slot=columns.slots
            )
            pieces.append((stamped, _rows(small)))
        for pool in large:
            split = self._split(pool)
            parts = templates.affinity_group.stamp_groups(
                split.endpoints.offsets,
                group=split.parts,
                basis=pool.basis,
                slot=split.endpoints.slots,
            )
            whole = templates.large_affinity_group.stamp_groups(
                split.offsets,
                group=pool.group,
                basis=pool.basis,
                slot=split.slots,
                part=split.parts,
            )
            pieces += [(parts, split.owners), (whole, split.owners[:1])]
        groups = np.array([pool.group for pool in batch.sticky], np.uint32)
        rows = _rows(batch.sticky)
        columns = _columns(batch.sticky)
        counts = np.diff(columns.offsets).astype(np.int64)
        what = _learned(batch.sticky)
        commits = templates.endpoint.stamp(
            group=np.repeat(groups, counts),
            slot=columns.slots,
            ip=columns.ips,
            endpoint_port=columns.ports,
            timeout=np.repeat(what.timeouts, counts),
            cookie=np.repeat(what.cookies, counts),
        )
        pieces += [
            (commits, np.repeat(rows, counts)),
            (templates.choose.stamp(group=groups), rows),
        ]

    def _split(self, pool: _Pool) -> _Split:
        """Deal the endpoints of a large pool to its parts, by their slots."""
        n = self._parts[pool.group]
        ids = [self._ids.take(pool.part(part), pool.part_text(part)) for part in range(n)]
        columns = _columns([pool])
        part_of = columns.slots % n
        order = np.argsort(part_of, kind="stable")
        offsets = np.concatenate(([0], np.cumsum(np.bincount(part_of, minlength=n))))
        return _Split(
            owners=np.full(n, pool.row, np.uint32),
            parts=np.array(ids, np.uint32),
            slots=np.arange(1, n + 1, dtype=np.uint32),
            offsets=np.array([0, n], np.uint64),
            endpoints=_Endpoints(
                offsets.astype(np.uint64),
                columns.ips[order],
                columns.ports[order],
                columns.slots[order],
            ),
        )

    # Numbers.

    def _set_parts(self, pool: _Pool) -> None:
        """Settle how many parts a pool's group has, and give back ids of parts it had.

        A power of two: while it stays, no endpoint moves to another part.
        """
        n = len(pool.endpoints)
        needed = 1 << (-(-n // _PART_SIZE) - 1).bit_length() if n > MAX_BUCKETS else 0
        for part in range(needed, self._parts.get(pool.group, 0)):
            self._ids.release(pool.part(part))
        if needed:
            self._parts[pool.group] = needed
        else:
            self._parts.pop(pool.group, None)

    def _release(self, *key: Hashable) -> None:
        """Give back the id of a pool's group, and those of its parts."""
        group = self._ids.get(key)
        if group is None:
            return
        for part in range(self._parts.pop(group, 0)):
            self._ids.release((*key, part))
        self._ids.release(key)


def _text(port: ServicePort) -> str:
    """What the hash of a Service port's numbers is made of."""
    return f"{port.name}/{port.family.label}"


def _act(plan: Plan, verdict: Verdict) -> Act:
    sticky = verdict is Verdict.SERVE and plan.port.affinity_timeout is not None
    return "stick" if sticky else _ACTS[verdict]


def _add_external(batch: _Batch, row: int, plan: Plan, cluster: int, local: int) -> None:
    """Note the addresses of a Service port beside its cluster IP."""
    port = plan.port
    inside = _act(plan, plan.inside)
    if port.external_local and plan.inside is Verdict.SERVE:
        outside = _act(plan, plan.outside)
        flows = [
            (Frontend(outside, _unless_drop(outside, masquerade=False), outside=True), local),
            (Frontend(inside, masquerade="node"), cluster),
        ]
    else:
        flows = [(Frontend(inside, True if plan.inside is Verdict.SERVE else None), cluster)]
    for what, group in flows:
        for vip in port.external_ips:
            batch.add(row, what, vip, port.port, group)
        for vip in port.load_balancer_vips:
            sources = plan.sources
            if plan.node_is_source:
                sources = (*sources, f"{format_address(vip)}/{8 * len(vip)}")
            for source in sources or ("",):
                batch.add(row, what._replace(source=source), vip, port.port, group)
        if port.node_port:
            batch.add(row, what._replace(node_port=True), b"", port.node_port, group)
    if plan.sources:
        for vip in port.load_balancer_vips:
            batch.add(row, Frontend("drop", others=True), vip, port.port, 0)


def _unless_drop(act: Act, *, masquerade: bool) -> bool | None:
    return None if act == "drop" else masquerade


class _Pool(NamedTuple):
    """The endpoints behind one group.

    'row' is its plan's; 'local': they are this node's alone.
    """

    row: int
    group: int
    port: ServicePort
    basis: int
    endpoints: Endpoints
    local: bool

    def part(self, number: int) -> Hashable:
        """The key of a part's number."""
        name, family = self.port.name, self.port.family
        return (name, family, "local", number) if self.local else (name, family, number)

    def part_text(self, number: int) -> str:
        """What the hash of a part's number is made of."""
        return f"{_text(self.port)}{'/local' if self.local else ''}/{number}"


class _Endpoints(Struct, frozen=True):
    """Columns of the endpoints of several pools: 'offsets' tell whose rows are whose."""

    offsets: NDArray[np.uint64]
    ips: NDArray[np.uint32] | NDArray[np.uint8]
    ports: NDArray[np.uint16]
    slots: NDArray[np.uint32]


class _Split(Struct, frozen=True):
    """A large pool: its parts, each a group, and the group that chooses one of them.

    'offsets' and 'slots' are the choosing group's; those of 'endpoints' tell whose are whose.
    """

    owners: NDArray[np.uint32]
    parts: NDArray[np.uint32]
    slots: NDArray[np.uint32]
    offsets: NDArray[np.uint64]
    endpoints: _Endpoints


class _Rows(NamedTuple):
    """Columns of the flows of one kind, as they come."""

    rows: list[int]
    vips: list[bytes]
    ports: list[int]
    groups: list[int]


class _Batch:
    """What Service ports of one family and protocol need."""

    def __init__(self, family: Family, protocol: str) -> None:
        self.family = family
        self.protocol = protocol
        self.templates = TEMPLATES[family, protocol]
        self.plain: list[_Pool] = []
        self.sticky: list[_Pool] = []
        self.served: list[tuple[int, bytes]] = []
        self._frontends: dict[Frontend, _Rows] = {}

    def add(self, row: int, what: Frontend, vip: bytes, port: int, group: int) -> None:
        """A flow for a plan's row."""
        found = self._frontends.get(what)
        if found is None:
            found = self._frontends[what] = _Rows([], [], [], [])
        found.rows.append(row)
        found.vips.append(vip)
        found.ports.append(port)
        found.groups.append(group)

    def stamp_frontends(self, pieces: list[Piece], owners: Sequence[int]) -> None:
        """Stamp the flows that lead to the groups, and away from them.

        'owners' has the number of each plan's Service port.
        """
        for what, found in self._frontends.items():
            columns: dict[str, Column] = {}
            if what.fragment != "noted":
                columns["port"] = _column(found.ports, np.uint16)
            if not what.node_port:
                columns["vip"] = _vips(self.family, found.vips)
            if what.act in ("balance", "stick") and what.fragment != "first":
                columns["group"] = _column(found.groups, np.uint32)
            if what.act == "stick":
                columns["service"] = _column([owners[row] for row in found.rows], np.uint32)
            template = frontend(self.family.value, cast(Protocol, self.protocol), what)
            pieces.append((template.stamp(**columns), found.rows))
        vips = _vips(self.family, [vip for _, vip in self.served])
        rows = [row for row, _ in self.served]
        pieces.append((self.templates.unserved.stamp(vip=vips), rows))


def _rows(pools: list[_Pool]) -> list[int]:
    return [pool.row for pool in pools]


def _groups(pools: list[_Pool]) -> Column:
    return _column([pool.group for pool in pools], np.uint32)


def _bases(pools: list[_Pool]) -> Column:
    """The hash basis of each."""
    return _column([pool.basis for pool in pools], np.uint64)


def _column(values: list[int], dtype: type[np.unsignedinteger[Any]]) -> Column:
    """A column of numbers; of one row, as most changes are, the number."""
    return values[0] if len(values) == 1 else np.array(values, dtype)


def _vips(family: Family, vips: list[bytes]) -> Column:
    """A column of addresses; of one row, the address."""
    return vips[0] if len(vips) == 1 else packed_ips(family, b"".join(vips))


def _learned(pools: list[_Pool]) -> Learned:
    """What the switch learns of each one's clients."""
    return learned([pool.port.affinity_timeout or 0 for pool in pools])


def _columns(pools: list[_Pool]) -> _Endpoints:
    """The endpoints of 'pools', which are of one family."""
    lists = [pool.endpoints for pool in pools]
    return _Endpoints(
        *endpoint_columns(
            lists[0].family.width,
            [endpoints.packed_addresses for endpoints in lists],
            [endpoints.packed_ports for endpoints in lists],
        )
    )


def _by_size(pools: list[_Pool]) -> tuple[list[_Pool], list[_Pool]]:
    """Those of 'pools' whose endpoints fit one group, and the others."""
    small = [pool for pool in pools if len(pool.endpoints) <= MAX_BUCKETS]
    large = [pool for pool in pools if len(pool.endpoints) > MAX_BUCKETS]
    return small, large
