"""What the node's network stack has to do for pods: routes, and who gets the node's address.

The stack is the pods' router: what isn't for a pod of this node, nor by tunnel for another's, is
sent to it (`nsxdp.pipeline.routing`). Who applies this does so whole, whenever the node or its
peers change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address
from typing import Final, NamedTuple

from nsxdp.forwarding.model import TUNNELS, Network, NodeConfig, Peer, reserved
from nsxdp.pipeline.columns import Address

__all__ = ["HOP_IPV6", "TABLE", "Route", "routes", "ruleset"]

TABLE: Final = "inet nsxdp_pods"
"""The nftables table that is ours."""

HOP_IPV6: Final = IPv6Address("fe80::6f:1")
"""The next hop to other nodes' pods behind the gateway's interface, with IPv6: nobody has the
address. Who applies this has to say that `nsxdp.pipeline.registers.VIRTUAL_MAC` is its MAC."""


_NEIGHBOR_DISCOVERY: Final = (
    "nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, nd-redirect"
)


class Route(NamedTuple):
    """A route to pods of another node.

    Attributes
    ----------
    network
        To where.
    via
        The next hop.
    by_gateway
        Whether it is behind the gateway's interface, on link though no network of that interface
        has it: the bridge takes it. Otherwise it is a node, and reached as nodes are.
    """

    network: Network
    via: Address
    by_gateway: bool


def routes(config: NodeConfig, peers: Iterable[Peer]) -> list[Route]:
    """The routes to other nodes' pods; a network whose node has no address of its family has none.

    Examples
    --------
    >>> from ipaddress import ip_address, ip_network
    >>> from nsxdp.forwarding.host import routes
    >>> from nsxdp.forwarding.model import NodeConfig, Peer
    >>> from nsxdp.pipeline.node import Gateway
    >>> peer = Peer("another", (ip_address("192.0.2.2"),), (ip_network("10.244.1.0/24"),))
    >>> gateway = Gateway(1, "0a:58:0a:f4:00:01")
    >>> for config in (NodeConfig("noEncap", gateway), NodeConfig("geneve", gateway, tunnel=9)):
    ...     print(*routes(config, [peer])[0])
    10.244.1.0/24 192.0.2.2 False
    10.244.1.0/24 10.244.1.1 True
    """
    if config.mode == "nsx":
        return []
    return [
        Route(net, via, config.mode in TUNNELS)
        for peer in peers
        for net in peer.pod_cidrs
        if (via := _next_hop(config, peer, net)) is not None
    ]


def _next_hop(config: NodeConfig, peer: Peer, net: Network) -> Address | None:
    if config.mode in TUNNELS:
        if not peer.addresses:
            return None
        # The bridge answers who asks for this one by ARP.
        return reserved(net).gateway if net.version == 4 else HOP_IPV6
    return next((a for a in peer.addresses if a.version == net.version), None)


def ruleset(interface: str, config: NodeConfig, peers: Iterable[Peer]) -> str:
    """All that nftables needs to know, in nft's syntax; what the table had is gone.

    A pod that reaches what isn't a pod gets the node's address when it leaves the node; between
    pods everybody has its own. By tunnels another node takes nothing but what is from pods, or from
    the gateway: who else goes there by way of this node gets the gateway's address.

    Who gets the node's address could speak as the node. So no pod sends to the tunnels' port: what
    it made look like one of another node's pods would be taken for that.

    Neighbor discovery isn't routed. No policy judges it, and a pod could send anything to anybody
    in its options.

    Parameters
    ----------
    interface
        The gateway's name.
    """
    peers = list(peers)
    own = config.pod_cidrs
    others = [net for peer in peers for net in peer.pod_cidrs]
    lines = [f"table {TABLE}", f"delete table {TABLE}", f"table {TABLE} {{"]
    if config.mode != "nsx":
        lines += _sets("own", own)
        lines += _sets("others", others)
        lines += [
            "  chain postrouting {",
            "    type nat hook postrouting priority srcnat; policy accept;",
            *(f"    {rule}" for rule in _rules(interface, tunnels=config.mode in TUNNELS)),
            "  }",
            "  chain forward {",
            "    type filter hook forward priority filter; policy accept;",
            f'    iifname "{interface}" icmpv6 type {{ {_NEIGHBOR_DISCOVERY} }} drop',
            *(
                f'    iifname "{interface}" udp dport {port} drop'
                for mode, port in TUNNELS.items()
                if mode == config.mode
            ),
            "  }",
        ]
    return "\n".join([*lines, "}", ""])


def _sets(name: str, networks: Iterable[Network]) -> Iterator[str]:
    networks = list(networks)
    for version, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        texts = sorted({str(net) for net in networks if net.version == version})
        elements = f" elements = {{ {', '.join(texts)} }}" if texts else ""
        lines = f"type {kind}; flags interval; auto-merge;{elements}"
        yield f"  set {name}{version} {{ {lines} }}"


def _rules(interface: str, *, tunnels: bool) -> Iterator[str]:
    for version, ip in ((4, "ip"), (6, "ip6")):
        own, others = f"@own{version}", f"@others{version}"
        yield (
            f'oifname != "{interface}" {ip} saddr {own} {ip} daddr != {own} '
            f"{ip} daddr != {others} masquerade"
        )
        if tunnels:
            yield f'oifname "{interface}" {ip} saddr != {own} {ip} daddr {others} masquerade'
