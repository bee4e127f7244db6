"""Events for people: what `kubectl describe` shows about an object.

Recording never waits and never fails: a full queue drops the Event, an API server that can't be
reached costs a log line. The same thing again within the hour becomes a series of the first Event
(a count and a time) instead of a new one, and no more than a few are sent each second.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

from msgspec import Struct
from msgspec.structs import replace

from nsxdp.k8s.client import Client
from nsxdp.k8s.errors import KubernetesError, NotFoundError
from nsxdp.k8s.objects import Event, EventSeries, Object, ObjectMeta, ObjectReference
from nsxdp.k8s.rate import Rate
from nsxdp.k8s.resources import EVENTS, RESOURCES
from nsxdp.logs import get_logger

__all__ = [
    "NOTE_BYTES",
    "QUEUE",
    "REMEMBERED",
    "SERIES_SECONDS",
    "EventRecorder",
    "now",
    "reference",
]

log = get_logger(__name__)

QUEUE: Final = 256
"""Events that may wait to be sent."""

REMEMBERED: Final = 1024
"""Events that are remembered to become series."""

SERIES_SECONDS: Final = 3600.0
"""How long after the last time something counts as the same."""

NOTE_BYTES: Final = 1024
"""The longest note the API server takes."""

_EACH_SECOND: Final = 5.0
_BURST: Final = 25.0

_Key = tuple[ObjectReference, str, str, str, str]


class _Series(Struct):
    event: Event
    count: int
    last: float
    queued: bool


def now() -> str:
    """The time as the API writes it: RFC 3339, microseconds, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def reference(kind: str, obj: Object) -> ObjectReference:
    """What an Event says that it is about."""
    resource = RESOURCES[kind]
    meta = obj.metadata
    return ObjectReference(resource.api_version, kind, meta.namespace, meta.name, meta.uid)


class EventRecorder:
    """Records Events. An asynchronous context manager.

    Parameters
    ----------
    client
        An open client.
    controller
        Who reports: ``nsx-kube-proxy``.
    instance
        Which one of them: the node's name.
    """

    def __init__(self, client: Client, controller: str, instance: str) -> None:
        self._client = client
        self._controller = controller
        self._instance = instance
        self._queue: asyncio.Queue[_Key] = asyncio.Queue(QUEUE)
        self._series: OrderedDict[_Key, _Series] = OrderedDict()
        self._rate = Rate(_EACH_SECOND, _BURST)
        self._task: asyncio.Task[None] | None = None
        self._dropped = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give what is waiting a moment to get out."""
        if self._task is None:
            return
        try:
            async with asyncio.timeout(2.0):
                await self._queue.join()
        except TimeoutError:
            log.info("Events were not sent", count=self._queue.qsize())
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    def record(
        self, about: ObjectReference, reason: str, note: str, *, action: str, warning: bool = False
    ) -> None:
        """Record an Event.

        Parameters
        ----------
        about
            See `reference`.
        reason
            Why, in one CamelCase word: ``FailedToStartServiceHealthcheck``.
        note
            A sentence for people.
        action
            What was done, in one CamelCase word: ``Listen``.
        warning
            Whether somebody should do something about it.
        """
        note = note.encode()[:NOTE_BYTES].decode(errors="ignore")
        kind = "Warning" if warning else "Normal"
        key = (about, kind, reason, action, note)
        series = self._series.get(key)
        if series is not None and time.monotonic() - series.last < SERIES_SECONDS:
            series.count += 1
            series.last = time.monotonic()
            self._series.move_to_end(key)
            if series.queued:
                return  # what waits is sent with the new count
        else:
            series = _Series(
                self._event(about, kind, reason, action, note), 1, time.monotonic(), False
            )
            self._series[key] = series
            self._series.move_to_end(key)
            while len(self._series) > REMEMBERED:
                self._series.popitem(last=False)
        try:
            self._queue.put_nowait(key)
        except asyncio.QueueFull:
            self._dropped += 1
        else:
            series.queued = True

    def _event(
        self, about: ObjectReference, kind: str, reason: str, action: str, note: str
    ) -> Event:
        return Event(
            api_version=EVENTS.api_version,
            kind=EVENTS.kind,
            metadata=ObjectMeta(
                name=f"{about.name[:200]}.{os.urandom(8).hex()}",
                # Events about what has no namespace live in the default one.
                namespace=about.namespace or "default",
            ),
            event_time=now(),
            reporting_controller=self._controller,
            reporting_instance=self._instance,
            action=action,
            reason=reason,
            regarding=about,
            note=note,
            type=kind,
        )

    async def _run(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                await self._rate.take()
                series = self._series.get(key)
                if series is not None:
                    series.queued = False
                    await self._send(series)
            except KubernetesError as error:
                log.warning(
                    "cannot record an Event", reason=key[2], about=key[0].name, error=str(error)
                )
            finally:
                self._queue.task_done()
            if self._dropped:
                log.warning("Events were dropped: too many at once", count=self._dropped)
                self._dropped = 0

    async def _send(self, series: _Series) -> None:
        event = series.event
        stored = bool(event.metadata.resource_version)
        if series.count > 1:
            event = replace(event, series=EventSeries(series.count, now()))
        if stored:
            change = {"series": event.series}
            meta = event.metadata
            try:
                await self._client.patch(EVENTS, meta.name, change, meta.namespace)
            except NotFoundError:
                pass  # the server forgets Events after an hour: begin again below
            else:
                return
            fresh = replace(
                meta,
                name=f"{meta.name.rpartition('.')[0]}.{os.urandom(8).hex()}",
                resource_version="",
            )
            event = replace(event, metadata=fresh, event_time=now())
        answer = await self._client.create(EVENTS, event)
        version = answer.metadata.resource_version or "stored"
        series.event = replace(
            event, metadata=replace(event.metadata, resource_version=version), series=None
        )
