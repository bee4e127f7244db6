"""Pods of two nodes, in each way that their nodes can be joined; nsx-kube-proxy runs on one."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator

import pytest
from _pytest.mark import ParameterSet
from cluster import CLOSED, HTTP, LINES, UDP, Cluster, of_family
from scapy.contrib.geneve import GENEVE
from scapy.layers import inet
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw
from two_nodes import KEY, MTU, UNDERLAY, TwoNodes
from wired import Tap, marked

from nsxdp.forwarding.model import TUNNELS, Mode
from nsxdp.lab import Netns
from nsxdp.lab.programs import Server
from nsxdp.lab.tools import slowness
from nsxdp.pipeline.registers import COOKIE_FAMILY, COOKIE_FAMILY_MASK, VIRTUAL_MAC

BOTH = (4, 6)


class Joined:
    """Two nodes, one with pods that serve and nsx-kube-proxy, and one with a server."""

    def __init__(self, cluster: Cluster, nodes: TwoNodes) -> None:
        self.cluster = cluster
        self.nodes = nodes
        self.mode = nodes.mode
        self.server = nodes.server
        Server(nodes.server, "there", http=[HTTP], tcp=[LINES], udp=[UDP])
        self.far = nodes.there.netns
        Server(self.far, "far", http=[HTTP])
        self.node_ips = dict(zip(BOTH, nodes.here.ips, strict=True))

    @property
    def tunneled(self) -> bool:
        return self.mode in TUNNELS

    def serve(self, name: str, **more: str) -> dict[int, str]:
        """A Service whose only endpoint is on the other node."""
        target = int(more.pop("target", str(HTTP)))
        vips = self.cluster.serve(name, self.server.addresses, target=target, **more)
        return dict(zip(BOTH, vips, strict=True))


MODES: tuple[tuple[Mode, bool], ...] = (
    ("geneve", False),
    ("vxlan", False),
    ("noEncap", False),
    ("geneve", True),
)


IN_KERNEL = ("vxlan", False), ("geneve", True)
"""The others the node agent's tests have there."""


def params(modes: Iterable[tuple[Mode, bool]]) -> list[ParameterSet]:
    """As pytest takes them."""
    return [
        pytest.param(
            mode,
            id=mode[0] + "-on-IPv6" * mode[1],
            marks=[pytest.mark.kernel] if mode in IN_KERNEL else [],
        )
        for mode in modes
    ]


tunneled = pytest.mark.parametrize(
    "joined",
    params(mode for mode in MODES if mode[0] in TUNNELS),
    indirect=True,
    scope="module",
)


@pytest.fixture(scope="module", params=params(MODES))
def joined(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Joined]:
    mode, ipv6 = request.param
    with TwoNodes(cluster.node, mode, ipv6_underlay=ipv6) as nodes:
        yield Joined(cluster, nodes)


def url(ip: str, path: str = "") -> str:
    return f"http://[{ip}]:{HTTP}/{path}" if ":" in ip else f"http://{ip}:{HTTP}/{path}"


def seen_as(client: Netns, ip: str) -> str:
    """The address that the server takes the client's for."""
    return client.http_get(url(ip, "client")).rpartition(":")[0].strip("[]")


def through(client: Netns, vip: str) -> str:
    """Likewise, through a Service."""
    host = f"[{vip}]" if ":" in vip else vip
    return client.http_get(f"http://{host}/client").rpartition(":")[0].strip("[]")


def test_pods_reach_pods_with_their_own_addresses(joined: Joined, family: int) -> None:
    here, there = joined.cluster.servers[0], joined.server
    (ip,), (ip_there,) = of_family([here], family), of_family([there], family)
    assert seen_as(here, ip_there) == ip
    assert seen_as(there, ip) == ip_there


def test_nodes_and_pods(joined: Joined, family: int) -> None:
    cluster = joined.cluster
    (ip,), (ip_there,) = (of_family([pod], family) for pod in (cluster.client, joined.server))
    far = joined.nodes.there.node
    gateway = str((far.gateway if family == 4 else far.gateway6).ip)  # type: ignore[union-attr]
    # What is between pods' networks is as it was; what isn't, has the node's address.
    assert seen_as(cluster.client, gateway) == ip
    assert seen_as(cluster.client, joined.nodes.there.ips[family == 6]) == joined.node_ips[family]
    own = cluster.gateway(family) if joined.tunneled else joined.node_ips[family]
    assert seen_as(cluster.host, ip_there) == own


def test_an_address_of_another_interface_of_the_node(joined: Joined, family: int) -> None:
    """A tunnel takes what is from pods and the gateway; the kernel sees to that."""
    with joined.cluster.host.open_socket(family=family) as client:
        client.settimeout(10 * slowness())
        client.bind((joined.node_ips[family], 0))
        client.connect((*of_family([joined.server], family), LINES))
        client.send(b"hello\n")
        assert client.recv(100) == b"there\n"


