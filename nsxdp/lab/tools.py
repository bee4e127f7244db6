"""Programs that the lab runs: which Debian package has them, how to run them and wait for them."""

import ctypes
import os
import select
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from nsxdp.lab.errors import LabError, MissingTool

PACKAGE = {
    "conntrack": "conntrack",
    "containerd": "containerd",
    "ctr": "containerd",
    "etcd": "etcd-server",
    "ethtool": "ethtool",
    "gcc": "gcc",
    "ip": "iproute2",
    "iptables": "iptables",
    "mmdebstrap": "mmdebstrap",
    "nfcapd": "nfdump",
    "nfdump": "nfdump",
    "nft": "nftables",
    "nsenter": "util-linux",
    "ovn-controller": "ovn-host",
    "ovn-nbctl": "ovn-common",
    "ovn-northd": "ovn-central",
    "ovs-appctl": "openvswitch-common",
    "ovs-ofctl": "openvswitch-common",
    "ovs-vsctl": "openvswitch-switch",
    "ovs-vswitchd": "openvswitch-switch",
    "ovsdb-server": "openvswitch-switch",
    "ovsdb-tool": "openvswitch-switch",
    "runc": "runc",
    "unshare": "util-linux",
}
"""Program -> the Debian package that has it."""

SEARCH_PATH = os.pathsep.join(
    [os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"]
)

_IN_CREATE = 0x100
_IN_MOVED_TO = 0x80


def require(*programs: str) -> None:
    """Check that the lab can run: as root, and with `programs`.

    Raises
    ------
    MissingTool
        Says all that is missing and the command that installs it.
    """
    if os.geteuid():
        raise MissingTool("the lab makes network namespaces: run it as root")
    missing = [program for program in programs if not shutil.which(program, path=SEARCH_PATH)]
    if missing:
        packages = " ".join(sorted({PACKAGE[program] for program in missing}))
        raise MissingTool(
            f"not installed: {', '.join(missing)}; "
            f"install with: apt-get install --no-install-recommends {packages}"
        )


def slowness() -> float:
    """How many times slower than usual this machine is: ``NSXDP_SLOWNESS``, 1 if not set.

    The lab waits as many times longer, and puts less load on what it tests.
    """
    said = os.environ.get("NSXDP_SLOWNESS") or "1"
    try:
        factor = float(said)
    except ValueError:
        factor = 0.0
    if not 1 <= factor < 1000:
        raise LabError(f"NSXDP_SLOWNESS={said}: it is a number from 1 to 1000")
    return factor


def program(name: str) -> str:
    """Full path of a program, also where ``PATH`` lacks the ``sbin`` directories."""
    return shutil.which(name, path=SEARCH_PATH) or name


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    check: bool = True,
    stdin: str | None = None,
    timeout: float = 60.0,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with its output captured as text.

    Raises
    ------
    LabError
        With the command and what it wrote on stderr, if it failed (unless not `check`), or if it
        took longer than `timeout` seconds.
    """
    command = [os.fspath(word) for word in argv]
    command[0] = program(command[0])
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            check=False,
            env=env,
            input=stdin,
            text=True,
            timeout=timeout * slowness(),
        )
    except subprocess.TimeoutExpired as late:
        raise LabError(f"{_shown(argv)}: no end after {timeout:g} s") from late
    if check and done.returncode:
        said = done.stderr.strip() or done.stdout.strip() or "no message"
        raise LabError(f"{_shown(argv)}: exit code {done.returncode}: {said}")
    return done


def _shown(argv: Sequence[str | os.PathLike[str]]) -> str:
    text = " ".join(os.fspath(word) for word in argv)
    return text if len(text) <= 300 else f"{text[:300]}..."


class PathWatch:
    """Waits for a file, such as a server's socket, to appear: by inotify(7), not by looking again.

    Made before the server is started, so that nothing is missed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        watched = self._fd >= 0 and libc.inotify_add_watch(
            self._fd, os.fsencode(path.parent), _IN_CREATE | _IN_MOVED_TO
        )
        if self._fd < 0 or watched < 0:
            number = ctypes.get_errno()
            raise LabError(f"inotify for {path.parent}: {os.strerror(number)}")

    def wait(self, process: subprocess.Popen[bytes], timeout: float) -> bool:
        """Whether the path is there; False if `process` ended or `timeout` seconds passed first."""
        deadline = time.monotonic() + timeout
        pidfd = os.pidfd_open(process.pid)
        try:
            while not self.path.exists():
                remaining = deadline - time.monotonic()
                if remaining <= 0 or process.poll() is not None:
                    return False
                ready, _, _ = select.select([self._fd, pidfd], [], [], remaining)
                if self._fd in ready:
                    os.read(self._fd, 65536)
            return True
        finally:
            os.close(pidfd)

    def close(self) -> None:
        """Give the watch back to the kernel."""
        os.close(self._fd)

    def __enter__(self) -> "PathWatch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def tail(path: Path, lines: int = 15) -> str:
    """The last `lines` lines of a log, for an error message."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
