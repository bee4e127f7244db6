"""The network that joins the nodes, and the reference network of pods: bridges, static routes."""

import contextlib
from collections.abc import Iterable
from typing import Any

from nsxdp.lab.cluster.plan import FAMILIES, GATEWAY, Interface, NodePlan
from nsxdp.lab.netns import Netns


class Fabric:
    """What joins the hosts of a cluster: a Linux bridge in a namespace of its own.

    The bridge is everybody's default gateway, and forwards nothing: no packet leaves the cluster,
    and the machine's own namespace gets no interface, address or route.
    """

    def __init__(self) -> None:
        self._closing = contextlib.ExitStack()
        try:
            self.netns = self._closing.enter_context(Netns("fabric"))
            self.netns.iproute(
                "link add br0 type bridge",
                *(f"addr add {address} dev br0" for address in GATEWAY),
                "link set br0 up",
            )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the bridge; hosts stay, without a network."""
        self._closing.close()

    def __enter__(self) -> "Fabric":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def plug(self, host: Netns, addresses: Iterable[Interface]) -> None:
        """Give `host` an ``eth0`` on the bridge, its addresses and routes.

        Who is outside of the cluster is on the bridge, too; whoever else is, is behind a gateway
        that leads nowhere.
        """
        port = f"p-{host.short}"
        self.netns.iproute(
            f"link add {port} type veth peer name eth0 netns {host.name}",
            f"link set {port} master br0 up",
        )
        host.iproute(
            *(f"addr add {address} dev eth0" for address in addresses),
            "link set eth0 up",
            *(f"route add {family.outside} dev eth0" for family in FAMILIES),
            *(f"route add default via {gateway.ip}" for gateway in GATEWAY),
        )


def route_pods(host: Netns, nodes: Iterable[NodePlan]) -> None:
    """Lead what is for the pods of `nodes` to these nodes."""
    host.iproute(
        *(
            f"route add {pods} via {address.ip}"
            for node in nodes
            for pods, address in zip(node.pods, node.addresses, strict=True)
        )
    )


def reference_cni(node: NodePlan) -> dict[str, Any]:
    """The CNI configuration of the reference network on a node."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "isDefaultGateway": True,
        "hairpinMode": True,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": str(pods)}] for pods in node.pods],
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "reference", "plugins": [bridge, ports]}
