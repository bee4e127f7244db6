"""The first process of a node: makes the node of its namespaces, and starts its daemons.

    python init.py SPECIFICATION

runs in namespaces of its own (network, mount, PID, UTS, IPC), as process 1. The node has its own
``/etc``, ``/var`` and ``/opt`` over the machine's, an empty ``/run``, and a cgroup under which its
kubelet works. When all daemons are started, the file ``started`` appears in the node's directory.
A daemon that ends is started again a second later, as a node's service manager would;
when this process ends, everything on the node does.

Only the standard library is used: the program is run by its path, without the rest of nsxdp.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any, NoReturn

OVER = ("etc", "var", "opt")
"""What a node sees of the machine and may change for itself."""

OWN = ("kubelet", "containerd", "cni")
"""Directories of ``/var/lib`` that can't lie on an overlay, or that outlive the node."""

_CGROUPS = Path("/sys/fs/cgroup")
_CONTAINERD_SOCKET = Path("/run/containerd/containerd.sock")
_CONTAINERD_SECONDS = 60.0
_IMPORT_SECONDS = 600.0
_RESTART_SECONDS = 1.0


class Init:
    """Makes a node as its specification says, which `nsxdp.lab.cluster.node` writes."""

    def __init__(self, specification: dict[str, Any]) -> None:
        self.name: str = specification["name"]
        self.hosts: dict[str, str] = specification["hosts"]
        self.cgroup: str = specification["cgroup"]
        self.plugins = Path(specification["plugins"])
        self.files: dict[str, str] = specification["files"]
        self.archives: list[str] = specification["archives"]
        self.daemons: dict[str, list[str]] = specification["daemons"]
        self.directory = Path(specification["directory"])
        self.logs = Path(specification["logs"])
        self.running: dict[int, str] = {}

    def run(self) -> NoReturn:
        """Make the node, and look after it until it is ended."""
        self.mount()
        self.enter_cgroup()
        self.identify()
        for path, text in self.files.items():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text)
        self.start("containerd")
        self.await_containerd()
        self.import_images()
        for name in self.daemons:
            if name != "containerd":
                self.start(name)
        (self.directory / "started").touch()
        self.look_after()

    def mount(self) -> None:
        """Give the node file systems of its own."""
        mount("-t", "proc", "proc", "/proc")
        self.mount_sys()
        for name in OVER:
            upper, work = (self.directory / part / name for part in ("upper", "work"))
            for folder in (upper, work):
                folder.mkdir(parents=True, exist_ok=True)
            options = f"lowerdir=/{name},upperdir={upper},workdir={work}"
            mount("-t", "overlay", "overlay", "-o", options, f"/{name}")
        for name in OWN:
            real, seen = self.directory / name, Path("/var/lib") / name
            for folder in (real, seen):
                folder.mkdir(parents=True, exist_ok=True)
            mount("--bind", real, seen)
        mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
        for path in ("/run/netns", "/run/lock", "/opt/cni/bin", "/var/log/pods"):
            Path(path).mkdir(parents=True, exist_ok=True)
        for plugin in self.plugins.iterdir():
            (Path("/opt/cni/bin") / plugin.name).symlink_to(plugin)
        shutil.rmtree("/etc/cni", ignore_errors=True)
        Path("/etc/cni/net.d").mkdir(parents=True)
        mount("--make-rshared", "/")

    def mount_sys(self) -> None:
        """Give the node the ``/sys`` of its network namespace, with the machine's cgroups in it.

        All that is looked up in a sysfs is looked up under one lock of the kernel's, which nodes
        share here, and runtimes look up cgroups all the time. Who makes a network device needs that
        lock for himself some three hundred times, while all others who change anything of the
        network wait for him. So the way to the cgroups doesn't lead through sysfs, of which the
        node has what is in it instead.
        """
        top, cgroups, whole = Path("/sys"), self.directory / "cgroup", self.directory / "sysfs"
        for folder in (cgroups, whole):
            folder.mkdir(exist_ok=True)
        mount("--rbind", _CGROUPS, cgroups)
        mount("-t", "sysfs", "sysfs", whole)
        mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", top)
        for part in whole.iterdir():
            (top / part.name).mkdir()
            if part.name != "fs":
                mount("--bind", part, top / part.name)
        _CGROUPS.mkdir()
        mount("--rbind", cgroups, _CGROUPS)
        for folder in (cgroups, whole):
            call("umount", "--lazy", folder)
        bpf = top / "fs" / "bpf"
        bpf.mkdir()
        with contextlib.suppress(subprocess.CalledProcessError):
            mount("-t", "bpf", "bpf", bpf)

    def enter_cgroup(self) -> None:
        """Make the cgroup under which the kubelet works; cpusets begin empty, and useless.

        Beside the kubelet's one for pods is one for what the node itself runs, and this process is
        in it, as it is where systemd begins: what a runtime does for some pods, with a process or
        two for each, leaves others their part of the processors.
        """
        for hierarchy in _CGROUPS.iterdir():
            if not (hierarchy / "cgroup.procs").exists():
                continue
            here = hierarchy
            for part in self.cgroup.strip("/").split("/"):
                below = here / part
                below.mkdir(exist_ok=True)
                for name in ("cpuset.cpus", "cpuset.mems"):
                    if (here / name).exists() and not (below / name).read_text().strip():
                        (below / name).write_text((here / name).read_text())
                here = below
            if (here / "cpu.shares").exists():
                daemons = here / "system.slice"
                daemons.mkdir(exist_ok=True)
                (daemons / "cgroup.procs").write_text("0")  # who writes

    def identify(self) -> None:
        """Give the node its name, and the names that it knows of others."""
        socket.sethostname(self.name)
        Path("/etc/hostname").write_text(f"{self.name}\n")
        lines = [f"{address} {name}\n" for name, address in self.hosts.items()]
        Path("/etc/hosts").write_text("".join(["127.0.0.1 localhost\n", *lines]))
        # Nobody resolves names of the world in here: pods with dnsPolicy Default get no answer.
        Path("/etc/resolv.conf").unlink(missing_ok=True)
        Path("/etc/resolv.conf").write_text("nameserver 127.0.0.1\n")

    def await_containerd(self) -> None:
        """Wait until containerd answers."""
        deadline = time.monotonic() + _CONTAINERD_SECONDS
        while not (_CONTAINERD_SOCKET.exists() and answers("ctr", "version")):
            if time.monotonic() > deadline:
                raise SystemExit(f"containerd has not answered for {_CONTAINERD_SECONDS:g} s")
            time.sleep(0.1)

    def import_images(self) -> None:
        """Import those archives of images that have changed since they were imported here."""
        noted = self.directory / "containerd" / "imported.json"
        known: dict[str, str] = json.loads(noted.read_text()) if noted.exists() else {}
        for path in self.archives:
            # The manifest has the digests of all that is in the archive.
            with tarfile.open(path) as archive:
                manifest = archive.extractfile("manifest.json")
                assert manifest is not None
                version = manifest.read().decode()
            if known.get(path) != version:
                call(
                    *("ctr", "--namespace", "k8s.io", "images", "import", path),
                    timeout=_IMPORT_SECONDS,
                )
                known[path] = version
                noted.write_text(json.dumps(known))

    def start(self, name: str) -> None:
        """Start a daemon."""
        with (self.logs / f"{self.name}-{name}.log").open("ab") as log:
            process = subprocess.Popen(
                self.daemons[name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.running[process.pid] = name

    def look_after(self) -> NoReturn:
        """Start daemons again that have ended, and take note of the end of orphans."""
        while True:
            pid, _ = os.wait()
            if name := self.running.pop(pid, None):
                time.sleep(_RESTART_SECONDS)
                self.start(name)


def call(*command: str | Path, timeout: float = 60.0) -> None:
    """Run a command that must do what it is told."""
    subprocess.run(command, check=True, timeout=timeout, stdin=subprocess.DEVNULL)


def answers(*command: str) -> bool:
    """Whether a command succeeds; what it says doesn't matter."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, timeout=10, check=False)
        return done.returncode == 0
    return False


def mount(*arguments: str | Path) -> None:
    """As mount(8)."""
    call("mount", *arguments)


if __name__ == "__main__":
    Init(json.loads(Path(sys.argv[1]).read_text())).run()
