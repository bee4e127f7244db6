"""From Kubernetes objects to what the switch needs, round by round.

A round takes all that changed since the last one: its cost is proportional to that.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from nsxdp.k8s.objects import EndpointSlice, Object, Service
from nsxdp.k8s.source import Op
from nsxdp.pipeline.compiled import Compiled, joined
from nsxdp.services.addresses import Family
from nsxdp.services.compiler import ServiceCompiler
from nsxdp.services.conntrack import Stale, StaleFinder
from nsxdp.services.endpoints import TRAFFIC, Traffic, Verdict
from nsxdp.services.model import ServicePort, ServicePortName
from nsxdp.services.plan import Plan, basis_period, depends_on_node, make_plan
from nsxdp.services.shared import SetChange, SharedSet
from nsxdp.services.tracker import Changes, ServiceTracker

__all__ = ["Exposed", "NodePort", "Round", "ServicePlanner"]

_Key = tuple[ServicePortName, Family]

_PORTION: Final = 1000
"""Service ports that are planned and compiled together: many, and yet what that takes for a moment
stays small. Python doesn't give back the memory of small objects that once were there."""

NodePort = tuple[Family, str, int]
"""Family, protocol and port."""


class Exposed(Struct, frozen=True):
    """Where Services are served beside their cluster IPs: what came and what went.

    Attributes
    ----------
    addresses
        External IPs and load balancers' addresses, packed.
    node_ports
        Those of any Service.
    """

    addresses: SetChange[bytes] = SetChange()
    node_ports: SetChange[NodePort] = SetChange()

    def __bool__(self) -> bool:
        return bool(self.addresses or self.node_ports)


class Round(Struct, frozen=True):
    """What changed, and what has to be done about it.

    Attributes
    ----------
    changes
        As the tracker saw them.
    owned
        What the Service ports that changed need now.
    exposed
        Where Services are served now beside their cluster IPs, and where no more.
    stale
        Tracked connections to forget, once the switch has that.
    """

    changes: Changes
    owned: Compiled
    exposed: Exposed
    stale: list[Stale]


