"""What passes between two nodes, by each protocol: as policies and Services say."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from joined import Two, write
from runtime import Object, until

from faults.agent import Agent as Proxy
from nsxdp.lab import Netns
from nsxdp.lab.ovs import datapath
from nsxdp.lab.programs import Server
from nsxdp.lab.tools import slowness
from tests.asking import ask, source

pytestmark = pytest.mark.kernel

PORTS = {"TCP": 80, "UDP": 53, "SCTP": 3868}
"""What pods serve."""
LINES = {"TCP": 7, "SCTP": 3868}
"""Likewise, by long connections."""

VIRTUAL = ("10.96.0.10", "fd00:96::10")
VIRTUALS = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "ServiceCIDR",
    "metadata": {"name": "kubernetes"},
    "spec": {"cidrs": ["10.96.0.0/12", "fd00:96::/108"]},
}
NODE_PORT = 30080


class Place:
    """Pods ``web`` and ``near`` of one node, ``far`` and ``stranger`` of the other."""

    def __init__(self, two: Two) -> None:
        self.two = two
        self.near, near_ips = two.here.add(two.stack, "near")
        self.stranger, stranger_ips = two.there.add(two.stack, "stranger")
        sctp = [PORTS["SCTP"]] if datapath() == "system" else []
        for pod in (two.web, two.far):
            Server(pod, pod.short, tcp=[LINES["TCP"]], udp=[PORTS["UDP"]], sctp=sctp)
        self.ips = {
            two.web: two.web_ips,
            two.far: two.far_ips,
            self.near: near_ips,
            self.stranger: stranger_ips,
        }
        self.say("pods", *(a_pod(pod.short, ips) for pod, ips in self.ips.items()))

    def say(self, name: str, *objects: Object) -> None:
        """Have a file of manifests say this."""
        write(self.two.manifests / f"{name}.yaml", *objects)

    @contextmanager
    def only_far(self, protocol: str, family: int) -> Iterator[None]:
        """To web, one pod alone may connect, at one port."""
        two, ip = self.two, self.two.web_ips[family]
        self.say("policy", a_policy("far", protocol))
        until("others are refused", lambda: not self.reaches(self.near, ip, protocol))
        # Nor does the datapath know any more how it was before: until Open vSwitch 3.1.3 what is to
        # become of a cached packet may be written to another entry that meets the same packet.
        two.here.node.ovs.appctl("revalidator/purge")
        try:
            yield
        finally:
            (two.manifests / "policy.yaml").unlink()
        until("others may again", lambda: self.reaches(self.near, ip, protocol))

    def await_reached(self, client: Netns, ip: str, protocol: str) -> None:
        """Wait for an answer: the first may take its time, or get lost."""
        until(f"{client.short} reaches {ip}", lambda: self.reaches(client, ip, protocol))

    def reaches(self, client: Netns, ip: str, protocol: str) -> bool:
        """Whether there is an answer."""
        return self.answer(client, ip, protocol, PORTS[protocol]) != ""

    def answer(self, client: Netns, ip: str, protocol: str, port: int) -> str:
        """Who answers; what is dropped, nobody does."""
        try:
            return ask(client, ip, protocol, port, timeout=0.5)
        except TimeoutError:
            return ""


def a_pod(name: str, ips: list[str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "status": {"podIPs": [{"ip": ip} for ip in ips]},
    }


def a_policy(client: str, protocol: str) -> Object:
    peer = {"podSelector": {"matchLabels": {"app": client}}}
    port = {"protocol": protocol, "port": PORTS[protocol]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "only", "namespace": "default"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "web"}},
            "ingress": [{"from": [peer], "ports": [port]}],
        },
    }


def a_service(name: str, protocol: str, ips: list[list[str]]) -> Iterator[Object]:
    """A Service and its endpoints' addresses, by family."""
    port = {"protocol": protocol, "port": 80, "nodePort": NODE_PORT}
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "type": "NodePort",
            "clusterIP": VIRTUAL[0],
            "clusterIPs": [*VIRTUAL],
            "ipFamilies": ["IPv4", "IPv6"],
            "ports": [port],
        },
    }
    for family, of_family in zip(("IPv4", "IPv6"), ips, strict=True):
        labels = {"kubernetes.io/service-name": name}
        yield {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name}-{family.lower()}",
                "namespace": "default",
                "labels": labels,
            },
            "addressType": family,
            "ports": [{"name": "", "protocol": protocol, "port": PORTS[protocol]}],
            "endpoints": [{"addresses": [ip]} for ip in of_family],
        }


