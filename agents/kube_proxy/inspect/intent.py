"""What the proxy of this node would put on the switch: compiled as it compiles it, and not sent.

The numbers by which a switch knows groups and flows are hashes of what they stand for, so another
process that reads the same Services comes to the same ones.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nsxdp.openflow import DesiredSet, FlowTable, Switch
from nsxdp.pipeline.compiled import Compiled
from nsxdp.pipeline.registers import COOKIE_PREFIX, GROUP_FIRST, GROUP_LAST
from nsxdp.pipeline.tables import TABLES
from nsxdp.services.model import ServicePort
from nsxdp.services.planner import ServicePlanner
from nsxdp.switch import BridgeView
from nsxdp.writer import Owned
from nsxdp_agents.common.options import tls_files
from nsxdp_agents.common.start import StartError
from nsxdp_agents.kube_proxy.app import bridge_and_link, make_node_side, make_planner
from nsxdp_agents.kube_proxy.inspect.services import whose
from nsxdp_agents.kube_proxy.intake import Intake
from nsxdp_agents.kube_proxy.node import NodeSide
from nsxdp_agents.kube_proxy.options import Options
from nsxdp_agents.kube_proxy.source import open_client, open_source, wants_of

__all__ = ["OUR_FLOWS", "FlowKey", "Intent", "find_flow", "open_intent", "open_view"]

FlowKey = tuple[int, int, bytes]
"""Table, priority, match."""

OUR_FLOWS: Final = f"cookie={COOKIE_PREFIX << 48:#x}/{0xFFFF << 48:#x}"
"""What selects them in a dump."""

_LOAD_SECONDS: Final = 60.0


def find_flow(flows: FlowTable, key: FlowKey) -> int | None:
    """Where among 'flows' the one with a key is."""
    table, priority, match = key
    rows = flows.rows
    near = (rows["table"] == table) & (rows["priority"] == priority)
    near &= rows["match_len"] == len(match)
    return next((int(i) for i in np.flatnonzero(near) if flows.key(int(i))[2] == match), None)


class Intent:
    """All that the switch shall have, and whose it is.

    Attributes
    ----------
    planner
        The Services.
    node
        The node's side; None: without a bridge.
    desired
        The flows and groups, by owner.
    """

    def __init__(self, planner: ServicePlanner, node: NodeSide | None) -> None:
        self.planner = planner
        self.node = node
        self.desired = DesiredSet(COOKIE_PREFIX, GROUP_FIRST, GROUP_LAST)
        self._compiled = Compiled((), ())

    def replace(self, owned: Owned) -> None:
        """As a `nsxdp.writer.Writer`, but nothing is sent."""
        self.desired.replace(owned.owners, owned.messages, owned.ends)

    async def settled(self) -> None:
        """There is nothing to wait for."""

    async def compile(self) -> None:
        """Compile what has come in."""
        if self.node is not None:
            await self.node.compile()
            self.planner.set_node_addresses(self.node.addresses)
        planned = self.planner.round(time.time())
        if len(planned.owned.owners):
            self.replace(planned.owned)
            self._compiled = planned.owned

    def messages(self, port: ServicePort) -> bytes:
        """The groups and flows that a Service port needs, as it was last compiled."""
        owner = self.planner.compiler.group_id(port.name, port.family)
        if owner is None:
            return b""
        rows = np.flatnonzero(self._compiled.owners == owner)
        if not len(rows):
            return b""
        ends = self._compiled.ends
        row = int(rows[0])
        return self._compiled.messages[int(ends[row - 1]) if row else 0 : int(ends[row])]

    def owners(self, flows: FlowTable) -> NDArray[np.uint64]:
        """Who needs flows that a switch has, shape (n,); all ones: nobody."""
        return self.desired.owners(flows.rows, flows.data)

    def whose(self, owner: int) -> str:
        """Who an owner of flows or groups is, in words; empty: nobody."""
        return whose(self.planner, self.node, owner)


def open_view(options: Options) -> AbstractAsyncContextManager[tuple[BridgeView, Switch]]:
    """The bridge as its database shows it, and an OpenFlow connection that only looks.

    Raises
    ------
    StartError
        The bridge can't be used; says what to do.
    """
    return bridge_and_link(
        options, lambda: Switch(options.openflow, tables=TABLES, tls=tls_files(options))
    )


@asynccontextmanager
async def open_intent(options: Options, view: BridgeView | None) -> AsyncIterator[Intent]:
    """The intent, compiled; further changes come in until the end, and wait for `compile`.

    Raises
    ------
    StartError
        The source of Services can't be used, or doesn't deliver in time.
    """
    planner = make_planner(options)
    intent = Intent(planner, None)
    if view is not None:
        intent.node = make_node_side(options, view, intent)
    async with AsyncExitStack() as stack:
        client = await open_client(options, stack, patient=False)
        source = open_source(options, client, wants_of(options))
        await stack.enter_async_context(source)
        intake = Intake(source, planner, intent.node)
        following = asyncio.create_task(_follow(intake))
        loading = asyncio.create_task(intake.loaded())
        stack.push_async_callback(_stop, following, loading)
        done, _ = await asyncio.wait(
            (following, loading),
            timeout=_LOAD_SECONDS,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if following in done:
            await following
        if loading not in done:
            raise StartError(f"the Services didn't come within {_LOAD_SECONDS:g} seconds")
        await intent.compile()
        yield intent


async def _stop(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def _follow(intake: Intake) -> None:
    async for _ in intake.follow():
        pass
