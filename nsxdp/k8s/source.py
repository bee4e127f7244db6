"""Where objects come from: the one interface of the API server and of a directory of manifests.

A consumer sees batches of changes and nothing else: ``UPSERT`` (new or changed) and ``DELETE``.
Lists, relists, reconnections and files are the source's own affair; what a relist no longer has
comes out as a DELETE of a tombstone. The first batch of a kind with `Batch.synced` set says that
everything which existed has been delivered (KP-10: program nothing before).

    async with source:
        async for batch in source:
            for op, obj in batch.events: ...
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Iterable
from sys import intern
from types import TracebackType
from typing import Protocol, Self

from msgspec import Struct

from nsxdp.k8s.errors import ObjectError
from nsxdp.k8s.objects import Object, ObjectMeta
from nsxdp.k8s.resources import Resource

__all__ = ["Batch", "Change", "Inventory", "Op", "Source", "tombstone"]


class Op(enum.Enum):
    """What happened to an object."""

    UPSERT = "upsert"
    """It is new, or has changed."""
    DELETE = "delete"
    """It is gone."""


Change = tuple[Op, Object]
"""What happened, and the object as it is now."""


class Batch(Struct, frozen=True):
    """Changes of objects of one kind, in order.

    Attributes
    ----------
    kind
        ``Service``, ``EndpointSlice`` ...; all objects of the batch are of its type.
    events
        The changes. The object of a DELETE may be a tombstone: only its name and namespace are
        sure to be there.
    synced
        Whether everything that existed at the start has been delivered, with this batch.
    received_at
        When the bytes behind the batch had come in; seconds of `time.monotonic`.
    errors
        Objects that came in the same bytes and can't be used. Where an earlier version of such
        an object was delivered, that stays valid.
    """

    kind: str
    events: list[Change]
    synced: bool
    received_at: float
    errors: tuple[ObjectError, ...] = ()


class Source(Protocol):
    """An asynchronous iterator of batches, and an asynchronous context manager."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def __aiter__(self) -> AsyncIterator[Batch]: ...


def tombstone(resource: Resource, key: str) -> Object:
    """The object of a DELETE whose last state isn't known."""
    namespace, _, name = key.rpartition("/")
    return resource.type(metadata=ObjectMeta(name=name, namespace=namespace))


class Inventory:
    """The keys of one kind that the consumer knows, each with its resourceVersion.

    That is all that a source keeps of the objects which pass through it: enough to leave out of a
    relist what hasn't changed, and to tell what has vanished.
    """

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self._known: dict[str, str] = {}
        self._unseen: set[str] = set()

    def __len__(self) -> int:
        return len(self._known)

    def begin_list(self) -> None:
        """A complete list begins (again)."""
        self._unseen = set(self._known)

    def listed(self, objects: Iterable[Object], errors: Iterable[ObjectError]) -> list[Change]:
        """Take a part of the list; give what the consumer doesn't know yet."""
        changes = []
        for obj in objects:
            key = intern(obj.key)  # who takes the objects keeps their keys, too
            self._unseen.discard(key)
            if self._upsert(key, obj):
                changes.append((Op.UPSERT, obj))
        # An object that has become unreadable exists all the same: its last good state stays.
        self._unseen.difference_update(error.key for error in errors)
        return changes

    def end_list(self) -> list[Change]:
        """The list is complete: give what it no longer has."""
        gone, self._unseen = self._unseen, set()
        changes = []
        for key in gone:
            del self._known[key]
            changes.append((Op.DELETE, tombstone(self._resource, key)))
        return changes

    def watched(self, op: Op, obj: Object) -> Change | None:
        """Take one event of a watch; None if it tells the consumer nothing new."""
        self._unseen.discard(obj.key)  # a server may tell so while it lists
        if op is Op.UPSERT:
            return (op, obj) if self._upsert(intern(obj.key), obj) else None
        return (op, obj) if self._known.pop(obj.key, None) is not None else None

    def _upsert(self, key: str, obj: Object) -> bool:
        version = obj.metadata.resource_version
        if version and self._known.get(key) == version:
            return False
        self._known[key] = version
        return True
