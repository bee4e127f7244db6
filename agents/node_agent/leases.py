"""What was given to whom, in a file that survives the process.

The file is a journal: a line for each lease that was given and for each that was returned, so that
giving one costs one short write, and many at once cost one together. At the start, and when most of
it is history, it is written anew with what is left.

Nobody waits for the disk, which is busiest when many pods start. What the kernel was given outlives
the process; and a node that loses its power before the disk has it loses all pods that had leases.

Nothing new is given that can't be written, but what is returned is. That goes into the file before
anything else does: so nobody's address there is that of another one, too. If the process ends
before, the next one finds that the pod is gone (`nsxdp_agents.node_agent.restore`).

A line is its checksum (CRC-32) and JSON::

    7d0a2f3c {"given":{"container":"4ac7...","ifname":"eth0","ips":["10.244.3.3/24"],...}}
    11c4a9be {"returned":["4ac7...","eth0"]}

The last lines may be cut off, or missing, where the node lost its power.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import zlib
from collections import deque
from collections.abc import Awaitable, Iterator
from contextlib import suppress
from functools import lru_cache, partial
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from nsxdp.logs import get_logger
from nsxdp_agents.common.files import replaced
from nsxdp_agents.common.realtime import ShortWork
from nsxdp_agents.node_agent.batches import Asked, Batches, settle
from nsxdp_agents.node_agent.cni.request import Attachment, Pod
from nsxdp_agents.node_agent.cni.runtime_config import HostPort, Rate
from nsxdp_agents.node_agent.ipam import Address

__all__ = ["Lease", "Leases", "LeasesError", "interface_of"]

log = get_logger(__name__)

_HISTORY: Final = 4096
"""Lines that are more than what is left, until the file is written anew."""

_FREE: Final = 1 << 16
"""Addresses of which it is kept in which order they were returned."""


@lru_cache(maxsize=4096)
def interface_of(text: str) -> IPv4Interface | IPv6Interface:
    """An address with its prefix length, read once: while a pod comes, it is asked for often."""
    return ip_interface(text)


class LeasesError(Exception):
    """The file can't be read or written; one line with the way out."""


