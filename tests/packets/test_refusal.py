"""Services that can't serve: refused at once (KP-25), or silence (KP-23)."""

from __future__ import annotations

import socket

import pytest
from cluster import HTTP, UDP, Cluster, of_family
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.l2 import Ether

from nsxdp.lab import Netns
from nsxdp.lab.tools import slowness

BRIDGES = ("switching", pytest.param("wired", marks=pytest.mark.kernel))


def connect(client: Netns, vip: str, timeout: float = 5.0) -> socket.socket:
    with client.enter():
        return socket.create_connection((vip, 80), timeout=timeout * slowness())


@pytest.fixture(params=["client", "host"])
def client(request: pytest.FixtureRequest, cluster: Cluster) -> Netns:
    """A pod, or the node itself."""
    found: Netns = getattr(cluster, request.param)
    return found


def test_kp25_tcp_is_refused(cluster: Cluster, client: Netns, family: int) -> None:
    vips = cluster.serve("empty", [], target=HTTP)
    with pytest.raises(ConnectionRefusedError):
        connect(client, vips[family == 6])


def test_kp25_udp_is_refused(cluster: Cluster, client: Netns, family: int) -> None:
    vips = cluster.serve("empty-udp", [], target=UDP, protocol="UDP")
    with pytest.raises(ConnectionRefusedError):
        client.udp_ask(vips[family == 6], 80)


def test_kp25_endpoints_that_are_not_ready_are_none(cluster: Cluster) -> None:
    vip, _ = cluster.serve(
        "starting",
        of_family(cluster.servers, 4),
        target=HTTP,
        more="conditions: {ready: false, serving: false}",
    )
    with pytest.raises(ConnectionRefusedError):
        connect(cluster.client, vip)


def test_kp25_refused_client_is_served_once_there_is_an_endpoint(
    cluster: Cluster, client: Netns, family: int
) -> None:
    name = f"later-{client.short}-{family}"
    vips = cluster.serve(name, [], target=UDP, protocol="UDP")
    vip = vips[family == 6]
    with pytest.raises(ConnectionRefusedError):
        client.udp_ask(vip, 80, source_port=7777)
    server = cluster.servers[0]
    cluster.serve(name, [str(server.ip), str(server.ip6)], target=UDP, protocol="UDP")
    assert client.udp_ask(vip, 80, source_port=7777) == server.short


def test_kp25_answers_are_what_a_host_would_send(cluster: Cluster) -> None:
    """The packets themselves, as the client's interface gets them."""
    tcp, _ = cluster.serve("empty", [], target=HTTP)
    udp, _ = cluster.serve("empty-udp", [], target=UDP, protocol="UDP")
    with cluster.client.enter():
        # ETH_P_ALL
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    with tap:
        tap.bind(("eth0", 0))
        tap.settimeout(5 * slowness())
        with pytest.raises(ConnectionRefusedError):
            connect(cluster.client, tcp)
        with pytest.raises(ConnectionRefusedError):
            cluster.client.udp_ask(udp, 80)

        def next_from(ip: str) -> Ether:
            while True:
                packet = Ether(tap.recv(2000))
                if IP in packet and packet[IP].src == ip:
                    return packet

        reset, error = next_from(tcp), next_from(udp)
    assert (reset.dst, reset[IP].dst) == (cluster.client.mac, cluster.client.ip)
    assert (reset[TCP].sport, str(reset[TCP].flags)) == (80, "RA")
    assert (error[ICMP].type, error[ICMP].code) == (3, 3)
    assert error[ICMP].payload.dst == udp


def test_kp25_rejections_are_limited(cluster: Cluster) -> None:
    """Whoever floods a Service without endpoints doesn't flood the agent."""
    cluster.serve("empty", [], target=HTTP)
    meters = cluster.node.ovs.ofctl("dump-meters", cluster.node.mgmt)
    assert "meter=28161 pktps burst bands=" in meters
    assert "type=drop rate=1000 burst_size=1000" in meters


LOCAL = "internalTrafficPolicy: Local"


def test_kp23_no_local_endpoint_is_silence(cluster: Cluster, client: Netns, family: int) -> None:
    ends = [*of_family(cluster.servers, 4), *of_family(cluster.servers, 6)]
    there = dict.fromkeys(ends, "there")
    vips = cluster.serve("local-elsewhere", ends, target=HTTP, spec=LOCAL, nodes=there)
    with pytest.raises(TimeoutError):
        connect(client, vips[family == 6], timeout=0.3)


def test_kp23_local_endpoints_alone_are_used(cluster: Cluster) -> None:
    ends = of_family(cluster.servers, 4)
    there = dict.fromkeys(ends[1:], "there")
    vip, _ = cluster.serve("local", ends, target=HTTP, spec=LOCAL, nodes=there)
    local = cluster.servers[0].short
    assert {cluster.client.http_get(f"http://{vip}/") for _ in range(20)} == {local}


def test_kp23_silence_ends_with_the_first_local_endpoint(cluster: Cluster) -> None:
    ends = of_family(cluster.servers, 4)
    there = dict.fromkeys(ends, "there")
    vip, _ = cluster.serve("moving", ends, target=HTTP, spec=LOCAL, nodes=there)
    with pytest.raises(TimeoutError):
        connect(cluster.client, vip, timeout=0.2)
    del there[ends[2]]
    cluster.serve("moving", ends, target=HTTP, spec=LOCAL, nodes=there)
    assert cluster.client.http_get(f"http://{vip}/") == cluster.servers[2].short
