"""Host ports: whoever can reach the node reaches the pod, and nobody else's port is taken."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joined import write
from manifests import of
from runtime import Agent, Object, PluginError, Runtime, until

from nsxdp.lab import Host, Netns, Node
from nsxdp.lab.programs import Server
from nsxdp_agents.node_agent.cni.runtime_config import HostPort
from nsxdp_agents.node_agent.hostports import HostPortError, HostPorts, Opened, opened, ruleset
from nsxdp_agents.node_agent.leases import Lease
from tests.asking import ask

Sandbox = Callable[[str], Netns]

TABLE = ("inet", "nsxdp-host-ports")


def wants(*mappings: tuple[str, int, int] | tuple[str, int, int, str]) -> Object:
    """The runtimeConfig of these host ports: protocol, the node's port, the pod's, hostIP."""
    names = ("protocol", "hostPort", "containerPort", "hostIP")
    return {"portMappings": [dict(zip(names, each, strict=False)) for each in mappings]}


def table(node: Node) -> str:
    """What nftables has of host ports; empty: nothing."""
    return node.netns.run(["nft", "list", "table", *TABLE], check=False).stdout


def url(address: str, port: int, path: str = "") -> str:
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}/{path}"


@pytest.fixture
def outside(node: Node) -> Iterator[Host]:
    """A host that reaches the node, at addresses that aren't the bridge's."""
    with Host(node) as host:
        yield host


@pytest.mark.kernel
def test_a_host_port_is_reached_from_everywhere(
    node: Node, runtime: Runtime, sandbox: Sandbox, outside: Host, protocol: str
) -> None:
    web, client = sandbox("web"), sandbox("client")
    host_port, port = {"TCP": (8080, 80), "UDP": (5353, 53), "SCTP": (3869, 3868)}[protocol]
    runtime.add("web", web, wants=wants((protocol.lower(), host_port, port)))
    runtime.add("client", client)
    kind = "http" if protocol == "TCP" else protocol.lower()
    Server(web, "web", **{kind: [port]})
    for at in outside.gateways.values():
        for who in (outside, client, node.netns, web):
            assert ask(who, at, protocol, host_port) == "web"
    for who, at in ((node.netns, "127.0.0.1"), (client, "10.244.0.1")):
        assert ask(who, at, protocol, host_port) == "web"


def test_host_ports_are_understood_as_containerd_says_them(
    runtime: Runtime, sandbox: Sandbox, outside: Host
) -> None:
    web = sandbox("web")
    said = {"Protocol": "tcp", "HostPort": 8080, "ContainerPort": 80, "HostIP": ""}
    runtime.add("web", web, wants={"portMappings": [said]})
    web.serve_http(80)
    assert outside.http_get(url(outside.gateways[4], 8080)) == "web"


@pytest.mark.kernel
def test_who_comes_from_outside_is_known_by_its_own_address(
    runtime: Runtime, sandbox: Sandbox, outside: Host
) -> None:
    web = sandbox("web")
    runtime.add("web", web, wants=wants(("tcp", 8080, 80)))
    web.serve_http(80)
    for version, at in outside.gateways.items():
        seen = outside.http_get(url(at, 8080, "client")).rpartition(":")[0].strip("[]")
        assert seen == outside.addresses[version]


@pytest.mark.kernel
def test_policies_know_who_comes_to_a_host_port(
    node: Node, start: Callable[..., Agent], tmp_path: Path, sandbox: Sandbox, outside: Host
) -> None:
    """By whichever of the node's addresses."""
    peer = {"podSelector": {"matchLabels": {"app": "friend"}}}
    spec = {
        "podSelector": {"matchLabels": {"app": "web"}},
        "ingress": [{"from": [peer], "ports": [{"port": 80}]}],
    }
    networks = ["10.244.0.0/24", "fd00:244::/64"]
    own = [{"type": "InternalIP", "address": each} for each in outside.gateways.values()]
    objects = [
        of("Node", "node-1", "v1", spec={"podCIDRs": networks}, status={"addresses": own}),
        of("NetworkPolicy", "only", "networking.k8s.io/v1", spec=spec),
    ]
    names = ("web", "friend", "stranger")
    for name in names:
        objects.append(of("Pod", name, "v1", spec={"nodeName": "node-1"}))
        objects[-1]["metadata"]["labels"] = {"app": name}
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    write(manifests / "all.yaml", *objects)
    runtime = start(f"--manifests={manifests}", "--node-name=node-1").runtime
    web, friend, stranger = pods = [sandbox(name) for name in names]
    for name, pod in zip(names, pods, strict=True):
        given = runtime.add(name, pod, wants=wants(("tcp", 8080, 80)) if pod is web else None)
        if pod is friend:
            known = [each["address"].partition("/")[0] for each in given["ips"]]
    web.serve_http(80)
    for at in (*outside.gateways.values(), "10.244.0.1", "fd00:244::1"):
        seen = friend.http_get(url(at, 8080, "client")).rpartition(":")[0].strip("[]")
        assert seen in known
        for who in (web, node.netns):
            assert who.http_get(url(at, 8080)) == "web"
        for who in (stranger, outside):
            with pytest.raises(TimeoutError):
                who.http_get(url(at, 8080), 1)
    assert node.netns.http_get(url("127.0.0.1", 8080)) == "web"


