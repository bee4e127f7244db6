"""One switch, at hand: its flows, groups, statistics, packets, and what becomes of a packet.

What is neither a flow nor of a flow is in `nsxdp.openflow.verbs`.

A `Switch` is one connection: when it breaks, calls fail with `ConnectionLost`.  One that lasts is a
`nsxdp.openflow.Connection`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt

from nsxdp.openflow import codec, stats
from nsxdp.openflow.changes import Changes, FlowLike, compare, flow_mods
from nsxdp.openflow.codec import Tables
from nsxdp.openflow.commit import CommitResult
from nsxdp.openflow.errors import ConnectionLost, DecodeError, OpenFlowError
from nsxdp.openflow.flow import Group
from nsxdp.openflow.messages import (
    ALL_GROUPS,
    ALL_METERS,
    ANY_PORT,
    HEADER,
    LOCAL,
    FlowDescRequest,
    FlowMonitorFlags,
    FlowMonitorReply,
    FlowMonitorRequest,
    GroupStatsRequest,
    Message,
    MeterStatsRequest,
    MultipartReply,
    MultipartRequest,
    PacketIn,
    PacketIn2,
    PacketOut,
    PortStatsRequest,
    QueueStatsRequest,
    TableStatsRequest,
    decode,
)
from nsxdp.openflow.monitor import FlowUpdate, read_updates
from nsxdp.openflow.session import Session, SessionOptions
from nsxdp.openflow.stats import FlowTable, read_stats
from nsxdp.openflow.trace import Trace, read_trace
from nsxdp.openflow.verbs import Verbs
from nsxdp.transport import Remote, Tls, parse_remote
from nsxdp.unixctl import call, control_socket

__all__ = ["Switch", "bridge_remote", "run_directory"]

log = logging.getLogger(__name__)

_T = TypeVar("_T")

QUEUE_BOUND: Final = 4096
"""Packets, or parts of a monitor's news, that wait for their reader; of more, the oldest go."""


def run_directory() -> Path:
    """Where Open vSwitch's daemons have their sockets: ``OVS_RUNDIR``, or its usual place."""
    return Path(os.environ.get("OVS_RUNDIR") or "/var/run/openvswitch")


def bridge_remote(bridge: str) -> Remote:
    """Where a bridge listens: a name is its management socket, as ovs-ofctl has it.

    Raises
    ------
    ValueError
        It is neither a name nor a remote (``unix:FILE``, ``tcp:HOST:PORT``, ``ssl:HOST:PORT``).
    """
    if bridge.startswith(("unix:", "tcp:", "ssl:")):
        return parse_remote(bridge)
    if "/" in bridge:
        return Remote("unix", path=bridge)
    return Remote("unix", path=str(run_directory() / f"{bridge}.mgmt"))


