"""Who is who: the bridge's own pods as they are there, and other nodes' as Kubernetes says."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from nsxdp.bridge import LocalPod
from nsxdp.k8s.defaults import parse_ip
from nsxdp.tracing.names import PodAddresses
from nsxdp.tracing.packet import Address
from nsxdp_agents.node_agent.policies import Policies
from nsxdp_agents.node_agent.wiring import Wiring

__all__ = ["LastPods", "find_pod", "pod_with"]

_MOST: Final = 1000
"""Addresses of which is known who had them."""


def pod_with(wiring: Wiring, policies: Policies | None, address: str) -> str:
    """The pod with an address, ``namespace/name``; empty: there is none."""
    parsed = parse_ip(address)
    if parsed is None:
        return ""
    if policies is not None and (known := policies.planner.pod_with(parsed.packed)):
        return known
    here = (pod.iface_id for pod in wiring.pods.values() if parsed in pod.ips)
    return next(here, "")


def find_pod(wiring: Wiring, policies: Policies | None, wanted: str) -> PodAddresses | None:
    """A pod of the cluster by its name, or by one of its addresses; None: there is none."""
    name = wanted if "/" in wanted else pod_with(wiring, policies, wanted)
    for pod in wiring.pods.values():
        if pod.iface_id == name:
            return PodAddresses(name, tuple(map(str, pod.ips)))
    kind = policies.planner.kind_of(name) if policies is not None else None
    if kind is None:
        return None
    return PodAddresses(name, tuple(str(ip_address(each)) for each in kind.pods[name]))


class LastPods:
    """Who had an address last, of the pods that left the bridge.

    Connections are tracked for a while after their pod has gone: a job that ended, say.
    """

    def __init__(self) -> None:
        self._had: dict[Address, str] = {}

    def note(self, pod: LocalPod) -> None:
        """It left."""
        for address in pod.ips:
            self._had.pop(address, None)
            self._had[address] = pod.iface_id
        while len(self._had) > _MOST:
            del self._had[next(iter(self._had))]

    def pod_with(self, address: str) -> str:
        """The pod that had an address, ``namespace/name``; empty: it isn't known."""
        parsed = parse_ip(address)
        return self._had.get(parsed, "") if parsed is not None else ""
