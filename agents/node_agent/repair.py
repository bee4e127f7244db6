"""The bridge with all of its ports: at the start, and again when somebody deletes some of it.

What can't be had is tried again, less and less often: what stands in the way may be nothing that
the bridge tells of, such as another bridge that has the uplink.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from nsxdp.backoff import Backoff
from nsxdp.bridge import BridgeError
from nsxdp.logs import get_logger
from nsxdp.ovsdb import Client, OvsdbError
from nsxdp.rtnetlink import RtnetlinkError
from nsxdp_agents.common.wait import until_done
from nsxdp_agents.node_agent.bridge import ensure_bridge, ensure_tunnel, ensure_uplink
from nsxdp_agents.node_agent.options import Options
from nsxdp_agents.node_agent.pods import Pods
from nsxdp_agents.node_agent.ports import PortError

__all__ = ["ensure_all", "keep_all"]

log = get_logger(__name__)

_LEAST_SECONDS: Final = 1.0
"""Between two looks for what was lost."""

_BACKOFF: Final = Backoff(2 * _LEAST_SECONDS)  # half of it at least


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


async def keep_all(options: Options, client: Client, pods: Pods, tried: asyncio.Event) -> None:
    """Have all of it, and pods' ports, whatever happens, until cancelled.

    'tried' is set when that was tried once.
    """
    look = partial(_repaired, options, client, pods, tried)
    # Not what differs from before: what came and went between two looks may have to be there.
    with client.replica.changes() as feed:
        await _have_again(look)
        async for _ in feed:
            await _have_again(look)


async def _have_again(look: Callable[[], Awaitable[str]]) -> None:
    await until_done(look, lambda why: log.warning("the bridge lacks ports", reason=why), _BACKOFF)
    await asyncio.sleep(_LEAST_SECONDS)


async def _repaired(options: Options, client: Client, pods: Pods, tried: asyncio.Event) -> str:
    """Have it again; why it can't be, empty if it is."""
    try:
        await ensure_all(options, client)
        await pods.repair()
    except (BridgeError, PortError, OvsdbError, RtnetlinkError) as error:
        return str(error)
    finally:
        tried.set()
    return ""
