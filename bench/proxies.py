"""What makes a node serve Services, as a process: nsx-kube-proxy, and kube-proxy."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Literal, Self

from bench.processes import Usage, compile_imports, usage
from nsxdp.lab import build, tools
from nsxdp.lab.node import Node

NODE: Final = "node-1"
"""The node's name in the cluster."""

_DEADLINE: Final = 180.0
_METRICS: Final = 10249
_HEALTHZ: Final = 10256
_SYNC: Final = "kubeproxy_sync_proxy_rules"
_IPV4: Final = '{ip_family="IPv4"}'


class TooSlowError(Exception):
    """It was not done in the time that there was."""


class Proxy(ABC):
    """A process on a node that follows Services, and what it tells of itself.

    Attributes
    ----------
    pid
        Of the process.
    to_rules
        Seconds from its start to the dataplane's having all Services.
    """

    def __init__(self, node: Node, command: list[str | Path], stderr: int | IO[bytes]) -> None:
        self.node = node
        started = time.time()
        self._process = node.netns.popen(command, stderr=stderr)
        self.pid = self._process.pid
        try:
            self.to_rules = self.first_sync() - started
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def first_sync(self) -> float:
        """Wait for the dataplane's having everything; when that was, in Unix time."""
        return self.next_sync(0.0)

    @abstractmethod
    def next_sync(self, since: float) -> float:
        """Wait for a sync that ended after a moment; when it did."""

    def stop(self) -> None:
        """End it as a node's shutdown does: its rules stay."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)

    def settle(self) -> float:
        """Wait until it has done all that it has heard of, and sleeps; when its last sync ended."""
        deadline = time.monotonic() + _DEADLINE
        cpu = -1.0
        while cpu != (cpu := self.usage().cpu) or self._children() or self._pending():
            if time.monotonic() > deadline:
                raise TooSlowError
            time.sleep(0.25)
        return self.metrics()[f"{_SYNC}_last_timestamp_seconds{_IPV4}"]

    def metrics(self) -> dict[str, float]:
        """What it exports to Prometheus, by name and labels."""
        with self.node.netns.enter():
            connection = http.client.HTTPConnection("127.0.0.1", _METRICS, timeout=60)
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
            connection.close()
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in lines}

    def endpoint_changes(self) -> int:
        """Of how many changes of EndpointSlices it has heard."""
        return self._count("endpoint_changes_total")

    def usage(self) -> Usage:
        """What it has used so far."""
        return usage(self.pid)

    def _pending(self) -> int:
        return self._count("endpoint_changes_pending") + self._count("service_changes_pending")

    def _count(self, name: str) -> int:
        metrics = self.metrics()
        return int(max(metrics.get(f"{_SYNC}_{name}{labels}", 0) for labels in ("", _IPV4)))

    def _children(self) -> bool:
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return any((task / "children").read_text() for task in tasks)


class Agent(Proxy):
    """nsx-kube-proxy.

    Parameters
    ----------
    node
        Where it runs.
    source
        The option that says where Services come from.
    services
        So many there are at least.
    """

    def __init__(self, node: Node, source: str, services: int) -> None:
        self._events: deque[dict[str, Any]] = deque()
        self._news = threading.Condition()
        self._services = services
        compile_imports("nsxdp_agents.kube_proxy.app")
        command: list[str | Path] = [
            Path(sys.executable).with_name("nsx-kube-proxy"),
            source,
            f"--ovsdb={node.ovsdb}",
            f"--bridge={node.bridge}",
            f"--node-name={NODE}",
            "--log-format=json",
            "--log-level=debug",
        ]
        super().__init__(node, command, subprocess.PIPE)

    def first_sync(self) -> float:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.next_round()
        metrics = self.metrics()
        groups = metrics[f"{_SYNC}_openflow_groups_total{_IPV4}"]
        assert groups >= self._services, f"{groups:.0f} groups only"
        return metrics[f"{_SYNC}_last_timestamp_seconds{_IPV4}"]

    def next_sync(self, since: float) -> float:
        return float(self.next_round(since)["confirmed_at"])

    def next_round(self, since: float = 0) -> dict[str, Any]:
        """The next round of its log that the switch confirmed after a moment in Unix time."""
        while float((found := self._next_event("round"))["confirmed_at"]) < since:
            pass
        return found

    def stop(self) -> None:
        super().stop()
        self._reader.join(30)

    def _next_event(self, name: str) -> dict[str, Any]:
        """The next event of that name in its log."""
        deadline = time.monotonic() + _DEADLINE
        with self._news:
            while True:
                while self._events:
                    event = self._events.popleft()
                    if event.get("event") == name:
                        return event
                if not self._news.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"the agent says no {name!r}")

    def messages(self) -> int:
        """OpenFlow messages that it has sent."""
        return int(self.metrics()[f"{_SYNC}_openflow_messages_total{_IPV4}"])

    def _read(self) -> None:
        assert self._process.stderr is not None
        said = deque[str](maxlen=20)
        for line in self._process.stderr:
            try:
                event = json.loads(line)
            except ValueError:
                said.append(line.decode(errors="replace").rstrip())
                continue
            with self._news:
                self._events.append(event)
                self._news.notify_all()
        if said:
            print("the agent said:", *said, sep="\n", file=sys.stderr)


class KubeProxy(Proxy):
    """kube-proxy, which syncs as soon as something has changed: it need not wait a second.

    Parameters
    ----------
    node
        Where it runs, and whose kernel gets its rules.
    kubeconfig
        Where Services come from.
    mode
        As kube-proxy calls it.
    services
        So many there are at least.

    Raises
    ------
    TooSlowError
        It has not synced in three minutes.
    """

    def __init__(
        self, node: Node, kubeconfig: Path, mode: Literal["nftables", "iptables"], services: int
    ) -> None:
        tools.require("nft", "iptables")
        self._mode = mode
        self._services = services
        directory = node.netns.directory("kube-proxy")
        config = directory / "config.yaml"
        at_once = {"minSyncPeriod": "1ms", "syncPeriod": "1h"}  # 0 would be the default: 1 s
        config.write_text(
            json.dumps(
                {
                    "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
                    "kind": "KubeProxyConfiguration",
                    "mode": mode,
                    "clientConnection": {"kubeconfig": str(kubeconfig)},
                    "hostnameOverride": NODE,
                    "metricsBindAddress": f"127.0.0.1:{_METRICS}",
                    "healthzBindAddress": f"127.0.0.1:{_HEALTHZ}",
                    "iptables": at_once,
                    "nftables": at_once,
                    # These are the machine's, and no namespace's.
                    "conntrack": {
                        "maxPerCore": 0,
                        "min": 0,
                        "tcpEstablishedTimeout": "0s",
                        "tcpCloseWaitTimeout": "0s",
                    },
                }
            )
        )
        self.log = directory / "log"
        with self.log.open("wb") as log:
            super().__init__(node, [build.ensure("kube-proxy"), f"--config={config}"], log)

    def first_sync(self) -> float:
        ended = super().first_sync()
        if self._mode == "nftables":
            said = self.node.netns.run(["nft", "list", "map", "ip", "kube-proxy", "service-ips"])
            rules = said.stdout.count(" goto ")
        else:
            rules = int(self.metrics()[f'{_SYNC}_iptables_total{{ip_family="IPv4",table="nat"}}'])
        if rules < self._services:
            raise RuntimeError(f"kube-proxy made {rules} rules only")
        return ended

    def next_sync(self, since: float) -> float:
        deadline = time.monotonic() + _DEADLINE
        pause = 0.002
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"kube-proxy ended; its log ends:\n{tools.tail(self.log)}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                ended = self.metrics().get(f"{_SYNC}_last_timestamp_seconds{_IPV4}", 0.0)
                if ended > since:
                    return ended
            time.sleep(pause)
            pause = min(1.2 * pause, 0.1)
        raise TooSlowError
