"""What a container runtime gets, and what is there when it has it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from runtime import Agent, PluginError, Runtime, until

from nsxdp.lab import Netns, Node

Sandbox = Callable[[str], Netns]

GATEWAYS = {"10.244.0.1", "fd00:244::1"}


def test_pods_reach_each_other_and_the_node(node: Node, runtime: Runtime, sandbox: Sandbox) -> None:
    web, client = sandbox("web"), sandbox("client")
    result = runtime.add("web", web)
    runtime.add("client", client)
    addresses = [ip["address"].partition("/")[0] for ip in result["ips"]]
    assert addresses == ["10.244.0.3", "fd00:244::3"]
    web.serve_http(80)
    for address in addresses:
        host = f"[{address}]" if ":" in address else address
        assert client.http_get(f"http://{host}/") == "web"
        assert node.netns.http_get(f"http://{host}/") == "web"
    node.netns.serve_http(8080, "node")
    assert client.http_get("http://10.244.0.1:8080/") == "node"
    assert client.http_get("http://[fd00:244::1]:8080/") == "node"


def test_a_result_tells_all_that_the_pod_has(runtime: Runtime, sandbox: Sandbox) -> None:
    pod = sandbox("pod")
    result = runtime.add("4ac7", pod)
    host, inside = result["interfaces"]
    assert host["name"].startswith("nsx")
    assert inside == {
        "name": "eth0",
        "mac": "0a:58:0a:f4:00:03",
        "mtu": 1500,
        "sandbox": str(pod.path),
    }
    assert result["cniVersion"] == "1.1.0"
    assert {ip["gateway"] for ip in result["ips"]} == GATEWAYS
    assert {ip["interface"] for ip in result["ips"]} == {1}
    assert result["routes"] == [
        {"dst": "0.0.0.0/0", "gw": "10.244.0.1"},
        {"dst": "::/0", "gw": "fd00:244::1"},
    ]
    assert "dev eth0" in pod.run(["ip", "route", "get", "192.0.2.1"]).stdout
    assert "dev eth0" in pod.run(["ip", "route", "get", "2001:db8::1"]).stdout
    (link,) = json.loads(pod.run(["ip", "-json", "link", "show", "eth0"]).stdout)
    assert (link["address"], link["mtu"]) == (inside["mac"], 1500)


def test_the_bridge_s_end_has_no_address_and_does_not_change_once_it_is_up(
    node: Node, runtime: Runtime, sandbox: Sandbox
) -> None:
    pod = sandbox("pod")
    with node.netns.popen(["ip", "monitor", "link"], stdout=subprocess.PIPE) as monitor:
        try:
            until("ip(8) listens", lambda: "ip" in node.netns.run(["ss", "-f", "netlink"]).stdout)
            port = runtime.add("4ac7", pod)["interfaces"][0]["name"]
            node.netns.run(["ip", "link", "set", port, "mtu", "1400"])
            assert monitor.stdout is not None
            heard = []
            for line in iter(monitor.stdout.readline, b""):
                if b"mtu 1400" in line:
                    break
                if f"{port}@".encode() in line:
                    heard.append(line.decode())
        finally:
            monitor.kill()
    made, *up, last = heard
    assert ",UP" not in made
    assert up
    flags = [set(line.partition("<")[2].partition(">")[0].split(",")) for line in [*up, last]]
    assert all({"UP", "NOARP", "PROMISC"} <= each for each in flags)
    (shown,) = json.loads(node.netns.run(["ip", "-json", "address", "show", port]).stdout)
    assert shown["addr_info"] == []


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0", "1.0.0"])
def test_an_older_runtime_gets_a_result_of_its_version(
    agent: Agent, sandbox: Sandbox, version: str
) -> None:
    runtime = Runtime(agent.socket, version)
    result = runtime.add("old", sandbox("old"))
    assert result["cniVersion"] == version
    assert "mtu" not in result["interfaces"][1]
    with_versions = [ip.get("version") for ip in result["ips"]]
    assert with_versions == ([None, None] if version == "1.0.0" else ["4", "6"])
    runtime.delete("old")


def test_a_bridge_that_is_made_has_a_datapath_that_the_machine_has(
    node: Node, start: Callable[..., Agent], sandbox: Sandbox
) -> None:
    node.ovs.vsctl("del-br", node.bridge)
    runtime = start("--datapath=auto").runtime
    made = node.ovs.vsctl("get", "bridge", node.bridge, "datapath_type")
    asked = node.netns.run(["ovs-dpctl", "dump-dps"], check=False)
    assert made == ("netdev" if asked.returncode else "system")
    web, client = sandbox("web"), sandbox("client")
    result = runtime.add("web", web)
    runtime.add("client", client)
    web.serve_http(80)
    address = result["ips"][0]["address"].partition("/")[0]
    assert client.http_get(f"http://{address}/") == "web"


def test_the_port_says_whose_it_is(node: Node, runtime: Runtime, sandbox: Sandbox) -> None:
    result = runtime.add("4ac7", sandbox("pod"), pod="web-0")
    port = result["interfaces"][0]["name"]
    for key, value in {
        "iface-id": "default/web-0",
        "attached-mac": "0a:58:0a:f4:00:03",
        "ip_addresses": "10.244.0.3,fd00:244::3",
        "k8s-namespace": "default",
        "k8s-pod": "web-0",
        "container-id": "4ac7",
    }.items():
        said = node.ovs.vsctl("get", "interface", port, f"external_ids:{key}")
        assert said.strip('"') == value
    assert node.ovs.ofport(port) > 0


def test_nothing_is_left_of_a_deleted_pod(agent: Agent, runtime: Runtime, sandbox: Sandbox) -> None:
    pod = sandbox("pod")
    runtime.add("4ac7", pod)
    assert len(agent.ports) == len(agent.devices) == len(agent.leases) == 1
    runtime.delete("4ac7", pod)
    assert agent.ports == agent.devices == agent.leases == []
    assert "eth0" not in pod.run(["ip", "link"]).stdout


def test_a_pod_may_be_deleted_more_than_once_and_without_its_namespace(
    agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    pod = sandbox("pod")
    runtime.add("4ac7", pod)
    pod.close()
    runtime.delete("4ac7")
    runtime.delete("4ac7")
    runtime.delete("never-seen")
    gone = runtime.variables("4ac7", None) | {"CNI_NETNS": str(pod.path)}
    assert runtime.call("DEL", gone) == {}
    assert agent.ports == agent.leases == []


def test_a_pod_is_deleted_whose_namespace_is_mounted_no_more(
    agent: Agent, runtime: Runtime, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Of which an empty file is left, as after a restart of the node."""
    pod = sandbox("pod")
    runtime.add("4ac7", pod)
    pod.close()
    left = tmp_path / "netns"
    left.touch()
    variables = runtime.variables("4ac7", None) | {"CNI_NETNS": str(left)}
    assert runtime.call("DEL", variables) == {}
    assert agent.ports == agent.leases == []


