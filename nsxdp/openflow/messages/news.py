"""What a switch says unasked of flows, roles and other controllers' requests; flow monitors."""

from __future__ import annotations

from typing import ClassVar

from nsxdp.openflow.codec import Tables
from nsxdp.openflow.errors import DecodeError
from nsxdp.openflow.messages.connection import Role
from nsxdp.openflow.messages.message import Message, MultipartReply, MultipartRequest
from nsxdp.openflow.messages.mods import ALL_TABLES, ANY_GROUP, FlowCommand, FlowMod
from nsxdp.openflow.messages.oxs import OXS, Stats
from nsxdp.openflow.messages.packets import ANY_MATCH
from nsxdp.openflow.messages.ports import ANY_PORT
from nsxdp.openflow.parts import Actions, Match
from nsxdp.openflow.record import (
    Bits,
    Code,
    Part,
    Property,
    Record,
    length,
    many,
    match,
    others,
    part,
    record,
    rest,
    u8,
    u16,
    u32,
    u64,
)

__all__ = [
    "FlowMonitorCommand",
    "FlowMonitorFlags",
    "FlowMonitorReply",
    "FlowMonitorRequest",
    "FlowRemoved",
    "FlowRemovedReason",
    "FlowUpdateAbbrev",
    "FlowUpdateEvent",
    "FlowUpdateFull",
    "FlowUpdatePaused",
    "MonitorRequest",
    "RequestForward",
    "RoleReason",
    "RoleStatus",
]


class FlowRemovedReason(Code):
    """OFPRR_*: why a flow has gone."""

    IDLE_TIMEOUT = 0
    HARD_TIMEOUT = 1
    DELETE = 2
    GROUP_DELETE = 3
    METER_DELETE = 4
    EVICTION = 5


@record
class FlowRemoved(Message):
    """A flow with ``send_flow_rem`` has gone."""

    type = 11
    table_id: int = u8()
    reason: FlowRemovedReason = u8(FlowRemovedReason)
    priority: int = u16()
    idle_timeout: int = u16()
    hard_timeout: int = u16()
    cookie: int = u64()
    match: Match = match()
    stats: Stats = part(OXS)


class RoleReason(Code):
    """OFPCRR_*: why a controller's role has changed."""

    PRIMARY_REQUEST = 0
    CONFIG = 1
    EXPERIMENTER = 2


@record
class RoleStatus(Message):
    """The controller's role has changed."""

    type = 30
    role: Role = u32(Role)
    reason: RoleReason = u8(RoleReason, pad=3)
    generation_id: int = u64()
    others: tuple[Property, ...] = others(default=())


@record
class RequestForward(Message):
    """What another controller has asked for."""

    type = 32
    request: bytes = rest()
    """A whole message: a `GroupMod` or a `MeterMod`."""


# Flow monitors.


class FlowMonitorCommand(Code):
    """OFPFMC_*."""

    ADD = 0
    MODIFY = 1
    DELETE = 2


class FlowMonitorFlags(Bits):
    """OFPFMF_*: what to tell of."""

    INITIAL = 1 << 0
    ADD = 1 << 1
    REMOVED = 1 << 2
    MODIFY = 1 << 3
    INSTRUCTIONS = 1 << 4
    """With what the flows do."""
    NO_ABBREV = 1 << 5
    """In full also of what this connection asked for."""
    ONLY_OWN = 1 << 6
    """Only of what this connection asked for."""
    EVERYTHING = INITIAL | ADD | REMOVED | MODIFY | INSTRUCTIONS


@record
class MonitorRequest(Record):
    """Tell me of each change of the flows that match this."""

    monitor_id: int = u32()
    out_port: int = u32(default=ANY_PORT)
    out_group: int = u32(default=ANY_GROUP)
    flags: FlowMonitorFlags = u16(FlowMonitorFlags, default=FlowMonitorFlags.EVERYTHING)
    table_id: int = u8(default=ALL_TABLES)
    command: FlowMonitorCommand = u8(FlowMonitorCommand, default=FlowMonitorCommand.ADD)
    match: Match = match(default=ANY_MATCH)


