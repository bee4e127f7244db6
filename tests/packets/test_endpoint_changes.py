"""Endpoints come and go under connections."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest
from cluster import CLOSED, HTTP, LINES, SCTP, UDP, Cluster, of_family, until

from nsxdp.lab import Netns
from nsxdp.lab.tools import slowness

pytestmark = pytest.mark.kernel


class Lines:
    """A connection whose server says its name for each line."""

    def __init__(self, client: Netns, vip: str, protocol: int = socket.IPPROTO_TCP) -> None:
        self._socket = client.open_socket(family=6 if ":" in vip else 4, protocol=protocol)
        self._socket.settimeout(5 * slowness())
        self._socket.connect((vip, 80))

    def ask(self) -> str:
        self._socket.send(b"hello\n")
        return self._socket.recv(100).decode().strip()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["client", "host"])
def client(request: pytest.FixtureRequest, cluster: Cluster) -> Netns:
    """A pod, or the node itself."""
    found: Netns = getattr(cluster, request.param)
    return found


def both(cluster: Cluster, names: set[str]) -> list[str]:
    pods = [pod for pod in cluster.servers if pod.short in names]
    return [*of_family(pods, 4), *of_family(pods, 6)]


ALL = {"web1", "web2", "web3", "web4"}


def test_kp52_tcp_connection_outlives_its_endpoint_in_the_service(
    cluster: Cluster, client: Netns, family: int
) -> None:
    name = f"tcp-{client.short}-{family}"
    vip = cluster.serve(name, both(cluster, ALL), target=LINES)[family == 6]
    with closing(Lines(client, vip)) as old:
        server = old.ask()
        cluster.serve(name, both(cluster, ALL - {server}), target=LINES)
        for _ in range(10):
            with closing(Lines(client, vip)) as new:
                assert new.ask() in ALL - {server}
        assert old.ask() == server
        # Even with the whole Service gone: what is tracked is translated.
        cluster.remove(name)
        assert old.ask() == server


@pytest.mark.datapath("system")
def test_kp43_association_outlives_its_endpoint_in_the_service(
    cluster: Cluster, client: Netns, family: int
) -> None:
    name = f"sctp-{client.short}-{family}"

    def serve(names: set[str]) -> str:
        ends = both(cluster, names)
        return cluster.serve(name, ends, target=SCTP, protocol="SCTP")[family == 6]

    vip = serve(ALL)
    with closing(Lines(client, vip, socket.IPPROTO_SCTP)) as old:
        server = old.ask()
        serve(ALL - {server})
        assert {client.sctp_ask(vip, 80) for _ in range(10)} <= ALL - {server}
        assert old.ask() == server


def test_kp50_udp_client_moves_when_its_endpoint_goes(
    cluster: Cluster, client: Netns, family: int
) -> None:
    """A client with one source port for ever, as resolvers are."""
    name = f"udp-{client.short}-{family}"
    port = 20000 + family
    vip = cluster.serve(name, both(cluster, ALL), target=UDP, protocol="UDP")[family == 6]

    def ask() -> str:
        return client.udp_ask(vip, 80, source_port=port)

    server = ask()
    assert [ask() for _ in range(5)] == [server] * 5
    cluster.serve(name, both(cluster, ALL - {server}), target=UDP, protocol="UDP")
    # The entry goes once the switch has the new endpoints: a moment after that.
    until(lambda: ask() != server, "another endpoint's answer")
    other = ask()
    assert other in ALL - {server}
    assert [ask() for _ in range(5)] == [other] * 5


def test_kp50_clients_of_other_endpoints_stay(cluster: Cluster) -> None:
    vip, _ = cluster.serve("stay", both(cluster, ALL), target=UDP, protocol="UDP")

    def ask() -> dict[int, str]:
        return {
            port: cluster.client.udp_ask(vip, 80, source_port=port) for port in range(21000, 21020)
        }

    before = ask()
    gone = before[21000]
    cluster.serve("stay", both(cluster, ALL - {gone}), target=UDP, protocol="UDP")
    until(lambda: gone not in ask().values(), "that nobody is at the old one")
    after = ask()
    assert {port for port in before if after[port] != before[port]} == {
        port for port in before if before[port] == gone
    }


def test_kp51_policy_moves_no_udp_client(cluster: Cluster) -> None:
    vip, _ = cluster.serve("policy", both(cluster, ALL), target=UDP, protocol="UDP")
    server = cluster.client.udp_ask(vip, 80, source_port=22000)
    there = dict.fromkeys(both(cluster, {server}), "there")
    cluster.serve(
        "policy",
        both(cluster, ALL),
        target=UDP,
        protocol="UDP",
        spec="internalTrafficPolicy: Local",
        nodes=there,
    )
    # Nobody new gets there, but who is there stays.
    answers = {cluster.client.udp_ask(vip, 80) for _ in range(20)}
    assert answers <= ALL - {server}
    assert cluster.client.udp_ask(vip, 80, source_port=22000) == server


@pytest.mark.parametrize("load", ["http", "udp"])
def test_connections_are_spread_after_changes_too(cluster: Cluster, family: int, load: str) -> None:
    """A new endpoint gets its share and no more; and one client is spread over those left."""
    protocol, target = ("TCP", HTTP) if load == "http" else ("UDP", UDP)

    def backends(names: set[str]) -> dict[str, int]:
        vips = cluster.serve(
            f"share-{load}", both(cluster, names), target=target, protocol=protocol
        )
        report = cluster.client.traffic(load, vips[family == 6], 80, rate=1000, count=200).wait()
        assert report["errors"] == {}
        found: dict[str, int] = report["backends"]
        return found

    for names in (ALL - {"web4"}, ALL, ALL - {"web1"}, {"web2", "web3"}, ALL):
        counts = backends(names)
        assert set(counts) == names
        # With a number of endpoints that is no power of two, some get up to twice what others do.
        assert min(counts.values()) > 200 / len(names) / 3


def test_no_connection_fails_while_endpoints_change(cluster: Cluster, client: Netns) -> None:
    """New ones find an endpoint, those under way keep theirs (the pods themselves all stay)."""
    name = f"churn-{client.short}"
    vip, _ = cluster.serve(name, both(cluster, ALL), target=HTTP)
    load = client.traffic("http", vip, 80, rate=300)
    for gone in sorted(ALL):
        cluster.serve(name, both(cluster, ALL - {gone}), target=HTTP)
        cluster.serve(name, both(cluster, ALL), target=HTTP)
    report = load.stop()
    assert report["sent"] > 0
    assert (report["answered"], report["errors"]) == (report["sent"], {})


def test_pod_that_comes_and_goes_is_reached_by_its_address(cluster: Cluster) -> None:
    """The bridge's ports are followed: the flows of a pod come and go with its port."""
    pod = cluster.node.add_pod("late")
    assert pod.ip
    vip, _ = cluster.serve("late", [pod.ip], target=CLOSED, protocol="UDP")

    def refused() -> bool:
        try:
            cluster.client.udp_ask(vip, 80, timeout=0.5)
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            return False
        return False

    # Nothing listens there, and that is what the pod says.
    until(refused, "the new pod's ICMP error")
    flows = cluster.node.ovs.ofctl("dump-flows", cluster.node.mgmt)
    assert f"nw_dst={pod.ip}" in flows
    cluster.node.del_pod(pod)
    until(
        lambda: f"={pod.ip} " not in cluster.node.ovs.ofctl("dump-flows", cluster.node.mgmt),
        "the pod's flows gone",
    )
