"""The bridge with all of its ports: at the start, and again when somebody deletes some of it."""

from __future__ import annotations

import asyncio
from typing import Final

from nsxdp.bridge import BridgeError
from nsxdp.logs import get_logger
from nsxdp.ovsdb import Client, OvsdbError
from nsxdp.rtnetlink import RtnetlinkError
from nsxdp.switch import BridgeView
from nsxdp_agents.node_agent.bridge import ensure_bridge, ensure_tunnel, ensure_uplink
from nsxdp_agents.node_agent.options import Options
from nsxdp_agents.node_agent.pods import Pods
from nsxdp_agents.node_agent.ports import PortError

__all__ = ["ensure_all", "keep_all"]

log = get_logger(__name__)

_LEAST_SECONDS: Final = 1.0
"""Between two looks for what was lost."""


async def ensure_all(options: Options, client: Client) -> None:
    """Have the bridge, and its port to other nodes or to the platform.

    Raises
    ------
    BridgeError, OvsdbError, RtnetlinkError
        It can't be had.
    """
    await ensure_bridge(client, options.bridge, options.datapath)
    await ensure_tunnel(client, options.bridge, options.mode)
    if options.mode == "nsx":
        await ensure_uplink(client, options.bridge, options.uplink_port)


async def keep_all(options: Options, client: Client, view: BridgeView, pods: Pods) -> None:
    """Have all of it, and pods' ports, again when somebody deleted them, until cancelled."""
    async for _ in view.changes(view.bridge):
        try:
            await ensure_all(options, client)
            await pods.repair()
        except (BridgeError, PortError, OvsdbError, RtnetlinkError) as error:
            log.warning("the bridge lacks ports", reason=str(error))
        await asyncio.sleep(_LEAST_SECONDS)
