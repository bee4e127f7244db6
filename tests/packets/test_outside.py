"""Clients outside the cluster: by the uplink on the bridge, and by an interface of the node."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import NamedTuple

import pytest
from cluster import HTTP, MASQUERADE, SCTP, UDP, Cluster, of_family, until

from nsxdp.lab import Netns

NODE = {4: "198.51.100.1", 6: "2001:db8:51::1"}
BY_UPLINK = {4: "198.51.100.2", 6: "2001:db8:51::2"}
HOST = {4: "192.0.2.1", 6: "2001:db8::1"}
BY_HOST = {4: "192.0.2.2", 6: "2001:db8::2"}
BITS = {4: 24, 6: 64}

EXTERNAL = {4: "203.0.113.7", 6: "2001:db8:113::7"}
BALANCER = {4: "203.0.113.9", 6: "2001:db8:113::9"}
NODE_PORT = 30080

CLIENT_PORTS = cycle(range(16_000, 64_000, 1_000))
"""Each test has ports of its own: servers remember for a minute whom they closed a connection to,
and all who are masqueraded have one address.
"""

REMOTE = ["10.244.9.9", "fd00:244:9::9"]
"""An endpoint that is not of this node, and doesn't answer."""


class Outside(NamedTuple):
    """A client, and what it reaches of the node, for one IP version."""

    netns: Netns
    family: int
    own: str
    node: str

    def get(self, host: str, path: str = "", port: int = 80, timeout: float = 5.0) -> str:
        shown = f"[{host}]" if self.family == 6 else host
        return self.netns.http_get(f"http://{shown}:{port}/{path}", timeout)

    def seen_as(self, host: str, port: int = 80) -> str:
        """Whom the endpoint sees."""
        return self.get(host, "client", port).rpartition(":")[0].strip("[]")


def _join(cluster: Cluster, netns: Netns, own: dict[int, str], node: dict[int, str]) -> None:
    """Give the client its addresses, and a way to all that Services have."""
    for family in (4, 6):
        flags = " nodad" if family == 6 else ""
        netns.iproute(f"addr add {own[family]}/{BITS[family]} dev eth0{flags}")
    netns.iproute(
        "link set eth0 up", f"route add default via {node[4]}", f"route add default via {node[6]}"
    )
    netns.run(["ethtool", "-K", "eth0", "tx", "off"])
    assert cluster.host


@pytest.fixture(scope="module")
def by_uplink(cluster: Cluster) -> Iterator[Netns]:
    """Who is on the wire behind the bridge's uplink; the node's address is on the bridge."""
    node = cluster.node
    with Netns("uplink") as netns:
        cluster.host.iproute(
            f"link add up0 type veth peer name eth0 netns {netns.name}",
            "link set up0 addrgenmode none arp off up",
            f"addr add {NODE[4]}/24 dev {node.bridge}",
            f"addr add {NODE[6]}/64 dev {node.bridge} nodad",
        )
        _join(cluster, netns, BY_UPLINK, NODE)
        node.ovs.vsctl(
            *("add-port", node.bridge, "up0", "--", "set", "interface", "up0"),
            "external_ids:nsxdp-role=uplink",
        )
        yield netns
        node.ovs.vsctl("del-port", node.bridge, "up0")


@pytest.fixture(scope="module")
def by_host(cluster: Cluster) -> Iterator[Netns]:
    """Who is on the wire behind an interface of the node that isn't on the bridge."""
    with Netns("beyond") as netns:
        cluster.host.iproute(
            f"link add out0 type veth peer name eth0 netns {netns.name}",
            f"addr add {HOST[4]}/24 dev out0",
            f"addr add {HOST[6]}/64 dev out0 nodad",
            "link set out0 up",
        )
        cluster.host.run(["ethtool", "-K", "out0", "tx", "off"])
        _join(cluster, netns, BY_HOST, HOST)
        yield netns


@pytest.fixture(params=["uplink", "host"])
def outside(
    request: pytest.FixtureRequest, cluster: Cluster, by_uplink: Netns, by_host: Netns, family: int
) -> Outside:
    """A client outside, by each way."""
    cluster.know_node_by(*NODE.values(), *HOST.values())
    first = next(CLIENT_PORTS)
    for netns in (by_uplink, by_host):
        netns.sysctl("net.ipv4.ip_local_port_range", f"{first} {first + 999}")
    if request.param == "uplink":
        return Outside(by_uplink, family, BY_UPLINK[family], NODE[family])
    return Outside(by_host, family, BY_HOST[family], HOST[family])


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


def test_kp30_policy_cluster_masquerades(cluster: Cluster, outside: Outside) -> None:
    serve(cluster, "out", ends(cluster), "Cluster")
    for address, port in addresses(outside):
        assert outside.seen_as(address, port) == MASQUERADE[outside.family]
        report = outside.netns.traffic("http", address, port, rate=500, count=200).wait()
        assert report["errors"] == {}
        assert set(report["backends"]) == {server.short for server in cluster.servers}


