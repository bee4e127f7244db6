"""A node and a cluster of any size: a real API server, a real Open vSwitch, and the agent."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from bench.processes import Usage, usage
from nsxdp.lab.apiserver import ApiServer
from nsxdp.lab.kubeclient import tls_context
from nsxdp.lab.node import Node

NODE: Final = "node-1"
ENDPOINTS: Final = 10
"""Of each Service."""

_DEADLINE: Final = 120.0


def _address(prefix: int, number: int) -> str:
    return f"{prefix}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def service(number: int) -> dict[str, Any]:
    """A Service of one TCP port, as most are."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"service-{number}", "namespace": "default"},
        "spec": {
            # 10.96.1.0 on, of 10.96.0.0/12.
            "clusterIP": _address(10, (96 << 16) + 256 + number),
            "selector": {"app": f"service-{number}"},
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
        },
    }


def endpoint_slice(number: int, endpoints: int = ENDPOINTS) -> dict[str, Any]:
    """The EndpointSlice of the Service with that number, as the controller writes it."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"service-{number}-abcde",
            "namespace": "default",
            "labels": {
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                "kubernetes.io/service-name": f"service-{number}",
            },
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [_address(10, (200 << 16) + number * 16 + row)],
                "nodeName": f"node-{row}",
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "targetRef": {
                    "kind": "Pod",
                    "name": f"service-{number}-{row}",
                    "namespace": "default",
                    "uid": f"00000000-0000-0000-0000-{number * 16 + row:012}",
                },
            }
            for row in range(endpoints)
        ],
    }


class Cluster:
    """A node and an API server with that many Services of ten endpoints each."""

    def __init__(self, services: int) -> None:
        self.services = services
        self._closing = contextlib.ExitStack()
        try:
            self.node = self._closing.enter_context(Node("bench"))
            self.api = self._closing.enter_context(ApiServer(self.node.netns))
            self.api.load(service(number) for number in range(services))
            self.api.load(endpoint_slice(number) for number in range(services))
        except BaseException:
            self._closing.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.close()

    def agent(self) -> Agent:
        """The agent on this node, started."""
        return Agent(self.node, f"--kubeconfig={self.api.kubeconfig}", self.services)

    def empty_bridge(self) -> None:
        """Make the bridge as it was before the agent first ran."""
        self.node.ovs.ofctl("del-groups", self.node.mgmt)
        self.node.ovs.ofctl("del-flows", self.node.mgmt)


class Agent:
    """nsx-kube-proxy as a process, and what it says about itself.

    Parameters
    ----------
    node
        Where it runs.
    source
        The option that says where Services come from.
    services
        So many there are at least.

    Attributes
    ----------
    to_barrier
        Seconds from its start to the switch's confirmation of all flows.
    """

    def __init__(self, node: Node, source: str, services: int) -> None:
        self._node = node
        self._events: deque[dict[str, Any]] = deque()
        self._news = threading.Condition()
        program = Path(sys.executable).with_name("nsx-kube-proxy")
        started = time.time()
        self._process = node.netns.popen(
            [
                program,
                source,
                f"--ovsdb={node.ovsdb}",
                f"--bridge={node.bridge}",
                f"--node-name={NODE}",
                "--log-format=json",
                "--log-level=debug",
            ],
            stderr=subprocess.PIPE,
        )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.await_event("round")
            metrics = self.metrics()
            confirmed = metrics[
                'kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"}'
            ]
            self.to_barrier = confirmed - started
            groups = metrics['kubeproxy_sync_proxy_rules_openflow_groups_total{ip_family="IPv4"}']
            assert groups >= services, f"{groups:.0f} groups only"
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

    def stop(self) -> None:
        """End it as a node's shutdown does: its flows stay."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)
        self._reader.join(30)

    def await_event(self, name: str) -> dict[str, Any]:
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

    def settle(self) -> None:
        """Wait until what follows the first round is done, and the process sleeps."""
        cpu = -1.0
        while cpu != (cpu := self.usage().cpu):
            time.sleep(0.2)

    def metrics(self) -> dict[str, float]:
        """What it exports to Prometheus, by name and labels."""
        with self._node.netns.enter():
            connection = http.client.HTTPConnection("127.0.0.1", 10249, timeout=30)
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
            connection.close()
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in lines}

    def messages(self) -> int:
        """OpenFlow messages that it has sent."""
        name = 'kubeproxy_sync_proxy_rules_openflow_messages_total{ip_family="IPv4"}'
        return int(self.metrics()[name])

    def usage(self) -> Usage:
        """What it has used so far."""
        return usage(self.pid)

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


class Writer:
    """Writes EndpointSlices to the API server over one connection, one at a time."""

    def __init__(self, cluster: Cluster) -> None:
        directory = cluster.api.directory
        tls = tls_context(directory / "ca.crt", directory / "admin.crt", directory / "admin.key")
        with cluster.node.netns.enter():
            self._connection = http.client.HTTPSConnection(
                "127.0.0.1", cluster.api.port, timeout=30, context=tls
            )
            self._connection.connect()

    def close(self) -> None:
        self._connection.close()

    def put(self, item: dict[str, Any]) -> tuple[float, float]:
        """Replace an EndpointSlice; when that was sent and acknowledged, in Unix time."""
        path = (
            f"/apis/{item['apiVersion']}/namespaces/default/endpointslices/"
            f"{item['metadata']['name']}"
        )
        body = json.dumps(item)
        sent = time.time()
        self._connection.request("PUT", path, body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        said = answer.read()
        acknowledged = time.time()
        if answer.status != http.client.OK:
            raise RuntimeError(f"PUT {path}: {answer.status} {said.decode()}")
        return sent, acknowledged


@contextlib.contextmanager
def writer(cluster: Cluster) -> Iterator[Writer]:
    """A `Writer` for as long as a ``with`` lasts."""
    made = Writer(cluster)
    try:
        yield made
    finally:
        made.close()
