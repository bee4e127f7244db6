"""The node's side of the bridge: the pods on it, the gateway, and the host's way to Services."""

from __future__ import annotations

import asyncio

import structlog
from pyroute2.netlink.exceptions import NetlinkError

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
        self._host_due = asyncio.Event()
        self._complained: frozenset[str] = frozenset()

    def set_range(self, key: str, cidrs: tuple[str, ...]) -> None:
        """The ServiceCIDR 'key' has 'cidrs' now; none where it is gone."""
        self._ranges[key] = cidrs
        self._host_due.set()

    def look_again(self) -> None:
        """The bridge's own interface may be another one: a restarted switch makes it anew."""
        self._host_due.set()

    async def compile(self) -> None:
        """Compile what is on the bridge now; ports that are as they were cost nothing."""
        bridge = self._view.bridge
        if bridge is None:
            log.error(f"bridge {self._view.name} was deleted: its Services are gone with it")
            return
        pods, problems = local_pods(bridge)
        for problem in frozenset(problems) - self._complained:
            log.warning("a port cannot be used", reason=problem)
        self._complained = frozenset(problems)
        router = gateway(bridge)
        addresses = await self._host.addresses() if self._host else ()
        plan = NodePlan(Gateway.of(router, addresses) if router else None, tuple(pods))
        owned = self._compiler.compile(plan)
        if len(owned.owners):
            self._writer.replace(owned)

    async def follow(self) -> None:
        """Compile each change of the bridge, until cancelled."""
        async for _ in self._view.changes(self._view.bridge):
            await self.compile()

    async def keep_host(self) -> None:
        """Keep the host's routes to Services, until cancelled."""
        if self._host is None:
            return
        while True:
            await self._host_due.wait()
            self._host_due.clear()
            try:
                await self._host.set({cidr for cidrs in self._ranges.values() for cidr in cidrs})
                await self.compile()
            except (NetlinkError, OSError) as error:
                log.warning("the node's own processes may not reach Services", reason=str(error))
