"""Services and EndpointSlices in; which Service ports changed, and what they are now, out.

The tracker holds what a proxy needs of every Service and slice, compactly, and what was there when
it was last asked: `ServiceTracker.changes` costs what changed since, never what there is.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from sys import intern
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from nsxdp.k8s import objects as k8s
from nsxdp.k8s.objects import (
    HEADLESS_LABEL,
    PROXY_NAME_LABEL,
    SERVICE_NAME_LABEL,
    TRIGGER_TIME_ANNOTATION,
)
from nsxdp.services.addresses import Family
from nsxdp.services.merge import join
from nsxdp.services.model import (
    LOCAL,
    PROTOCOL_NUMBERS,
    READY,
    Endpoints,
    ServicePort,
    ServicePortName,
)
from nsxdp.services.serviceports import is_served, service_ports
from nsxdp.services.slices import FAMILIES, Slice, compact

__all__ = ["Changes", "ServiceTracker"]

_MAX_TIMES: Final = 100
"""Trigger times kept of a Service between two calls of changes(): a sample does."""

_MAX_PROBLEMS: Final = 100

_NO_PORTS: Final[tuple[ServicePort, ...]] = ()
_NO_LABELS: Final[dict[str, str]] = {}
_FAMILIES: Final = tuple(Family)


class Changes(Struct, frozen=True):
    """What changed between two calls of `ServiceTracker.changes`.

    Attributes
    ----------
    ports
        The Service ports to compile again, or to remove if the tracker doesn't know them any more.
    services
        Keys of the Services behind them, and of those whose slices changed though no Service of
        theirs is there (yet).
    udp_endpoints
        Whether endpoints of a UDP port changed: conntrack may hold entries that lead nowhere now
        (KP-50).
    trigger_times
        Service's key and family -> the times (seconds since the epoch) of what made its endpoints
        change: the start of the network programming latency (KP-68).
    problems
        What is wrong with objects seen since, in words.
    """

    ports: dict[Family, set[ServicePortName]]
    services: set[str]
    udp_endpoints: bool
    trigger_times: dict[tuple[str, Family], list[float]]
    problems: list[str]

    def __bool__(self) -> bool:
        return any(self.ports.values())


class ServiceTracker:
    """Tracks Services and EndpointSlices of both IP families for the proxy of one node.

    Parameters
    ----------
    node_name
        The node: endpoints on it are local, and hints for it count.
    zone
        Its zone (label ``topology.kubernetes.io/zone``), "" if it has none.
    proxy_name
        The value of the label ``service.kubernetes.io/service-proxy-name`` of the Services to
        serve; None for those without the label (KP-3). On EndpointSlices it says nothing.
    started_at
        Seconds since the epoch: older trigger times say nothing about this process.
    """

    def __init__(
        self,
        node_name: str,
        zone: str = "",
        *,
        proxy_name: str | None = None,
        started_at: float = 0.0,
    ) -> None:
        self._node_name = node_name
        self._zone = zone
        self._proxy_name = proxy_name
        self._started_at = started_at
        self._ports: dict[Family, dict[ServicePortName, ServicePort]] = {f: {} for f in Family}
        self._ports_by_width = {family.width: ports for family, ports in self._ports.items()}
        self._services: dict[str, tuple[ServicePort, ...]] = {}
        self._slices: dict[str, Slice] = {}
        self._slices_of: dict[str, list[Slice]] = {}
        self._health_check_ports: dict[tuple[str, Family], int] = {}
        # What was there at the last changes(), of what has been touched since.
        self._old_services: dict[str, tuple[ServicePort, ...]] = {}
        self._old_slices: dict[str, Slice | None] = {}
        self._old_zone = zone
        self._trigger_times: dict[tuple[str, Family], list[float]] = {}
        self._problems: list[str] = []

    # What comes in.

    def upsert_service(self, service: k8s.Service) -> bool:
        """Take note of 'service', new or changed. Returns whether that changes what is served."""
        key = intern(service.key)
        ports = _NO_PORTS
        if self._is_ours(service.metadata.labels) and is_served(service):
            for family in _FAMILIES:
                ports += service_ports(service, family)
            self._check_service(key, service.spec, ports)
        return self._put_service(key, ports)

    def delete_service(self, key: str) -> bool:
        """Forget the Service 'key' (``namespace/name``). Returns whether that changes anything."""
        return self._put_service(key, _NO_PORTS)

    def upsert_slice(self, source: k8s.EndpointSlice) -> bool:
        """Take note of 'source', new or changed. Returns whether it says anything new."""
        metadata = source.metadata
        labels = metadata.labels or _NO_LABELS
        key = intern(source.key)
        if (
            source.address_type not in FAMILIES  # KP-5
            or HEADLESS_LABEL in labels  # KP-4
        ):
            return self.delete_slice(key)
        service_name = labels.get(SERVICE_NAME_LABEL)
        if not service_name:
            self._problem(f"EndpointSlice {key} has no label {SERVICE_NAME_LABEL}")
            return self.delete_slice(key)
        service = intern(f"{metadata.namespace}/{service_name}")
        if not self._put_slice(key, compact(source, service, self._node_name, self._problem)):
            return False
        if metadata.annotations:
            text = metadata.annotations.get(TRIGGER_TIME_ANNOTATION)
            self._note_trigger_time((service, FAMILIES[source.address_type]), text)
        return True

    def delete_slice(self, key: str) -> bool:
        """Forget the slice 'key' (``namespace/name``). Returns whether that changes anything."""
        old = self._slices.get(key)
        if old is None:
            return False
        # Its annotation is about an earlier change, not about this one (KP-68).
        self._trigger_times.pop((old.service, old.family), None)
        return self._put_slice(key, None)

    def set_zone(self, zone: str) -> None:
        """The node's zone is 'zone' from now on."""
        self._zone = zone

    # What comes out.

    @property
    def pending_services(self) -> int:
        """Services that changed since the last `changes`."""
        return len(self._old_services)

    @property
    def pending_slices(self) -> int:
        """EndpointSlices that changed since the last `changes`."""
        return len(self._old_slices)

    def ports(self, family: Family) -> Mapping[ServicePortName, ServicePort]:
        """All Service ports of 'family': a view, which follows what comes in."""
        return MappingProxyType(self._ports[family])

    def endpoints(self, name: ServicePortName, family: Family) -> Endpoints:
        """The endpoints of a Service port, whatever their condition."""
        pieces = [
            (piece, number)
            for piece in self._slices_of.get(name.service, ())
            if piece.family is family
            for port_name, protocol, number in piece.ports
            if port_name == name.port_name and protocol == name.protocol
        ]
        return join(family, pieces, self._zone)

    def health_check(self, service: str, family: Family) -> tuple[int, int] | None:
        """The health check node port of a Service (``namespace/name``), and its ready local
        endpoints; None: it has no such port in 'family'.

        An address counts once, however many ports it serves (KP-42).
        """
        port = self._health_check_ports.get((service, family))
        return None if port is None else (port, self.local_ready_endpoints(service, family))

    def health_checks(self, family: Family) -> dict[str, tuple[int, int]]:
        """`health_check` of each Service that has one."""
        return {
            service: (port, self.local_ready_endpoints(service, family))
            for (service, of), port in self._health_check_ports.items()
            if of is family
        }

    def local_ready_endpoints(self, service: str, family: Family) -> int:
        """How many ready endpoints of the Service 'service' run on this node."""
        wanted = LOCAL | READY
        width = family.width
        return len(
            {
                piece.addresses[row * width : (row + 1) * width]
                for piece in self._slices_of.get(service, ())
                if piece.family is family and piece.ports
                for row, flags in enumerate(piece.flags)
                if flags & wanted == wanted
            }
        )

    def changes(self) -> Changes:
        """What changed since the last call; the very first time, everything there is."""
        ports: dict[Family, set[ServicePortName]] = {family: set() for family in Family}
        services = set(self._old_services)
        for key, old_ports in self._old_services.items():
            for port in set(old_ports).symmetric_difference(self._services.get(key, _NO_PORTS)):
                ports[port.family].add(port.name)
        udp_endpoints = False
        for key, old in self._old_slices.items():
            for piece, number in _differences(old, self._slices.get(key)):
                services.add(piece.service)
                port_name, protocol, _ = number
                udp_endpoints = udp_endpoints or protocol == "UDP"
                self._add_if_known(ports, piece, port_name, protocol)
        if self._zone != self._old_zone:
            for piece in self._slices.values():
                if piece.zones is not None:
                    services.add(piece.service)
                    for port_name, protocol, _ in piece.ports:
                        self._add_if_known(ports, piece, port_name, protocol)
        changes = Changes(ports, services, udp_endpoints, self._trigger_times, self._problems)
        self._old_services = {}
        self._old_slices = {}
        self._old_zone = self._zone
        self._trigger_times = {}
        self._problems = []
        return changes

    def _add_if_known(
        self,
        ports: dict[Family, set[ServicePortName]],
        piece: Slice,
        port_name: str,
        protocol: str,
    ) -> None:
        """Add the Service port that 'piece' has endpoints for to 'ports', if there is one."""
        namespace, _, service = piece.service.partition("/")
        name = ServicePortName(namespace, service, port_name, protocol)
        if name in self._ports[piece.family]:
            ports[piece.family].add(name)

    # How it is held.

    def _is_ours(self, labels: Mapping[str, str] | None) -> bool:
        return (labels.get(PROXY_NAME_LABEL) if labels else None) == self._proxy_name

    def _check_service(
        self, key: str, spec: k8s.ServiceSpec, ports: tuple[ServicePort, ...]
    ) -> None:
        """Report what the API server would have refused; files come without its checks."""
        for port in spec.ports:
            if port.protocol not in PROTOCOL_NUMBERS:
                self._problem(f"Service {key}: {port.protocol!r} is no protocol of a Service")
        if spec.ports and not ports:
            addresses = ", ".join(spec.cluster_ips or (spec.cluster_ip,))
            families = ", ".join(spec.ip_families) or "any family"
            self._problem(f"Service {key}: no cluster IP of {families} in {addresses!r}")

    def _put_service(self, key: str, ports: tuple[ServicePort, ...]) -> bool:
        old = self._services.get(key, _NO_PORTS)
        if old == ports:
            return False
        before = self._old_services.setdefault(key, old)
        if before == ports:
            del self._old_services[key]
        for port in old:
            del self._ports_by_width[len(port.cluster_ip)][port.name]
        for port in ports:
            self._ports_by_width[len(port.cluster_ip)][port.name] = port
        if ports:
            self._services[key] = ports
        else:
            del self._services[key]
        for port in old:
            self._health_check_ports.pop((key, port.family), None)
        for port in ports:
            if port.health_check_node_port:
                self._health_check_ports[key, port.family] = port.health_check_node_port
        return True

    def _put_slice(self, key: str, new: Slice | None) -> bool:
        old = self._slices.get(key)
        if old == new:
            return False
        before = self._old_slices.setdefault(key, old)
        if before == new:
            del self._old_slices[key]
        if old is not None:
            siblings = self._slices_of[old.service]
            siblings.remove(old)
            if not siblings:
                del self._slices_of[old.service]
        if new is not None:
            self._slices[key] = new
            self._slices_of.setdefault(new.service, []).append(new)
        else:
            del self._slices[key]
        return True

    def _note_trigger_time(self, key: tuple[str, Family], text: str | None) -> None:
        if text is None:
            return
        try:
            time = datetime.fromisoformat(text).timestamp()
        except ValueError:
            self._problem(f"annotation {TRIGGER_TIME_ANNOTATION} of a slice of {key[0]}: {text!r}")
            return
        if time > self._started_at:
            times = self._trigger_times.setdefault(key, [])
            if len(times) < _MAX_TIMES:
                times.append(time)

    def _problem(self, text: str) -> None:
        if len(self._problems) < _MAX_PROBLEMS:
            self._problems.append(text)


def _differences(
    old: Slice | None, new: Slice | None
) -> Iterator[tuple[Slice, tuple[str, str, int]]]:
    """The ports whose endpoints differ between 'old' and 'new', each with the slice that has it."""
    same_rows = (
        old is not None
        and new is not None
        and old.service == new.service
        and old.family == new.family
        and old.addresses == new.addresses
        and old.flags == new.flags
        and old.zones == new.zones
    )
    for piece, other in ((old, new), (new, old)):
        if piece is not None and piece.flags:  # a slice without endpoints says nothing
            for port in piece.ports:
                if not (same_rows and other is not None and port in other.ports):
                    yield piece, port
