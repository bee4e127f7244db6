"""Who owns what the lab makes, and how it goes away when the owner is gone.

The owner is a process, known by its pid and the time it started. Both are part of the name of every
namespace (``nsxdp-PID-START-NAME``) and of the run directory (``/run/nsxdp-lab/PID-START``), so the
machine itself is the record of what is there and whose it is. Every process of the lab runs in one
of these namespaces, which is how it is found again, whatever it has done to detach itself.

What a lab changes of the machine itself is its owner's too: the cgroups of that name, and kernel
parameters, whose values are noted in the run directory and put back.

Three things clean up: the objects' own ``close``; a watcher, which is this file run as a program
and sees the owner die; and `sweep` at the start of the next lab, in case both were killed.

Only the standard library is imported here, so that the watcher is small.
"""

import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PREFIX = "nsxdp"
NETNS = Path("/run/netns")
ROOT = Path("/run/nsxdp-lab")
CGROUPS = Path("/sys/fs/cgroup")

_NETNS_NAME = re.compile(rf"{PREFIX}-(\d+)-(\d+)-(.+)")
_DIRECTORY_NAME = re.compile(r"(\d+)-(\d+)")
_SYSCTLS = "sysctls.json"


@dataclass(frozen=True, order=True)
class Owner:
    """A process: its pid, and its start in ticks since boot (proc(5), field 22 of ``stat``)."""

    pid: int
    start: int

    @classmethod
    def current(cls) -> "Owner":
        """The calling process."""
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> "Owner":
        """The process that has this pid now."""
        return cls(pid, _stat(pid)[1])

    @property
    def alive(self) -> bool:
        """Whether this very process still runs; a zombie doesn't."""
        try:
            state, start = _stat(self.pid)
        except (OSError, ValueError, IndexError):
            return False
        return start == self.start and state not in "ZX"

    @property
    def token(self) -> str:
        """The owner's part of the names of what it owns."""
        return f"{self.pid}-{self.start}"

    @property
    def directory(self) -> Path:
        """Where its files are."""
        return ROOT / self.token

    def netns(self) -> list[str]:
        """Names of the network namespaces that it owns."""
        names = NETNS.glob(f"{PREFIX}-{self.token}-*") if NETNS.is_dir() else ()
        return sorted(path.name for path in names)

    @property
    def cgroup(self) -> str:
        """Name of its cgroup in each hierarchy (cgroups(7), version 1) where it makes one."""
        return f"{PREFIX}-{self.token}"

    def remove_cgroups(self, timeout: float = 5.0) -> None:
        """Remove its cgroups, which have no processes any more; one that died may need a moment."""
        deadline = time.monotonic() + timeout
        while tops := list(CGROUPS.glob(f"*/{self.cgroup}")):
            for top in tops:
                for folder, _, _ in os.walk(top, topdown=False):
                    with contextlib.suppress(OSError):
                        Path(folder).rmdir()
            if time.monotonic() > deadline:
                return
            time.sleep(0.01)

    def note_sysctls(self, names: Iterable[str]) -> None:
        """Note the machine's kernel parameters, which are about to be changed.

        What another owner has noted is what they were before that one changed them.
        """
        noted = {
            name: path.read_text().strip() for name in names if (path := sysctl(name)).exists()
        }
        for other in owners():
            noted |= {name: value for name, value in other.noted_sysctls.items() if name in noted}
        self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        (self.directory / _SYSCTLS).write_text(json.dumps(noted))

    @property
    def noted_sysctls(self) -> dict[str, str]:
        """The kernel parameters that it has noted."""
        with contextlib.suppress(OSError, ValueError):
            noted: dict[str, str] = json.loads((self.directory / _SYSCTLS).read_text())
            return noted
        return {}

    def restore_sysctls(self) -> None:
        """Put back what it has noted, unless that is the task of another owner that lives on."""
        noted = self.noted_sysctls
        (self.directory / _SYSCTLS).unlink(missing_ok=True)
        for other in owners():
            if other.alive:
                noted = {k: v for k, v in noted.items() if k not in other.noted_sysctls}
        for name, value in noted.items():
            with contextlib.suppress(OSError):
                sysctl(name).write_text(value)


def owners() -> list[Owner]:
    """Every owner, alive or dead, of whom there is anything on the machine."""
    found = set()
    for folder, pattern in ((NETNS, _NETNS_NAME), (ROOT, _DIRECTORY_NAME)):
        for entry in folder.iterdir() if folder.is_dir() else ():
            if match := pattern.fullmatch(entry.name):
                found.add(Owner(int(match[1]), int(match[2])))
    return sorted(found)