class ServicePlanner:
    """Plans the Services of one node: tracker, endpoint choice and compiler together.

    Parameters
    ----------
    node_name
        The node: endpoints on it are local, and hints for it count.
    proxy_name
        See `ServiceTracker`.
    started_at
        Seconds since the epoch: older trigger times say nothing about this process.
    external_ips
        Whether Services are served at their external IPs (KP-14).

    Attributes
    ----------
    tracker
        What Services and slices there are.
    compiler
        Which group is whose.

    Examples
    --------
    >>> from nsxdp.k8s.objects import Endpoint, EndpointPort, EndpointSlice, ObjectMeta
    >>> from nsxdp.k8s.objects import Service, ServicePort, ServiceSpec
    >>> from nsxdp.k8s.source import Op
    >>> from nsxdp.openflow.fake import FakeSwitch
    >>> from nsxdp.pipeline.tables import TABLES
    >>> from nsxdp.services.planner import ServicePlanner
    >>> web = Service(
    ...     metadata=ObjectMeta(namespace="default", name="web"),
    ...     spec=ServiceSpec(cluster_ip="10.96.0.10", ports=(ServicePort(port=80),)),
    ... )
    >>> labels = {"kubernetes.io/service-name": "web"}
    >>> endpoints = EndpointSlice(
    ...     metadata=ObjectMeta(namespace="default", name="web-1", labels=labels),
    ...     address_type="IPv4",
    ...     endpoints=(Endpoint(addresses=("10.244.0.5",)),),
    ...     ports=(EndpointPort(name="", port=8080, protocol="TCP"),),
    ... )
    >>> planner = ServicePlanner("here")
    >>> planner.take(Op.UPSERT, web), planner.take(Op.UPSERT, endpoints)
    (True, True)
    >>> switch = FakeSwitch(TABLES)
    >>> switch.apply(planner.round(0.0).owned.messages)
    3
    >>> for flow in switch.dump_flows():
    ...     print(flow)
    table=ServiceLB, priority=200,tcp,nw_dst=10.96.0.10,tp_dst=80 actions=group:...
    table=ServiceLB, priority=150,ip,nw_dst=10.96.0.10 actions=meter:28161,CONTROLLER:256
    """

    def __init__(
        self,
        node_name: str,
        *,
        proxy_name: str | None = None,
        started_at: float = 0.0,
        external_ips: bool = True,
    ) -> None:
        self._external_ips = external_ips
        self.tracker = ServiceTracker(node_name, proxy_name=proxy_name, started_at=started_at)
        self.compiler = ServiceCompiler()
        self._node_addresses: frozenset[bytes] = frozenset()
        self._external: dict[_Key, ServicePort] = {}
        self._addresses = SharedSet[bytes]()
        self._node_ports = SharedSet[NodePort]()
        self._node_dependent: set[_Key] = set()
        self._renewed: set[_Key] = set()
        self._stale = StaleFinder()
        self._without_local: dict[tuple[Family, Traffic], set[ServicePortName]] = {
            (family, traffic): set() for family in Family for traffic in TRAFFIC
        }
        self._rotations: list[tuple[float, _Key]] = []
        self._rotates: dict[_Key, float] = {}
        self._planned_at = 0.0

    def take(self, op: Op, obj: Object) -> bool:
        """Take note of a Service or EndpointSlice. Returns whether that changes anything."""
        if isinstance(obj, Service):
            if op is Op.DELETE:
                return self.tracker.delete_service(obj.key)
            if obj.spec.external_ips and not self._external_ips:
                obj = replace(obj, spec=replace(obj.spec, external_ips=()))
            return self.tracker.upsert_service(obj)
        if isinstance(obj, EndpointSlice):
            if op is Op.DELETE:
                return self.tracker.delete_slice(obj.key)
            return self.tracker.upsert_slice(obj)
        return False

    def set_node_addresses(self, addresses: frozenset[bytes]) -> None:
        """The node's addresses, packed, from now on.

        Service ports whose plan depends on them are planned anew in the next round.
        """
        if addresses != self._node_addresses:
            self._node_addresses = addresses
            self._renewed.update(self._node_dependent)

    def without_local_endpoints(self, family: Family, traffic: Traffic) -> int:
        """Service ports whose policy for such traffic is Local, and whose endpoints are all
        elsewhere.
        """
        return len(self._without_local[family, traffic])

    def stale_entries(self, entries: Iterable[Stale]) -> list[Stale]:
        """Which tracked UDP connections to forget at the start (see `StaleFinder.check`)."""
        return self._stale.check(entries)

    @property
    def next_rotation(self) -> float | None:
        """When (seconds since the epoch) a round is due though nothing changed. None: never.

        Then the hash basis of a Service with session affinity has served its time.
        """
        return self._rotations[0][0] if self._rotations else None

    def round(self, now: float) -> Round:
        """Plan what changed, at 'now' (seconds since the epoch)."""
        changes = self.tracker.changes()
        keys = {(name, family) for family, names in changes.ports.items() for name in names}
        keys.update(self._due(now), self._renewed)
        self._renewed.clear()
        stale: list[Stale] = []
        # In order: where two hashes collide, the same one gives way after every restart.
        ordered = sorted(keys)
        portions = [
            self._compile(ordered[at : at + _PORTION], now, stale)
            for at in range(0, len(ordered), _PORTION)
        ]
        exposed = Exposed(self._addresses.changes(), self._node_ports.changes())
        return Round(changes, joined(portions), exposed, stale)

    def _compile(self, keys: list[_Key], now: float, stale: list[Stale]) -> Compiled:
        """What these Service ports need now; notes in 'stale' what has to be forgotten."""
        plans: list[Plan] = []
        removed: list[_Key] = []
        for name, family in keys:
            port = self.tracker.ports(family).get(name)
            for traffic in TRAFFIC:
                self._without_local[family, traffic].discard(name)
            self._node_dependent.discard((name, family))
            if port is None:
                removed.append((name, family))
                self._note_external((name, family), None)
                self._rotates.pop((name, family), None)
                stale += self._stale.remove(name, family)
                continue
            endpoints = self.tracker.endpoints(name, family)
            plan = make_plan(port, endpoints, now, self._node_addresses)
            plans.append(plan)
            stale += self._stale.update(port, endpoints)
            self._note_external((name, family), plan.port)
            if depends_on_node(port, endpoints):
                self._node_dependent.add((name, family))
            if plan.internal is Verdict.DROP:
                self._without_local[family, "internal"].add(name)
            if port.externally_accessible and plan.outside is Verdict.DROP:
                self._without_local[family, "external"].add(name)
            self._schedule((name, family), port.affinity_timeout, now)
        return self.compiler.compile(plans, removed)

    def _note_external(self, key: _Key, port: ServicePort | None) -> None:
        """Note where the Service port 'key' is served, which is 'port' now; None: it is gone."""
        if port is not None and not port.externally_accessible:
            port = None
        before = self._external.pop(key, None)
        if port is not None:
            self._external[key] = port
        if before != port:
            self._addresses.replace(_addresses(before), _addresses(port))
            self._node_ports.replace(_node_ports(before), _node_ports(port))

    def _schedule(self, key: _Key, timeout: int | None, now: float) -> None:
        """Note when the hash basis of 'key' has to change next."""
        if timeout is None:
            self._rotates.pop(key, None)
            return
        period = basis_period(timeout)
        due = (now // period + 1) * period
        if self._rotates.get(key) != due:
            self._rotates[key] = due
            heappush(self._rotations, (due, key))

    def _due(self, now: float) -> list[_Key]:
        # Where the clock was set back, what is noted is of another time.
        due = list(self._rotates) if now < self._planned_at else []
        self._planned_at = now
        while self._rotations and self._rotations[0][0] <= now:
            when, key = heappop(self._rotations)
            if self._rotates.get(key) == when:
                due.append(key)
        return due


def _addresses(port: ServicePort | None) -> tuple[bytes, ...]:
    """At which addresses 'port' is served beside its cluster IP."""
    return port.external_ips + port.load_balancer_vips if port else ()


def _node_ports(port: ServicePort | None) -> tuple[NodePort, ...]:
    """At which node port 'port' is served, if any."""
    return ((port.family, port.protocol, port.node_port),) if port and port.node_port else ()
