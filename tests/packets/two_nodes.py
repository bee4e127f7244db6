"""Two nodes whose bridges are wired by us, joined by a wire, in each way that they can be."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self

from wired import Wired

from nsxdp.forwarding.host import HOP_IPV6, routes, ruleset
from nsxdp.forwarding.model import TUNNELS, Mode, Peer, pod_mtu
from nsxdp.lab import Netns, Node, Pod
from nsxdp.pipeline.registers import VIRTUAL_MAC

MTU = 1500
"""Of the wire."""
KEY = 7

UNDERLAY = "br-wire"
"""The bridge with the node's address: what is in tunnels leaves by a bridge on the userspace
datapath."""


@dataclass
class Side:
    """One node.

    Attributes
    ----------
    node
        The lab's.
    ips
        The node's addresses.
    """

    node: Node
    ips: tuple[str, str]

    def __post_init__(self) -> None:
        self.ovs = self.node.ovs
        self.netns = self.node.netns

    def plug_wire(self) -> None:
        """Give the node its addresses, at its end of the wire."""
        self.ovs.add_bridge(UNDERLAY)
        self.ovs.vsctl("add-port", UNDERLAY, "wire")
        self.netns.run(["ethtool", "-K", "wire", "tx", "off"])
        self.set_address()
        self.ovs.after_start.append(self.set_address)

    def unplug(self) -> None:
        """Be a node without others again."""
        for bridge, port in ((self.node.bridge, "tunnel"), (UNDERLAY, "wire")):
            self.ovs.vsctl("--if-exists", "del-port", bridge, port)
        self.ovs.vsctl("--if-exists", "del-br", UNDERLAY)
        for hook in (self.set_address, self.set_up_host):
            if hook in self.ovs.after_start:
                self.ovs.after_start.remove(hook)
        self.ovs.appctl("dpctl/flush-conntrack")

    def set_address(self) -> None:
        """Again after each start of the switch."""
        self.netns.iproute(
            "link set wire up",
            f"link set {UNDERLAY} up",
            f"addr replace {self.ips[0]}/24 dev {UNDERLAY}",
            f"addr replace {self.ips[1]}/64 dev {UNDERLAY} nodad",
        )

    def forward(self, mode: Mode, other: Side, *, ipv6_underlay: bool) -> None:
        """Have pods of 'other' be reached."""
        tunnel = None
        if mode in TUNNELS:
            options = ("options:remote_ip=flow", "options:key=flow")
            self.ovs.vsctl(
                *("add-port", self.node.bridge, "tunnel", "--"),
                *("set", "interface", "tunnel", f"type={mode}", *options),
            )
            tunnel = self.ovs.ofport("tunnel")
        self.wired = Wired(self.node, mode, tunnel=tunnel)
        ips = tuple(map(ip_address, other.ips))
        gateways = (other.node.gateway, other.node.gateway6)
        self.peer = Peer(
            other.node.name,
            ips[::-1] if ipv6_underlay else ips,
            tuple(gateway.network for gateway in gateways if gateway is not None),
            KEY,
        )
        self.wired.peers = [self.peer]
        self.mtu = pod_mtu(mode, MTU, ipv6_underlay=ipv6_underlay)
        self.set_up_host()
        self.ovs.after_start.append(self.set_up_host)

    def set_up_host(self) -> None:
        """What the node's network stack has to do."""
        bridge, config = self.node.bridge, self.wired.config
        self.netns.iproute(
            f"link set {bridge} mtu {self.mtu}",
            f"neigh replace {HOP_IPV6} lladdr {VIRTUAL_MAC} dev {bridge} nud permanent",
            *(
                f"route replace {route.network} via {route.via}"
                + (f" dev {bridge} onlink" if route.by_gateway else "")
                for route in routes(config, [self.peer])
            ),
        )
        rules = ruleset(bridge, config, [self.peer])
        self.netns.run(["nft", "-f", "-"], stdin=rules)

    def sync(self) -> None:
        """Let the switch know of all pods."""
        for pod in self.node.pods.values():
            self.netns.iproute(f"link set {pod.port} mtu {self.mtu}")
            pod.iproute(f"link set eth0 mtu {self.mtu}")
        self.wired.sync()


class TwoNodes:
    """Nodes ``here``, which is given, and ``there``.

    Attributes
    ----------
    here, there
        The nodes.
    server, other
        Pods of ``there``.
    mode
        How they reach each other.
    """

    def __init__(self, here: Node, mode: Mode, *, ipv6_underlay: bool = False) -> None:
        self.mode = mode
        self._closing = contextlib.ExitStack()
        try:
            there = self._closing.enter_context(
                Node(
                    "there",
                    gateway="10.244.1.1/24",
                    gateway6="fd00:244:1::1/64",
                    mac="0a:58:0a:f4:01:01",
                    fail_mode="secure",
                )
            )
            here.netns.iproute(f"link add wire type veth peer name wire netns {there.netns.name}")
            self.here = Side(here, ("192.0.2.1", "2001:db8::1"))
            self._closing.callback(self.here.unplug)
            self.there = Side(there, ("192.0.2.2", "2001:db8::2"))
            for side in (self.here, self.there):
                side.plug_wire()
            self.server: Pod = there.add_pod("server")
            self.other: Pod = there.add_pod("another")
            self.here.forward(mode, self.there, ipv6_underlay=ipv6_underlay)
            self.there.forward(mode, self.here, ipv6_underlay=ipv6_underlay)
            self.here.sync()
            self.there.sync()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove ``there``."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def hosts(self) -> tuple[Netns, Netns]:
        """Both nodes' own namespaces."""
        return self.here.netns, self.there.netns