@pytest.fixture(scope="module")
def place(two: Two) -> Place:
    return Place(two)


def test_pods_and_nodes_know_each_other_by_their_own_addresses(
    place: Place, mode: str, family: int, protocol: str
) -> None:
    two, port = place.two, PORTS[protocol]
    assert source(two.web, two.far_ips[family], protocol, port) == two.web_ips[family]
    assert source(two.far, two.web_ips[family], protocol, port) == two.far_ips[family]
    gateways = two.here.node.gateway, two.here.node.gateway6
    gateway = str(gateways[family].ip)  # type: ignore[union-attr]
    node = two.here.node.netns
    assert source(node, two.web_ips[family], protocol, port) == gateway
    own = gateway if mode == "geneve" else two.here.ips[family]
    assert source(node, two.far_ips[family], protocol, port) == own


def test_one_pod_alone_may_connect_at_one_port_of_one_protocol(
    place: Place, family: int, protocol: str
) -> None:
    two = place.two
    ip = two.web_ips[family]
    for client in (two.far, place.near, place.stranger):
        place.await_reached(client, ip, protocol)
    with place.only_far(protocol, family):
        assert not place.reaches(place.stranger, ip, protocol)
        place.await_reached(two.far, ip, protocol)
        another = "TCP" if protocol == "UDP" else "UDP"
        until("another port is refused", lambda: not place.reaches(two.far, ip, another))
        place.await_reached(two.here.node.netns, ip, protocol)
        # To others it says nothing.
        place.await_reached(place.stranger, two.far_ips[family], protocol)


@pytest.mark.parametrize(
    "protocol", ["TCP", pytest.param("SCTP", marks=pytest.mark.datapath("system"))]
)
def test_a_connection_goes_on_when_a_policy_forbids_it(
    place: Place, family: int, protocol: str
) -> None:
    two = place.two
    ip = two.web_ips[family]
    number = socket.IPPROTO_TCP if protocol == "TCP" else socket.IPPROTO_SCTP
    with place.stranger.open_socket(family=6 if family else 4, protocol=number) as connection:
        connection.settimeout(10 * slowness())
        connection.connect((ip, LINES[protocol]))
        with place.only_far(protocol, family):
            assert not place.reaches(place.stranger, ip, protocol)
            connection.send(b"hello\n")
            assert connection.recv(100) == b"web\n"


@pytest.fixture(scope="module")
def proxied(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """nsx-kube-proxy, on the node of web."""
    here = place.two.here
    flags = f"--manifests={place.two.manifests}", f"--node-name={here.name}"
    place.say("ranges", VIRTUALS)
    log: Path = tmp_path_factory.mktemp("proxy") / "proxy.log"
    with Proxy(here.node, log, *flags) as proxy:
        proxy.await_ready()
        yield proxy


@pytest.mark.usefixtures("proxied")
def test_a_service_s_endpoints_on_both_nodes(place: Place, family: int, protocol: str) -> None:
    two = place.two
    ips = [list(of_family) for of_family in zip(two.web_ips, two.far_ips, strict=True)]
    place.say("service", *a_service(f"both-{protocol.lower()}", protocol, ips))
    virtual = VIRTUAL[family]

    until("it is served", lambda: place.answer(place.near, virtual, protocol, 80))
    names = {"web", "far"}
    # Who is an endpoint itself reaches itself, too.
    for client in (place.near, two.web, two.here.node.netns):
        assert {ask(client, virtual, protocol) for _ in range(20)} == names
    assert source(place.near, virtual, protocol) == place.ips[place.near][family]
    # Who comes from outside is the other node here.
    node, outside = two.here.ips[family], two.there.node.netns
    until("the node port is there", lambda: place.answer(outside, node, protocol, NODE_PORT))
    assert {ask(outside, node, protocol, NODE_PORT) for _ in range(20)} == names
    # Policies see who is chosen.
    with place.only_far(protocol, family):
        answers = set()

        def both() -> bool:
            answers.add(place.answer(place.near, virtual, protocol, 80))
            return len(answers) > 1

        until("one is reached, and one isn't", both)
        assert answers == {"", "far"}
