"""Endpoints on another node: the node's kernel is the router between the pods' networks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cluster import HTTP, UDP, Cluster, begin_with_fragments, of_family

from nsxdp.lab import Host

BRIDGES = ("switching", pytest.param("wired", marks=pytest.mark.kernel))

NODE_PORT = 30080
REMOTE = {4: "10.244.1.5", 6: "fd00:244:1::5"}


@pytest.fixture(scope="module")
def remote(cluster: Cluster) -> Iterator[Host]:
    """The other node, which has a pod's addresses itself."""
    with Host(cluster.node, "there") as there:
        there.iproute(
            f"addr add {REMOTE[4]}/32 dev lo",
            f"addr add {REMOTE[6]}/128 dev lo nodad",
        )
        cluster.host.iproute(
            *(f"route add {REMOTE[family]} via {there.addresses[family]}" for family in (4, 6))
        )
        there.serve_http(HTTP, "there")
        yield there


def test_pod_reaches_it_with_its_own_address(
    cluster: Cluster,
    remote: Host,
    family: int,
) -> None:
    vips = cluster.serve("remote", [*REMOTE.values()], target=HTTP)
    vip = f"[{vips[1]}]" if family == 6 else vips[0]
    assert cluster.client.http_get(f"http://{vip}/") == remote.short
    source = cluster.client.http_get(f"http://{vip}/client").rpartition(":")[0].strip("[]")
    assert [source] == of_family([cluster.client], family)


def test_connections_are_spread_over_nodes(
    cluster: Cluster,
    remote: Host,
    family: int,
) -> None:
    ends = [
        *REMOTE.values(),
        *of_family(cluster.servers[:1], 4),
        *of_family(cluster.servers[:1], 6),
    ]
    vips = cluster.serve("everywhere", ends, target=HTTP)
    report = cluster.client.traffic("http", vips[family == 6], 80, rate=500, count=60).wait()
    assert report["errors"] == {}
    assert set(report["backends"]) == {remote.short, cluster.servers[0].short}


def test_the_node_reaches_it_with_its_own_address(
    cluster: Cluster,
    remote: Host,
    family: int,
) -> None:
    vips = cluster.serve("remote", [*REMOTE.values()], target=HTTP)
    vip = f"[{vips[1]}]" if family == 6 else vips[0]
    source = cluster.host.http_get(f"http://{vip}/client").rpartition(":")[0].strip("[]")
    assert source == remote.gateways[family]


def test_kp30_who_is_masqueraded_has_the_node_s_address_there(
    cluster: Cluster,
    remote: Host,
    family: int,
) -> None:
    """A pod at an external address: the bridge masquerades it, and the kernel once more."""
    external = {4: "203.0.113.77", 6: "2001:db8:113::77"}
    listed = ", ".join(f'"{address}"' for address in external.values())
    cluster.serve("abroad", [*REMOTE.values()], target=HTTP, spec=f"externalIPs: [{listed}]")
    vip = f"[{external[6]}]" if family == 6 else external[4]
    source = cluster.client.http_get(f"http://{vip}/client").rpartition(":")[0].strip("[]")
    assert source == remote.gateways[family]


def test_kp31_a_process_of_the_node_takes_the_short_cut_to_it(
    cluster: Cluster,
    remote: Host,
    family: int,
) -> None:
    """Where the policy is Local, and the node has no endpoint: also a client that has the address
    that it asks.
    """
    own = {4: "192.0.2.66", 6: "2001:db8:2::66"}
    external = {4: "203.0.113.78", 6: "2001:db8:113::78"}
    balanced = {4: "203.0.113.79", 6: "2001:db8:113::79"}
    cluster.host.iproute(*(f"addr replace {address} dev lo nodad" for address in own.values()))
    cluster.know_node_by(*own.values())
    listed = ", ".join(f'"{address}"' for address in external.values())
    cluster.serve(
        "short",
        [*REMOTE.values()],
        target=HTTP,
        spec=f"type: LoadBalancer, externalTrafficPolicy: Local, externalIPs: [{listed}]",
        nodes=dict.fromkeys(REMOTE.values(), "there"),
        node_port=NODE_PORT,
        ingress=[*balanced.values()],
    )
    for address, port in ((own, NODE_PORT), (external, 80), (balanced, 80)):
        host = f"[{address[family]}]" if family == 6 else address[family]
        source = cluster.host.http_get(f"http://{host}:{port}/client").rpartition(":")[0]
        assert source.strip("[]") == remote.gateways[family], host


def test_a_connection_may_begin_with_fragments(
    cluster: Cluster,
    remote: Host,
    family: int,
) -> None:
    vips = cluster.serve("begins", [*REMOTE.values()], target=UDP, protocol="UDP")
    clients = [cluster.client]
    if family == 6:
        # In IPv4 the node is rewritten as no fragment can be (docs/architecture.md).
        clients.append(cluster.host)
    for client in clients:
        for _ in range(3):
            begin_with_fragments(client, vips[family == 6], remote, UDP)
