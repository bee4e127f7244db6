"""Structured logs on standard error: text for people, or one JSON object a line."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable

import structlog

from nsxdp_agents.kube_proxy.options import LogFormat, LogLevel

__all__ = ["configure", "warn_of"]


def configure(log_format: LogFormat, level: LogLevel) -> None:
    """Send the log of the process, the library's included, to standard error."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor
    if log_format == "json":
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger("asyncio").setLevel(max(root.level, logging.INFO))


def warn_of(notes: Iterable[tuple[str, str]]) -> None:
    """Log what was configured in vain: where, and why it means nothing."""
    log = structlog.get_logger(__name__)
    for where, reason in notes:
        log.warning("means nothing here", setting=where, reason=reason)
