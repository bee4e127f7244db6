"""KP-45: endpoints that are addresses of the node: its processes are pods with host network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from cluster import NODE, Cluster, of_family

from nsxdp.lab import Netns
from nsxdp.lab.programs import Server

BRIDGES = ("switching", pytest.param("wired", marks=pytest.mark.kernel))

HTTP, UDP = 9080, 9053

ELSEWHERE = {4: "192.0.2.10", 6: "2001:db8::10"}
"""Addresses of another interface of the node, as the one is that Kubernetes knows it by."""


class Service(NamedTuple):
    family: int
    vip: str
    protocol: str

    def ask(self, client: Netns, path: str = "") -> str:
        if self.protocol == "UDP":
            return client.udp_ask(self.vip, 80, path.encode() or b"hello")
        host = f"[{self.vip}]" if self.family == 6 else self.vip
        return client.http_get(f"http://{host}/{path}")

    def source(self, client: Netns) -> str:
        """Whom the endpoint sees."""
        return self.ask(client, "client").rpartition(":")[0].strip("[]")


@pytest.fixture(scope="module")
def processes(cluster: Cluster) -> Iterator[None]:
    """Something that serves on the node, at all of its addresses."""
    cluster.host.iproute(
        f"addr add {ELSEWHERE[4]}/32 dev lo", f"addr add {ELSEWHERE[6]}/128 dev lo nodad"
    )
    with Server(cluster.host, "process", http=[HTTP], udp=[UDP]):
        yield


# Not UDP elsewhere: the kernel answers a datagram from the address of the way back, so who serves
# UDP at several addresses has to bind each of them.
@pytest.fixture(params=["gateway-TCP", "gateway-UDP", "elsewhere-TCP"])
def service(
    request: pytest.FixtureRequest,
    cluster: Cluster,
    processes: None,  # noqa: ARG001
    family: int,
) -> Service:
    """A Service whose one endpoint is an address of the node."""
    where, _, protocol = request.param.partition("-")
    ends = [cluster.gateway(f) if where == "gateway" else ELSEWHERE[f] for f in (4, 6)]
    vips = cluster.serve(
        f"{where}-{protocol.lower()}",
        ends,
        target=HTTP if protocol == "TCP" else UDP,
        protocol=protocol,
    )
    return Service(family, vips[family == 6], protocol)


def test_from_a_pod(cluster: Cluster, service: Service) -> None:
    assert service.ask(cluster.client) == "process"
    assert [service.source(cluster.client)] == of_family([cluster.client], service.family)


def test_from_the_node_itself(cluster: Cluster, service: Service) -> None:
    """It can't be its own peer through the bridge: its packets come back from another address."""
    assert service.ask(cluster.host) == "process"
    assert service.source(cluster.host) == NODE[service.family]


def test_pods_and_processes_of_the_node_together(
    cluster: Cluster,
    processes: None,  # noqa: ARG001
    family: int,
) -> None:
    pod = cluster.servers[0]
    with Server(pod, pod.short, http=[HTTP]):
        ends = [cluster.gateway(4), cluster.gateway(6), str(pod.ip), str(pod.ip6)]
        vips = cluster.serve("mixed", ends, target=HTTP)
        mixed = Service(family, vips[family == 6], "TCP")
        for client in (cluster.client, pod, cluster.host):
            answers = {mixed.ask(client) for _ in range(20)}
            assert answers == {"process", pod.short}, client