def short_name(netns: str) -> str:
    """Name of a lab's namespace as its owner gave it."""
    match = _NETNS_NAME.fullmatch(netns)
    return match[3] if match else netns


def sweep() -> list[str]:
    """Remove what dead owners left behind; the names of what was removed."""
    removed = []
    for owner in owners():
        if not owner.alive:
            removed += remove(owner)
    return removed


def remove(owner: Owner) -> list[str]:
    """Remove all that `owner` has: processes, namespaces, cgroups, files; names of what is told."""
    names = owner.netns()
    for name in names:
        delete_netns(name)
    owner.remove_cgroups()
    owner.restore_sysctls()
    if owner.directory.exists():
        shutil.rmtree(owner.directory, ignore_errors=True)
        names.append(str(owner.directory))
    return names


def delete_netns(name: str) -> None:
    """End every process in the namespace `name` but the caller, then delete it."""
    path = NETNS / name
    end_processes_in(path)
    deleted = subprocess.run(
        ["ip", "netns", "delete", name], capture_output=True, text=True, timeout=30, check=False
    )
    if deleted.returncode and path.exists():
        print(f"nsxdp lab: cannot delete {name}: {deleted.stderr.strip()}", file=sys.stderr)


def processes_in(netns: Path) -> list[int]:
    """Pids of the processes whose main thread is in `netns`, without the caller."""
    try:
        wanted = netns.stat()
    except OSError:
        return []
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                here = os.stat(f"/proc/{entry.name}/ns/net")  # noqa: PTH116  (hot, and no path is needed)
                if (here.st_dev, here.st_ino) == (wanted.st_dev, wanted.st_ino):
                    found.append(int(entry.name))
    return found


def end_processes_in(netns: Path, timeout: float = 10.0) -> None:
    """Kill the processes in `netns`, and those that they start meanwhile, until none is left."""
    deadline = time.monotonic() + timeout
    while (pids := processes_in(netns)) and time.monotonic() < deadline:
        with _pidfds(pids) as fds:
            # A pidfd names one process for good: only what is in the namespace now is killed.
            still = set(processes_in(netns))
            for pid, fd in fds.items():
                if pid in still:
                    with contextlib.suppress(ProcessLookupError):
                        signal.pidfd_send_signal(fd, signal.SIGKILL)
            await_exit((fd for pid, fd in fds.items() if pid in still), deadline)


def await_exit(pidfds: Iterable[int], deadline: float) -> bool:
    """Wait until all processes of `pidfds` have ended; False at `deadline` (`time.monotonic`)."""
    poll = select.poll()
    left = set(pidfds)
    for fd in left:
        poll.register(fd, select.POLLIN)
    while left:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return False
        for fd, _ in poll.poll(remaining * 1000):
            poll.unregister(fd)
            left.discard(fd)
    return True


@contextlib.contextmanager
def _pidfds(pids: Iterable[int]) -> Iterator[dict[int, int]]:
    """Pid -> pidfd of those that still exist."""
    fds: dict[int, int] = {}
    try:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                fds[pid] = os.pidfd_open(pid)
        yield fds
    finally:
        for fd in fds.values():
            os.close(fd)


def sysctl(name: str) -> Path:
    """The file of a kernel parameter."""
    return Path("/proc/sys") / name.replace(".", "/")


def _stat(pid: int) -> tuple[str, int]:
    """State and start time; the command's name may hold spaces and parentheses."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[19])


_watched: Owner | None = None


def ensure_watched() -> Owner:
    """Sweep once, start the watcher once, and give the calling process as the owner."""
    global _watched
    owner = Owner.current()
    if _watched != owner:
        _watched = owner
        sweep()
        ROOT.mkdir(mode=0o755, exist_ok=True)
        _start_watcher(owner)
    return owner


def _start_watcher(owner: Owner) -> None:
    # No Popen: the watcher outlives the owner, and nobody waits for it.
    null = os.open(os.devnull, os.O_RDWR)
    try:
        os.posix_spawn(
            sys.executable,
            [sys.executable, "-ISE", __file__, str(owner.pid), str(owner.start)],
            {"PATH": os.environ.get("PATH", os.defpath)},
            file_actions=[(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)],
            setsid=True,
        )
    finally:
        os.close(null)


def watch(owner: Owner) -> None:
    """Wait for `owner`'s end, then remove what it has not removed itself."""
    with contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(owner.pid)
        if owner.alive:
            select.select([fd], [], [])
        os.close(fd)
    remove(owner)


if __name__ == "__main__":
    watch(Owner(int(sys.argv[1]), int(sys.argv[2])))