def test_a_service_s_endpoint_on_the_other_node(joined: Joined, family: int) -> None:
    vip = joined.serve("far")[family]
    client = joined.cluster.client
    assert [through(client, vip)] == of_family([client], family)
    own = joined.cluster.gateway(family) if joined.tunneled else joined.node_ips[family]
    assert through(joined.cluster.host, vip) == own
    vip = joined.serve("far-udp", target=str(UDP), protocol="UDP")[family]
    assert client.udp_ask(vip, 80) == "there"


EXTERNAL = {4: "203.0.113.80", 6: "2001:db8:113::80"}


def test_a_masqueraded_client(joined: Joined, family: int) -> None:
    """KP-30, with an address that leads back to this node."""
    listed = ", ".join(f'"{ip}"' for ip in EXTERNAL.values())
    joined.serve("abroad", spec=f"externalIPs: [{listed}]")
    masquerade = dict(zip(BOTH, joined.nodes.here.wired.config.masquerade, strict=False))
    known_as = str(masquerade.get(family, joined.node_ips[family]))
    for client in (joined.cluster.client, joined.cluster.other):
        assert through(client, EXTERNAL[family]) == known_as


def test_an_error_to_a_masqueraded_client(joined: Joined, family: int) -> None:
    """It is about a packet both of whose ends were translated."""
    listed = ", ".join(f'"{ip}"' for ip in EXTERNAL.values())
    joined.serve("shut", target=str(CLOSED), protocol="UDP", spec=f"externalIPs: [{listed}]")
    with pytest.raises(ConnectionRefusedError):
        joined.cluster.client.udp_ask(EXTERNAL[family], 80)


def test_the_largest_packet_fits(joined: Joined, family: int) -> None:
    """A byte more is refused by the sender's own network stack."""
    (ip,) = of_family([joined.server], family)
    level, discover = (socket.IPPROTO_IP, 10) if family == 4 else (socket.IPPROTO_IPV6, 23)
    room = joined.nodes.here.mtu - (28 if family == 4 else 48)
    client = joined.cluster.client
    with (
        client.open_socket(socket.SOCK_DGRAM, family=family) as sender,
        Tap(joined.far, "wire") as wire,
    ):
        sender.settimeout(10 * slowness())
        sender.setsockopt(level, discover, 2)
        sender.connect((ip, UDP))
        sender.send(bytes(room))
        assert sender.recv(100) == b"there\n"
        with pytest.raises(OSError, match="Message too long"):
            sender.send(bytes(room + 1))
        # Nothing larger is on the wire, and nothing was left unused.
        seen = wire.until(lambda packet: len(packet) >= MTU)
    assert max(map(len, seen)) == MTU + 14


def test_large_datagrams_go_in_fragments(joined: Joined, family: int) -> None:
    (ip,) = of_family([joined.server], family)
    for client in (joined.cluster.client, joined.cluster.host):
        assert client.udp_ask(ip, UDP, bytes(6000)) == "there"


# What comes in a tunnel.


def in_tunnel(joined: Joined, family: int, what: str) -> Packet:
    """A datagram to this node's client pod, as the other node sends it, but for one thing."""
    ipv6_underlay = joined.nodes.here.peer.addresses[0].version == 6
    ours, theirs = (side.ips[ipv6_underlay] for side in (joined.nodes.here, joined.nodes.there))
    if what == "another node":
        theirs = "2001:db8::99" if ipv6_underlay else "192.0.2.99"
    ips = [
        str(pod.ip if family == 4 else pod.ip6) for pod in (joined.server, joined.cluster.client)
    ]
    source, destination = ips
    if what == "another node's pod":
        source = "10.244.2.5" if family == 4 else "fd00:244:2::5"
    if what == "a pod of this node":
        (source,) = of_family([joined.cluster.other], family)
    if what == "to the node":
        destination = joined.cluster.gateway(family)
    if what == "outside":
        destination = "203.0.113.5" if family == 4 else "2001:db8:113::5"
    ip = (inet.IP if family == 4 else IPv6)(src=source, dst=destination)
    mac = joined.cluster.client.mac if what == "a pod's MAC" else VIRTUAL_MAC
    inner = Ether(src=joined.nodes.there.node.mac, dst=mac) / ip / inet.UDP(sport=7, dport=7)
    inner = inner / Raw(what.encode())
    key = KEY + (what == "another network")
    header, port = (
        (GENEVE(vni=key, proto=0x6558), 6081)
        if joined.mode == "geneve"
        else (VXLAN(vni=key, flags="Instance"), 4789)
    )
    outer = (IPv6 if ipv6_underlay else inet.IP)(src=theirs, dst=ours)
    link = joined.cluster.node.ovs.vsctl("get", "interface", UNDERLAY, "mac_in_use").strip('"')
    frame = Ether(src="02:00:00:00:00:07", dst=link) / outer
    return frame / inet.UDP(sport=49999, dport=port) / header / inner


