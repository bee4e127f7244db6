"""What `nsxdp.openflow` offers; a name's module is imported when the name is first used."""

from nsxdp.openflow.changes import Changes
from nsxdp.openflow.codec import Tables
from nsxdp.openflow.commit import CommitResult
from nsxdp.openflow.connection import Connection, Phase, State
from nsxdp.openflow.desired import Delta, DesiredSet, Diff
from nsxdp.openflow.errors import (
    CommitError,
    ConnectionLost,
    DecodeError,
    OpenFlowError,
    ParseError,
    ProtocolError,
    ReplyTimeoutError,
    RequestError,
    VersionError,
)
from nsxdp.openflow.flow import Flow, FlowStats, Group
from nsxdp.openflow.messages import (
    Band,
    CtTuple,
    FlowMonitorFlags,
    FlowUpdateEvent,
    Message,
    MeterCommand,
    MeterMod,
    PacketIn,
    PacketIn2,
    PacketOut,
    decode,
)
from nsxdp.openflow.meter import Meter
from nsxdp.openflow.monitor import FlowUpdate
from nsxdp.openflow.parts import Actions, Match
from nsxdp.openflow.requests import ct_flush, delete_flows
from nsxdp.openflow.session import Session, SessionOptions
from nsxdp.openflow.stats import FlowTable
from nsxdp.openflow.switch import Switch
from nsxdp.openflow.template import Hole, Stamped, Template, gather
from nsxdp.openflow.trace import Trace, TraceStep

__all__ = [
    "Actions",
    "Band",
    "Changes",
    "CommitError",
    "CommitResult",
    "Connection",
    "ConnectionLost",
    "CtTuple",
    "DecodeError",
    "Delta",
    "DesiredSet",
    "Diff",
    "Flow",
    "FlowMonitorFlags",
    "FlowStats",
    "FlowTable",
    "FlowUpdate",
    "FlowUpdateEvent",
    "Group",
    "Hole",
    "Match",
    "Message",
    "Meter",
    "MeterCommand",
    "MeterMod",
    "OpenFlowError",
    "PacketIn",
    "PacketIn2",
    "PacketOut",
    "ParseError",
    "Phase",
    "ProtocolError",
    "ReplyTimeoutError",
    "RequestError",
    "Session",
    "SessionOptions",
    "Stamped",
    "State",
    "Switch",
    "Tables",
    "Template",
    "Trace",
    "TraceStep",
    "VersionError",
    "ct_flush",
    "decode",
    "delete_flows",
    "gather",
]
