"""The log on standard error: text for people, or one JSON object a line."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from nsxdp.logs import Event, get_logger
from nsxdp_agents.common.options import LogFormat, LogLevel

__all__ = ["configure", "warn_of"]

_COLORS: Final = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m"}
_PLAIN: Final = "\x1b[0m"


def configure(log_format: LogFormat, level: LogLevel) -> None:
    """Send the log of the process, the library's included, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if log_format == "json" else _Text(colors=sys.stderr.isatty()))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger("asyncio").setLevel(max(root.level, logging.INFO))


def warn_of(notes: Iterable[tuple[str, str]]) -> None:
    """Log what was configured in vain: where, and why it means nothing."""
    log = get_logger(__name__)
    for where, reason in notes:
        log.warning("means nothing here", setting=where, reason=reason)


class _Text(logging.Formatter):
    """``2026-01-31T12:00:00.000000Z [warning  ] event   name=value``."""

    def __init__(self, *, colors: bool) -> None:
        super().__init__()
        self._colors = _COLORS if colors else {}

    def format(self, record: logging.LogRecord) -> str:
        event = _event(record)
        level = f"{record.levelname.lower():9}"
        if color := self._colors.get(record.levelno):
            level = f"{color}{level}{_PLAIN}"
        what = " ".join([f"{event.event:30}", *event.texts()]).rstrip()
        lines = [f"{_time(record)} [{level}] {what}"]
        if record.exc_info:
            lines.append(self.formatException(record.exc_info))
        return "\n".join(lines)


class _Json(logging.Formatter):
    """An object with ``event``, ``level``, ``timestamp``, and what belongs to the event."""

    def format(self, record: logging.LogRecord) -> str:
        event = _event(record)
        found = {
            **event.values,
            "event": event.event,
            "level": record.levelname.lower(),
            "timestamp": _time(record),
        }
        if record.exc_info:
            found["exception"] = self.formatException(record.exc_info)
        return json.dumps(found, default=repr)


def _event(record: logging.LogRecord) -> Event:
    """What a record is about; of who logs a text, that."""
    return record.msg if isinstance(record.msg, Event) else Event(record.getMessage())


def _time(record: logging.LogRecord) -> str:
    return f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