@pytest.mark.parametrize(
    "what",
    [
        "another node",
        "another network",
        "another node's pod",
        "a pod of this node",
        "outside",
        "a pod's MAC",
    ],
)
@tunneled
def test_strangers_in_tunnels(joined: Joined, family: int, what: str) -> None:
    goals = {
        "good": Tap(joined.cluster.client),
        "to the node": Tap(joined.cluster.host, joined.cluster.node.bridge),
    }
    with Tap(joined.far, "wire") as wire:
        wire.send(*(in_tunnel(joined, family, each) for each in (what, *goals)))
    for last, tap in goals.items():
        with tap:
            assert what.encode() not in marked(tap.until(lambda p, last=last: is_marked(p, last)))


@pytest.mark.parametrize("more", [0, 2 * MTU], ids=["a packet", "fragments"])
@tunneled
def test_a_pod_does_not_speak_as_its_node(joined: Joined, family: int, more: int) -> None:
    """What it sends to another node gets the address that tunnels come from."""
    taken = in_tunnel(joined, family, "made by a pod")
    ip, port = taken[Ether].payload.dst, taken[inet.UDP].dport
    made = bytes(taken[inet.UDP].payload) + bytes(more)
    # The wire's end answers, too, who asks for the address by ARP; tunnels are at the bridge's.
    joined.far.iproute(f"neigh replace {ip} lladdr {taken.dst} dev {UNDERLAY} nud reachable")
    pod, node = (
        each.open_socket(socket.SOCK_DGRAM, family=6 if ":" in ip else 4)
        for each in (joined.server, joined.cluster.host)
    )
    taps = Tap(joined.far, "wire"), Tap(joined.cluster.host, "wire"), Tap(joined.cluster.client)
    with pod, node, taps[0] as far, taps[1] as wire, taps[2] as client:
        node.settimeout(10 * slowness())
        node.bind((ip, 0))
        pod.sendto(made, (ip, port))
        pod.sendto(b"to another port", (ip, node.getsockname()[1]))
        assert node.recv(100) == b"to another port"
        on_wire = wire.until(lambda packet: is_marked(packet, "to another port"))
        far.send(in_tunnel(joined, family, "good"))
        seen = client.until(lambda packet: is_marked(packet, "good"))
    for packet in (*on_wire, *seen):
        assert b"made by a pod" not in bytes(packet)


def is_marked(packet: Packet, what: str) -> bool:
    return Raw in packet and bytes(packet[Raw]) == what.encode()


# Either of the two owners of the bridge's flows.


def lines(client: Netns, address: str, port: int) -> socket.socket:
    with client.enter():
        return socket.create_connection((address, port), timeout=10 * slowness())


def answer(connection: socket.socket) -> bytes:
    connection.send(b"hello\n")
    return connection.recv(100)


def test_connections_outlive_restarts_of_either_owner(joined: Joined, family: int) -> None:
    cluster = joined.cluster
    vip = joined.serve("lasting", target=str(LINES))[family]
    (ip,) = of_family([joined.server], family)
    with lines(cluster.client, vip, 80) as by_service, lines(cluster.client, ip, LINES) as direct:
        assert answer(by_service) == answer(direct) == b"there\n"
        assert joined.nodes.here.wired.sync().messages == 0
        cluster.restart_agent()
        assert answer(by_service) == answer(direct) == b"there\n"


def test_the_node_agent_alone(joined: Joined, family: int) -> None:
    """The Service proxy's flows are gone; its connections and all that is no Service go on."""
    cluster = joined.cluster
    vip = joined.serve("gone", target=str(LINES))[family]
    (ip,) = of_family([joined.server], family)
    with lines(cluster.client, vip, 80) as by_service:
        assert answer(by_service) == b"there\n"
        cluster.stop_agent()
        flows = f"cookie={COOKIE_FAMILY:#x}/{COOKIE_FAMILY_MASK:#x}"
        cluster.node.ovs.ofctl("del-flows", cluster.node.mgmt, flows)
        cluster.node.ovs.appctl("revalidator/wait")
        assert answer(by_service) == b"there\n"
        assert [seen_as(cluster.client, ip)] == of_family([cluster.client], family)
        (near,) = of_family(cluster.servers[:1], family)
        assert cluster.host.http_get(url(near)) == cluster.servers[0].short
        cluster.start_agent()
        cluster.sync()
        assert answer(by_service) == b"there\n"