@record
class FlowMonitorRequest(MultipartRequest):
    """Begin or end flow monitors."""

    kind = 16
    requests: tuple[MonitorRequest, ...] = many(MonitorRequest)

    @classmethod
    def parse(
        cls,
        monitor_id: int,
        filter_: str = "",
        flags: int = FlowMonitorFlags.EVERYTHING,
        tables: Tables | None = None,
    ) -> FlowMonitorRequest:
        """Ask to be told of the flows that a text selects: ``table=1,ip,out_port=3``.

        `Switch.monitor` does this, and reads what comes.

        Parameters
        ----------
        monitor_id
            A number that the connection uses for no other monitor.
        flags
            Of `FlowMonitorFlags`.

        Raises
        ------
        ParseError
            The text is no selection.
        """
        mod = FlowMod.parse(filter_, FlowCommand.DELETE, tables)
        return cls(
            (
                MonitorRequest(
                    monitor_id,
                    mod.out_port,
                    mod.out_group,
                    FlowMonitorFlags(flags),
                    mod.table_id,
                    match=mod.match,
                ),
            )
        )

    @classmethod
    def cancel(cls, monitor_id: int) -> FlowMonitorRequest:
        """End a monitor."""
        command = FlowMonitorCommand.DELETE
        return cls((MonitorRequest(monitor_id, flags=FlowMonitorFlags(0), command=command),))


class FlowUpdateEvent(Code):
    """OFPFME_*: what has happened to a flow."""

    INITIAL = 0
    """It was there when the monitor began."""
    ADDED = 1
    REMOVED = 2
    MODIFIED = 3
    ABBREV = 4
    """What this connection has asked for was done."""
    PAUSED = 5
    """The reader is too slow: changes will be told as if flows were removed and added."""
    RESUMED = 6


@record
class FlowUpdateFull(Record):
    """What has happened to a flow."""

    _length: ClassVar = length()
    event: FlowUpdateEvent = u16(FlowUpdateEvent)
    table_id: int = u8()
    reason: FlowRemovedReason = u8(FlowRemovedReason)
    """Of `FlowUpdateEvent.REMOVED`."""
    idle_timeout: int = u16()
    hard_timeout: int = u16()
    priority: int = u16(pad=4)
    cookie: int = u64()
    match: Match = match()
    instructions: Actions = rest(Actions)


@record
class FlowUpdateAbbrev(Record):
    """What this connection has asked for was done."""

    _length: ClassVar = length()
    event: FlowUpdateEvent = u16(FlowUpdateEvent)
    xid: int = u32()
    """Of the message that was done."""


@record
class FlowUpdatePaused(Record):
    """The reader is too slow, or no longer is."""

    _length: ClassVar = length()
    event: FlowUpdateEvent = u16(FlowUpdateEvent, pad=4)


_Update = FlowUpdateFull | FlowUpdateAbbrev | FlowUpdatePaused


class _Updates(Part[tuple[_Update, ...]]):
    """Updates, which their event tells apart."""

    def read(self, data: bytes, at: int, end: int) -> tuple[tuple[_Update, ...], int]:
        found: list[_Update] = []
        while at < end:
            event = int.from_bytes(data[at + 2 : at + 4], "big") if at + 4 <= end else -1
            kind: type[_Update]
            if event in range(FlowUpdateEvent.ABBREV):
                kind = FlowUpdateFull
            elif event == FlowUpdateEvent.ABBREV:
                kind = FlowUpdateAbbrev
            elif event in (FlowUpdateEvent.PAUSED, FlowUpdateEvent.RESUMED):
                kind = FlowUpdatePaused
            else:
                raise DecodeError(f"there is no event {event} of a flow", at)
            update, at = kind.read(data, at, end)
            found.append(update)
        return tuple(found), at

    def write(self, value: tuple[_Update, ...]) -> bytes:
        return b"".join(update.write() for update in value)


@record
class FlowMonitorReply(MultipartReply):
    """What has happened to flows."""

    kind = 16
    updates: tuple[_Update, ...] = part(_Updates())