def test_kp36_node_port(cluster: Cluster, outside: Outside) -> None:
    serve(cluster, "out", ends(cluster), "Cluster")
    assert outside.seen_as(outside.node, NODE_PORT) == MASQUERADE[outside.family]
    report = outside.netns.traffic("http", outside.node, NODE_PORT, rate=500, count=200).wait()
    assert report["errors"] == {}
    assert set(report["backends"]) == {server.short for server in cluster.servers}


def test_kp31_policy_local_shows_the_client(cluster: Cluster, outside: Outside) -> None:
    serve(cluster, "out", [*ends(cluster, 2), *REMOTE], "Local")
    for address, port in addresses(outside):
        assert outside.seen_as(address, port) == outside.own
        report = outside.netns.traffic("http", address, port, rate=500, count=100).wait()
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


def test_kp39_source_ranges(cluster: Cluster, outside: Outside) -> None:
    allowed = f"loadBalancerSourceRanges: [{outside.own}/{32 if outside.family == 4 else 128}],"
    serve(cluster, "out", ends(cluster), "Cluster", spec=allowed)
    assert outside.seen_as(BALANCER[outside.family]) == MASQUERADE[outside.family]
    other = cluster.client
    with pytest.raises(TimeoutError):
        other.http_get(_url(BALANCER[outside.family]), 0.5)
    # KP-38: they say nothing about other addresses.
    assert other.http_get(_url(EXTERNAL[outside.family]))


def test_kp30_udp(cluster: Cluster, outside: Outside) -> None:
    external = ", ".join(f'"{address}"' for address in EXTERNAL.values())
    cluster.serve(
        "out", ends(cluster), target=UDP, protocol="UDP", spec=f"externalIPs: [{external}]"
    )
    await_routes(cluster, [*EXTERNAL.values()])
    answers = {outside.netns.udp_ask(EXTERNAL[outside.family], 80, b"hello") for _ in range(20)}
    assert answers <= {server.short for server in cluster.servers}


@pytest.mark.datapath("system")
def test_kp43_sctp(cluster: Cluster, outside: Outside) -> None:
    spec = f'type: NodePort, externalIPs: ["{EXTERNAL[outside.family]}"],'
    cluster.serve(
        "out", ends(cluster), target=SCTP, protocol="SCTP", spec=spec, node_port=NODE_PORT
    )
    await_routes(cluster, [EXTERNAL[outside.family]])
    for address, port in ((EXTERNAL[outside.family], 80), (outside.node, NODE_PORT)):
        answers = {outside.netns.sctp_ask(address, port) for _ in range(10)}
        assert answers <= {server.short for server in cluster.servers}
        seen = outside.netns.sctp_ask(address, port, b"client").rpartition(":")[0].strip("[]")
        assert seen == MASQUERADE[outside.family]


def _url(host: str, path: str = "", port: int = 80) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/{path}"


def test_kp31_pods_take_the_short_cut(cluster: Cluster, by_uplink: Netns, family: int) -> None:
    assert by_uplink
    cluster.know_node_by(*NODE.values())
    serve(cluster, "out", ends(cluster), "Local")
    own = str(cluster.client.ip if family == 4 else cluster.client.ip6)
    for address, port in (
        (EXTERNAL[family], 80),
        (BALANCER[family], 80),
        (NODE[family], NODE_PORT),
    ):
        seen = cluster.client.http_get(_url(address, "client", port))
        assert seen.rpartition(":")[0].strip("[]") == own


def test_kp30_pods_are_masqueraded_at_external_addresses(
    cluster: Cluster, by_uplink: Netns, family: int
) -> None:
    assert by_uplink
    cluster.know_node_by(*NODE.values())
    serve(cluster, "out", ends(cluster), "Cluster")
    for address, port in (
        (EXTERNAL[family], 80),
        (BALANCER[family], 80),
        (NODE[family], NODE_PORT),
    ):
        seen = cluster.client.http_get(_url(address, "client", port))
        assert seen.rpartition(":")[0].strip("[]") == MASQUERADE[family]


def test_the_node_reaches_external_addresses(
    cluster: Cluster, by_uplink: Netns, family: int
) -> None:
    assert by_uplink
    serve(cluster, "out", ends(cluster), "Cluster")
    for address in (EXTERNAL[family], BALANCER[family]):
        assert cluster.host.http_get(_url(address)) in {s.short for s in cluster.servers}


def test_connections_through_both_zones_last(cluster: Cluster, outside: Outside) -> None:
    """Many, as a check that Open vSwitch bears two translations of one connection."""
    serve(cluster, "out", ends(cluster), "Cluster")
    report = outside.netns.traffic(
        "http", BALANCER[outside.family], 80, rate=800, count=3000
    ).wait()
    assert report["errors"] == {}


def test_kp13_unserved_port_and_unallocated_address(cluster: Cluster, outside: Outside) -> None:
    vips = cluster.serve("out", ends(cluster), target=HTTP)
    for client in (outside.netns, cluster.client, cluster.host):
        with pytest.raises(ConnectionRefusedError):
            client.http_get(_url(vips[outside.family == 6], port=81))
        nobody = "10.96.7.7" if outside.family == 4 else "fd00:96::7:7"
        with pytest.raises(TimeoutError):
            client.http_get(_url(nobody), 0.3)
