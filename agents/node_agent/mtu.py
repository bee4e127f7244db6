"""The MTU of pods' interfaces and of the bridge's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nsxdp.forwarding.model import pod_mtu
from nsxdp.logs import get_logger
from nsxdp.ovsdb import Client, OvsdbError
from nsxdp_agents.node_agent.bridge import ensure_mtu
from nsxdp_agents.node_agent.options import Options

__all__ = ["PodMtu"]

log = get_logger(__name__)

_UNKNOWN: Final = 1500
"""Of a nodes' network that isn't known."""


class PodMtu:
    """Knows it when called: what is configured, else what the nodes' network has room for.

    Parameters
    ----------
    options
        The agent's.
    client
        Of Open vSwitch's database.
    by_ipv6
        Asked whether nodes reach each other by IPv6.
    """

    def __init__(self, options: Options, client: Client, by_ipv6: Callable[[], bool]) -> None:
        self._options = options
        self._client = client
        self._by_ipv6 = by_ipv6
        self._underlay = 0

    def __call__(self) -> int:
        """A new pod's."""
        return self._options.mtu or pod_mtu(
            self._options.mode, self._underlay or _UNKNOWN, ipv6_underlay=self._by_ipv6()
        )

    async def take(self, underlay: int) -> None:
        """The nodes' network has the MTU 'underlay', 0 if that isn't known; the bridge's own
        interface follows.
        """
        self._underlay = underlay
        try:
            await ensure_mtu(self._client, self._options.bridge, self())
        except OvsdbError as error:
            log.warning("the gateway has another MTU than pods", reason=str(error))
