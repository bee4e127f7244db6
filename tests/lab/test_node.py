"""Namespaces, switch and node: what a user of the lab relies on."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nsxdp.lab import OVS, Host, LabError, Netns, Node
from nsxdp.lab import owner as ownership


def links(netns: Netns) -> str:
    return netns.run(["ip", "-brief", "link"]).stdout


def test_a_namespace_is_entered_by_one_thread_and_left_again(netns: Netns) -> None:
    outside = Path("/proc/thread-self/ns/net").readlink()
    with netns.enter():
        inside = Path("/proc/thread-self/ns/net").readlink()
        server = socket.create_server(("127.0.0.1", 0))
    assert Path("/proc/thread-self/ns/net").readlink() == outside != inside
    port = server.getsockname()[1]
    with server, netns.enter():
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_a_failing_command_says_what_it_said(netns: Netns) -> None:
    with pytest.raises(LabError, match=r"ip link show nothing: exit code 1: .*nothing.*not exist"):
        netns.run(["ip", "link", "show", "nothing"])


def test_closing_a_namespace_ends_what_runs_inside() -> None:
    with Netns("test") as netns:
        child = netns.popen(["sh", "-c", "setsid sleep 1000 & exec sleep 1000"])
        while len(ownership.processes_in(netns.path)) < 2:
            assert child.poll() is None
    assert child.returncode is not None
    assert not netns.path.exists()
    assert not ownership.processes_in(netns.path)


def test_pods_reach_each_other_the_gateway_and_back(node: Node) -> None:
    web, client = node.add_pod("web"), node.add_pod("client")
    web.serve_http(80)
    web.serve_udp(53)
    assert client.http_get(f"http://{web.ip}/") == "web"
    assert client.http_get(f"http://[{web.ip6}]/client").startswith(f"[{client.ip6}]:")
    assert client.udp_ask(str(web.ip), 53) == "web"
    assert client.udp_ask(str(web.ip6), 53, b"client").startswith(f"[{client.ip6}]:")
    assert node.netns.http_get(f"http://{web.ip}/client").startswith("10.244.0.1:")
    node.netns.serve_http(8080, name="host")
    assert client.http_get("http://10.244.0.1:8080/") == "host"


@pytest.mark.parametrize("uplink", [False, True])
def test_a_host_outside_reaches_pods_by_the_node_and_is_reached(node: Node, uplink: bool) -> None:
    web = node.add_pod("web")
    web.serve_http(80)
    with Host(node, subnets=["198.51.100.0/24", "2001:db8:51::/64"], uplink=uplink) as outside:
        outside.serve_http(80)
        assert outside.addresses == {4: "198.51.100.2", 6: "2001:db8:51::2"}
        seen = outside.http_get(f"http://{web.ip}/client"), web.http_get("http://198.51.100.2/")
        assert (seen[0].rpartition(":")[0], seen[1]) == ("198.51.100.2", "outside")
        assert outside.http_get(f"http://[{web.ip6}]/") == "web"
        assert web.http_get("http://[2001:db8:51::2]/") == "outside"
        # The node is its gateway, whatever device has the address.
        node.netns.serve_http(8080, name="node")
        assert outside.http_get(f"http://{outside.gateways[4]}:8080/") == "node"
        ports = node.ovs.vsctl("list-ports", node.bridge).split()
        assert (outside.short in ports) is uplink
        if uplink:
            node.ovs.restart_vswitchd()
            assert outside.http_get(f"http://{web.ip}/") == "web"
    assert "outside" not in links(node.netns)
    assert "outside" not in node.ovs.vsctl("list-ports", node.bridge).split()


def test_a_pod_s_first_connection_from_the_node_is_not_reset(node: Node) -> None:
    """The kernel sees a pod's ARP too: were it to answer, the pod would send past the bridge."""
    for number in range(5):
        pod = node.add_pod(f"web-{number}")
        pod.serve_http(80)
        assert node.netns.http_get(f"http://{pod.ip}/") == pod.short
        heard = node.netns.run(["ip", "-4", "neigh", "show", "dev", pod.port]).stdout
        assert heard == ""


def test_a_pod_s_interface_says_whose_it_is(node: Node) -> None:
    pod = node.add_pod("a-name-of-many-letters", ip="10.244.0.77", namespace="shop")
    ids = node.ovs.vsctl("get", "interface", pod.port, "external_ids")
    assert ids == (
        f'{{attached-mac="{pod.mac}", iface-id="shop/a-name-of-many-letters", '
        'ip_addresses="10.244.0.77,fd00:244::2"}'
    )
    assert node.ovs.ofport(pod.port) > 0
    node.del_pod(pod)
    assert pod.port not in node.ovs.vsctl("list-ports", node.bridge).split()


def test_the_host_s_packets_to_services_enter_the_bridge() -> None:
    with Node(service_cidrs=["10.96.0.0/12", "fd00:96::/108"]) as node:
        check_service_routes(node)


