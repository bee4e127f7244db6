"""What one asks of a switch, and has it do, beside its flows: ovs-ofctl's other commands.

`nsxdp.openflow.Switch` has these.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

from nsxdp.openflow import codec
from nsxdp.openflow.changes import FlowLike
from nsxdp.openflow.codec import Tables
from nsxdp.openflow.commit import CommitResult
from nsxdp.openflow.errors import ProtocolError
from nsxdp.openflow.flow import Flow, Group
from nsxdp.openflow.messages import (
    ALL_GROUPS,
    ALL_METERS,
    ALL_QUEUES,
    ANY_PORT,
    AggregateStatsReply,
    AggregateStatsRequest,
    ConfigFlags,
    CtFlush,
    CtFlushZone,
    DescReply,
    DescRequest,
    EchoReply,
    EchoRequest,
    FeaturesReply,
    FeaturesRequest,
    GetAsyncReply,
    GetAsyncRequest,
    GetConfigReply,
    GetConfigRequest,
    GroupCommand,
    GroupFeaturesReply,
    GroupFeaturesRequest,
    GroupMod,
    GroupType,
    Message,
    MeterCommand,
    MeterDescRequest,
    MeterFeaturesReply,
    MeterFeaturesRequest,
    MeterFlags,
    MeterMod,
    MultipartReply,
    MultipartRequest,
    PacketIn2,
    Port,
    PortConfig,
    PortDescReply,
    PortDescRequest,
    PortMod,
    QueueDesc,
    QueueDescReply,
    QueueDescRequest,
    Role,
    RoleReply,
    RoleRequest,
    SetAsync,
    SetConfig,
    Stats,
    TableConfig,
    TableDesc,
    TableDescReply,
    TableDescRequest,
    TableFeatures,
    TableFeaturesReply,
    TableFeaturesRequest,
    TableMod,
    TlvCommand,
    TlvMap,
    TlvTableMod,
    TlvTableReply,
    TlvTableRequest,
    Vacancy,
    decode,
)
from nsxdp.openflow.meter import Meter
from nsxdp.openflow.session import Session

__all__ = ["Verbs"]

_Reply = TypeVar("_Reply", bound=Message)
_Part = TypeVar("_Part", bound=MultipartReply)

_NO_PORT_CONFIG = PortConfig(0)


class Verbs(ABC):
    """See the module.

    All raise `RequestError` where the switch refuses, and `ConnectionLost`.
    """

    tables: Tables | None

    @property
    @abstractmethod
    def session(self) -> Session:
        """The session."""

    async def request(self, message: Message) -> Message:
        """Send a request of any kind, and wait for its answer."""
        return await self.session.request(message)

    async def replies(self, request: MultipartRequest) -> AsyncIterator[Message]:
        """Send a multipart request of any kind: the parts of its answer."""
        async for part in self.session.multipart(request):
            yield decode(part)

    async def do(self, message: Message) -> None:
        """Send a message that has no answer, and wait until the switch has done it."""
        await self.session.perform(message)

    async def _one(self, message: Message, kind: type[_Reply]) -> _Reply:
        reply = await self.session.request(message)
        if not isinstance(reply, kind):
            raise ProtocolError(f"the answer isn't a {kind.__name__}: {reply}")
        return reply

    async def _parts(self, request: MultipartRequest, kind: type[_Part]) -> list[_Part]:
        parts = []
        async for part in self.replies(request):
            if not isinstance(part, kind):
                raise ProtocolError(f"the answer isn't a {kind.__name__}: {part}")
            parts.append(part)
        return parts

    # The switch.

    async def desc(self) -> DescReply:
        """Who made it, and what it is."""
        (reply,) = await self._parts(DescRequest(), DescReply)
        return reply

    async def features(self) -> FeaturesReply:
        """Its datapath id, and what it can do."""
        return await self._one(FeaturesRequest(), FeaturesReply)

    async def config(self) -> GetConfigReply:
        """How it treats fragments, and how much of a packet it sends."""
        return await self._one(GetConfigRequest(), GetConfigReply)

    async def set_config(
        self, flags: ConfigFlags | None = None, miss_send_len: int | None = None
    ) -> None:
        """Change how it treats fragments, or how much of a packet it sends here."""
        old = await self.config()
        await self.do(
            SetConfig(
                old.flags if flags is None else flags,
                old.miss_send_len if miss_send_len is None else miss_send_len,
            )
        )

    async def echo(self, data: bytes = b"") -> float:
        """Have it send something back: the seconds that this took."""
        start = time.monotonic()
        reply = await self.session.request(EchoRequest(data))
        if not isinstance(reply, EchoReply) or reply.data != data:
            raise ProtocolError(f"the answer isn't the echo: {reply}")
        return time.monotonic() - start

    async def role(self, role: Role = Role.NOCHANGE, generation_id: int = 0) -> RoleReply:
        """Take a role; by default, only ask which one it is."""
        return await self._one(RoleRequest(role, generation_id=generation_id), RoleReply)

    async def get_async(self) -> GetAsyncReply:
        """Which news it sends here."""
        return await self._one(GetAsyncRequest(), GetAsyncReply)

    async def set_async(self, which: SetAsync) -> None:
        """Change which news it sends here; what isn't said stays."""
        await self.do(which)

    # Ports and queues.

    async def ports(self, port: int = ANY_PORT) -> list[Port]:
        """All ports, or one."""
        parts = await self._parts(PortDescRequest(port), PortDescReply)
        return [port for part in parts for port in part.ports]

    async def port(self, port: int | str) -> Port:
        """The port with this number or name.

        Raises
        ------
        KeyError
            There is none.
        """
        for found in await self.ports(port if isinstance(port, int) else ANY_PORT):
            if port in (found.port_no, found.name):
                return found
        raise KeyError(port)

    async def mod_port(
        self,
        port: int | str,
        on: PortConfig = _NO_PORT_CONFIG,
        off: PortConfig = _NO_PORT_CONFIG,
    ) -> None:
        """Switch some of a port's settings on, and others off (``PortConfig.PORT_DOWN``).

        Raises
        ------
        KeyError
            There is no such port.
        """
        found = await self.port(port)
        await self.do(PortMod(found.port_no, found.hw_addr, on, on | off))

    async def queues(self, port: int = ANY_PORT, queue: int = ALL_QUEUES) -> list[QueueDesc]:
        """The queues, with their rates."""
        parts = await self._parts(QueueDescRequest(port, queue), QueueDescReply)
        return [queue for part in parts for queue in part.queues]

    # Tables and flows.

    async def table_features(self) -> list[TableFeatures]:
        """What each table can match and do."""
        parts = await self._parts(TableFeaturesRequest(), TableFeaturesReply)
        return [table for part in parts for table in part.tables]

    async def table_desc(self) -> list[TableDesc]:
        """How each table is set up."""
        parts = await self._parts(TableDescRequest(), TableDescReply)
        return [table for part in parts for table in part.tables]

    async def mod_table(
        self, table: int, config: TableConfig, vacancy: Vacancy | None = None
    ) -> None:
        """Set a table up: whether flows give way to others, and when to tell that it's full."""
        await self.do(TableMod(table, config, vacancy=vacancy))

    async def aggregate(self, filter_: str = "") -> Stats:
        """The statistics of the flows that a text selects, together.

        Raises
        ------
        ParseError
        """
        request = AggregateStatsRequest.parse(filter_, self.tables)
        (reply,) = await self._parts(request, AggregateStatsReply)
        return reply.stats

    async def modify(self, *flows: FlowLike, strict: bool = False) -> CommitResult:
        """Change what flows do, all or none: those that a match covers, or only the same one.

        Raises
        ------
        ParseError, CommitError
        """
        command = codec.FLOW_MODIFY_STRICT if strict else codec.FLOW_MODIFY
        return await self.session.commit(b"".join(_flow_mods(flows, command, self.tables)))

    # Groups and meters.

    async def modify_groups(self, *groups: Group | str) -> CommitResult:
        """Change groups that are there, all or none.

        Raises
        ------
        ParseError, CommitError
        """
        return await self._commit_groups(groups, GroupCommand.MODIFY)

    async def insert_buckets(self, *groups: str) -> CommitResult:
        """Add buckets: ``group_id=1,command_bucket_id=last,bucket=bucket_id:7,actions=...``.

        Raises
        ------
        ParseError, CommitError
        """
        return await self._commit_groups(groups, GroupCommand.INSERT_BUCKET)

    async def remove_buckets(self, group: int, *buckets: int) -> CommitResult:
        """Take buckets out of a group; all if none is named.

        Raises
        ------
        CommitError
        """
        command = GroupCommand.REMOVE_BUCKET
        mods = (
            [GroupMod(command, GroupType.ALL, group, bucket) for bucket in buckets]
            if buckets
            else [GroupMod(command, GroupType.ALL, group)]
        )
        return await self.session.commit(b"".join(mod.encode() for mod in mods))

    async def delete_groups(self, *groups: int) -> CommitResult:
        """Delete groups, and the flows that use them; all groups if none is named.

        It is no error if there is no such group.

        Raises
        ------
        CommitError
        """
        mods = [
            GroupMod(GroupCommand.DELETE, GroupType.ALL, group) for group in groups or (ALL_GROUPS,)
        ]
        return await self.session.commit(b"".join(mod.encode() for mod in mods))

    async def _commit_groups(
        self, groups: Iterable[Group | str], command: GroupCommand
    ) -> CommitResult:
        mods = [
            codec.group_parse(group, command, self.tables)
            if isinstance(group, str)
            else group.encode(command)
            for group in groups
        ]
        return await self.session.commit(b"".join(mods))

    async def group_features(self) -> GroupFeaturesReply:
        """Which groups it can have."""
        (reply,) = await self._parts(GroupFeaturesRequest(), GroupFeaturesReply)
        return reply

    async def add_meters(self, *meters: Meter | str) -> None:
        """Add meters, one after the other: ``meter=1,pktps,bands=type=drop,rate=100``.

        Raises
        ------
        ParseError
        """
        await self._mod_meters(meters, MeterCommand.ADD)

    async def modify_meters(self, *meters: Meter | str) -> None:
        """Change meters that are there, one after the other.

        Raises
        ------
        ParseError
        """
        await self._mod_meters(meters, MeterCommand.MODIFY)

    async def _mod_meters(self, meters: Iterable[Meter | str], command: MeterCommand) -> None:
        for meter in [Meter.parse(meter) if isinstance(meter, str) else meter for meter in meters]:
            await self.do(meter.mod(command))

    async def delete_meters(self, *meters: int) -> None:
        """Delete meters; all if none is named."""
        for meter in meters or (ALL_METERS,):
            await self.do(MeterMod(MeterCommand.DELETE, MeterFlags(0), meter))

    async def meters(self, meter: int = ALL_METERS) -> list[Meter]:
        """The meters, or one."""
        parts = [part async for part in self.session.multipart(MeterDescRequest(meter))]
        return [meter for part in parts for meter in Meter.decode_reply(part)]

    async def meter_features(self) -> MeterFeaturesReply:
        """Which meters it can have."""
        (reply,) = await self._parts(MeterFeaturesRequest(), MeterFeaturesReply)
        return reply

    # Tunnels, connections, packets.

    async def tlv_maps(self) -> TlvTableReply:
        """Which options of Geneve are which ``tun_metadata``."""
        return await self._one(TlvTableRequest(), TlvTableReply)

    async def add_tlv_maps(self, *maps: TlvMap) -> None:
        """Make options of Geneve fields."""
        await self.do(TlvTableMod(TlvCommand.ADD, maps))

    async def delete_tlv_maps(self, *maps: TlvMap) -> None:
        """Undo it; for all options if none is named."""
        await self.do(TlvTableMod(TlvCommand.DELETE if maps else TlvCommand.CLEAR, maps))

    async def ct_flush(self, which: CtFlush | CtFlushZone) -> None:
        """Forget tracked connections."""
        await self.do(which)

    def resume(self, packet: PacketIn2) -> None:
        """Let a packet go on that ``controller(pause)`` has stopped.

        Raises
        ------
        ValueError
            It isn't stopped.
        """
        self.session.send(packet.resume())


def _flow_mods(flows: Iterable[FlowLike], command: int, tables: Tables | None) -> list[bytes]:
    """Each flow's message for the command; a message that is one already gets it."""
    mods = []
    for flow in flows:
        if isinstance(flow, str):
            mods.append(codec.flow_parse(flow, command, tables))
        else:
            parsed = flow if isinstance(flow, Flow) else Flow.decode(bytes(flow))
            mods.append(parsed.encode(command))
    return mods
