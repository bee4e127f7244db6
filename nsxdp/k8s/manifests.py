"""A directory of manifests as a source: the API server of those who have none.

Every ``*.yaml``, ``*.yml`` and ``*.json`` directly in the directory counts, except hidden files.
Changes are seen at once, however they are made: written in place, renamed over, or by swapping a
symbolic link as a mounted ConfigMap does.

- A file with an error (syntax, type, value) is refused as a whole. What it gave before stays
  valid until it is good again or removed; other files go on.
- If two files give the same object, or two Services the same clusterIP or node port, the first
  one counts (files by name, then from top to bottom); the other is left out until that is gone.
- If the directory itself disappears, everything stays valid until it is back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from msgspec import Struct

from nsxdp.k8s import manifest
from nsxdp.k8s.defaults import claims
from nsxdp.k8s.errors import KubernetesError, ObjectError
from nsxdp.k8s.inotify import DirectoryWatch
from nsxdp.k8s.manifest import SUFFIXES
from nsxdp.k8s.objects import Object
from nsxdp.k8s.resources import Want
from nsxdp.k8s.selectors import selector
from nsxdp.k8s.source import Batch, Change, Op, tombstone
from nsxdp.logs import get_logger

__all__ = ["Directory", "ManifestDirectory", "ManifestError", "Scan"]

log = get_logger(__name__)

_BATCH: Final = 1000
_SETTLE_ROUNDS: Final = 40

_Signature = tuple[int, int, int, int]
_Key = tuple[str, str]  # kind, namespace/name
_Bodies = dict[tuple[_Key, int], Object]  # by key and digest


class ManifestError(KubernetesError):
    """There is no such file or directory."""


class _Entry(Struct, frozen=True, gc=False):
    """What is kept of an object: enough to see that it has changed, or is in another's way."""

    key: _Key
    digest: int
    claims: tuple[str, ...]
    origin: str


class _File(Struct):
    signature: _Signature
    entries: list[_Entry]


class Scan(Struct, frozen=True):
    """What a scan has found: changes by kind since the one before, and errors that are new."""

    changes: dict[str, list[Change]]
    errors: list[ObjectError]


class Directory:
    """The objects of a directory (or of a single file), read when asked.

    Parameters
    ----------
    path
        A directory, or one file.
    wants
        What to take from it, with the same selectors as for an API server.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from nsxdp.k8s.manifests import Directory
    >>> from nsxdp.k8s.resources import NODES, Want
    >>> node = "{apiVersion: v1, kind: Node, metadata: {name: here}}"
    >>> with tempfile.TemporaryDirectory() as name:
    ...     directory = Directory(name, [Want(NODES)])
    ...     _ = Path(name, "node.yaml").write_text(node)
    ...     found = directory.scan()
    >>> [(op.name, node.key) for op, node in found.changes["Node"]], found.errors
    ([('UPSERT', 'here')], [])
    """

    def __init__(self, path: str | Path, wants: Sequence[Want]) -> None:
        if not wants:
            raise ValueError("nothing is wanted")
        self._path = Path(path)
        self._resources = {want.resource.kind: want.resource for want in wants}
        self._selects = {want.resource.kind: selector(want.labels, want.fields) for want in wants}
        self._namespaces = {want.resource.kind: want.namespace for want in wants}
        self._files: dict[str, _File] = {}
        self._known: dict[_Key, int] = {}
        self._said: set[ObjectError] = set()

    @property
    def kinds(self) -> list[str]:
        """The kinds that are wanted."""
        return list(self._resources)

    def signatures(self) -> dict[str, _Signature]:
        """What tells the present files from earlier ones, by path.

        Raises
        ------
        ManifestError
            If the directory is not there.
        """
        try:
            if not self._path.is_dir():
                self._path.stat()
                paths = [self._path]
            else:
                paths = sorted(
                    path
                    for path in self._path.iterdir()
                    if path.suffix in SUFFIXES and not path.name.startswith(".")
                )
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ManifestError(f"the manifests at {self._path}: {reason}") from None
        found = {}
        for path in paths:
            try:
                stat = path.stat()
            except OSError:
                continue  # gone again, or a symbolic link that leads nowhere
            if path.is_file():
                found[str(path)] = (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)
        return found

    def scan(self) -> Scan:
        """Read what has changed since the last scan.

        Raises
        ------
        ManifestError
            If the directory is not there.
        """
        signatures = self.signatures()
        bodies: _Bodies = {}
        errors: list[ObjectError] = []
        for path in [path for path in self._files if path not in signatures]:
            del self._files[path]
        for path, signature in signatures.items():
            known = self._files.get(path)
            if known is None or known.signature != signature:
                entries, wrong = self._read(path, bodies)
                if wrong:
                    entries = known.entries if known is not None else []
                    errors += wrong
                self._files[path] = _File(signature, entries)
        wanted, conflicts = self._resolve()
        news = [
            (entry, path)
            for key, (entry, path) in wanted.items()
            if self._known.get(key) != entry.digest
        ]
        # What stood in another's shadow until now: its file has not changed, but is needed.
        for path in {path for entry, path in news if (entry.key, entry.digest) not in bodies}:
            self._read(path, bodies)
        changes: dict[str, list[Change]] = {kind: [] for kind in self._resources}
        for key in [key for key in self._known if key not in wanted]:
            del self._known[key]
            kind, name = key
            changes[kind].append((Op.DELETE, tombstone(self._resources[kind], name)))
        for entry, _ in news:
            obj = bodies.get((entry.key, entry.digest))
            if obj is None:
                continue  # its file is being changed at this moment: the next scan has it
            self._known[entry.key] = entry.digest
            changes[entry.key[0]].append((Op.UPSERT, obj))
        errors += [error for error in conflicts if error not in self._said]
        self._said = set(conflicts)
        return Scan(changes, errors)

    def _read(self, path: str, bodies: _Bodies) -> tuple[list[_Entry], list[ObjectError]]:
        """Read a file: what is wanted of it goes into `bodies`; gives its entries and errors."""
        got = manifest.read(Path(path), self._resources)
        entries = []
        for found in got.objects:
            kind = found.resource.kind
            namespace = self._namespaces[kind]
            if namespace and found.obj.metadata.namespace != namespace:
                continue
            if self._selects[kind](found.obj):
                key = (kind, found.obj.key)
                digest = hash(msgspec.msgpack.encode(found.obj))
                bodies[key, digest] = found.obj
                entries.append(_Entry(key, digest, claims(found.obj), found.origin))
        return entries, got.errors

    def _resolve(self) -> tuple[dict[_Key, tuple[_Entry, str]], list[ObjectError]]:
        """Which entry counts for each object, with its file; and those that don't."""
        wanted: dict[_Key, tuple[_Entry, str]] = {}
        owners: dict[str, _Entry] = {}
        errors = []
        for path, file in sorted(self._files.items()):
            for entry in file.entries:
                kind, name = entry.key
                first = wanted.get(entry.key)
                if first is not None:
                    text = f"stands already at {first[0].origin}: this one is left out"
                    errors.append(ObjectError(kind, name, "$.metadata.name", text, entry.origin))
                    continue
                taken = next((claim for claim in entry.claims if claim in owners), None)
                if taken is not None:
                    text = f"{taken} is already {owners[taken].key[1]}'s ({owners[taken].origin})"
                    errors.append(ObjectError(kind, name, "$.spec", text, entry.origin))
                    continue
                wanted[entry.key] = (entry, path)
                owners.update(dict.fromkeys(entry.claims, entry))
        return wanted, errors


