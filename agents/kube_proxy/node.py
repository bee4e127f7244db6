"""The node's side of the bridge: the pods on it, the gateway, the uplink, and the host's routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from ipaddress import ip_address, ip_network
from typing import Final, Protocol

from nsxdp.bridge import gateway, local_pods, uplink
from nsxdp.k8s import objects as k8s
from nsxdp.logs import get_logger
from nsxdp.pipeline.forwarding import Network
from nsxdp.pipeline.node import Address, Gateway, NodeCompiler, NodePlan
from nsxdp.pipeline.registers import NODE_PORT_IPV4, NODE_PORT_IPV6
from nsxdp.services.addresses import Family, parse_address
from nsxdp.services.nodeports import node_port_addresses
from nsxdp.services.planner import Exposed
from nsxdp.switch import BridgeView
from nsxdp.writer import Owned
from nsxdp_agents.kube_proxy.host import HostAddresses, HostRoutes
from nsxdp_agents.kube_proxy.nat import Element, HostNat
from nsxdp_agents.kube_proxy.routes import Prefix

__all__ = ["NodeSide"]

log = get_logger(__name__)

_BY_KERNEL: Final = (ip_address(NODE_PORT_IPV4), ip_address(NODE_PORT_IPV6))


class Takes(Protocol):
    """Whom the flows go to: a `nsxdp.writer.Writer`, or who only wants to know them."""

    def replace(self, owned: Owned) -> None:
        """Let owners need something else from now on."""

    async def settled(self) -> object:
        """Wait until the switch has it."""


class NodeSide:
    """Keeps the forwarding flows as the bridge's ports need them, and the host's routes.

    Parameters
    ----------
    host
        The host's routes; None: they are left alone, and the host's addresses aren't known.
    uplink_port
        The Interface by which the outside comes; empty: the one with that role, if any has it.
    primary_address
        The node's, in place of the one of its family that Kubernetes knows it by; empty: none.
    node_port_cidrs
        Which of the node's addresses serve node ports; ``primary``: those that Kubernetes knows it
        by.
    masquerade_all
        See `NodeCompiler`.
    check_period
        Seconds between two looks at the kernel's translations.
    """

    def __init__(
        self,
        view: BridgeView,
        writer: Takes,
        host: HostRoutes | None,
        *,
        uplink_port: str = "",
        primary_address: str = "",
        node_port_cidrs: tuple[str, ...] = ("primary",),
        masquerade_all: bool = False,
        check_period: float = 30.0,
    ) -> None:
        self._view = view
        self._writer = writer
        self._host = host
        self._uplink_port = uplink_port
        self._node_port_cidrs = node_port_cidrs
        self._check_period = check_period
        self._compiler = NodeCompiler(masquerade_all=masquerade_all)
        self._ranges: dict[str, list[Network]] = {}
        self._ranges_known = False
        self._primary = parse_address(primary_address)
        self._known_by: frozenset[bytes] = self._with_primary(frozenset())
        self._primaries = self._known_by
        self._addresses = HostAddresses()
        self._nat = HostNat()
        self._nat_addresses: frozenset[Element] = frozenset()
        self._router = ""
        self._due = asyncio.Event()
        self._kernel_due = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._complained: frozenset[str] = frozenset()

    # What comes in.

    def set_range(self, key: str, cidrs: tuple[str, ...]) -> None:
        """The ServiceCIDR 'key' has 'cidrs' now; none where it is gone."""
        before = self._ranges.get(key, [])
        networks = self._ranges[key] = []
        for cidr in cidrs:
            try:
                networks.append(ip_network(cidr))
            except ValueError as error:
                log.warning("a range of cluster IPs cannot be used", range=key, reason=str(error))
        if self._host is not None:
            self._host.replace(map(_prefix, before), map(_prefix, networks))
        self._look_again()

    def all_ranges_known(self) -> None:
        """Every ServiceCIDR that there was at the start has been told."""
        self._ranges_known = True
        self._look_again()

    def expose(self, exposed: Exposed) -> None:
        """Services are served at other places now, beside their cluster IPs."""
        if self._host is None or not exposed:
            return
        self._host.replace(
            map(_single, exposed.addresses.removed), map(_single, exposed.addresses.added)
        )
        self._nat.replace(
            [Element.node_port(*port) for port in exposed.node_ports.removed],
            [Element.node_port(*port) for port in exposed.node_ports.added],
        )
        self._kernel_due.set()

    def set_node(self, node: k8s.Node | None) -> None:
        """Kubernetes knows the node by the addresses of 'node'."""
        internal = _addresses_of(node, "InternalIP")
        first = _first_of_each_family([*internal, *_addresses_of(node, "ExternalIP")])
        known_by = self._with_primary(frozenset([*internal, *first]))
        primaries = self._with_primary(frozenset(first))
        if (known_by, primaries) != (self._known_by, self._primaries):
            self._known_by, self._primaries = known_by, primaries
            self._look_again()

    def _with_primary(self, known_by: frozenset[bytes]) -> frozenset[bytes]:
        """Those addresses, with the one that was given in place of that of its family."""
        primary = self._primary
        if primary is None:
            return known_by
        return frozenset({a for a in known_by if len(a) != len(primary)} | {primary})

    def _look_again(self) -> None:
        if self._host is not None:
            self._host.look_again()
        else:
            self._due.set()

    # What comes of it.

    @property
    def addresses(self) -> frozenset[bytes]:
        """The node's addresses, packed."""
        return self._known_by | {address.packed for address in self._addresses.node}

    @property
    def node_port_addresses(self) -> frozenset[Address]:
        """At which the node serves node ports, beside what its kernel translates to."""
        if self._node_port_cidrs == ("primary",):
            found = self._primaries or {address.packed for address in self._addresses.gateway}
        else:
            found = frozenset().union(
                *(
                    node_port_addresses(self._node_port_cidrs, self.addresses, family)
                    for family in Family
                )
            )
        return frozenset(map(ip_address, found))

    @property
    def plan(self) -> NodePlan:
        """What is on the bridge, and what the node is, as it was compiled last."""
        return self._compiler.plan

    def whose(self, owner: int) -> str:
        """Who an owner of the forwarding flows is, in words; empty: none of them."""
        return self._compiler.whose(owner)

    async def compile(self) -> None:
        """Compile what is on the bridge now; ports that are as they were cost nothing."""
        async with self._one_at_a_time:
            await self._compile()

    async def _compile(self) -> None:
        bridge = self._view.bridge
        if bridge is None:
            log.error(f"bridge {self._view.name} was deleted: its Services are gone with it")
            return
        pods, problems = local_pods(bridge)
        way_out = uplink(bridge, self._uplink_port)
        if self._uplink_port and way_out is None:
            problems = [*problems, f"the uplink {self._uplink_port} is no port of {bridge.name}"]
        for problem in frozenset(problems) - self._complained:
            log.warning("a port cannot be used", reason=problem)
        self._complained = frozenset(problems)
        router = gateway(bridge)
        self._router = router.name if router else ""
        if self._host is not None and router is not None:
            await self._host.use(router.name)
            self._addresses = await self._host.addresses()
        plan = NodePlan(
            Gateway.of(router, self._addresses.gateway) if router else None,
            tuple(pods),
            way_out.ofport if way_out else None,
            self._addresses.node,
            self.node_port_addresses.union(_BY_KERNEL),
            self._all_ranges() if self._ranges_known else frozenset(),
        )
        owned = self._compiler.compile(plan)
        if len(owned.owners):
            self._writer.replace(owned)
        own = frozenset(map(Element.address, self.node_port_addresses))
        self._nat.replace(self._nat_addresses, own)
        self._nat_addresses = own
        self._kernel_due.set()

    def _all_ranges(self) -> frozenset[Network]:
        return frozenset().union(*self._ranges.values())

    async def follow(self) -> None:
        """Compile each change of the bridge, until cancelled."""
        async for _ in self._view.changes(self._view.bridge):
            await self.compile()

    async def keep(self, addresses_changed: Callable[[], None]) -> None:
        """Keep the host's routes and translations, and follow its addresses, until cancelled.

        Routes that an earlier process made stay until all that is wanted is known, and new ones
        come when there are flows for what they bring.
        """
        told = self.addresses, self.node_port_addresses
        await self._writer.settled()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._doubt())
            tasks.create_task(self._keep_addresses(told, addresses_changed))
            if self._host is not None:
                tasks.create_task(self._keep_kernel(self._host))

    async def _doubt(self) -> None:
        """Look again now and then: nobody tells who changes the kernel's translations."""
        while True:
            await asyncio.sleep(self._check_period)
            self._nat.doubt()
            self._look_again()

    async def _keep_addresses(
        self, told: tuple[frozenset[bytes], frozenset[Address]], changed: Callable[[], None]
    ) -> None:
        async for _ in self._changes():
            await self.compile()
            if (found := (self.addresses, self.node_port_addresses)) != told:
                told = found
                changed()

    async def _keep_kernel(self, host: HostRoutes) -> None:
        while True:
            await self._kernel_due.wait()
            self._kernel_due.clear()
            if self._ranges_known:
                await host.apply()
                if self._router:
                    await self._nat.apply(self._router)

    async def _changes(self) -> AsyncIterator[None]:
        if self._host is not None:
            async for _ in self._host.changes():
                yield
        else:
            while True:
                await self._due.wait()
                self._due.clear()
                yield


def _addresses_of(node: k8s.Node | None, kind: str) -> list[bytes]:
    """The node's addresses of a kind, packed, in order."""
    texts = (a.address for a in (node.status.addresses if node else ()) if a.type == kind)
    return [address for text in texts if (address := parse_address(text))]


def _first_of_each_family(addresses: Iterable[bytes]) -> list[bytes]:
    """As kube-proxy takes a node's addresses (pkg/util/node, GetNodeHostIPs())."""
    first: dict[int, bytes] = {}
    for address in addresses:
        first.setdefault(len(address), address)
    return list(first.values())


def _prefix(network: Network) -> Prefix:
    return network.network_address.packed, network.prefixlen


def _single(address: bytes) -> Prefix:
    return address, 8 * len(address)
