"""The load balancers of a cluster: what a cloud would have for its Services.

A Service of type LoadBalancer gets addresses, one of each of its families, which stay its own. On
the control plane's host, where clients from outside are, they are routed to the nodes that the
Service may be reached by; the node's service proxy does the rest, as it finds the address in the
Service's status. Connections are spread over these nodes; those of a Service with session affinity
go to one of them. Once a second all is looked at, and what differs is changed.
"""

import contextlib
import http.client
import ipaddress
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nsxdp.lab.cluster.controlplane import ControlPlane
from nsxdp.lab.cluster.plan import CLIENT, FAMILIES, Plan
from nsxdp.lab.errors import LabError
from nsxdp.lab.kubeclient import Object

FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
"""As long as a Service has it, it isn't gone: its load balancer may still be there."""

_SECONDS = 1.0
_HEALTH_SECONDS = 1.0
_PATH = "/api/v1/namespaces/{namespace}/services/{name}"
_MERGE = "application/merge-patch+json"

_HASH_POLICIES = [
    Path(f"/proc/sys/net/{family}/fib_multipath_hash_policy") for family in ("ipv4", "ipv6")
]
_BY_CONNECTION = "1"
"""A route's next hop is chosen by ports, too; else one client has one node."""


class Change(NamedTuple):
    """A patch of a Service, or of its status."""

    path: str
    body: Mapping[str, Any]


def wanted(service: Object) -> bool:
    """Whether a Service shall have a load balancer of ours."""
    specification, metadata = service["spec"], service["metadata"]
    return (
        specification["type"] == "LoadBalancer"
        and not specification.get("loadBalancerClass")
        and "deletionTimestamp" not in metadata
    )


def addresses_of(service: Mapping[str, Any]) -> list[str]:
    """Those that a Service's load balancer has, or gets by a patch of the Service."""
    ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress", ())
    return [entry["ip"] for entry in ingress if "ip" in entry]


def changes(service: Object, taken: Collection[str]) -> Iterator[Change]:
    """What is to be changed of a Service, where others have the addresses `taken`.

    The finalizer comes before the addresses, and goes after them.
    """
    metadata = service["metadata"]
    path = _PATH.format(**{key: metadata[key] for key in ("namespace", "name")})
    finalizers = metadata.get("finalizers", [])
    if wanted(service):
        if FINALIZER not in finalizers:
            yield _finalizers(path, [*finalizers, FINALIZER])
        if not addresses_of(service):
            yield _addresses(path, _free(service, taken))
    elif FINALIZER in finalizers:
        if addresses_of(service):
            yield _addresses(path, [])
        yield _finalizers(path, [each for each in finalizers if each != FINALIZER])


def _finalizers(path: str, finalizers: list[str]) -> Change:
    return Change(path, {"metadata": {"finalizers": finalizers}})


def _addresses(path: str, addresses: Iterable[str]) -> Change:
    ingress = [{"ip": address, "ipMode": "VIP"} for address in addresses]
    return Change(f"{path}/status", {"status": {"loadBalancer": {"ingress": ingress}}})


def _free(service: Object, taken: Collection[str]) -> Iterator[str]:
    asked = service["spec"].get("loadBalancerIP")
    for family in service["spec"]["ipFamilies"]:
        (network,) = (f.balancers for f in FAMILIES if f"IPv{f.balancers.version}" == family)
        free = [host for host in map(str, network.hosts()) if host not in taken]
        if not free:
            raise LabError(f"all addresses of {network} are taken by other load balancers")
        yield asked if asked in free else free[0]


class LoadBalancers:
    """Keeps the load balancers of a cluster until it is closed; what goes wrong is in `log`."""

    def __init__(self, control: ControlPlane, plan: Plan, log: Path) -> None:
        self._control = control
        self._nodes = {node.name: node for node in plan}
        self._log = log
        self._said = ""
        self._routes: dict[str, tuple[str, ...]] = {}
        with control.netns.enter():
            for policy in _HASH_POLICIES:
                policy.write_text(_BY_CONNECTION)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="load balancers")
        self._thread.start()

    def close(self) -> None:
        """Leave them as they are."""
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._over.wait(_SECONDS):
            try:
                self._look()
                self._said = ""
            except (LabError, OSError, http.client.HTTPException, ValueError) as error:
                self._say(str(error))

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            with self._log.open("a") as log:
                log.write(f"{time.strftime('%H:%M:%S')} {text}\n")

    def _look(self) -> None:
        request = self._control.client.request
        services = request("GET", "/api/v1/services")["items"]
        taken = {address for service in services for address in addresses_of(service)}
        todo: list[Change] = []
        routes: dict[str, tuple[str, ...]] = {}
        for service in services:
            coming = list(changes(service, taken))
            todo += coming
            if wanted(service):
                shown = [service, *(change.body for change in coming)]
                own = [address for each in shown for address in addresses_of(each)]
                taken.update(own)
                routes |= {address: self._next_hops(service, address) for address in own}
        self._route(routes)  # first: who hears of an address shall find the way
        for change in todo:
            request("PATCH", change.path, change.body, content_type=_MERGE)

    def _next_hops(self, service: Object, address: str) -> tuple[str, ...]:
        """The nodes that a load balancer of `service` leads to."""
        version = ipaddress.ip_address(address).version
        port = service["spec"].get("healthCheckNodePort")
        hops = tuple(
            next(str(a.ip) for a in node.addresses if a.version == version)
            for node in self._nodes.values()
            if not port or self._healthy(str(node.addresses[0].ip), port)
        )
        if service["spec"]["sessionAffinity"] == "None":
            return hops
        # All clients from outside are one: it stays with its node, as long as that is there.
        before = self._routes.get(address, ())[:1]
        return before if before and before[0] in hops else hops[:1]

    def _healthy(self, node: str, port: int) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException), self._control.netns.enter():
            connection = http.client.HTTPConnection(node, port, timeout=_HEALTH_SECONDS)
            with contextlib.closing(connection):
                connection.request("GET", "/healthz")
                return connection.getresponse().status == http.client.OK
        return False

    def _route(self, routes: dict[str, tuple[str, ...]]) -> None:
        """Lead clients from outside to the nodes."""
        commands = [
            f"route replace {_route_to(address, hops)}"
            for address, hops in routes.items()
            if self._routes.get(address) != hops
        ]
        commands += [f"route del {address}" for address in self._routes if address not in routes]
        if commands:
            self._control.netns.iproute(*commands)
            self._routes = routes


def _route_to(address: str, hops: tuple[str, ...]) -> str:
    if not hops:
        return f"unreachable {address}"
    source = next(c.ip for c in CLIENT if c.version == ipaddress.ip_address(address).version)
    return f"{address} src {source} {' '.join(f'nexthop via {hop}' for hop in hops)}"
