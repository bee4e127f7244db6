"""Clients outside the cluster: by the uplink on the bridge, and by an interface of the node."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import cycle
from typing import NamedTuple

import pytest
from cluster import HTTP, MASQUERADE, SCTP, UDP, Cluster, begin_with_fragments, of_family, until

from nsxdp.lab import Host, tools

EXTERNAL = {4: "203.0.113.7", 6: "2001:db8:113::7"}
BALANCER = {4: "203.0.113.9", 6: "2001:db8:113::9"}
NODE_PORT = 30080
SILENT = 9999

CLIENT_PORTS = cycle(range(16_000, 64_000, 1_000))
"""Each test has ports of its own: servers remember for a minute whom they closed a connection to,
and all who are masqueraded have one address.
"""

REMOTE = ["10.244.9.9", "fd00:244:9::9"]
"""An endpoint that is not of this node, and doesn't answer."""


class Outside(NamedTuple):
    """A client, and what it reaches of the node, for one IP version."""

    host: Host
    family: int

    @property
    def own(self) -> str:
        return self.host.addresses[self.family]

    @property
    def node(self) -> str:
        return self.host.gateways[self.family]

    def get(self, address: str, path: str = "", port: int = 80, timeout: float = 5.0) -> str:
        return self.host.http_get(_url(address, path, port), timeout)

    def seen_as(self, address: str, port: int = 80) -> str:
        """Whom the endpoint sees."""
        return self.get(address, "client", port).rpartition(":")[0].strip("[]")


@pytest.fixture(scope="module")
def by_uplink(cluster: Cluster) -> Iterator[Host]:
    """Who is on the wire behind the bridge's uplink; the node's address is on the bridge."""
    subnets = ("198.51.100.0/24", "2001:db8:51::/64")
    with Host(cluster.node, "uplink", subnets=subnets, uplink=True) as host:
        yield host


@pytest.fixture(scope="module")
def by_interface(cluster: Cluster) -> Iterator[Host]:
    """Who is on the wire behind an interface of the node that isn't on the bridge."""
    with Host(cluster.node, "beyond") as host:
        yield host


@pytest.fixture(params=["uplink", "interface"])
def outside(
    request: pytest.FixtureRequest,
    cluster: Cluster,
    by_uplink: Host,
    by_interface: Host,
    family: int,
) -> Outside:
    """A client outside, by each way."""
    host = by_uplink if request.param == "uplink" else by_interface
    cluster.know_node_by(*host.gateways.values())
    first = next(CLIENT_PORTS)
    host.sysctl("net.ipv4.ip_local_port_range", f"{first} {first + 999}")
    return Outside(host, family)


def ends(cluster: Cluster, n: int = 4) -> list[str]:
    return [*of_family(cluster.servers[:n], 4), *of_family(cluster.servers[:n], 6)]


def serve(cluster: Cluster, name: str, endpoints: list[str], policy: str, **more: object) -> None:
    """A Service at all kinds of addresses."""
    spec = f"type: LoadBalancer, externalTrafficPolicy: {policy}, " + str(more.pop("spec", ""))
    external = ", ".join(f'"{address}"' for address in EXTERNAL.values())
    cluster.serve(
        name,
        endpoints,
        target=HTTP,
        spec=f"{spec} externalIPs: [{external}]",
        nodes=dict.fromkeys(REMOTE, "there"),
        node_port=NODE_PORT,
        ingress=list(BALANCER.values()),
    )
    await_routes(cluster, [*EXTERNAL.values(), *BALANCER.values()])


def await_routes(cluster: Cluster, addresses: list[str]) -> None:
    """Wait until the node's kernel sends these to the bridge: it is told after the switch."""

    def routed() -> bool:
        shown = [
            cluster.host.run(["ip", version, "route", "show", "proto", "110"]).stdout
            for version in ("-4", "-6")
        ]
        return {line.split()[0] for line in "".join(shown).splitlines()} >= set(addresses)

    until(routed, f"routes to {addresses}")


@pytest.fixture
def anew(cluster: Cluster) -> Iterator[None]:
    """One Service at a time has the addresses."""
    cluster.forget_connections()
    yield
    cluster.remove("out")


pytestmark = pytest.mark.usefixtures("anew")


def addresses(outside: Outside) -> list[tuple[str, int]]:
    return [(EXTERNAL[outside.family], 80), (BALANCER[outside.family], 80)]


