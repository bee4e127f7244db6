"""A node and a cluster of any size: a real API server, and a real Open vSwitch."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from bench.proxies import NODE, Agent
from nsxdp.lab.apiserver import ApiServer
from nsxdp.lab.kubeclient import tls_context
from nsxdp.lab.node import Node

ENDPOINTS: Final = 10
"""Of each Service."""

_SLICE: Final = 100
"""The most endpoints of a slice, as the controller has it."""


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


def endpoint_slice(
    number: int, endpoints: int = ENDPOINTS, *, first: int = 0, part: int = 0
) -> dict[str, Any]:
    """An EndpointSlice of the Service with that number, as the controller writes it.

    Of the Service's endpoints, it has so many from the 'first' one of its 'part' on.
    """
    base = number * 16 + part * 2 * _SLICE
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"service-{number}-{part:05}",
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
                "addresses": [_address(10, (200 << 16) + base + row)],
                "nodeName": f"node-{row + 2}",
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "targetRef": {
                    "kind": "Pod",
                    "name": f"service-{number}-{part}-{row}",
                    "namespace": "default",
                    "uid": f"00000000-0000-0000-0000-{base + row:012}",
                },
            }
            for row in range(first, first + endpoints)
        ],
    }


def balancer(number: int, first: int = 0) -> tuple[str, dict[str, str]]:
    """The Service of that number as OVN has it: a load balancer's name, and its addresses."""
    spec = service(number)["spec"]
    endpoints = endpoint_slice(number, first=first)
    port = endpoints["ports"][0]["port"]
    backends = (f"{endpoint['addresses'][0]}:{port}" for endpoint in endpoints["endpoints"])
    return f"service-{number}", {
        f"{spec['clusterIP']}:{spec['ports'][0]['port']}": ",".join(backends)
    }


class Workload(NamedTuple):
    """What the API server has.

    Attributes
    ----------
    title
        For people.
    services
        How many Services there are.
    slices
        How many EndpointSlices.
    changed
        The slice of a number, whose endpoints begin with another one: with number 0 at first.
    """

    title: str
    services: int
    slices: int
    changed: Callable[[int, int], dict[str, Any]]


def small_services(number: int) -> Workload:
    """So many Services of ten endpoints."""
    return Workload(
        f"{number:,} Services of {ENDPOINTS} endpoints",
        number,
        number,
        lambda service, first: endpoint_slice(service, first=first),
    )


def large_service(endpoints: int) -> Workload:
    """One Service of so many endpoints, in slices of a hundred, as the controller makes them."""
    return Workload(
        f"one Service of {endpoints:,} endpoints",
        1,
        endpoints // _SLICE,
        lambda part, first: endpoint_slice(0, _SLICE, first=first, part=part),
    )


class Cluster(contextlib.ExitStack):
    """A node and an API server that has a workload."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        super().__init__()
        try:
            self.node = self.enter_context(Node("bench"))
            self.api = self.enter_context(ApiServer(self.node.netns))
            self.api.load([self._node_object()])
            self.api.load(service(number) for number in range(workload.services))
            self.restore()
        except BaseException:
            self.close()
            raise

    def agent(self) -> Agent:
        """The agent on this node, started."""
        return Agent(self.node, f"--kubeconfig={self.api.kubeconfig}", self.workload.services)

    def restore(self) -> None:
        """Have all EndpointSlices as they were at first."""
        slices = range(self.workload.slices)
        self.api.load(self.workload.changed(number, 0) for number in slices)

    def _node_object(self) -> dict[str, Any]:
        """The node as Kubernetes knows it: kube-proxy waits half a minute for that."""
        assert self.node.gateway is not None
        address = {"type": "InternalIP", "address": str(self.node.gateway.ip)}
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": NODE},
            "status": {"addresses": [address]},
        }

    def remove_rules(self) -> None:
        """Have neither the bridge nor the node's kernel know of any Service."""
        self.node.ovs.ofctl("del-groups", self.node.mgmt)
        self.node.ovs.ofctl("del-flows", self.node.mgmt)
        self.node.netns.run(["nft", "flush", "ruleset"])


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
