"""Who is who: the bridge's own pods as they are there, and other nodes' as Kubernetes says."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Final, NamedTuple

from nsxdp.bridge import LocalPod
from nsxdp.conntrack import Entry
from nsxdp.forwarding.model import Network
from nsxdp.k8s.defaults import parse_ip
from nsxdp.pipeline.registers import BITS
from nsxdp.tracing.names import PodAddresses
from nsxdp.tracing.packet import Address
from nsxdp_agents.node_agent.policies import Policies
from nsxdp_agents.node_agent.wiring import Wiring

__all__ = ["NOBODY", "End", "Ends", "Rules", "find_pod"]

_MASQUERADED: Final = BITS["Masqueraded"].mask

_MOST: Final = 1000
"""Addresses of which is known who had them."""


def _pod_with(wiring: Wiring, policies: Policies | None, address: str) -> str:
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
    name = wanted if "/" in wanted else _pod_with(wiring, policies, wanted)
    for pod in wiring.pods.values():
        if pod.iface_id == name:
            return PodAddresses(name, tuple(map(str, pod.ips)))
    kind = policies.planner.kind_of(name) if policies is not None else None
    if kind is None:
        return None
    return PodAddresses(name, tuple(str(ip_address(each)) for each in kind.pods[name]))


class End(NamedTuple):
    """Who is at one end of a connection.

    Attributes
    ----------
    pod
        ``namespace/name``; empty: no pod that is known.
    node
        The pod's; empty: it isn't known.
    """

    pod: str
    node: str


class Rules(NamedTuple):
    """Which rules of policies let a connection through; empty: none has to.

    Attributes
    ----------
    egress, ingress
        Out of its source, and into its destination.
    """

    egress: str = ""
    ingress: str = ""


NOBODY: Final = Rules()
"""None has to, at either end."""


class Ends:
    """Knows who is at the ends of connections, and of the bridge's own pods, who was.

    Connections are tracked for a while after their pod has gone: a job that ended, say.

    Parameters
    ----------
    node
        This node's name.
    """

    def __init__(self, node: str, wiring: Wiring, policies: Policies | None) -> None:
        self._node = node
        self._wiring = wiring
        self._policies = policies
        self._left: dict[Address, str] = {}
        self._networks: dict[Network, str] | None = None
        """Whose they are; None: that may have changed."""
        self._kinds: set[tuple[int, int]] = set()
        """Versions and prefix lengths that these have."""
        wiring.departures.append(self.leave)
        wiring.listeners.append(self._forget_networks)

    def leave(self, pod: LocalPod) -> None:
        """A pod left the bridge."""
        for address in pod.ips:
            self._left.pop(address, None)
            self._left[address] = pod.iface_id
        while len(self._left) > _MOST:
            del self._left[next(iter(self._left))]

    def at(self, address: str) -> End:
        """Who has an address, or had it last."""
        parsed = parse_ip(address)
        if parsed is None:
            return End("", "")
        pod = _pod_with(self._wiring, self._policies, address) or self._left.get(parsed, "")
        return End(pod, self._node_with(parsed) if pod else "")

    def rules(self, entry: Entry) -> Rules:
        """Which rules let a connection through, as policies are now."""
        source, destination = parse_ip(entry.src), parse_ip(entry.reply_src)
        if self._policies is None or source is None or destination is None:
            return NOBODY
        planner = self._policies.planner
        what = entry.protocol.upper(), entry.reply_src_port
        egress = ingress = ""
        if pod := planner.pod_with(source.packed):
            egress = planner.allowing("egress", pod, destination.packed, *what)
        # Policies see who is masqueraded by another address.
        if not entry.mark & _MASQUERADED and (pod := planner.pod_with(destination.packed)):
            ingress = planner.allowing("ingress", pod, source.packed, *what)
        return Rules(egress, ingress)

    def _node_with(self, address: Address) -> str:
        """The node that has a pod's address."""
        if self._networks is None:
            self._networks = dict(self._networks_of_nodes())
            self._kinds = {(each.version, each.prefixlen) for each in self._networks}
        for version, length in self._kinds:
            if version == address.version:
                network = ip_network((address, length), strict=False)
                if node := self._networks.get(network):
                    return node
        # Not all networks are of one node.
        here = address in self._left or any(address in p.ips for p in self._wiring.pods.values())
        return self._node if here else ""

    def _networks_of_nodes(self) -> Iterator[tuple[Network, str]]:
        for peer in self._wiring.peers:
            yield from ((network, peer.name) for network in peer.pod_cidrs)
        config = self._wiring.config
        if config is not None:
            yield from ((network, self._node) for network in config.pod_cidrs)

    def _forget_networks(self) -> None:
        self._networks = None
