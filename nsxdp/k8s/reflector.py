"""The API server as a source: list, then watch, for ever.

One task per kind lists (or takes the list as a stream of initial events), then watches from there
on. The first list is what the server has in its cache, as client-go asks for it: with 10,000
Services it is there in 0.1 s, where etcd needs 1 s for it page by page. Later ones are etcd's, as
those mustn't go back in time. A watch that ends is resumed at the last resourceVersion; history
that the server has compacted away means a new list, of which only the differences are delivered.
Nothing stops a kind for good: errors are logged once each, and tried again with a growing delay.

Memory: the objects of a page or of a chunk of the watch at a time, and some pages as they came. The
queue to the consumer is bounded; when it is full, the tasks stop reading, and TCP holds the server
back.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import Final, NamedTuple, Self

from nsxdp.backoff import Backoff
from nsxdp.k8s.client import Client
from nsxdp.k8s.decode import BOOKMARK, DELETED, INITIAL_EVENTS_END, Decoder, Page
from nsxdp.k8s.errors import (
    ApiError,
    ForbiddenError,
    GoneError,
    KubernetesError,
    NotFoundError,
    ObjectError,
    ProtocolError,
    UnreachableError,
)
from nsxdp.k8s.objects import ListMeta
from nsxdp.k8s.reach import Reach
from nsxdp.k8s.resources import Want
from nsxdp.k8s.source import Batch, Change, Inventory, Op
from nsxdp.logs import get_logger

__all__ = ["MAX_LINE", "Reflector"]

MAX_LINE: Final = 16 << 20
"""The longest line of a watch, in bytes. etcd takes 1.5 MB per object."""

_TOGETHER: Final = 200
"""Objects of a page that are looked at together. Some such parts are in memory at a time, and
Python doesn't give back the memory of small objects that once were there."""

_PAGES_AHEAD: Final = 16
"""Pages of a list that may wait for their turn."""

_WATCH_SECONDS: Final = (300, 600)
"""How long the server shall keep a watch open: drawn anew for each, so that they spread."""

_STEADY_SECONDS: Final = 10.0
"""How long a watch must have lasted for the next attempt to come without growing delay."""

_ABSENT_SECONDS: Final = 15.0
"""How often a kind that the server doesn't have is looked for."""

_REMIND_SECONDS: Final = 60.0
"""How often an error that doesn't go away is logged."""


class Reflector:
    """The API server's objects as a `Source`.

    Parameters
    ----------
    client
        An open client.
    wants
        What to follow; one for each kind.
    page_size
        Objects in a page of a list.
    streaming
        Take the list as initial events of the watch (WatchList, KEP-3157) where the server can;
        it falls back to pages where it can't (before Kubernetes 1.32, or with an etcd that lacks
        progress requests). Cheaper for the server, in time no better for us.
    queue_size
        Batches that may wait for the consumer.
    idle_timeout
        Seconds without a byte after which a watch is opened anew. The server sends a bookmark
        about every minute, but not of a kind that has not changed since it was started.
    read_timeout
        Seconds without a byte after which a list is given up.
    relist
        Seconds after which everything is listed anew, though nothing says that the watch missed
        something; 0: never.
    absent
        Seconds until an optional kind that the server doesn't have is looked for again; and until
        one that RBAC doesn't let us see is taken as one without objects, if none were seen.
    backoff
        Intervals between attempts, of each kind by itself.
    """

    def __init__(
        self,
        client: Client,
        wants: Sequence[Want],
        *,
        page_size: int = 500,
        streaming: bool = False,
        queue_size: int = 2,
        idle_timeout: float = 180.0,
        read_timeout: float = 60.0,
        relist: float = 0.0,
        absent: float = _ABSENT_SECONDS,
        backoff: Backoff = Backoff(),
    ) -> None:
        if len({want.resource.kind for want in wants}) != len(wants):
            raise ValueError("one want for each kind")
        self._queue: asyncio.Queue[Batch | Exception] = asyncio.Queue(queue_size)
        reach = Reach()
        self._followers = [
            _Follower(
                client,
                want,
                self._queue,
                reach,
                page_size=page_size,
                streaming=streaming,
                idle_timeout=idle_timeout,
                read_timeout=read_timeout,
                relist=relist,
                absent=absent,
                backoff=backoff,
            )
            for want in wants
        ]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(follower.run()) for follower in self._followers]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self

    async def __anext__(self) -> Batch:
        got = await self._queue.get()
        if isinstance(got, Exception):
            raise got
        return got


def _with_last(parts: Iterator[Page]) -> Iterator[tuple[Page, bool]]:
    """Each of 'parts', of which there is one at least, and whether it is the last."""
    held = next(parts)
    for part in parts:
        yield held, False
        held = part
    yield held, True


class _Page(NamedTuple):
    """A page of a list that nobody has looked at, and when it had come in."""

    body: bytes
    meta: ListMeta
    received: float


