"""The demo's stage: a node with pods, a source of Services, and nsx-kube-proxy as a process."""

from __future__ import annotations

import inspect
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Protocol

import yaml
from rich.console import Console

from nsxdp.k8s.manifests import ManifestDirectory
from nsxdp.lab import ApiServer, LabError, Node

MANIFESTS = Path(__file__).resolve().parents[1] / "manifests"
NODE = "demo"
PODS = ("web-1", "web-2", "web-3", "web-4")
FIRST_HOST = 11
"""The pods' addresses: 10.244.0.11 and fd00:244::11 are those of the first."""

HTTP_PORT = 8080
UDP_PORT = 8053
SYNC_PERIOD = 1.0
"""Seconds between two comparisons with the switch: short, so that nobody waits for a repair."""

_READY_SECONDS = 30.0

Object = dict[str, Any]


class Source(Protocol):
    """Where Services come from."""

    flags: list[str]
    """What tells nsx-kube-proxy."""

    patience: str
    """What of a change's time isn't nsx-kube-proxy's work, for people."""

    def scale(self, endpoints: int) -> float:
        """Let 'web' have its first so many pods; returns when it was said (epoch seconds)."""


class Directory:
    """A copy of the example's manifests, which is followed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.flags = ["--manifests", str(path)]
        settle = inspect.signature(ManifestDirectory).parameters["settle"].default
        self.patience = f" ({settle * 1000:.0f} ms of it wait for further edits)"
        for manifest in MANIFESTS.glob("*.yaml"):
            (path / manifest.name).write_text(manifest.read_text())

    def scale(self, endpoints: int) -> float:
        """Rewrite web.yaml: at once, so that no half of it is read."""
        new = self._path / ".web.yaml.new"
        new.write_text(yaml.safe_dump_all(scaled("web.yaml", endpoints)))
        now = time.time()
        new.replace(self._path / "web.yaml")
        return now


class Cluster:
    """A real API server, to which the manifests are applied."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self.flags = ["--kubeconfig", str(server.kubeconfig)]
        self.patience = " (with the API server's own part)"
        objects = [obj for path in sorted(MANIFESTS.glob("*.yaml")) for obj in _read(path.name)]
        # A cluster has its ServiceCIDR by itself.
        objects = [obj for obj in objects if obj["kind"] != "ServiceCIDR"]
        server.apply(obj for obj in objects if obj["kind"] == "Service")
        server.apply(obj for obj in objects if obj["kind"] != "Service")

    def scale(self, endpoints: int) -> float:
        """Replace the EndpointSlices, as the EndpointSlice controller would."""
        now = time.time()
        self._server.apply(
            obj for obj in scaled("web.yaml", endpoints) if obj["kind"] == "EndpointSlice"
        )
        return now


def _read(name: str) -> list[Object]:
    return list(yaml.safe_load_all((MANIFESTS / name).read_text()))


def scaled(name: str, endpoints: int) -> list[Object]:
    """A manifest's objects with that many endpoints in each of its slices."""
    objects = _read(name)
    for obj in objects:
        if obj["kind"] == "EndpointSlice":
            prefix = "10.244.0." if obj["addressType"] == "IPv4" else "fd00:244::"
            obj["endpoints"] = [
                {
                    "addresses": [f"{prefix}{FIRST_HOST + number}"],
                    "nodeName": NODE,
                    "conditions": {"ready": True},
                }
                for number in range(endpoints)
            ]
    return objects


class Agent:
    """nsx-kube-proxy on the node: started, killed, asked for its metrics."""

    def __init__(self, node: Node, source: Source, log: Path) -> None:
        self._node = node
        self._log = log
        self._argv = [
            str(Path(sys.executable).with_name("nsx-kube-proxy")),
            *source.flags,
            f"--ovsdb={node.ovsdb}",
            f"--bridge={node.bridge}",
            f"--node-name={NODE}",
            f"--sync-period={SYNC_PERIOD:g}",
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> str:
        """As one would type it."""
        return " ".join(["nsx-kube-proxy", *self._argv[1:]])

    def start(self) -> None:
        """Start it, and wait until the switch has all that it should have."""
        with self._log.open("ab") as log:
            self._process = self._node.netns.popen(self._argv, stdout=log, stderr=log)
        self.wait_until(lambda: self.last_sync() > 0, "has not programmed the switch")

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def metric(self, name: str) -> float:
        """The value of ``kubeproxy_NAME`` for IPv4: one commit serves both families."""
        text = self._node.netns.http_get("http://127.0.0.1:10249/metrics")
        for line in text.splitlines():
            sample, _, value = line.rpartition(" ")
            if sample == f'kubeproxy_{name}{{ip_family="IPv4"}}':
                return float(value)
        return 0.0

    def last_sync(self) -> float:
        """When the switch last had all that was asked for (epoch seconds); 0: not yet."""
        return self.metric("sync_proxy_rules_last_timestamp_seconds")

    def wait_until(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Ask the agent again and again, for there is nobody who would tell."""
        deadline = time.monotonic() + _READY_SECONDS
        pause = 0.01
        while True:
            with suppress(OSError, LabError):
                if condition():
                    return
            ended = self._process is None or self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise LabError(f"nsx-kube-proxy {otherwise}; its log ends:\n{self.log_tail()}")
            time.sleep(pause)
            pause = min(pause * 1.2, 0.1)

    def log_tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])


class Stage(ExitStack):
    """All of it, for as long as a ``with`` lasts.

    Attributes
    ----------
    node, client
        The node, and the pod whose only work is to connect.
    server
        The API server, if Services come from one.
    source, agent
        Where Services come from, and the proxy, not yet started.
    """

    def __init__(self, console: Console, *, api_server: bool) -> None:
        super().__init__()
        try:
            self.node = self.enter_context(Node(NODE))
            for number, name in enumerate(PODS):
                host = FIRST_HOST + number
                pod = self.node.add_pod(name, ip=f"10.244.0.{host}", ip6=f"fd00:244::{host}")
                pod.serve_http(HTTP_PORT)
                pod.serve_udp(UDP_PORT)
            self.client = self.node.add_pod("client")
            self.server: ApiServer | None = None
            self.source: Source
            if api_server:
                self.server = ApiServer(self.node.netns, console=console)
                self.enter_context(self.server)
                self.source = Cluster(self.server)
            else:
                self.source = Directory(self.node.netns.directory("manifests"))
            log = self.node.netns.directory("agent") / "nsx-kube-proxy.log"
            self.agent = Agent(self.node, self.source, log)
        except BaseException:
            self.close()
            raise

    def buckets(self, group: int) -> int:
        """How many endpoints a group on the switch has."""
        text = self.node.ovs.ofctl("dump-groups", self.node.bridge, str(group))
        return text.count("bucket=")