@pytest.mark.kernel
def test_kp30_policy_cluster_masquerades(cluster: Cluster, outside: Outside) -> None:
    serve(cluster, "out", ends(cluster), "Cluster")
    for address, port in addresses(outside):
        assert outside.seen_as(address, port) == MASQUERADE[outside.family]
        report = outside.host.traffic("http", address, port, rate=500, count=200).wait()
        assert report["errors"] == {}
        assert set(report["backends"]) == {server.short for server in cluster.servers}


@pytest.mark.kernel
def test_kp36_node_port(cluster: Cluster, outside: Outside) -> None:
    serve(cluster, "out", ends(cluster), "Cluster")
    assert outside.seen_as(outside.node, NODE_PORT) == MASQUERADE[outside.family]
    report = outside.host.traffic("http", outside.node, NODE_PORT, rate=500, count=200).wait()
    assert report["errors"] == {}
    assert set(report["backends"]) == {server.short for server in cluster.servers}


@pytest.mark.kernel
def test_kp31_policy_local_shows_the_client(cluster: Cluster, outside: Outside) -> None:
    serve(cluster, "out", [*ends(cluster, 2), *REMOTE], "Local")
    for address, port in addresses(outside):
        assert outside.seen_as(address, port) == outside.own
        report = outside.host.traffic("http", address, port, rate=500, count=100).wait()
        assert report["errors"] == {}
        assert set(report["backends"]) == {server.short for server in cluster.servers[:2]}


def test_kp24_policy_local_without_a_local_endpoint_is_silent(
    cluster: Cluster, outside: Outside
) -> None:
    serve(cluster, "out", REMOTE, "Local")
    with pytest.raises(TimeoutError):
        outside.get(EXTERNAL[outside.family], timeout=0.5)


def test_kp25_without_endpoints_it_is_refused(cluster: Cluster, outside: Outside) -> None:
    serve(cluster, "out", [], "Cluster")
    with pytest.raises(ConnectionRefusedError):
        outside.get(BALANCER[outside.family])


def test_kp30_cluster_ip_from_outside_is_masqueraded(cluster: Cluster, outside: Outside) -> None:
    vips = cluster.serve("out", ends(cluster), target=HTTP)
    assert outside.seen_as(vips[outside.family == 6]) == MASQUERADE[outside.family]


@pytest.mark.kernel
def test_kp30_who_is_masqueraded_may_begin_with_fragments(
    cluster: Cluster, outside: Outside
) -> None:
    vips = cluster.serve("out", ends(cluster, 1), target=UDP + 1, protocol="UDP")
    vip = vips[outside.family == 6]
    for _ in range(3):
        begin_with_fragments(outside.host, vip, cluster.servers[0], UDP + 1)


def test_kp39_source_ranges(cluster: Cluster, outside: Outside) -> None:
    allowed = f"loadBalancerSourceRanges: [{outside.own}/{32 if outside.family == 4 else 128}],"
    serve(cluster, "out", ends(cluster), "Cluster", spec=allowed)
    assert outside.seen_as(BALANCER[outside.family]) == MASQUERADE[outside.family]
    other = cluster.client
    with pytest.raises(TimeoutError):
        other.http_get(_url(BALANCER[outside.family]), 0.5)
    # KP-38: they say nothing about other addresses.
    assert other.http_get(_url(EXTERNAL[outside.family]))
    # Nobody else learns that there are no endpoints.
    serve(cluster, "out", [], "Cluster", spec=allowed)
    with pytest.raises(ConnectionRefusedError):
        outside.get(BALANCER[outside.family])
    with pytest.raises(TimeoutError):
        other.http_get(_url(BALANCER[outside.family]), 0.5)


@pytest.mark.kernel
def test_kp30_udp(cluster: Cluster, outside: Outside) -> None:
    external = ", ".join(f'"{address}"' for address in EXTERNAL.values())
    cluster.serve(
        "out", ends(cluster), target=UDP, protocol="UDP", spec=f"externalIPs: [{external}]"
    )
    await_routes(cluster, [*EXTERNAL.values()])
    answers = {outside.host.udp_ask(EXTERNAL[outside.family], 80, b"hello") for _ in range(20)}
    assert answers <= {server.short for server in cluster.servers}


