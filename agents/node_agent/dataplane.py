"""The agent's flows on its bridge: one connection, one set of what is wanted, one writer.

Several parts of the agent need flows, each under owners of its own: forwarding
(`nsxdp_agents.node_agent.wiring`) has the numbers below `nsxdp.forwarding.compiler.OWNERS_END`,
policies those from there on. What is told without an ``await`` between goes in one bundle, and so
all of it is there for a packet, or nothing.

The Service proxy writes to the same bridge, by a connection of its own. Cookies and the ids of
groups tell whose a flow or a group is; of packets that the switch sends to controllers, those that
policies dropped come here, by this connection's number, and all others to the proxy.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nsxdp.openflow import (
    CommitError,
    Connection,
    DesiredSet,
    FlowTable,
    OpenFlowError,
    PacketIn,
    PacketIn2,
    Session,
    SessionOptions,
)
from nsxdp.openflow.desired import Size
from nsxdp.pipeline.registers import (
    NODE_CONTROLLER,
    NODE_COOKIE_PREFIX,
    NODE_GROUP_FIRST,
    NODE_GROUP_LAST,
    OTHER_NODE_PREFIXES,
)
from nsxdp.pipeline.tables import TABLES
from nsxdp.transport import Remote, Tls
from nsxdp.writer import Commit, Owned, Writer

__all__ = ["Dataplane", "DataplaneError", "open_dataplane"]

_CONFIRM_SECONDS: Final = 20.0

_COOKIE: Final = NODE_COOKIE_PREFIX << 48
_COOKIE_MASK: Final = 0xFFFF << 48
"""Of the flows that are ours."""

Prepare = Callable[[Session], Awaitable[Owned]]
"""Has a switch have what can't be in a bundle; gives what flows need because of that."""


class DataplaneError(Exception):
    """The switch hasn't what it was told; one line with the way out."""


class Dataplane:
    """Who needs which flows, and the switch that gets them.

    Parameters
    ----------
    connection
        To the bridge.
    sync_period
        Seconds between two comparisons with the switch.
    seconds
        How long the switch may need to confirm something.
    prepare
        Awaited before each comparison with the switch: has it have what can't be in a bundle, and
        gives what flows need because of that.
    on_commit
        Told of each commit.
    on_refusal
        Told of each message that the switch refused.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        sync_period: float = 30.0,
        seconds: float = _CONFIRM_SECONDS,
        prepare: Prepare | None = None,
        on_commit: Callable[[Commit], None] | None = None,
        on_refusal: Callable[[], None] | None = None,
    ) -> None:
        self._connection = connection
        self._seconds = seconds
        self._prepare = prepare
        self._on_refusal = on_refusal
        self._refusals = 0
        self._writer = Writer(
            connection,
            DesiredSet(NODE_COOKIE_PREFIX, NODE_GROUP_FIRST, NODE_GROUP_LAST),
            sync_period=sync_period,
            other_prefixes=OTHER_NODE_PREFIXES,
            prepare=self._prepared,
            on_commit=on_commit,
            on_refusal=self._refused,
        )

    @property
    def size(self) -> Size:
        """How much is wanted."""
        return self._writer.desired.size

    @property
    def problem(self) -> str:
        """Why the switch may lack something; empty: it has all that it has confirmed."""
        if self._writer.is_in_sync:
            return ""
        return str(self._connection.state.error or "the switch isn't compared yet")

    def replace(self, *owned: Owned) -> None:
        """Let owners need something else from now on; `confirmed` waits for the switch."""
        for each in owned:
            if len(each.owners):
                self._writer.replace(each)

    async def confirmed(self) -> None:
        """Wait until the switch has confirmed all that `replace` was told before.

        Raises
        ------
        DataplaneError
            It doesn't, or it refused something meanwhile, or `run` has ended.
        """
        refusals = self._refusals
        try:
            async with asyncio.timeout(self._seconds):
                await self._writer.settled()
        except TimeoutError:
            raise DataplaneError(
                f"{self._connection.remote}: flows were not confirmed within {self._seconds:g} s: "
                f"{self.problem or 'see whether ovs-vswitchd is busy'}"
            ) from None
        except OpenFlowError as error:
            raise DataplaneError(
                f"{self._connection.remote}: flows were not confirmed: {error}"
            ) from None
        if self._refusals != refusals:
            raise DataplaneError(
                f"{self._connection.remote}: the switch refused flows: see the agent's log"
            )

    async def flows(self, table: str) -> tuple[NDArray[np.uint64], FlowTable]:
        """What the switch has in a table, with its counts; and who needs each of these flows.

        Raises
        ------
        OpenFlowError
            It can't be asked.
        """
        number = TABLES.by_number.index(table.encode())
        replies = self._connection.dump_flows(_COOKIE, _COOKIE_MASK, number)
        flows = FlowTable.read([reply async for reply in replies], TABLES)
        return self._writer.desired.owners(flows.rows, flows.data), flows

    async def owner(self, cookie: int) -> int | None:
        """Who needs the flow with a cookie; None: nobody, or the switch hasn't it.

        Raises
        ------
        OpenFlowError
            It can't be asked.
        """
        return await self._writer.owner(cookie)

    def packets(self) -> AsyncIterator[PacketIn | PacketIn2]:
        """The packets that policies dropped, as far as flows tell of them."""
        return self._connection.packet_ins()

    async def run(self) -> None:
        """Write until cancelled. All that is wanted must have been told once before.

        For what is on the switch and isn't wanted goes.
        """
        await self._writer.run()

    async def _prepared(self, session: Session) -> None:
        if self._prepare is not None:
            self.replace(await self._prepare(session))

    def _refused(self, _: CommitError) -> None:
        self._refusals += 1
        if self._on_refusal is not None:
            self._on_refusal()


@asynccontextmanager
async def open_dataplane(
    remote: Remote,
    tls: Tls | None,
    *,
    prepare: Prepare | None = None,
    on_commit: Callable[[Commit], None],
    on_refusal: Callable[[], None],
) -> AsyncIterator[Dataplane]:
    """A dataplane whose connection is made, again and again, as long as it is entered."""
    options = SessionOptions(receive_packets=True, controller_id=NODE_CONTROLLER)
    async with Connection(remote, tls=tls, tables=TABLES, options=options) as connection:
        yield Dataplane(connection, prepare=prepare, on_commit=on_commit, on_refusal=on_refusal)
