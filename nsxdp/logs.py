"""Structured logging on Python's own: an event, and what belongs to it by name.

::

    log = get_logger(__name__)
    log.warning("the API server can't be reached", reason=str(error), again_in=3)

Whoever handles a record finds both in its ``msg``, an `Event`; who knows nothing of that reads
``the API server can't be reached reason=... again_in=3``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, NamedTuple

__all__ = ["Event", "Logger", "get_logger"]

_QUOTED: Final = frozenset(" \"'=")
"""What has one of these is written with quotes, as is what can't be printed."""


class Event(NamedTuple):
    """What happened, and what belongs to it.

    Examples
    --------
    >>> from nsxdp.logs import Event
    >>> print(Event("started", {"node": "node-1", "reason": "it was time"}))
    started node=node-1 reason='it was time'
    """

    event: str
    values: Mapping[str, object] = {}

    def __str__(self) -> str:
        return " ".join([self.event, *self.texts()])

    def texts(self) -> list[str]:
        """``name=value``, by name."""
        return [f"{name}={_text(value)}" for name, value in sorted(self.values.items())]


class Logger:
    """Logs events under a name, and with each of them what belongs to all."""

    def __init__(self, name: str, **values: object) -> None:
        self._logger = logging.getLogger(name)
        self._values = values

    def debug(self, event: str, **values: object) -> None:
        """Log what is of use to who looks for a fault."""
        self._log(logging.DEBUG, event, values)

    def info(self, event: str, **values: object) -> None:
        """Log what is as it should be."""
        self._log(logging.INFO, event, values)

    def warning(self, event: str, **values: object) -> None:
        """Log what goes on, but isn't as it should be."""
        self._log(logging.WARNING, event, values)

    def error(self, event: str, **values: object) -> None:
        """Log what doesn't go on."""
        self._log(logging.ERROR, event, values)

    def exception(self, event: str, **values: object) -> None:
        """Log an error, and where the exception that is being handled comes from."""
        self._log(logging.ERROR, event, values, traceback=True)

    def _log(
        self, level: int, event: str, values: dict[str, object], *, traceback: bool = False
    ) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, Event(event, self._values | values), exc_info=traceback)


def get_logger(name: str, **values: object) -> Logger:
    """The logger of the module with that 'name'; 'values' belong to all that it logs."""
    return Logger(name, **values)


def _text(value: object) -> str:
    plain = isinstance(value, str) and value.isprintable() and not _QUOTED & set(value)
    return str(value) if plain else repr(value)