def test_a_pod_may_be_added_more_than_once(
    agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    pod = sandbox("pod")
    result = runtime.add("4ac7", pod)
    assert runtime.add("4ac7", pod) == result
    pod.run(["ip", "link", "delete", "eth0"])
    again = runtime.add("4ac7", pod)
    assert len(agent.ports) == len(agent.devices) == len(agent.leases) == 1
    runtime.check("4ac7", pod, again)


def test_a_second_interface_does_not_take_the_default_route(
    agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    pod = sandbox("pod")
    result = runtime.add("4ac7", pod)
    with pytest.raises(PluginError, match="default route by net1: File exists"):
        runtime.add("4ac7", pod, ifname="net1")
    runtime.check("4ac7", pod, result)
    assert len(agent.ports) == len(agent.devices) == len(agent.leases) == 1


def test_an_interface_that_is_there_already_is_not_replaced(
    agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    pod = sandbox("pod")
    pod.run(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other"])
    with pytest.raises(PluginError, match=r"eth0 and nsx.*: File exists"):
        runtime.add("4ac7", pod)
    assert "eth0@other" in pod.run(["ip", "link", "show", "eth0"]).stdout
    assert agent.ports == agent.devices == agent.leases == []


def test_an_address_is_given_again_as_late_as_can_be(
    start: Callable[..., Agent], sandbox: Sandbox
) -> None:
    agent = start("--pod-cidr=10.244.0.0/29")
    runtime = agent.runtime
    pods = {name: sandbox(name) for name in "abcd"}
    given = {name: runtime.add(name, pod)["ips"][0]["address"] for name, pod in pods.items()}
    assert sorted(given.values()) == [f"10.244.0.{n}/29" for n in (3, 4, 5, 6)]
    with pytest.raises(PluginError, match=r"all 4 addresses of 10\.244\.0\.0/29 are taken") as full:
        runtime.add("e", sandbox("e"))
    assert full.value.code == 11
    runtime.delete("c")
    runtime.delete("a")
    assert runtime.add("f", sandbox("f"))["ips"][0]["address"] == given["c"]
    assert runtime.add("g", sandbox("g"))["ips"][0]["address"] == given["a"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("ip link set eth0 down", "eth0 is down"),
        ("ip link set eth0 mtu 1400", "an MTU of 1400, not 1500"),
        ("ip link set eth0 address 02:00:00:00:00:01", "the MAC address 02:00:00:00:00:01"),
        ("ip address delete 10.244.0.3/24 dev eth0", "no address 10.244.0.3/24"),
        ("ip -6 route delete default", "no default route by fd00:244::1"),
        ("ip link delete eth0", "no interface eth0"),
        ("ethtool -K eth0 tx on", "leaves checksums out"),
    ],
)
@pytest.mark.datapath("netdev")
def test_a_check_finds_what_somebody_changed_in_the_pod(
    runtime: Runtime, sandbox: Sandbox, damage: str, said: str
) -> None:
    pod = sandbox("pod")
    result = runtime.add("4ac7", pod)
    runtime.check("4ac7", pod, result)
    pod.run(damage.split())
    with pytest.raises(PluginError, match=re.escape(said)):
        runtime.check("4ac7", pod, result)


def test_a_check_finds_what_somebody_changed_at_the_bridge(
    node: Node, runtime: Runtime, sandbox: Sandbox
) -> None:
    pod = sandbox("pod")
    result = runtime.add("4ac7", pod)
    port = result["interfaces"][0]["name"]
    node.ovs.vsctl("remove", "interface", port, "external_ids", "attached-mac")
    with pytest.raises(PluginError, match=f"the bridge has no port {port}"):
        runtime.check("4ac7", pod, result)


def test_a_check_of_what_is_not_known_says_so(runtime: Runtime, sandbox: Sandbox) -> None:
    pod = sandbox("pod")
    result = runtime.add("4ac7", pod)
    with pytest.raises(PluginError) as unknown:
        runtime.check("other", pod, result)
    assert unknown.value.code == 3
    result["ips"][0]["address"] = "10.244.0.77/24"
    with pytest.raises(PluginError, match=r"10\.244\.0\.3/24 is not in prevResult"):
        runtime.check("4ac7", pod, result)


def test_what_no_container_has_any_more_is_collected(
    agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    pods = {name: sandbox(name) for name in ("kept", "gone", "lost")}
    for name, pod in pods.items():
        runtime.add(name, pod)
    other = Runtime(agent.socket)
    attachments = [{"containerID": "kept", "ifname": "eth0"}]
    other.call("GC", {}, name="another-network", **{"cni.dev/valid-attachments": attachments})
    assert len(agent.leases) == 3
    runtime.collect(["kept"])
    assert [lease["container"] for lease in agent.leases] == ["kept"]
    assert len(agent.ports) == len(agent.devices) == 1
    runtime.collect([])
    assert agent.ports == agent.devices == agent.leases == []


def test_status_tells_why_no_pod_can_be_added(
    node: Node, runtime: Runtime, sandbox: Sandbox
) -> None:
    runtime.status()
    node.ovs.kill_ovsdb_server()
    with pytest.raises(PluginError, match="no connection to Open vSwitch's database") as away:
        runtime.status()
    assert away.value.code == 50
    with pytest.raises(PluginError) as refused:
        runtime.add("4ac7", sandbox("pod"))
    assert refused.value.code == 11
    node.ovs.start_ovsdb_server()