@pytest.mark.kernel
def test_a_host_port_at_one_address_leaves_the_others_alone(
    node: Node, runtime: Runtime, sandbox: Sandbox, outside: Host
) -> None:
    one, other = sandbox("one"), sandbox("other")
    at = outside.gateways
    runtime.add("one", one, wants=wants(("tcp", 8080, 80, at[4]), ("tcp", 8080, 80, at[6])))
    runtime.add("other", other, wants=wants(("tcp", 8080, 80, "127.0.0.1")))
    one.serve_http(80)
    other.serve_http(80)
    assert outside.http_get(url(at[4], 8080)) == outside.http_get(url(at[6], 8080)) == "one"
    assert node.netns.http_get(url("127.0.0.1", 8080)) == "other"
    with pytest.raises(ConnectionRefusedError):
        node.netns.http_get(url("10.244.0.1", 8080))


def test_a_host_port_of_one_family_leaves_the_other_alone(
    runtime: Runtime, sandbox: Sandbox, outside: Host
) -> None:
    web = sandbox("web")
    runtime.add("web", web, wants=wants(("tcp", 8080, 80, "0.0.0.0"), ("TCP", 8081, 80, "::")))
    web.serve_http(80)
    assert outside.http_get(url(outside.gateways[4], 8080)) == "web"
    assert outside.http_get(url(outside.gateways[6], 8081)) == "web"
    for version, port in ((6, 8080), (4, 8081)):
        with pytest.raises(ConnectionRefusedError):
            outside.http_get(url(outside.gateways[version], port))


def test_two_pods_cannot_have_one_host_port(
    agent: Agent, runtime: Runtime, sandbox: Sandbox, outside: Host
) -> None:
    first, second = sandbox("first"), sandbox("second")
    runtime.add("first", first, wants=wants(("tcp", 8080, 80)))
    first.serve_http(80)
    for taken in (("tcp", 8080, 81), ("tcp", 8080, 81, outside.gateways[4])):
        with pytest.raises(PluginError, match="8080/tcp of IPv4 is that of eth0 of first") as told:
            runtime.add("second", second, wants=wants(("udp", 8080, 80), taken))
        assert told.value.code == 11
    assert len(agent.ports) == len(agent.devices) == len(agent.leases) == 1
    assert outside.http_get(url(outside.gateways[4], 8080)) == "first"
    runtime.add("second", second, wants=wants(("udp", 8080, 80)))
    runtime.delete("first", first)
    third = sandbox("third")
    runtime.add("third", third, wants=wants(("tcp", 8080, 80)))
    third.serve_http(80)
    assert outside.http_get(url(outside.gateways[4], 8080)) == "third"


def test_nothing_is_left_of_a_deleted_pod_s_host_ports(
    node: Node, runtime: Runtime, sandbox: Sandbox, outside: Host
) -> None:
    pods = {name: sandbox(name) for name in ("a", "b")}
    for port, (name, pod) in enumerate(pods.items(), 8080):
        runtime.add(name, pod, wants=wants(("tcp", port, 80)))
        pod.serve_http(80)
    runtime.delete("a", pods["a"])
    assert "8080" not in table(node)
    with pytest.raises(ConnectionRefusedError):
        outside.http_get(url(outside.gateways[4], 8080))
    assert outside.http_get(url(outside.gateways[4], 8081)) == "b"
    runtime.collect([])
    assert table(node) == ""


