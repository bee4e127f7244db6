"""Who has which name and address in a cluster, before anything of it is there.

Every cluster has the same addresses: they are seen in its own namespaces only. IPv4 comes first, so
that what asks for one family gets IPv4.
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

Cni = Literal["reference", "nsx", "none"]
Proxy = Literal["kube-proxy", "nsx-kube-proxy", "none"]

MOST_NODES = 200
API_PORT = 6443

_GATEWAY, _CONTROL_PLANE, _FIRST_NODE = 254, 2, 11
_API_SERVICE, _DNS_SERVICE = 1, 10


class Family(NamedTuple):
    """The ranges of one address family.

    Attributes
    ----------
    fabric
        Of the network that joins the nodes.
    pods, node_prefix
        Of all pods, and the prefix length of what a node has of it.
    services
        Of cluster IPs.
    outside
        Of who is outside of the cluster, on the same network.
    balancers
        Of load balancers.
    """

    fabric: Network
    pods: Network
    node_prefix: int
    services: Network
    outside: Network
    balancers: Network

    def pods_of(self, number: int) -> Network:
        """The range of the pods of node `number`, which counts from 1."""
        size = 1 << (self.pods.max_prefixlen - self.node_prefix)
        first = self.pods.network_address + number * size
        return ipaddress.ip_network(f"{first}/{self.node_prefix}")

    def on_fabric(self, host: int) -> Interface:
        """The address of a host on the network that joins the nodes."""
        return ipaddress.ip_interface(f"{self.fabric[host]}/{self.fabric.prefixlen}")


FAMILIES = (
    Family(
        ipaddress.ip_network("172.31.0.0/24"),
        ipaddress.ip_network("10.244.0.0/16"),
        24,
        ipaddress.ip_network("10.96.0.0/16"),
        ipaddress.ip_network("198.51.100.0/24"),
        ipaddress.ip_network("203.0.113.0/24"),
    ),
    Family(
        ipaddress.ip_network("fd00:31::/64"),
        ipaddress.ip_network("fd00:244::/48"),
        64,
        ipaddress.ip_network("fd00:96::/112"),
        ipaddress.ip_network("2001:db8:198::/64"),
        ipaddress.ip_network("2001:db8:203::/120"),
    ),
)


@dataclass(frozen=True)
class NodePlan:
    """A node: its number, which counts from 1, gives it its name and its addresses."""

    number: int

    @property
    def name(self) -> str:
        """``node-1``."""
        return f"node-{self.number}"

    @property
    def addresses(self) -> list[Interface]:
        """Those on the network that joins the nodes, one of each family."""
        return [family.on_fabric(_FIRST_NODE - 1 + self.number) for family in FAMILIES]

    @property
    def pods(self) -> list[Network]:
        """The ranges of its pods, one of each family."""
        return [family.pods_of(self.number) for family in FAMILIES]

    @property
    def zone(self) -> str:
        """Its ``topology.kubernetes.io/zone``: three of them, in turn."""
        return f"zone-{(self.number - 1) % 3 + 1}"


@dataclass(frozen=True)
class Plan:
    """A cluster of so many nodes, and what makes their network."""

    nodes: int = 3
    cni: Cni = "reference"
    proxy: Proxy = "kube-proxy"

    def __iter__(self) -> Iterator[NodePlan]:
        return (NodePlan(number) for number in range(1, self.nodes + 1))

    @property
    def has_pod_network(self) -> bool:
        """Whether nodes become ready."""
        return self.cni != "none"

    @property
    def agents(self) -> tuple[str, ...]:
        """Which of ours are installed, by the names of their manifests and DaemonSets."""
        found = []
        if self.cni == "nsx":
            found.append("nsx-node-agent")
        if self.proxy == "nsx-kube-proxy":
            found.append("nsx-kube-proxy")
        return ("nsx-ovs", *found) if found else ()


GATEWAY = [family.on_fabric(_GATEWAY) for family in FAMILIES]
"""Everybody's default gateway: it forwards nothing, so that nothing ever leaves."""

CONTROL_PLANE = [family.on_fabric(_CONTROL_PLANE) for family in FAMILIES]
"""Where etcd, the API server, the controllers, kubectl and the tests' programs run."""

CLIENT = [
    ipaddress.ip_interface(f"{family.outside[_CONTROL_PLANE]}/{family.outside.max_prefixlen}")
    for family in FAMILIES
]
"""That host, as a client of load balancers: who comes from outside is no neighbor of the nodes."""

API_SERVICES = [str(family.services[_API_SERVICE]) for family in FAMILIES]
DNS_SERVICE = str(FAMILIES[0].services[_DNS_SERVICE])

API_URL = f"https://{CONTROL_PLANE[0].ip}:{API_PORT}"


def joined(networks: list[Network]) -> str:
    """As Kubernetes's options have several of them."""
    return ",".join(map(str, networks))


POD_CIDRS = joined([family.pods for family in FAMILIES])
SERVICE_CIDRS = joined([family.services for family in FAMILIES])
