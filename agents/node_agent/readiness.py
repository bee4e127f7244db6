"""Whether pods can have now what they need."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from nsxdp.ovsdb import Client
from nsxdp.switch import BridgeView
from nsxdp_agents.node_agent.assignment import Assigner
from nsxdp_agents.node_agent.bridge import GatewayKeeper
from nsxdp_agents.node_agent.cni.errors import CniError, Code
from nsxdp_agents.node_agent.node import Nodes
from nsxdp_agents.node_agent.policies import Policies
from nsxdp_agents.node_agent.wiring import Wiring

__all__ = ["Readiness"]


@dataclass(frozen=True)
class Readiness:
    """Asks each part that a new pod depends on."""

    bridge: str
    client: Client
    view: BridgeView
    assigner: Assigner
    nodes: Nodes
    wiring: Wiring
    gateway: GatewayKeeper
    repaired: asyncio.Event
    """Set when the bridge has the ports of all pods again, as far as can be."""
    policies: Policies | None

    def __call__(self) -> CniError | None:
        """Why no pod can be added, in the order in which an agent gets ready; none if one can."""
        if not self.client.connected:
            text = f"{self.client.remote}: no connection to Open vSwitch's database"
            return CniError(Code.NOT_AVAILABLE, text, str(self.client.error or ""))
        bridge = self.view.bridge
        if bridge is None or bridge.local_port is None:
            text = f"bridge {self.bridge} is not at work: see whether ovs-vswitchd runs"
            return CniError(Code.LIMITED_CONNECTIVITY, text)
        if not self.repaired.is_set():
            text = f"bridge {self.bridge} may lack ports of pods: they are just made again"
            return CniError(Code.LIMITED_CONNECTIVITY, text)
        if not self.nodes.loaded.is_set():
            text = "not all nodes are known yet: see whether the API server can be reached"
            return CniError(Code.NOT_AVAILABLE, text)
        if problem := self.assigner.problem:
            return CniError(Code.NOT_AVAILABLE, problem)
        if self.policies is not None and not self.policies.loaded.is_set():
            text = f"not all is known yet of: {self.policies.missing}"
            advice = "see in the agent's log whether the API server can be reached, and allows it"
            return CniError(Code.NOT_AVAILABLE, text, advice)
        if problem := self.wiring.problem:
            text = f"bridge {self.bridge} does not forward for pods"
            return CniError(Code.LIMITED_CONNECTIVITY, text, problem)
        if problem := self.gateway.problem:
            text = f"the gateway {self.bridge} is not as pods need it"
            return CniError(Code.LIMITED_CONNECTIVITY, text, problem)
        return None