class ManifestDirectory:
    """A directory of manifests as a `Source`.

    Parameters
    ----------
    path
        The directory, or one file.
    wants
        What to take from it.
    interval
        Seconds between looks at the directory where nothing is reported: changes behind
        symbolic links that lead elsewhere are seen this late.
    settle
        Seconds in which nothing may change before files are read: an editor writes a file in
        several steps, and `kubectl`, `rsync` or `git` several files.
    queue_size
        Batches that may wait for the consumer.

    Examples
    --------
    >>> import asyncio
    >>> import tempfile
    >>> from pathlib import Path
    >>> from nsxdp.k8s.manifests import ManifestDirectory
    >>> from nsxdp.k8s.resources import NODES, Want
    >>> async def main(name):
    ...     async with ManifestDirectory(name, [Want(NODES)]) as source:
    ...         async for batch in source:
    ...             return [node.key for op, node in batch.events], batch.synced
    >>> node = "{apiVersion: v1, kind: Node, metadata: {name: here}}"
    >>> with tempfile.TemporaryDirectory() as name:
    ...     _ = Path(name, "node.yaml").write_text(node)
    ...     asyncio.run(main(name))
    (['here'], True)
    """

    def __init__(
        self,
        path: str | Path,
        wants: Sequence[Want],
        *,
        interval: float = 30.0,
        settle: float = 0.05,
        queue_size: int = 16,
    ) -> None:
        self._path = Path(path)
        self._directory = Directory(path, wants)
        self._interval = interval
        self._settle = settle
        self._queue: asyncio.Queue[Batch | Exception] = asyncio.Queue(queue_size)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Raises ManifestError if there is no such directory."""
        await asyncio.to_thread(self._directory.signatures)
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self

    async def __anext__(self) -> Batch:
        got = await self._queue.get()
        if isinstance(got, Exception):
            raise got
        return got

    async def _run(self) -> None:
        try:
            watched = self._path if self._path.is_dir() else self._path.parent
            async with DirectoryWatch(watched, self._interval) as watch:
                first = True
                gone = False
                while True:
                    try:
                        if not first:
                            await self._quiet()
                        received = time.monotonic()
                        scan = await asyncio.to_thread(self._directory.scan)
                    except ManifestError as error:
                        if not gone:
                            log.warning("what was read before stays valid", error=str(error))
                        gone = True
                    else:
                        gone = False
                        await self._deliver(scan, received, first=first)
                        first = False
                    await watch.wait()
        except Exception as error:  # the consumer must know
            log.exception("the manifest directory failed")
            await self._queue.put(error)

    async def _quiet(self) -> None:
        """Wait until the files stop changing, but not for ever."""
        before = await asyncio.to_thread(self._directory.signatures)
        for _ in range(_SETTLE_ROUNDS):
            await asyncio.sleep(self._settle)
            after = await asyncio.to_thread(self._directory.signatures)
            if after == before:
                return
            before = after

    async def _deliver(self, scan: Scan, received: float, *, first: bool) -> None:
        kinds = self._directory.kinds
        by_kind: dict[str, list[ObjectError]] = {kind: [] for kind in kinds}
        for error in scan.errors:
            log.warning("a manifest cannot be used", error=str(error))
            # What isn't of any kind (a syntax error) goes with the first.
            by_kind[error.kind if error.kind in by_kind else kinds[0]].append(error)
        for kind in kinds:
            changes = scan.changes[kind]
            errors = tuple(by_kind[kind])
            if not (changes or errors or first):
                continue
            for start in range(0, len(changes) or 1, _BATCH):
                part = changes[start : start + _BATCH]
                synced = not first or start + _BATCH >= len(changes)
                await self._queue.put(Batch(kind, part, synced, received, errors))
                errors = ()