class _Queue(Generic[_T]):
    """A bounded queue that somebody reads, and that ends with the session."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[_T | OpenFlowError] = asyncio.Queue(QUEUE_BOUND)
        self.dropped = 0

    def put(self, item: _T | OpenFlowError) -> None:
        if self.queue.full():
            self.queue.get_nowait()
            self.dropped += 1
        self.queue.put_nowait(item)

    async def get(self) -> _T:
        item = await self.queue.get()
        if isinstance(item, OpenFlowError):
            self.put(item)
            raise item
        return item


class Switch(Verbs):
    """A bridge, for as long as an ``async with`` lasts.

    Parameters
    ----------
    bridge
        A bridge's name, or where it listens: see `bridge_remote`.
    tables
        Names of its tables, for what is read and printed.
    tls
        Files for an ``ssl:`` remote.
    options
        Times, as of a `Session`.
    packets
        Whether it shall send packets here: `packet_ins` needs that.
    control
        The control socket of its ovs-vswitchd, for `trace` and `ask_daemon`; None: the one in
        `run_directory`, or beside the bridge's management socket.

    Attributes
    ----------
    remote
        Where the bridge listens.
    name
        The bridge's name.

    Examples
    --------
    >>> import asyncio
    >>> from nsxdp.lab import Node
    >>> from nsxdp.openflow import Switch
    >>> async def main(bridge):
    ...     async with Switch(bridge) as switch:
    ...         await switch.add("table=1,ip,nw_dst=10.0.0.1 actions=LOCAL", "actions=goto_table:1")
    ...         flows = await switch.dump("table=1")
    ...         print(*flows.lines(stats=False), flows.packets.sum())
    ...         trace = await switch.trace("in_port=LOCAL,tcp,nw_dst=10.0.0.2")
    ...         print(trace.steps[-1].table, trace.datapath_actions)
    >>> with Node(fail_mode="secure") as node:
    ...     asyncio.run(main(node.mgmt))
    table=1, ip,nw_dst=10.0.0.1 actions=LOCAL 0
    1 drop
    """

    def __init__(
        self,
        bridge: str,
        *,
        tables: Tables | None = None,
        tls: Tls | None = None,
        options: SessionOptions | None = None,
        packets: bool = False,
        control: Path | None = None,
    ) -> None:
        self.remote = bridge_remote(bridge)
        self.name = bridge
        if self.remote.kind == "unix":
            self.name = Path(self.remote.path).name.removesuffix(".mgmt")
        self.tables = tables
        self._tls = tls
        self._options = options or SessionOptions(receive_packets=packets)
        self._control = control
        self._session: Session | None = None
        self._end: asyncio.Task[None] | None = None
        self._packets: _Queue[bytes] = _Queue()
        self._news: list[Callable[[bytes | OpenFlowError], None]] = []
        self._monitors = 0

    # Life.

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect; what ``async with`` does.

        Raises
        ------
        RemoteError
            There is no such bridge, or it can't be reached.
        VersionError
            It doesn't speak OpenFlow 1.5.
        OpenFlowError
            The handshake failed in another way.
        """
        self._session = await Session.open(
            self.remote,
            self._tls,
            tables=self.tables,
            options=self._options,
            on_packet=self._packets.put,
            on_news=self._received,
        )
        self._end = asyncio.get_running_loop().create_task(self._await_end(self._session))

    async def close(self) -> None:
        """End the connection."""
        if self._session is not None:
            self._session.close()
        if self._end is not None:
            await asyncio.wait([self._end])

    async def _await_end(self, session: Session) -> None:
        error = await session.wait_closed()
        self._packets.put(error)
        for put in self._news:
            put(error)

    def _received(self, message: bytes) -> None:
        for put in self._news:
            put(message)

    @property
    def session(self) -> Session:
        """The session, for whatever has no method here.

        Raises
        ------
        ConnectionLost
            It isn't open.
        """
        if self._session is None:
            raise ConnectionLost(f"{self.remote}: not connected")
        return self._session

    # Flows and groups.

    async def add(self, *flows: FlowLike) -> CommitResult:
        """Add flows, all or none; one that is there already is replaced.

        Parameters
        ----------
        flows
            Each in ovs-ofctl's syntax, as a `Flow`, or as the OFPT_FLOW_MOD that adds it.

        Raises
        ------
        ParseError
            A text is no flow.
        CommitError
            The switch refused one, and so has none.
        ConnectionLost
            The outcome is unknown.
        """
        return await self.session.commit(b"".join(flow_mods(flows, self.tables)))

    async def delete(self, filter_: str = "", *, strict: bool = False) -> CommitResult:
        """Delete the flows that a text selects (``table=1,ip,cookie=5/-1``); all without one.

        Parameters
        ----------
        filter_
            Flows that match at least this, have this cookie, these ``out_port`` and ``out_group``.
        strict
            Only the flow with exactly this match and priority.

        Raises
        ------
        ParseError, CommitError, ConnectionLost
            As `add`.
        """
        command = codec.FLOW_DELETE_STRICT if strict else codec.FLOW_DELETE
        return await self.session.commit(codec.flow_parse(filter_, command, self.tables))

    async def replace(self, flows: Iterable[FlowLike], filter_: str = "") -> Changes:
        """Make these the only flows among those that a text selects, all at once.

        Those that are there already are not touched: they keep their statistics.

        Parameters
        ----------
        flows
            As of `add`.
        filter_
            As of `delete`.

        Returns
        -------
        Changes
            What was done.

        Raises
        ------
        ParseError, CommitError, ConnectionLost
            As `add`.
        """
        changes = await self.diff(flows, filter_)
        if changes:
            await self.session.commit(changes.messages())
        return changes

    async def diff(self, flows: Iterable[FlowLike], filter_: str = "") -> Changes:
        """What `replace` would change.

        Raises
        ------
        ParseError, RequestError, ConnectionLost
            As `dump`.
        """
        wanted = flow_mods(flows, self.tables)
        return compare(await self.dump(filter_), wanted)

    async def dump(self, filter_: str = "") -> FlowTable:
        """The flows that a text selects, with their statistics.

        Raises
        ------
        ParseError
            The text is no selection.
        RequestError
            The switch refused: there is no such table, say.
        ConnectionLost
            The answer didn't come, or not in time.
        """
        request = FlowDescRequest.parse(filter_, self.tables)
        replies = [part async for part in self.session.multipart(request)]
        with self._trusting():
            return FlowTable.read(replies, self.tables)

    async def add_groups(self, *groups: Group | str) -> CommitResult:
        """Add groups, all or none; one that is there already is replaced.

        Parameters
        ----------
        groups
            Each in ovs-ofctl's syntax, or as a `Group`.

        Raises
        ------
        ParseError, CommitError, ConnectionLost
            As `add`.
        """
        command = codec.GROUP_ADD_OR_MOD
        mods = [
            codec.group_parse(group, command, self.tables)
            if isinstance(group, str)
            else group.encode(command)
            for group in groups
        ]
        return await self.session.commit(b"".join(mods))

    async def groups(self) -> list[Group]:
        """All groups.

        Raises
        ------
        RequestError, ConnectionLost
            As `dump`.
        """
        groups: list[Group] = []
        async for part in self.session.dump_groups():
            with self._trusting():
                groups += Group.decode_reply(part)
        return groups

    # Statistics.

    async def _stats(self, request: MultipartRequest, entry: np.dtype[Any]) -> npt.NDArray[Any]:
        replies = [part async for part in self.session.multipart(request)]
        with self._trusting():
            return read_stats(replies, entry)

    async def table_stats(self) -> npt.NDArray[Any]:
        """All tables' statistics: rows of `nsxdp.openflow.stats.TABLE_STATS`, one a table."""
        return await self._stats(TableStatsRequest(), stats.TABLE_STATS)

    async def port_stats(self, port: int = ANY_PORT) -> npt.NDArray[Any]:
        """Ports' statistics: rows of `nsxdp.openflow.stats.PORT_STATS`, of one port or of all."""
        return await self._stats(PortStatsRequest(port), stats.PORT_STATS)

    async def queue_stats(self, port: int = ANY_PORT) -> npt.NDArray[Any]:
        """Queues' statistics: rows of `nsxdp.openflow.stats.QUEUE_STATS`, of one port or all."""
        return await self._stats(QueueStatsRequest(port), stats.QUEUE_STATS)

    async def group_stats(self, group: int = ALL_GROUPS) -> npt.NDArray[Any]:
        """Groups' statistics: rows of `nsxdp.openflow.stats.GROUP_STATS`, of one or of all."""
        return await self._stats(GroupStatsRequest(group), stats.GROUP_STATS)

    async def meter_stats(self, meter: int = ALL_METERS) -> npt.NDArray[Any]:
        """Meters' statistics: rows of `nsxdp.openflow.stats.METER_STATS`, of one or of all."""
        return await self._stats(MeterStatsRequest(meter), stats.METER_STATS)

    # What happens.

    async def monitor(
        self, filter_: str = "", flags: int = FlowMonitorFlags.EVERYTHING
    ) -> AsyncGenerator[FlowUpdate, None]:
        """Each change of the flows that a text selects; first, those that are there.

        Where one reads too slowly, the switch says `FlowUpdateEvent.PAUSED`. It ends with
        ``contextlib.aclosing``, which also ends the switch's part.

        Parameters
        ----------
        filter_
            As of `delete`.
        flags
            What to tell of: of `FlowMonitorFlags`.

        Raises
        ------
        ParseError, RequestError, ConnectionLost
            As `dump`.
        """
        self._monitors += 1
        monitor = self._monitors
        request = FlowMonitorRequest.parse(monitor, filter_, flags, self.tables)
        news: _Queue[bytes] = _Queue()
        self._news.append(news.put)
        try:
            async for part in self.session.multipart(request):
                for update in self._updates(part):
                    yield update
            while True:
                message = await news.get()
                if _is_monitor(message):
                    for update in self._updates(message):
                        yield update
        finally:
            self._news.remove(news.put)
            with suppress(ConnectionLost):
                self.session.send(FlowMonitorRequest.cancel(monitor))

    def _updates(self, reply: bytes) -> list[FlowUpdate]:
        with self._trusting():
            return list(read_updates(reply))

    @contextmanager
    def _trusting(self) -> Iterator[None]:
        """What the switch has said can be read, or else the connection ends."""
        try:
            yield
        except DecodeError as error:
            raise self.session.distrust(error) from error

    async def news(self) -> AsyncGenerator[Message, None]:
        """What the switch says unasked, but packets: ports' and flows' ends, changes of roles.

        A switch tells that of connections to its management socket only with ``packets=True``;
        `set_async` chooses.

        Raises
        ------
        ConnectionLost
        """
        news: _Queue[bytes] = _Queue()
        self._news.append(news.put)
        try:
            while True:
                yield decode(await news.get())
        finally:
            self._news.remove(news.put)

    async def packet_ins(self) -> AsyncIterator[PacketIn | PacketIn2]:
        """The packets that flows send to the controller; needs ``packets=True``.

        Of packets that come faster than they are read, the oldest are dropped.

        Raises
        ------
        ConnectionLost
            The connection has ended.
        """
        while True:
            packet = await self._packets.get()
            try:
                message = decode(packet)
            except DecodeError as error:
                log.warning("%s: %s", self.remote, error)
                continue
            if isinstance(message, PacketIn | PacketIn2):
                yield message

    def send_packet(self, data: bytes, actions: str = "resubmit(,0)", in_port: int = LOCAL) -> None:
        """Have the switch treat a packet (OFPT_PACKET_OUT); a refusal is logged.

        Parameters
        ----------
        data
            The packet, from its Ethernet header on.
        actions
            In ovs-ofctl's syntax; without: as if it had come in by ``in_port``.
        in_port
            OpenFlow's number of a port; without: the bridge's own.

        Raises
        ------
        ParseError
            The text isn't actions.
        ConnectionLost
            There is no connection.
        """
        self.session.send(PacketOut.parse(data, actions, in_port, self.tables))

    async def trace(self, flow: str, *arguments: str, seconds: float = 10.0) -> Trace:
        """What would become of a packet.

        Parameters
        ----------
        flow
            The packet: ``in_port=1,tcp,nw_dst=10.0.0.1``.
        arguments
            More of ``ovs-appctl ofproto/trace``'s, each word by itself: ``"--ct-next", "trk,est"``.
        seconds
            For the answer.

        Raises
        ------
        UnixctlError
            There is no ovs-vswitchd here, or it doesn't understand the packet.
        """
        text = await self.ask_daemon("ofproto/trace", *arguments, self.name, flow, seconds=seconds)
        return read_trace(text)

    async def ask_daemon(self, command: str, *arguments: str, seconds: float = 10.0) -> str:
        """What its ovs-vswitchd answers ``ovs-appctl``: ``dpctl/dump-conntrack``, say.

        Raises
        ------
        UnixctlError
            There is no ovs-vswitchd here, or it refuses.
        """
        socket = self._control
        if socket is None:
            beside = Path(self.remote.path).parent if self.remote.kind == "unix" else None
            socket = control_socket(beside or run_directory())
        return await call(socket, command, *arguments, seconds=seconds)


def _is_monitor(message: bytes) -> bool:
    return (
        message[1] == MultipartReply.type
        and len(message) >= HEADER.size + 8
        and int.from_bytes(message[8:10], "big") == FlowMonitorReply.kind
    )