class _Follower:
    """Follows one kind."""

    def __init__(
        self,
        client: Client,
        want: Want,
        queue: asyncio.Queue[Batch | Exception],
        reach: Reach,
        *,
        page_size: int,
        streaming: bool,
        idle_timeout: float,
        read_timeout: float,
        relist: float,
        absent: float,
        backoff: Backoff,
    ) -> None:
        self._client = client
        self._want = want
        self._queue = queue
        self._reach = reach
        self._page_size = page_size
        self._streaming = streaming
        self._idle_timeout = idle_timeout
        self._read_timeout = read_timeout
        self._relist = relist
        self._relist_at = 0.0
        self._backoff = backoff
        self._failures = 0  # in a row
        self._decoder = Decoder(want.resource)
        self._inventory = Inventory(want.resource)
        self._synced = False
        self._take_cached = True  # the first list; later ones mustn't go back in time
        self._version = ""  # where the watch goes on; empty: list first
        self._absent_seconds = absent
        self._is_absent = False
        self._forbidden_at = 0.0
        self._said = ""
        self._said_at = 0.0
        self._log = get_logger(__name__, kind=want.resource.kind)

    async def run(self) -> None:
        """Follow until cancelled. Only a bug ends it: then the consumer gets the exception."""
        try:
            while True:
                began = time.monotonic()
                if self._relist and began >= self._relist_at:
                    self._version = ""
                    self._relist_at = began + self._relist
                try:
                    if not self._version and not self._streaming:
                        await self._list()
                        began = time.monotonic()
                    alive = await self._watch()
                except KubernetesError as error:
                    self._steady(began)
                    await self._recover(error)
                else:
                    # A server that ends watches at once, without a byte, mustn't make us spin.
                    alive = self._steady(began) or alive
                    await asyncio.sleep(0 if alive else self._delay())
        except Exception as error:  # the consumer must know
            self._log.exception("the reflector failed")
            await self._queue.put(error)

    def _steady(self, began: float) -> bool:
        """Whether a watch has lasted: one in which nothing happened is no failure."""
        steady = time.monotonic() - began > _STEADY_SECONDS
        if steady:
            self._failures = 0
        return steady

    def _delay(self, at_least: float = 0.0) -> float:
        self._failures += 1
        return self._backoff.delay(self._failures, at_least)

    async def _recover(self, error: KubernetesError) -> None:
        if self._want.optional and isinstance(error, NotFoundError):
            await self._absent()
            return
        if self._want.optional and isinstance(error, ForbiddenError):
            await self._do_without()
        wait = error.retry_after if isinstance(error, ApiError) else 0.0
        delay = self._delay(wait)
        if isinstance(error, GoneError):
            self._version = ""
            self._log.info("the server's history is compacted: listing again", error=str(error))
        elif isinstance(error, ProtocolError):
            # What stands in the stream can't be trusted; a list says what is.
            self._version = ""
            self._take_cached = False
            self._complain(error, delay)
        elif self._streaming and not self._version and isinstance(error, ApiError):
            self._streaming = error.code in (401, 403, 429)
            if not self._streaming:
                self._log.info("no streaming lists here: listing in pages", error=str(error))
                return
            self._complain(error, delay)
        else:
            self._complain(error, delay)
        if not isinstance(error, UnreachableError):
            await asyncio.sleep(delay)
        elif await self._reach.wait(delay):
            # One that has just started may still refuse something, for a moment.
            self._failures = 0

    async def _absent(self) -> None:
        """The server doesn't have the kind: so there are no objects of it."""
        if not self._is_absent:
            self._log.info("the API server has no such resource: it is looked for now and then")
        self._is_absent = True
        self._version = ""
        self._take_cached = False
        self._inventory.begin_list()
        await self._put(self._inventory.end_list(), (), time.monotonic(), complete=True)
        await asyncio.sleep(self._absent_seconds)

    async def _do_without(self) -> None:
        """The server doesn't let us see the kind: whoever waits for it doesn't wait for ever.

        A server that is starting may refuse what it allows later. What is known already stays.
        """
        now = time.monotonic()
        self._forbidden_at = self._forbidden_at or now
        if not self._synced and now - self._forbidden_at >= self._absent_seconds:
            self._log.warning("it may not be followed: it is as if there were none")
            await self._put([], (), now, complete=True)

    def _complain(self, error: KubernetesError, delay: float) -> None:
        """Log an error when it is new, and again now and then while it lasts."""
        now = time.monotonic()
        text = str(error)
        if text != self._said or now - self._said_at > _REMIND_SECONDS:
            self._log.warning("cannot follow", error=text, retry_in=round(delay, 1))
            self._said, self._said_at = text, now

    async def _list(self) -> None:
        """List everything, page by page."""
        self._inventory.begin_list()
        pages: asyncio.Queue[_Page | Exception] = asyncio.Queue(_PAGES_AHEAD)
        fetching = asyncio.create_task(self._fetch(pages))
        try:
            while True:
                got = await pages.get()
                if isinstance(got, Exception):
                    raise got
                parts = self._decoder.pages(got.body, min(_TOGETHER, self._page_size))
                for part, is_last in _with_last(parts):
                    complete = is_last and not got.meta.continue_
                    changes = self._inventory.listed(part.items, part.errors)
                    if complete:
                        changes += self._inventory.end_list()
                    await self._put(changes, part.errors, got.received, complete=complete)
                if not got.meta.continue_:
                    self._version = got.meta.resource_version
                    self._is_absent = False
                    self._take_cached = False
                    return
        finally:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)

    async def _fetch(self, pages: asyncio.Queue[_Page | Exception]) -> None:
        """Get the pages of the list, some of them before anybody looks at them.

        So the server makes the next while we look at one, and what waits for the consumer is
        bytes: its objects would be several times as large.
        """
        try:
            token = ""
            while True:
                page = await self._page(token)
                if not page.meta.resource_version:
                    raise ProtocolError(f"a list of {self._want.resource.plural} without a version")
                if token and page.meta.continue_ == token:
                    raise ProtocolError(f"the list of {self._want.resource.plural} goes in circles")
                token = page.meta.continue_
                await pages.put(page)
                if not token:
                    return
        except Exception as error:  # who waits for the page must hear of it
            await pages.put(error)

    async def _page(self, token: str) -> _Page:
        params = {"limit": str(self._page_size)}
        if token:
            params["continue"] = token
        elif self._take_cached:
            params["resourceVersion"] = "0"
        body = await self._client.list_body(self._want, params, read_timeout=self._read_timeout)
        self._reach.answered()
        return _Page(body, self._decoder.meta(body), time.monotonic())

    async def _watch(self) -> bool:
        """Watch until the server ends it. Returns whether anything came."""
        initial = not self._version
        seconds = random.randint(*_WATCH_SECONDS)
        if self._relist:
            seconds = max(1, min(seconds, round(self._relist_at - time.monotonic())))
        params = {"allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        if initial:
            params |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
            self._inventory.begin_list()
        else:
            params["resourceVersion"] = self._version
        alive = False
        watch = self._client.watch(self._want, params, idle_timeout=self._idle_timeout)
        async with watch as stream:
            self._reach.answered()
            rest: list[bytes] = []
            size = 0
            async for chunk in stream:
                received = time.monotonic()
                cut = chunk.rfind(b"\n") + 1
                if not cut:
                    rest.append(chunk)
                    size += len(chunk)
                    if size > MAX_LINE:
                        raise ProtocolError(
                            f"the watch of {self._want.resource.plural}: a line of over "
                            f"{MAX_LINE} bytes"
                        )
                    continue
                rest.append(chunk[:cut])
                initial = await self._take(b"".join(rest), received, initial=initial)
                rest = [chunk[cut:]]
                size = len(rest[0])
                if not alive and not initial:
                    alive = True
                    self._worked()
        # A line that the end of the stream has cut off comes again with the next watch.
        return alive

    async def _take(self, lines: bytes, received: float, *, initial: bool) -> bool:
        """Deliver whole lines of a watch. Returns whether initial events are still to come."""
        got = self._decoder.lines(lines)
        changes: list[Change] = []
        version = ""
        errors = got.errors
        if initial:
            self._inventory.listed((), errors)
        for kind, obj in got.events:
            version = obj.metadata.resource_version or version
            if kind == BOOKMARK:
                if initial and (obj.metadata.annotations or {}).get(INITIAL_EVENTS_END) == "true":
                    initial = False
                    changes += self._inventory.end_list()
                    await self._put(changes, errors, received, complete=True)
                    changes, errors = [], ()
            elif initial and kind != DELETED:
                changes += self._inventory.listed((obj,), ())
            else:
                op = Op.DELETE if kind == DELETED else Op.UPSERT
                change = self._inventory.watched(op, obj)
                if change is not None:
                    changes.append(change)
        await self._put(changes, errors, received)
        if version and not initial:
            self._version = version
        if got.error is not None:
            raise got.error
        return initial

    def _worked(self) -> None:
        self._failures = 0
        if self._said:
            self._log.info("following again")
            self._said = ""

    async def _put(
        self,
        changes: list[Change],
        errors: tuple[ObjectError, ...],
        received: float,
        *,
        complete: bool = False,
    ) -> None:
        """Hand a batch to the consumer; waits while the queue is full."""
        for error in errors:
            self._log.warning("an object cannot be used: it is left out", error=str(error))
        news = complete and not self._synced
        self._synced = self._synced or complete
        if changes or errors or news:
            kind = self._want.resource.kind
            await self._queue.put(Batch(kind, changes, self._synced, received, errors))
