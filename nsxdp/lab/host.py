"""A host outside of the cluster, at the other end of a wire to a node."""

import contextlib
import ipaddress
from collections.abc import Iterator, Mapping, Sequence

from nsxdp.lab.netns import Netns
from nsxdp.lab.node import Node

SUBNETS = ("192.0.2.0/24", "2001:db8::/64")
"""Of the wire, if nothing else is said."""


class Host(Netns):
    """A namespace that reaches the node by a wire, and everything else by the node.

    Parameters
    ----------
    node
        To which the wire leads.
    name
        The host's, and that of the wire's end at the node.
    subnets
        The wire's, one of a family. The node has the first address of each, the host the second.
    uplink
        Whether the wire ends at the node's bridge, as a port with ``nsxdp-role=uplink``; the
        node's address is the bridge's then. If not, it ends at an interface of its own.

    Attributes
    ----------
    addresses
        The host's, by their IP version.
    gateways
        The node's on the wire, likewise.

    Examples
    --------
    >>> from nsxdp.lab import Host, Node
    >>> with Node() as node, Host(node) as outside:
    ...     web = node.add_pod("web")
    ...     _ = web.serve_http(80)
    ...     print(outside.http_get(f"http://{web.ip}/"), outside.addresses[4])
    web 192.0.2.2
    """

    def __init__(
        self,
        node: Node,
        name: str = "outside",
        *,
        subnets: Sequence[str] = SUBNETS,
        uplink: bool = False,
    ) -> None:
        self._closing = contextlib.ExitStack()
        super().__init__(name)
        self.addresses: dict[int, str] = {}
        self.gateways: dict[int, str] = {}
        self._node = node
        self._networks = [ipaddress.ip_network(subnet) for subnet in subnets]
        for network in self._networks:
            self.gateways[network.version] = str(network[1])
            self.addresses[network.version] = str(network[2])
        # Where the node has its addresses.
        self._device = node.bridge if uplink else name
        try:
            node.netns.iproute(f"link add {name} type veth peer name eth0 netns {self.name}")
            self._closing.callback(node.netns.iproute, f"link delete {name}")
            self._set_up_node()
            self._set_up()
            if uplink:
                self._add_port()
            else:
                node.netns.run(["ethtool", "-K", name, "tx", "off"])
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unplug the wire, and end the host."""
        try:
            self._closing.close()
        finally:
            super().close()

    def _set_up(self) -> None:
        commands = [*self._addresses(self.addresses, "eth0"), "link set eth0 up"]
        commands += [f"route add default via {gateway}" for gateway in self.gateways.values()]
        self.iproute(*commands)
        # Nobody fills in checksums on the way: see Node.
        self.run(["ethtool", "-K", "eth0", "tx", "off"])

    def _set_up_node(self) -> None:
        self._node.netns.iproute(
            *self._addresses(self.gateways, self._device), f"link set {self._device} up"
        )

    def _addresses(self, addresses: Mapping[int, str], device: str) -> Iterator[str]:
        for network in self._networks:
            version = network.version
            flags = " nodad" if version == 6 else ""
            yield f"addr replace {addresses[version]}/{network.prefixlen} dev {device}{flags}"

    def _add_port(self) -> None:
        node, port = self._node, self.short
        node.ovs.after_start.append(self._set_up_node)
        self._closing.callback(node.ovs.after_start.remove, self._set_up_node)
        node.netns.iproute(f"link set {port} addrgenmode none arp off up")
        node.ovs.vsctl(
            *("add-port", node.bridge, port),
            *("--", "set", "interface", port, "external_ids:nsxdp-role=uplink"),
        )
        self._closing.callback(node.ovs.vsctl, "del-port", node.bridge, port)