@pytest.mark.kernel
def test_who_asked_by_udp_before_the_pod_came_and_went_gets_the_one_there_is(
    node: Node, runtime: Runtime, sandbox: Sandbox, outside: Host
) -> None:
    at = outside.gateways[4]
    with node.netns.serve_udp(5353, "node"):
        assert outside.udp_ask(at, 5353, source_port=40000) == "node"
    for name in ("first", "second"):
        pod = sandbox(name)
        runtime.add(name, pod, wants=wants(("udp", 5353, 53)))
        pod.serve_udp(53)
        assert outside.udp_ask(at, 5353, source_port=40000) == name
        runtime.delete(name, pod)


@pytest.mark.kernel
def test_connections_to_host_ports_outlive_the_agent(
    agent: Agent, runtime: Runtime, sandbox: Sandbox, outside: Host
) -> None:
    web = sandbox("web")
    runtime.add("web", web, wants=wants(("tcp", 8080, 80)))
    web.serve_tcp(80)
    traffic = outside.traffic("tcp", outside.gateways[4], 8080, seconds=None)
    agent.kill()
    agent.start()
    report = traffic.stop()
    assert report["answered"] > 0
    assert report["failed"] == 0
    with pytest.raises(PluginError, match="is that of eth0 of web"):
        runtime.add("other", sandbox("other"), wants=wants(("tcp", 8080, 80)))


@pytest.mark.datapath("netdev")
def test_loopback_leads_to_pods_when_the_bridge_is_made_anew(
    node: Node, runtime: Runtime, sandbox: Sandbox
) -> None:
    node.ovs.after_start.clear()
    web = sandbox("web")
    runtime.add("web", web, wants=wants(("tcp", 8080, 80)))
    web.serve_http(80)
    node.ovs.restart_vswitchd()
    until("who is on the node", lambda: node.netns.http_get(url("127.0.0.1", 8080)) == "web")


@pytest.mark.kernel
def test_a_pod_does_not_get_at_what_listens_on_the_node_s_loopback(
    node: Node, runtime: Runtime, sandbox: Sandbox
) -> None:
    evil, other = sandbox("evil"), sandbox("other")
    runtime.add("evil", evil)
    runtime.add("other", other, wants=wants(("tcp", 8080, 80)))
    node.netns.run(["sysctl", "-q", "net.ipv4.conf.all.rp_filter=0"])
    assert node.netns.run(
        ["sysctl", "-n", f"net.ipv4.conf.{node.bridge}.route_localnet"]
    ).stdout.split() == ["1"]
    evil.run(["sysctl", "-q", "net.ipv4.conf.all.route_localnet=1"])
    evil.iproute("addr flush dev lo", "route add 127.0.0.0/8 via 10.244.0.1")
    with node.netns.serve_udp(9999, "secret"):
        with pytest.raises(TimeoutError):
            evil.udp_ask("127.0.0.1", 9999, timeout=1)
        node.netns.run(["nft", "flush", "ruleset"])
        with pytest.raises(TimeoutError):
            evil.udp_ask("127.0.0.1", 9999, timeout=1)
        runtime.delete("other", other)
        with pytest.raises(TimeoutError):
            evil.udp_ask("127.0.0.1", 9999, timeout=1)


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        (("icmp", 8080, 80), "protocol 'icmp': there are tcp, udp, sctp"),
        (("tcp", 8080, 0), "there is no containerPort"),
        (("tcp", 8080, 80, "node"), "hostIP 'node' is no address"),
        (("tcp", 8080, 80, "fe80::1%eth0"), "hostIP 'fe80::1%eth0' is no address"),
        (("tcp", 65536, 80), r"Expected `int` <= 65535"),
        (("tcp", -1, 80), r"Expected `int` >= 0"),
    ],
)
def test_a_host_port_that_cannot_be_is_refused(
    agent: Agent, runtime: Runtime, sandbox: Sandbox, mapping: tuple[str, int, int], said: str
) -> None:
    with pytest.raises(PluginError, match=said) as refused:
        runtime.add("4ac7", sandbox("pod"), wants=wants(mapping))
    assert refused.value.code == 7
    assert agent.leases == []
    assert "252 free" in agent.appctl("ipam/show")


