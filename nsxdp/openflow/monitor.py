"""Flow monitors: a switch tells of each change of its flows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nsxdp.openflow.codec import Tables
from nsxdp.openflow.errors import DecodeError
from nsxdp.openflow.flow import Flow
from nsxdp.openflow.messages import (
    FlowMonitorReply,
    FlowRemovedReason,
    FlowUpdateAbbrev,
    FlowUpdateEvent,
    FlowUpdateFull,
    decode,
)

__all__ = ["FlowUpdate", "read_updates"]


@dataclass(frozen=True, slots=True)
class FlowUpdate:
    """One change of one flow; without a flow where the event isn't about one."""

    event: FlowUpdateEvent
    flow: Flow | None = None
    reason: FlowRemovedReason | None = None
    """Why it was removed."""
    xid: int = 0
    """Of an abbreviated event: the message that was done."""

    def format(self, tables: Tables | None = None) -> str:
        """One line, such as ``ADDED table=1, ip actions=drop``."""
        if self.flow is None:
            return self.event.name
        return f"{self.event.name} {self.flow.format(tables, cookie=True)}"

    def __str__(self) -> str:
        return self.format()


def read_updates(reply: bytes) -> Iterator[FlowUpdate]:
    """The changes of an OFPMP_FLOW_MONITOR reply.

    Raises
    ------
    DecodeError
        The reply is none, or a part of it is wrong.
    """
    message = decode(reply)
    if not isinstance(message, FlowMonitorReply):
        raise DecodeError(f"{type(message).__name__} has no updates of flows")
    for update in message.updates:
        event = update.event
        if isinstance(update, FlowUpdateFull):
            flow = Flow(
                update.table_id,
                update.priority,
                update.match,
                update.instructions,
                update.cookie,
                update.idle_timeout,
                update.hard_timeout,
            )
            removed = event == FlowUpdateEvent.REMOVED
            yield FlowUpdate(event, flow, update.reason if removed else None)
        else:
            xid = update.xid if isinstance(update, FlowUpdateAbbrev) else 0
            yield FlowUpdate(event, xid=xid)
