"""Flow monitors: a switch tells of each change of its flows."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

from nsxdp.openflow import codec
from nsxdp.openflow.codec import Tables
from nsxdp.openflow.errors import DecodeError
from nsxdp.openflow.flow import Flow
from nsxdp.openflow.messages import HEADER, NO_BUFFER, FlowMod, MultipartRequest, frame

__all__ = ["Event", "FlowUpdate", "MonitorFlags", "monitor_request", "read_updates"]

FLOW_MONITOR: Final = 16
_ANY: Final = 0xFFFFFFFF
_FULL: Final = struct.Struct("!HHBBHHH4xQ")
_HEAD: Final = HEADER.size + 8
_DELETE: Final = 2


class Event(IntEnum):
    """What has happened to a flow (OpenFlow 1.5's OFPFME_*)."""

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


class MonitorFlags(IntFlag):
    """What to tell of (OpenFlow 1.5's OFPFMF_*)."""

    INITIAL = 1
    ADD = 2
    REMOVED = 4
    MODIFY = 8
    INSTRUCTIONS = 16
    """With what the flows do."""
    NO_ABBREV = 32
    """In full also of what this connection asked for."""
    ONLY_OWN = 64
    """Only of what this connection asked for."""
    EVERYTHING = 1 | 2 | 4 | 8 | 16


@dataclass(frozen=True, slots=True)
class FlowUpdate:
    """One change of one flow; without a flow where the event isn't about one."""

    event: Event
    flow: Flow | None = None
    reason: int = 0
    """Why it was removed: OFPRR_*."""
    xid: int = 0
    """Of an abbreviated event: the message that was done."""

    def format(self, tables: Tables | None = None) -> str:
        """One line, such as ``ADDED table=1, ip actions=drop``."""
        if self.flow is None:
            return self.event.name
        return f"{self.event.name} {self.flow.format(tables, cookie=True)}"

    def __str__(self) -> str:
        return self.format()


def monitor_request(
    monitor: int,
    filter_: str = "",
    flags: int = MonitorFlags.EVERYTHING,
    tables: Tables | None = None,
) -> MultipartRequest:
    """Ask to be told of the flows that a text selects (``table=1,ip,out_port=3``).

    `Switch.monitor` does this, and reads what comes.

    Parameters
    ----------
    monitor
        A number that the connection uses for no other monitor.
    flags
        Of `MonitorFlags`.

    Raises
    ------
    ParseError
        The text is no selection.
    """
    mod = codec.flow_parse(filter_, codec.FLOW_DELETE, tables)
    _, (table, _, match, *_) = codec.flow_mod_decode(mod)
    out_port, out_group = struct.unpack_from("!II", mod, 36)
    body = struct.pack("!IIIHBB", monitor, out_port, out_group, flags, table, 0)
    return MultipartRequest(FLOW_MONITOR, 0, body + match)


def cancel_request(monitor: int) -> MultipartRequest:
    """End a monitor."""
    body = struct.pack("!IIIHBB", monitor, _ANY, _ANY, 0, 0xFF, _DELETE)
    return MultipartRequest(FLOW_MONITOR, 0, body + bytes.fromhex("0001000400000000"))


def read_updates(reply: bytes) -> Iterator[FlowUpdate]:
    """The changes of an OFPMP_FLOW_MONITOR reply.

    Raises
    ------
    DecodeError
        The reply is none, or a part of it is wrong.
    """
    at = _HEAD
    while at < len(reply):
        length, event = struct.unpack_from("!HH", reply, at) if at + 8 <= len(reply) else (0, 0)
        if length < 8 or at + length > len(reply) or event > Event.RESUMED:
            raise DecodeError(f"flow update of {length} bytes, event {event}", at)
        if event > Event.MODIFIED:
            xid = int.from_bytes(reply[at + 4 : at + 8], "big")
            yield FlowUpdate(Event(event), xid=xid if event == Event.ABBREV else 0)
        else:
            yield _full(reply, at, length, Event(event))
        at += length


def _full(reply: bytes, at: int, length: int, event: Event) -> FlowUpdate:
    if length < _FULL.size:
        raise DecodeError(f"flow update of {length} bytes", at)
    _, _, table, reason, idle, hard, priority, cookie = _FULL.unpack_from(reply, at)
    head = struct.pack(
        "!QQBBHHHIIIHH",
        cookie, 0, table, codec.FLOW_ADD, idle, hard, priority, NO_BUFFER, _ANY, _ANY, 0, 0,
    )  # fmt: skip
    flow = Flow.decode(frame(FlowMod.type, 0, head + reply[at + _FULL.size : at + length]))
    return FlowUpdate(event, flow, reason if event == Event.REMOVED else 0)