@pytest.mark.kernel
def test_kp30_who_sends_more_before_there_is_an_answer_is_masqueraded_all_the_same(
    cluster: Cluster, outside: Outside
) -> None:
    (server, *_) = cluster.servers
    external = EXTERNAL[outside.family]
    spec = f'externalIPs: ["{external}"]'
    cluster.serve("out", ends(cluster, 1), target=SILENT, protocol="UDP", spec=spec)
    await_routes(cluster, [external])
    with (
        server.open_socket(socket.SOCK_DGRAM, family=outside.family) as silent,
        outside.host.open_socket(socket.SOCK_DGRAM, family=outside.family) as client,
    ):
        silent.settimeout(5 * tools.slowness())
        silent.bind(("", SILENT))
        client.connect((external, 80))
        seen = []
        for number in range(4):
            client.send(b"%d" % number)
            payload, source = silent.recvfrom(100)
            seen.append((int(payload), source[0]))
    assert seen == [(number, MASQUERADE[outside.family]) for number in range(4)]


@pytest.mark.kernel
@pytest.mark.datapath("system")
def test_kp43_sctp(cluster: Cluster, outside: Outside) -> None:
    spec = f'type: NodePort, externalIPs: ["{EXTERNAL[outside.family]}"],'
    cluster.serve(
        "out", ends(cluster), target=SCTP, protocol="SCTP", spec=spec, node_port=NODE_PORT
    )
    await_routes(cluster, [EXTERNAL[outside.family]])
    for address, port in ((EXTERNAL[outside.family], 80), (outside.node, NODE_PORT)):
        answers = {outside.host.sctp_ask(address, port) for _ in range(10)}
        assert answers <= {server.short for server in cluster.servers}
        seen = outside.host.sctp_ask(address, port, b"client").rpartition(":")[0].strip("[]")
        assert seen == MASQUERADE[outside.family]


def _url(host: str, path: str = "", port: int = 80) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/{path}"


def test_kp31_pods_take_the_short_cut(cluster: Cluster, by_uplink: Host, family: int) -> None:
    cluster.know_node_by(*by_uplink.gateways.values())
    serve(cluster, "out", ends(cluster), "Local")
    own = str(cluster.client.ip if family == 4 else cluster.client.ip6)
    for address, port in (
        (EXTERNAL[family], 80),
        (BALANCER[family], 80),
        (by_uplink.gateways[family], NODE_PORT),
    ):
        seen = cluster.client.http_get(_url(address, "client", port))
        assert seen.rpartition(":")[0].strip("[]") == own


def test_kp30_pods_are_masqueraded_at_external_addresses(
    cluster: Cluster, by_uplink: Host, family: int
) -> None:
    cluster.know_node_by(*by_uplink.gateways.values())
    serve(cluster, "out", ends(cluster), "Cluster")
    for address, port in (
        (EXTERNAL[family], 80),
        (BALANCER[family], 80),
        (by_uplink.gateways[family], NODE_PORT),
    ):
        seen = cluster.client.http_get(_url(address, "client", port))
        assert seen.rpartition(":")[0].strip("[]") == MASQUERADE[family]


def test_the_node_reaches_external_addresses(
    cluster: Cluster, by_uplink: Host, family: int
) -> None:
    assert by_uplink
    serve(cluster, "out", ends(cluster), "Cluster")
    for address in (EXTERNAL[family], BALANCER[family]):
        assert cluster.host.http_get(_url(address)) in {s.short for s in cluster.servers}


def test_connections_through_both_zones_last(cluster: Cluster, outside: Outside) -> None:
    """Many, as a check that Open vSwitch bears two translations of one connection."""
    serve(cluster, "out", ends(cluster), "Cluster")
    report = outside.host.traffic("http", BALANCER[outside.family], 80, rate=800, count=3000).wait()
    assert report["errors"] == {}


def test_kp13_unserved_port_and_unallocated_address(cluster: Cluster, outside: Outside) -> None:
    vips = cluster.serve("out", ends(cluster), target=HTTP)
    for client in (outside.host, cluster.client, cluster.host):
        with pytest.raises(ConnectionRefusedError):
            client.http_get(_url(vips[outside.family == 6], port=81))
        nobody = "10.96.7.7" if outside.family == 4 else "fd00:96::7:7"
        with pytest.raises(TimeoutError):
            client.http_get(_url(nobody), 0.3)
