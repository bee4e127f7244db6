"""What the API server says -> typed objects, in bulk.

A page of a list and a chunk of watch lines are each decoded in one call, with the objects typed
directly. Only if that fails is each object looked at by itself: then the bad one becomes an
`ObjectError` that names it and the place in it, and all others go on. Lists come as protobuf where
the API server can (see `nsxdp.k8s.protobuf`), everything else as JSON.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from nsxdp.k8s.errors import ApiError, ObjectError, ProtocolError, api_error
from nsxdp.k8s.objects import ListHead, ListMeta, Object, ObjectList, Status, WatchEvent
from nsxdp.k8s.protobuf import Message, WireError, is_protobuf, unwrap
from nsxdp.k8s.resources import Resource
from nsxdp.k8s.schemas import LIST_HEAD, MESSAGES, NAMED, STATUS

__all__ = [
    "ADDED",
    "BOOKMARK",
    "DELETED",
    "ERROR",
    "INITIAL_EVENTS_END",
    "MODIFIED",
    "Decoder",
    "Lines",
    "Page",
    "key_of",
    "read_status",
    "split_path",
    "status_error",
    "strip_nulls",
    "to_object",
]

_PATH: Final = " - at `"
_NAMELESS: Final = "an object must have a name"

ADDED: Final = "ADDED"
MODIFIED: Final = "MODIFIED"
DELETED: Final = "DELETED"
BOOKMARK: Final = "BOOKMARK"
ERROR: Final = "ERROR"
"""The types of a watch's lines."""

INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"
"""The annotation of the bookmark that ends the initial events of a streaming list."""


class Page(Struct, frozen=True):
    """A page of a list: its objects, those that can't be used, and where the list goes on."""

    items: tuple[Object, ...]
    errors: tuple[ObjectError, ...]
    meta: ListMeta


class Lines(Struct, frozen=True):
    """Some lines of a watch.

    `events` are (type, object) of ADDED, MODIFIED, DELETED and BOOKMARK lines up to the ERROR
    line, if there was one: then `error` is what it said. A deleted object may have its metadata
    alone, if the rest can't be used.
    """

    events: list[tuple[str, Object]]
    errors: tuple[ObjectError, ...] = ()
    error: ApiError | None = None


def split_path(error: msgspec.ValidationError) -> tuple[str, str]:
    """(message, path) of msgspec's error."""
    message, found, path = str(error).partition(_PATH)
    return message, path.rstrip("`") if found else "$"


