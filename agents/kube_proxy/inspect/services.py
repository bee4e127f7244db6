"""Services by their names, as people type them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AsyncExitStack
from difflib import get_close_matches
from typing import Final

from nsxdp.k8s.resources import SERVICES
from nsxdp.services.addresses import Family
from nsxdp.services.model import ServicePort
from nsxdp.services.planner import ServicePlanner
from nsxdp.services.tracker import ServiceTracker
from nsxdp_agents.kube_proxy.node import NodeSide
from nsxdp_agents.kube_proxy.options import Options
from nsxdp_agents.kube_proxy.source import open_client, open_source, wants_of

__all__ = [
    "Frontends",
    "UnknownServiceError",
    "find_ports",
    "frontends",
    "is_service",
    "service_names",
    "whose",
]

_SUGGESTED: Final = 3

Frontends = dict[tuple[str, int, bytes | None], ServicePort]
"""By protocol, port and address, packed; None for an address: any of the node's."""


class UnknownServiceError(Exception):
    """There is no such Service, or no such port; names those that are near."""


def is_service(text: str) -> bool:
    """Whether a text is ``NAMESPACE/NAME`` or ``NAMESPACE/NAME:PORT``."""
    return "/" in text


def find_ports(tracker: ServiceTracker, text: str) -> list[ServicePort]:
    """The Service ports of ``NAMESPACE/NAME``, or the one ``:PORT`` (its name or number) of them.

    Raises
    ------
    UnknownServiceError
        There is none.
    """
    key, _, wanted = text.partition(":")
    ports = [port for family in Family for port in tracker.ports(family).values()]
    of_service = [port for port in ports if port.name.service == key]
    if not of_service:
        raise UnknownServiceError(
            f"no Service {key} is served here{_near(key, {p.name.service for p in ports})}"
        )
    found = [
        port
        for port in of_service
        if not wanted or wanted in (port.name.port_name, str(port.port), str(port.node_port))
    ]
    if not found:
        there = sorted({f"{p.name.port_name or p.port}" for p in of_service})
        raise UnknownServiceError(f"{key} has no port {wanted}: it has {', '.join(there)}")
    return sorted(found, key=lambda port: (port.name, port.family))


def _near(key: str, known: Iterable[str]) -> str:
    """Names that may have been meant, in words."""
    names = sorted(known)
    name = key.rpartition("/")[2]
    same = [other for other in names if other.rpartition("/")[2] == name]
    near = (same or get_close_matches(key, names, _SUGGESTED))[:_SUGGESTED]
    if near:
        return f": is it {' or '.join(near)}?"
    return f" ({len(names)} others are)" if names else " (none at all is)"


def frontends(tracker: ServiceTracker) -> Frontends:
    """Where connections to Services go, and whose that is."""
    found: Frontends = {}
    for family in Family:
        for port in tracker.ports(family).values():
            for vip in (port.cluster_ip, *port.external_ips, *port.load_balancer_vips):
                found[port.protocol, port.port, vip] = port
            if port.node_port:
                found[port.protocol, port.node_port, None] = port
    return found


def whose(planner: ServicePlanner, node: NodeSide | None, owner: int) -> str:
    """Who an owner of flows or groups is, in words; empty: nobody."""
    found = planner.compiler.whose(owner)
    if found is not None:
        return f"{found[0]} {found[1].label}"
    return node.whose(owner) if node is not None else ""


async def service_names(options: Options) -> list[str]:
    """The names of all Services, ``NAMESPACE/NAME``: nothing else is read from the source.

    Raises
    ------
    StartError
        The source can't be used.
    """
    wants = [want for want in wants_of(options) if want.resource is SERVICES]
    names: set[str] = set()
    async with AsyncExitStack() as stack:
        client = await open_client(options, stack, patient=False)
        source = await stack.enter_async_context(open_source(options, client, wants))
        async for batch in source:
            names.update(obj.key for _, obj in batch.events)
            if batch.synced:
                break
    return sorted(names)
