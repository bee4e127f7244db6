"""Who is who, for a trace: Services as they were read here, all else as the node agent knows it."""

from __future__ import annotations

from pathlib import Path

from nsxdp.openflow import Switch
from nsxdp.tracing.names import AgentNames, NodeFacts, Ruling
from nsxdp.tracing.packet import Address
from nsxdp_agents.kube_proxy.inspect.intent import Intent

__all__ = ["IntentNames"]


class IntentNames:
    """What a trace's words need (`nsxdp.tracing.names.Names`).

    Parameters
    ----------
    intent
        Knows whose the proxy's flows are.
    switch
        Has them.
    directory
        Where the node agent's control socket is, if it runs; None: elsewhere.
    """

    def __init__(self, intent: Intent, switch: Switch, directory: Path | None) -> None:
        self._intent = intent
        self._switch = switch
        self._agents = AgentNames(directory) if directory is not None else None

    async def service(self, cookie: int) -> str:
        """Whose flow it is."""
        flows = await self._switch.dump(f"cookie={cookie:#x}/{0xFFFF_FFFF_FFFF_FFFF:#x}")
        owners = self._intent.owners(flows)
        return self._intent.whose(int(owners[0])) if len(owners) else ""

    async def ruling(self, cookie: int) -> Ruling | None:
        """The rule that a flow is of."""
        return await self._agents.ruling(cookie) if self._agents is not None else None

    async def pod(self, address: Address) -> str:
        """The pod with an address."""
        return await self._agents.pod(address) if self._agents is not None else ""

    async def node(self) -> NodeFacts | None:
        """The node, and the others."""
        return await self._agents.node() if self._agents is not None else None
