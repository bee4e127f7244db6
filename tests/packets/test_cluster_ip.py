"""Connections to cluster IPs: who answers, and whom the endpoint sees."""

from __future__ import annotations

import os
import socket

import pytest
from cluster import CLOSED, HAIRPIN, HTTP, MASQUERADE, SCTP, UDP, Cluster, of_family

from nsxdp.lab.tools import slowness
from tests.asking import ask, source

BRIDGES = ("switching", "wired")

pytestmark = pytest.mark.kernel

BOTH = (4, 6)


def addresses(cluster: Cluster, n: int = 4) -> list[str]:
    return [ip for family in BOTH for ip in of_family(cluster.servers[:n], family)]


def names(cluster: Cluster, n: int = 4) -> set[str]:
    return {pod.short for pod in cluster.servers[:n]}


def target(protocol: str) -> int:
    return {"TCP": HTTP, "UDP": UDP, "SCTP": SCTP}[protocol]


def test_kp1_from_a_pod(cluster: Cluster, family: int, protocol: str) -> None:
    name = f"pod-{protocol.lower()}"
    vips = cluster.serve(name, addresses(cluster), target=target(protocol), protocol=protocol)
    answers = {ask(cluster.client, vips[family == 6], protocol) for _ in range(20)}
    assert len(answers) > 1
    assert answers <= names(cluster)


def test_kp45_from_the_node_itself(cluster: Cluster, family: int, protocol: str) -> None:
    name = f"host-{protocol.lower()}"
    vips = cluster.serve(name, addresses(cluster), target=target(protocol), protocol=protocol)
    answers = {ask(cluster.host, vips[family == 6], protocol) for _ in range(20)}
    assert len(answers) > 1
    assert answers <= names(cluster)


def test_kp30_endpoint_sees_the_client_s_own_address(
    cluster: Cluster, family: int, protocol: str
) -> None:
    name = f"source-{protocol.lower()}"
    vips = cluster.serve(name, addresses(cluster), target=target(protocol), protocol=protocol)
    vip = vips[family == 6]
    for pod in (cluster.client, cluster.other):
        assert [source(pod, vip, protocol)] == of_family([pod], family)
    assert source(cluster.host, vip, protocol) == cluster.gateway(family)


def test_kp32_endpoint_reaches_itself(cluster: Cluster, family: int, protocol: str) -> None:
    pod = cluster.servers[0]
    name = f"hairpin-{protocol.lower()}"
    vips = cluster.serve(name, addresses(cluster, 1), target=target(protocol), protocol=protocol)
    vip = vips[family == 6]
    for _ in range(3):
        assert ask(pod, vip, protocol) == pod.short
    assert source(pod, vip, protocol) == HAIRPIN[family]
    # And so does one among several, whoever is chosen.
    name = f"hairpins-{protocol.lower()}"
    vips = cluster.serve(name, addresses(cluster, 2), target=target(protocol), protocol=protocol)
    answers = {ask(pod, vips[family == 6], protocol) for _ in range(20)}
    assert answers == names(cluster, 2)


@pytest.mark.parametrize("spec", ["", "sessionAffinity: ClientIP, "])
def test_kp32_endpoint_reaches_itself_by_an_external_address(
    cluster: Cluster, family: int, protocol: str, spec: str
) -> None:
    """At which pods are masqueraded (KP-30)."""
    pod = cluster.servers[0]
    external = "192.0.2.80" if family == 4 else "2001:db8:80::1"
    cluster.serve(
        "outside-in",
        addresses(cluster, 1),
        target=target(protocol),
        protocol=protocol,
        spec=f'{spec}externalIPs: ["{external}"]',
    )
    for _ in range(3):
        assert ask(pod, external, protocol) == pod.short
    assert source(pod, external, protocol) == HAIRPIN[family]
    assert source(cluster.client, external, protocol) == MASQUERADE[family]


