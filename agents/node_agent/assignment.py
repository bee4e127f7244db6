"""What a pod's interface is to have, and who says so.

Where the node is its pods' router, the agent itself gives addresses of the node's networks
(`OwnNetworks`); where a platform switches and routes, that has said what each pod has
(`nsxdp_agents.node_agent.platform`).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from nsxdp_agents.node_agent import plug
from nsxdp_agents.node_agent.cni.errors import CniError, Code
from nsxdp_agents.node_agent.cni.request import Request
from nsxdp_agents.node_agent.ipam import Address, ExhaustedError, Pools

__all__ = ["Assigner", "Assignment", "OwnNetworks"]


class Assignment(NamedTuple):
    """What an interface is to have.

    Attributes
    ----------
    ips
        Its addresses with their prefix lengths.
    gateways
        Of each address, the one by which it reaches what isn't in its network.
    mac
        Its MAC address.
    vlan
        The one that is the pod's on the uplink; None: it has none.
    """

    ips: tuple[str, ...]
    gateways: tuple[str, ...]
    mac: str
    vlan: int | None = None


class Assigner(Protocol):
    """Who says what pods have."""

    @property
    def problem(self) -> str:
        """Why no pod can be told anything just now; empty: it can."""

    async def assign(self, request: Request) -> Assignment:
        """What the interface of 'request' is to have. It is nobody else's when this returns.

        Raises
        ------
        CniError
            Nothing can be said.
        """

    def give_up(self, container: str) -> None:
        """Nobody wants what an interface of 'container' is to have: who waits for it, fails."""

    def take_back(self, addresses: tuple[Address, ...]) -> None:
        """Nobody has these any more."""


class OwnNetworks:
    """The node's own networks, of which every pod gets an address each.

    Parameters
    ----------
    node
        The node's name.
    pools
        The addresses of its networks.
    """

    def __init__(self, node: str, pools: Pools) -> None:
        self._node = node
        self._pools = pools

    @property
    def problem(self) -> str:
        """See `Assigner`."""
        if self._pools.pools:
            return ""
        return f"node {self._node} has no podCIDR yet, and so no addresses for pods"

    async def assign(self, request: Request) -> Assignment:
        """See `Assigner`."""
        try:
            addresses = self._pools.take()
        except ExhaustedError as error:
            raise CniError(Code.TRY_AGAIN, str(error)) from None
        pools = self._pools.pools
        return Assignment(
            ips=tuple(
                f"{address}/{pool.network.prefixlen}"
                for address, pool in zip(addresses, pools, strict=True)
            ),
            gateways=tuple(str(pool.gateway) for pool in pools),
            mac=plug.mac_of(addresses[0], str(request.attachment)),
        )

    def give_up(self, container: str) -> None:
        """See `Assigner`; nobody waits."""

    def take_back(self, addresses: tuple[Address, ...]) -> None:
        """See `Assigner`."""
        self._pools.release(addresses)
