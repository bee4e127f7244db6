"""The node's side of the bridge: the pods on it, the gateway, and the host's way to Services."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, IPv6Address

import structlog

from nsxdp.bridge import gateway, local_pods
from nsxdp.pipeline.node import Gateway, NodeCompiler, NodePlan
from nsxdp.switch import BridgeView
from nsxdp.writer import Writer
from nsxdp_agents.kube_proxy.host import HostRoutes

__all__ = ["NodeSide"]

log = structlog.get_logger(__name__)


class NodeSide:
    """Keeps the forwarding flows as the bridge's ports need them, and the host's routes."""

    def __init__(self, view: BridgeView, writer: Writer, host: HostRoutes | None) -> None:
        self._view = view
        self._writer = writer
        self._host = host
        self._compiler = NodeCompiler()
        self._ranges: dict[str, tuple[str, ...]] = {}
        self._ranges_known = False
        self._one_at_a_time = asyncio.Lock()
        self._complained: frozenset[str] = frozenset()

    def set_range(self, key: str, cidrs: tuple[str, ...]) -> None:
        """The ServiceCIDR 'key' has 'cidrs' now; none where it is gone."""
        self._ranges[key] = cidrs
        if self._host is not None:
            self._host.look_again()

    def all_ranges_known(self) -> None:
        """Every ServiceCIDR that there was at the start has been told."""
        self._ranges_known = True
        if self._host is not None:
            self._host.look_again()

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
        for problem in frozenset(problems) - self._complained:
            log.warning("a port cannot be used", reason=problem)
        self._complained = frozenset(problems)
        router = gateway(bridge)
        addresses: tuple[IPv4Address | IPv6Address, ...] = ()
        if self._host is not None and router is not None:
            await self._host.use(router.name)
            addresses = await self._host.addresses()
        plan = NodePlan(Gateway.of(router, addresses) if router else None, tuple(pods))
        owned = self._compiler.compile(plan)
        if len(owned.owners):
            self._writer.replace(owned)

    async def follow(self) -> None:
        """Compile each change of the bridge, until cancelled."""
        async for _ in self._view.changes(self._view.bridge):
            await self.compile()

    async def keep_host(self) -> None:
        """Keep the host's routes to Services, and follow its addresses, until cancelled.

        Routes that an earlier process made stay until all that is wanted is known, and new ones
        come when there are flows for what they bring.
        """
        if self._host is None:
            return
        await self._writer.settled()
        async for _ in self._host.changes():
            if self._ranges_known:
                await self._host.set({cidr for cidrs in self._ranges.values() for cidr in cidrs})
            await self.compile()