def test_a_port_of_the_node_that_is_0_is_none(
    node: Node, runtime: Runtime, sandbox: Sandbox
) -> None:
    runtime.add("4ac7", sandbox("pod"), wants=wants(("tcp", 0, 80)))
    assert table(node) == ""


def test_one_host_port_leads_to_one_port(runtime: Runtime, sandbox: Sandbox) -> None:
    with pytest.raises(PluginError, match="leads to two of its ports"):
        runtime.add("4ac7", sandbox("pod"), wants=wants(("tcp", 8080, 80), ("tcp", 8080, 81)))


def lease(*ports: HostPort) -> Lease:
    return Lease(
        "c", "eth0", "nsx", ("10.0.0.3/24", "fd00::3/64"), (), "", 1500, "p", host_ports=ports
    )


def test_an_address_of_the_node_leads_to_one_of_the_pod_s_of_its_family() -> None:
    four, six = ip_address("10.0.0.3"), ip_address("fd00::3")
    node = ip_address("192.0.2.1")
    for at, found in {
        "": [(None, four), (None, six)],
        "0.0.0.0": [(None, four)],
        "::": [(None, six)],
        "192.0.2.1": [(node, four)],
    }.items():
        ports = opened(lease(HostPort("tcp", 8080, 80, at)))
        assert [(port.at, port.pod) for port in ports] == found


_ports = st.builds(
    Opened,
    st.sampled_from(["tcp", "udp"]),
    st.integers(1, 3),
    st.sampled_from([None, ip_address("192.0.2.1"), ip_address("192.0.2.2")]),
    st.just(ip_address("10.0.0.3")),
    st.integers(1, 2),
)


@given(_ports, _ports)
def test_ports_exclude_each_other_where_a_packet_could_be_for_both(
    one: Opened, other: Opened
) -> None:
    nodes = {ip_address("192.0.2.1"), ip_address("192.0.2.2"), ip_address("192.0.2.3")}

    def taken(port: Opened) -> set[tuple[object, ...]]:
        return {(port.protocol, port.port, at) for at in nodes if port.at in (None, at)}

    assert one.excludes(other) == other.excludes(one) == bool(taken(one) & taken(other))


@given(st.frozensets(_ports))
def test_nft_understands_every_table(ports: frozenset[Opened]) -> None:
    keys = {port[:3]: port for port in ports}
    with Netns("nft") as netns:
        text = ruleset("br-int", keys.values())
        netns.run(["nft", "-f", "-"], stdin=text)
        listed = netns.run(["nft", "--json", "list", "ruleset"]).stdout
    found = [each["map"] for each in json.loads(listed)["nftables"] if "map" in each]
    assert sum(len(each.get("elem", [])) for each in found) == len(keys)


def test_nothing_is_left_of_a_host_port_that_fails() -> None:
    """Its pod's address will be another one's."""
    given = lease(HostPort("tcp", 8080, 80, ""))

    async def fail() -> None:
        ports = HostPorts("gone")
        with pytest.raises(HostPortError, match="route_localnet: No such file"):
            await ports.add(given)
        await ports.remove(given.attachment)

    with Netns("nft") as netns:
        with netns.enter():
            asyncio.run(fail())
        assert netns.run(["nft", "list", "tables"]).stdout == ""


@pytest.mark.parametrize(
    "harm", ["delete table {}", "flush chain {} postrouting", "flush map {} any4"]
)
def test_a_table_that_somebody_changed_is_made_anew(harm: str) -> None:
    async def main() -> str:
        ports = HostPorts("lo", look_seconds=0.01)
        await ports.restore([lease(HostPort("tcp", 8080, 80))])
        wanted = look()
        netns.run(["nft", harm.format(" ".join(TABLE))])
        assert look() != wanted
        keeping = asyncio.create_task(ports.keep())
        await asyncio.to_thread(until, "it is as it was", lambda: look() == wanted)
        keeping.cancel()
        return wanted

    with Netns("nft") as netns, netns.enter():

        def look() -> str:
            return netns.run(["nft", "list", "table", *TABLE], check=False).stdout

        assert "tcp . 8080 : 10.0.0.3 . 80" in asyncio.run(main())