def strip_nulls(value: Any) -> Any:
    """`value` without the object members that are null, at any depth: null means absent."""
    if isinstance(value, dict):
        return {k: strip_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [strip_nulls(item) for item in value]
    return value


def key_of(value: Any) -> str:
    """The key of an untyped object, as far as it has one."""
    meta = value.get("metadata") if isinstance(value, dict) else None
    if not isinstance(meta, dict):
        return ""
    name, namespace = meta.get("name"), meta.get("namespace")
    if not isinstance(name, str):
        return ""
    return f"{namespace}/{name}" if isinstance(namespace, str) and namespace else name


def to_object(resource: Resource, value: Any) -> Object | ObjectError:
    """An untyped object -> a typed one, or what is wrong with it."""
    try:
        obj = msgspec.convert(strip_nulls(value), resource.type)
    except msgspec.ValidationError as error:
        message, path = split_path(error)
        return ObjectError(resource.kind, key_of(value), path, message)
    except RecursionError:
        return ObjectError(resource.kind, key_of(value), "$", "nested too deeply")
    if not obj.metadata.name:
        return ObjectError(resource.kind, "", "$.metadata.name", _NAMELESS)
    return obj


def read_status(body: bytes) -> Status:
    """The Status object in an answer; an empty one if there is none."""
    try:
        if is_protobuf(body):
            return STATUS.read(unwrap(body))
        return msgspec.json.decode(body, type=Status)
    except (msgspec.DecodeError, WireError):
        return Status()


def status_error(status: Status, context: str = "") -> ApiError:
    """The exception for the Status object of an answer or an ERROR line."""
    text = status.message or status.reason or f"status {status.code} without a message"
    return api_error(
        f"{context}: {text}" if context else text,
        code=status.code,
        reason=status.reason,
        retry_after=status.details.retry_after_seconds if status.details else 0,
    )


class Decoder:
    """The decoders of one kind."""

    def __init__(self, resource: Resource) -> None:
        kind: Any = resource.type
        self._resource = resource
        self._page = msgspec.json.Decoder(ObjectList[kind])
        self._head = msgspec.json.Decoder(ListHead)
        self._raw_page = msgspec.json.Decoder(ObjectList[Raw])
        self._event = msgspec.json.Decoder(WatchEvent[kind])
        self._raw_event = msgspec.json.Decoder(WatchEvent[Raw])
        self._object = msgspec.json.Decoder(kind)
        # A bookmark is its metadata: the rest of it may be what no object has, as a Pod's null in
        # the place of containers. Of what is deleted, no more matters either.
        self._bare = msgspec.json.Decoder(Object)
        self._message = MESSAGES.get(resource.type)

    def page(self, body: bytes) -> Page:
        """Decode a page of a list.

        Raises
        ------
        ProtocolError
            If `body` is not a list at all.
        """
        if self._message is not None and is_protobuf(body):
            return next(self._protobuf_pages(body, self._message, -1))
        try:
            page = self._page.decode(body)
        except (msgspec.DecodeError, RecursionError):
            return self._slow_page(body)
        items = page.items or ()
        if not all(item.metadata.name for item in items):
            return self._slow_page(body)
        return Page(items, (), page.metadata)

    def meta(self, body: bytes) -> ListMeta:
        """Only where the list goes on after a page, and its version.

        Raises
        ------
        ProtocolError
            If `body` is not a list at all.
        """
        try:
            if self._message is not None and is_protobuf(body):
                return LIST_HEAD.read(unwrap(body)).metadata
            return self._head.decode(body).metadata
        except (msgspec.DecodeError, RecursionError, WireError) as error:
            raise ProtocolError(f"the list of {self._resource.plural}: {error}") from None

    def lines(self, lines: bytes) -> Lines:
        """Decode whole lines of a watch.

        Raises
        ------
        ProtocolError
            If a line is not a watch event at all.
        """
        try:
            events = self._event.decode_lines(lines)
        except (msgspec.DecodeError, RecursionError):
            return self._slow_lines(lines)
        out = []
        for event in events:
            obj = event.object
            if event.type == ERROR or not (obj.metadata.name or event.type == BOOKMARK):
                return self._slow_lines(lines)
            out.append((event.type, obj))
        return Lines(out)

    def pages(self, body: bytes, size: int) -> Iterator[Page]:
        """Decode a page of a list in parts, of so many objects where that can be: each is a page.

        Raises
        ------
        ProtocolError
            If `body` is not a list at all.
        """
        if self._message is not None and is_protobuf(body):
            yield from self._protobuf_pages(body, self._message, size)
        else:
            yield self.page(body)

    def _protobuf_pages(self, body: bytes, message: Message[Any], size: int) -> Iterator[Page]:
        try:
            data = unwrap(body)
            meta = LIST_HEAD.read(data).metadata
            at = 0
            while True:
                items, bad, at = message.read_list(data, at, size)
                errors = [self._unreadable(*error) for error in bad]
                if not all(item.metadata.name for item in items):
                    nameless = ObjectError(self._resource.kind, "", "$.metadata.name", _NAMELESS)
                    errors.append(nameless)
                    items = [item for item in items if item.metadata.name]
                yield Page(tuple(items), tuple(errors), meta)
                if at == len(data):
                    return
        except WireError as error:
            raise ProtocolError(f"the list of {self._resource.plural}: {error}") from None

    def _unreadable(self, item: bytes, error: WireError) -> ObjectError:
        """What is wrong with the bytes of an object, whose name may be readable all the same."""
        try:
            key = NAMED.read(item).key
        except WireError:
            key = ""
        return ObjectError(self._resource.kind, key, error.path, str(error))

    def _slow_page(self, body: bytes) -> Page:
        try:
            page = self._raw_page.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ProtocolError(f"the list of {self._resource.plural}: {error}") from None
        items: list[Object] = []
        errors: list[ObjectError] = []
        for raw in page.items or ():
            got = self._one(raw)
            if isinstance(got, ObjectError):
                errors.append(got)
            else:
                items.append(got)
        return Page(tuple(items), tuple(errors), page.metadata)

    def _slow_lines(self, lines: bytes) -> Lines:
        events: list[tuple[str, Object]] = []
        errors: list[ObjectError] = []
        for line in lines.splitlines():
            if not line.strip():
                continue
            try:
                event = self._raw_event.decode(line)
                if event.type == ERROR:
                    status = msgspec.json.decode(event.object, type=Status)
                    return Lines(events, tuple(errors), status_error(status))
                if event.type == BOOKMARK:
                    events.append((BOOKMARK, self._bare.decode(event.object)))
                    continue
            except (msgspec.DecodeError, RecursionError) as error:
                raise ProtocolError(f"the watch of {self._resource.plural}: {error}") from None
            got = self._one(event.object)
            if isinstance(got, ObjectError) and event.type == DELETED:
                got = self._deleted(event.object) or got
            if isinstance(got, ObjectError):
                errors.append(got)
            else:
                events.append((event.type, got))
        return Lines(events, tuple(errors))

    def _deleted(self, raw: Raw) -> Object | None:
        """A deleted object of which only the metadata can be read; None: not even that."""
        try:
            meta = self._bare.decode(raw).metadata
        except (msgspec.DecodeError, RecursionError):
            return None
        return self._resource.type(metadata=meta) if meta.name else None

    def _one(self, raw: Raw) -> Object | ObjectError:
        try:
            obj: Object = self._object.decode(raw)
        except (msgspec.DecodeError, RecursionError):
            pass
        else:
            if obj.metadata.name:
                return obj
        try:
            value = msgspec.json.decode(raw)
        except (msgspec.DecodeError, RecursionError) as error:
            return ObjectError(self._resource.kind, "", "$", str(error))
        return to_object(self._resource, value)