@pytest.mark.parametrize("load", ["http", "udp"])
@pytest.mark.parametrize("n", [2, 4])
def test_connections_are_spread_evenly(cluster: Cluster, family: int, load: str, n: int) -> None:
    protocol = "TCP" if load == "http" else "UDP"
    vips = cluster.serve(
        f"spread-{load}-{n}", addresses(cluster, n), target=target(protocol), protocol=protocol
    )
    count = 400
    report = cluster.client.traffic(load, vips[family == 6], 80, rate=1000, count=count).wait()
    assert (report["answered"], report["errors"]) == (count, {})
    assert set(report["backends"]) == names(cluster, n)
    # Six standard deviations of a binomial distribution.
    share, slack = count / n, 6 * (count / n * (1 - 1 / n)) ** 0.5
    for answered in report["backends"].values():
        assert share - slack < answered < share + slack, report["backends"]


def test_kp44_one_port_number_on_two_protocols(cluster: Cluster) -> None:
    first, second = cluster.servers[:2]
    tcp, _ = cluster.serve("number", of_family([first], 4), target=HTTP)
    udp, _ = cluster.serve("number-udp", of_family([second], 4), target=UDP, protocol="UDP")
    for _ in range(5):
        assert ask(cluster.client, tcp, "TCP") == first.short
        assert cluster.client.udp_ask(udp, 80) == second.short
    # The one's address knows nothing of the other's protocol.
    with pytest.raises(ConnectionRefusedError):
        cluster.client.udp_ask(tcp, 80)


PORT_RANGE = "net.ipv4.ip_local_port_range"


def test_what_is_for_no_service_passes(cluster: Cluster, family: int) -> None:
    server = cluster.servers[0]
    (ip,) = of_family([server], family)
    for client in (cluster.client, cluster.host):
        # From ports that no connection through a Service to this server came from: it remembers
        # those for a minute, and so does connection tracking.
        ports = client.run(["sysctl", "-n", PORT_RANGE]).stdout
        client.sysctl(PORT_RANGE, "16000 16999")
        assert ask(client, ip, "TCP", HTTP) == server.short
        assert client.udp_ask(ip, UDP) == server.short
        client.sysctl(PORT_RANGE, ports.strip())
    # To the gateway itself, and back.
    with pytest.raises(ConnectionRefusedError):
        cluster.client.udp_ask(cluster.gateway(family), CLOSED)


def test_closed_port_of_an_endpoint_is_told(cluster: Cluster, family: int, protocol: str) -> None:
    """An endpoint's reset, and its ICMP error about a translated packet, reach the client."""
    name = f"closed-{protocol.lower()}"
    vips = cluster.serve(name, addresses(cluster), target=CLOSED, protocol=protocol)
    for client in (cluster.client, cluster.host):
        with pytest.raises(ConnectionRefusedError):
            ask(client, vips[family == 6], protocol)


def test_fragments_of_a_known_connection_pass(cluster: Cluster, family: int) -> None:
    """They have no ports: conntrack puts them together and translates them all."""
    vips = cluster.serve("large", addresses(cluster), target=UDP, protocol="UDP")
    with cluster.client.open_socket(socket.SOCK_DGRAM, family=family) as client:
        client.settimeout(5 * slowness())
        client.connect((vips[family == 6], 80))
        answers = set()
        for size in (1, 4000, 1, 8000):
            client.send(bytes(size))
            answers.add(client.recv(100).decode().strip())
    assert len(answers) == 1
    assert answers <= names(cluster)


def test_a_connection_may_begin_with_fragments(cluster: Cluster, family: int) -> None:
    """Of which all but the first have no ports."""
    vips = cluster.serve("begins", addresses(cluster), target=UDP, protocol="UDP")
    vip = vips[family == 6]
    for client in (cluster.client, cluster.host, cluster.other):
        for size in (1500, 4000, 4000, 4000, 40000):
            assert client.udp_ask(vip, 80, os.urandom(size)) in names(cluster)
    with pytest.raises(ConnectionRefusedError):
        cluster.client.udp_ask(vip, 81, os.urandom(4000))
    assert cluster.client.udp_ask(vip, 80, os.urandom(4000)) in names(cluster)


def test_half_closed_connection_goes_on(cluster: Cluster, family: int) -> None:
    vips = cluster.serve("halfclosed", addresses(cluster), target=HTTP)
    vip = vips[family == 6]
    with cluster.client.enter():
        connection = socket.create_connection((vip, 80), timeout=5 * slowness())
    with connection:
        connection.send(b"GET / HTTP/1.1\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.split()[-1].decode() in names(cluster)