def check_service_routes(node: Node) -> None:
    match = f"priority=9,in_port=LOCAL,dl_dst={node.service_mac}"
    node.ovs.ofctl("add-flow", node.mgmt, f"{match},ip,nw_dst=10.96.0.10,actions=drop")
    node.ovs.ofctl("add-flow", node.mgmt, f"{match},ipv6,ipv6_dst=fd00:96::a,actions=drop")
    for address in ("10.96.0.10", "fd00:96::a"):
        with pytest.raises(TimeoutError):
            node.netns.udp_ask(address, 53, timeout=0.2)
    dropped = [
        line
        for line in node.ovs.ofctl("dump-flows", node.mgmt).splitlines()
        if "n_packets=1," in line and "actions=drop" in line
    ]
    assert len(dropped) == 2


def test_a_restarted_switch_has_its_pods_and_its_gateway_again(node: Node) -> None:
    web, client = node.add_pod("web"), node.add_pod("client")
    web.serve_http(80)
    before = node.ovs.pid()
    node.ovs.restart_vswitchd()
    assert node.ovs.pid() != before
    assert client.http_get(f"http://{web.ip}/") == "web"
    assert node.netns.http_get(f"http://[{web.ip6}]/") == "web"
    node.ovs.restart_ovsdb_server()
    assert node.add_pod("late").http_get(f"http://{web.ip}/") == "web"


def test_two_switches_share_nothing(ovs: OVS) -> None:
    ovs.add_bridge("br0")
    with OVS() as other:
        other.add_bridge("br0")
        other.ofctl("add-flow", other.mgmt("br0"), "priority=7,actions=drop")
        assert "priority=7" not in ovs.ofctl("dump-flows", ovs.mgmt("br0"))
        assert "br0" in links(ovs.netns)
        assert "br0" in links(other.netns)
    ovs.reset()
    assert ovs.vsctl("list-br") == ""


def test_a_switch_that_cannot_start_shows_its_log(ovs: OVS) -> None:
    ovs.kill_ovsdb_server()
    (ovs.directory / "conf.db").write_text("no database")
    with pytest.raises(LabError, match=r"did not start; its log ends:\n(.*\n)*.*conf\.db"):
        ovs.start_ovsdb_server()


def test_lines_tell_who_serves_and_who_asks(node: Node) -> None:
    web, client = node.add_pod("web"), node.add_pod("client")
    web.serve_tcp(7)
    with client.enter():
        connection = socket.create_connection((str(web.ip), 7), timeout=5)
    with connection, connection.makefile("rw", buffering=1) as lines:
        lines.write("hello\nclient\n")
        assert lines.readline() == "web\n"
        assert lines.readline() == "{}:{}\n".format(*connection.getsockname())


@pytest.mark.parametrize(
    ("variable", "value", "error"),
    [
        ("NSXDP_DATAPATH", "kernel", "NSXDP_DATAPATH=kernel: there are netdev and system"),
        ("NSXDP_SLOWNESS", "very", "NSXDP_SLOWNESS=very: it is a number from 1 to 1000"),
        ("NSXDP_SLOWNESS", "0.5", r"NSXDP_SLOWNESS=0\.5: it is a number from 1 to 1000"),
    ],
)
def test_the_environment_s_mistakes_are_told(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, error: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(LabError, match=error), OVS():
        pass


def test_traffic_counts_answers_by_backend_and_losses(node: Node) -> None:
    web, client = node.add_pod("web"), node.add_pod("client")
    web.serve_udp(53)
    server = web.serve_tcp(7)
    told = client.traffic("udp", str(web.ip), 53, rate=500, count=50).wait()
    assert (told["sent"], told["answered"], told["failed"]) == (50, 50, 0)
    assert told["backends"] == {"web": 50}
    assert 0 < told["latency_ms"]["p50"] <= told["latency_ms"]["max"]

    load = client.traffic("tcp", str(web.ip), 7, rate=200, connections=4)
    reports = iter(load)
    assert next(reports)["failed"] == 0
    server.close()
    while not next(reports)["errors"].get("ConnectionRefusedError"):
        pass
    told = load.stop()
    assert told["sent"] == told["answered"] + told["failed"]


OWNER = """
from nsxdp.lab import Node
node = Node()
node.add_pod("web").serve_http(80)
print(node.netns.owner.pid, node.netns.owner.start, flush=True)
input()
"""


def test_nothing_is_left_after_kill_9_of_the_owner() -> None:
    started = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert started.stdin is not None
    assert started.stdout is not None
    pid, start = map(int, started.stdout.readline().split())
    owner = ownership.Owner(pid, start)
    names = owner.netns()
    assert [ownership.short_name(name) for name in names] == ["node", "web"]
    running = [
        os.pidfd_open(pid) for n in names for pid in ownership.processes_in(ownership.NETNS / n)
    ]
    assert len(running) == 3  # ovsdb-server, ovs-vswitchd, the pod's server
    started.kill()
    started.communicate()
    # The watcher removes it; so would the next lab: both may do it at once.
    ownership.sweep()
    ownership.sweep()
    assert owner.netns() == []
    assert not owner.directory.exists()
    assert ownership.await_exit(running, time.monotonic() + 10)
    for fd in running:
        os.close(fd)