class Lease(Struct, frozen=True, omit_defaults=True):
    """What an attachment has.

    Attributes
    ----------
    container, ifname
        The attachment.
    network
        The CNI's name of the network.
    ips
        Its addresses with their prefix lengths.
    gateways
        Of each address, the one by which it reaches what isn't on the bridge.
    mac, mtu
        Of the interface.
    port
        The name of the interface's other end, which is the bridge's port.
    sandbox
        Where the runtime has the container's network namespace.
    namespace, pod, uid
        Whose it is in Kubernetes.
    host_ports
        The node's ports that lead to it.
    ingress, egress
        How fast it may get and send; None: as fast as it can.
    vlan
        The one that is the pod's on the uplink; None: it has none.
    """

    container: str
    ifname: str
    network: str
    ips: tuple[str, ...]
    gateways: tuple[str, ...]
    mac: str
    mtu: int
    port: str
    sandbox: str = ""
    namespace: str = ""
    pod: str = ""
    uid: str = ""
    host_ports: tuple[HostPort, ...] = ()
    ingress: Rate | None = None
    egress: Rate | None = None
    vlan: int | None = None

    @property
    def attachment(self) -> Attachment:
        """Whose it is."""
        return Attachment(self.container, self.ifname)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Its addresses alone."""
        return tuple(interface_of(ip).ip for ip in self.ips)

    @property
    def owner(self) -> Pod:
        """Whose it is in Kubernetes."""
        return Pod(self.namespace, self.pod, self.uid)


class _Line(Struct, omit_defaults=True):
    """One line of the file."""

    given: Lease | None = None
    returned: Attachment | None = None
    free: list[str] | None = None
    """Addresses that nobody has, the one that was returned first first."""


_decode = msgspec.json.Decoder(_Line).decode


class Leases:
    """The leases there are; a mapping by attachment that is also in a file.

    Parameters
    ----------
    file
        The journal, which nobody else may have open.
    realtime_priority
        Of the thread that writes it; 0: none.

    Raises
    ------
    LeasesError
        It can't be read or opened, or another process has it.
    """

    def __init__(self, file: Path, realtime_priority: int = 0) -> None:
        self._path = file
        self._leases: dict[Attachment, Lease] = {}
        self._free: deque[str] = deque(maxlen=_FREE)
        self._late: list[_Line] = []
        """What the file lacks."""
        self._batches = Batches(self._write_together)
        self._thread = ShortWork(1, "leases", realtime_priority)
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _locked(file.with_name(f"{file.name}.lock"))
            for line in _read(file):
                self._take(line)
            self._file = self._opened()
        except OSError as error:
            raise LeasesError(f"{error.filename or file}: {error.strerror}") from None

    async def close(self) -> None:
        """Write what is to be written, and close the file."""
        await self._batches.finish()
        self._thread.close()
        if self._late:
            self._write(b"".join(map(_encoded, self._late)))
        os.close(self._file)
        os.close(self._lock)

    def __len__(self) -> int:
        return len(self._leases)

    def __iter__(self) -> Iterator[Lease]:
        return iter(list(self._leases.values()))

    def get(self, attachment: Attachment) -> Lease | None:
        """The lease of an attachment."""
        return self._leases.get(attachment)

    @property
    def free(self) -> list[Address]:
        """Addresses that were returned, the earliest first; some may have been given since."""
        return [ip_address(text) for text in self._free]

    def give(self, lease: Lease) -> Awaitable[None]:
        """Have it written that an attachment has 'lease', and wait for that.

        It counts from the call on.

        Raises
        ------
        LeasesError
            It can't be written, and so it isn't given.
        """
        line = _Line(given=lease)
        self._take(line)
        return self._give(line, lease)

    async def _give(self, line: _Line, lease: Lease) -> None:
        try:
            await self._append(line)
        except BaseException:
            self._leases.pop(lease.attachment, None)
            raise

    async def find(self, lease: Lease) -> None:
        """Have it written, now or later, that an attachment has 'lease', as its port says.

        It counts from the call on.
        """
        self._take(line := _Line(given=lease))
        await self._append_some_time(line)

    async def give_back(self, attachment: Attachment) -> None:
        """Have it written, now or later, that an attachment has no lease any more."""
        if attachment in self._leases:
            await self._append_some_time(line := _Line(returned=attachment))
            self._take(line)

    def _take(self, line: _Line) -> None:
        if line.free is not None:
            self._free.extend(line.free)
        if line.given is not None:
            self._leases[line.given.attachment] = line.given
        if line.returned is not None:
            lease = self._leases.pop(line.returned, None)
            if lease is not None:
                self._free.extend(map(str, lease.addresses))

    async def _append(self, line: _Line) -> None:
        await self._batches.do(_encoded(line))

    async def _append_some_time(self, line: _Line) -> None:
        try:
            await self._append(line)
        except LeasesError as error:
            if not self._late:
                log.warning("the leases' file lags behind", reason=str(error))
            self._late.append(line)

    async def _write_together(self, batch: Asked[bytes]) -> None:
        late, self._late = self._late, []
        lines = [*map(_encoded, late), *(line for line, _ in batch)]
        problem = await self._thread.do(partial(self._write, b"".join(lines)))
        if problem is None:
            self._lines += len(lines)
        else:
            self._late = late + self._late
        settle(batch, None if problem is None else LeasesError(f"{self._path}: {problem}"))
        await asyncio.sleep(0)  # who has been told takes note of it
        if self._lines > 2 * len(self._leases) + _HISTORY and self._batches.is_last:
            await self._shorten()

    def _write(self, data: bytes) -> str | None:
        """Write to the file, all or nothing; why it can't be."""
        try:
            if os.write(self._file, data) == len(data):
                self._size += len(data)
                return None
            problem = os.strerror(errno.ENOSPC)
        except OSError as error:
            problem = error.strerror or str(error)
        with suppress(OSError):  # what stays there has no end, or is given to nobody
            os.ftruncate(self._file, self._size)
        return problem

    async def _shorten(self) -> None:
        """Leave the history out of the file; where that can't be, it goes on growing."""
        before = self._file
        try:
            self._file = await asyncio.to_thread(self._write_anew, *self._all())
        except OSError as error:
            log.warning("the leases' file grows", file=str(self._path), reason=error.strerror)
            self._lines = 0
        else:
            os.close(before)

    def _all(self) -> tuple[bytes, int]:
        """All that there is to be known, and in how many lines."""
        taken = {str(address) for lease in self._leases.values() for address in lease.addresses}
        # What was returned twice counts from the last time on.
        free = dict.fromkeys(text for text in reversed(self._free) if text not in taken)
        self._free = deque(reversed(free), maxlen=_FREE)
        lines = [_Line(free=list(self._free))]
        lines += (_Line(given=lease) for lease in self._leases.values())
        return b"".join(map(_encoded, lines)), len(lines)

    def _opened(self) -> int:
        """The file with what is left, or as it is where it can't be written anew; an open file."""
        try:
            return self._write_anew(*self._all())
        except OSError as error:
            log.warning("the leases' file stays as it is", file=str(self._path), reason=str(error))
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        data = self._path.read_bytes()
        self._lines = data.count(b"\n")
        self._size = data.rfind(b"\n") + 1
        os.ftruncate(file, self._size)  # what has no end would be a part of the next line
        return file

    def _write_anew(self, data: bytes, lines: int) -> int:
        """Write all of it to another file, and let it be this one; an open file."""
        file = replaced(self._path, data)
        self._lines = lines
        self._size = len(data)
        return file


def _encoded(line: _Line) -> bytes:
    text = msgspec.json.encode(line)
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _read(file: Path) -> Iterator[_Line]:
    """What a file says. A line that can't be read says nothing."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return
    lines = data.split(b"\n")
    for number, each in enumerate(lines, 1):
        if not each:
            continue
        checksum, _, text = each.partition(b" ")
        try:
            if number < len(lines) and int(checksum, 16) == zlib.crc32(text):
                yield _decode(text)
                continue
        except (ValueError, msgspec.DecodeError):
            pass
        log.warning("a line of the leases' file is damaged", file=str(file), line=number)


def _locked(file: Path) -> int:
    """A file that is ours as long as it is open, for the journal itself is replaced now and then.

    Raises
    ------
    LeasesError
        It is somebody else's.
    """
    opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(opened)
        raise LeasesError(f"{file}: another nsx-node-agent runs on this node") from None
    return opened
