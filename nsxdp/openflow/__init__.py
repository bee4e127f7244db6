"""OpenFlow 1.5 with Open vSwitch's extensions: text, bytes, and a connection to a bridge.

For one at a time, `Flow`, `Group` and `Meter`; for any number of them, `Template` (columns to
bytes) and `DesiredSet` (bytes to what has to be sent); to a switch, `Connection`, which lasts, and
`Switch`, which has all at hand.

A name's module is imported when the name is first used: who parses flows waits neither for numpy
nor for asyncio.
"""

from importlib import import_module

_NAMES = {
    "changes": "Changes",
    "codec": "Tables",
    "commit": "CommitResult",
    "connection": "Connection Phase State",
    "desired": "Delta DesiredSet Diff",
    "errors": "CommitError ConnectionLost DecodeError OpenFlowError ParseError ProtocolError "
    "ReplyTimeoutError RequestError VersionError",
    "flow": "Flow FlowStats Group",
    "messages": "Band CtTuple FlowMonitorFlags FlowUpdateEvent Message MeterCommand MeterMod "
    "PacketIn PacketIn2 PacketOut decode",
    "meter": "Meter",
    "monitor": "FlowUpdate",
    "parts": "Actions Match",
    "requests": "ct_flush delete_flows",
    "session": "Session SessionOptions",
    "stats": "FlowTable",
    "switch": "Switch",
    "template": "Hole Stamped Template gather",
    "trace": "Trace TraceStep",
}
"""What each module adds to this one; type checkers read ``__init__.pyi``."""

_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
