"""diff beside a real switch; what explain, trace, diff and top say where they can't look."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from proxying import NODE, PROGRAM, Agent, Manifests, endpoints, finished, flows, groups, service

from nsxdp.k8s.objects import ObjectMeta, Service, ServicePort, ServiceSpec
from nsxdp.k8s.source import Op
from nsxdp.lab import Node
from nsxdp.services.addresses import Family
from nsxdp.services.model import ServicePortName
from nsxdp.services.planner import ServicePlanner
from nsxdp_agents.kube_proxy.inspect.cli import COMMANDS
from nsxdp_agents.kube_proxy.inspect.intent import Intent
from nsxdp_agents.kube_proxy.inspect.top import Tracked, read_tracked
from pages.commands import examples

PORTS = (("http", 80), ("https", 443))

Start = Callable[..., Agent]
Look = Callable[..., subprocess.CompletedProcess[str]]

STICKY: dict[str, Any] = {"sessionAffinity": "ClientIP"}


@pytest.fixture
def look(node: Node, manifests: Manifests) -> Look:
    """Runs a command that looks, with the agent's options."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        options = {
            "--manifests": manifests.path,
            "--ovsdb": node.ovsdb,
            "--bridge": node.bridge,
            "--node-name": NODE,
        }
        given = {argument.partition("=")[0] for argument in arguments}
        more = [f"{name}={value}" for name, value in options.items() if name not in given]
        return finished([*arguments, *more], node.netns)

    return run


def differences(done: subprocess.CompletedProcess[str]) -> set[tuple[str, str, str]]:
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {(one["owner"], one["what"], one["state"]) for one in found}


def serve(manifests: Manifests) -> None:
    manifests.put(
        service("web", "10.96.0.10"),
        endpoints("web", "10.244.0.5", "10.244.0.6"),
        service("cart", "10.96.0.11", **STICKY),
        endpoints("cart", "10.244.0.5", "10.244.0.6"),
        service("closed", "10.96.0.12"),
        service("two", "10.96.0.14", ports=[{"name": name, "port": n} for name, n in PORTS]),
        service("large", "10.96.0.13"),
        endpoints("large", *(f"10.250.{n // 200}.{n % 200 + 1}" for n in range(300))),
    )


def test_diff_of_what_is_right(node: Node, manifests: Manifests, start: Start, look: Look) -> None:
    serve(manifests)
    node.add_pod("pod")
    start()
    done = look("diff")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"alike: \d+ flows, 7 groups\n", done.stdout)


def test_diff_names_the_owner_of_what_is_wrong(
    node: Node, manifests: Manifests, start: Start, look: Look
) -> None:
    serve(manifests)
    pod = node.add_pod("pod")
    start().stop()
    ofctl, mgmt = node.ovs.ofctl, node.mgmt
    ofctl("del-flows", mgmt, "table=20,tcp,nw_dst=10.96.0.10,tp_dst=80")
    ofctl(
        *("--strict", "mod-flows", mgmt),
        "table=20,priority=200,tcp,nw_dst=10.96.0.12,tp_dst=80,actions=drop",
    )
    ofctl("del-flows", mgmt, f"table=42,dl_dst={pod.mac}")
    ofctl("add-flow", mgmt, "table=20,priority=5,cookie=0x6e01000000000005,udp,actions=drop")
    ofctl("add-flow", mgmt, "table=24,priority=5,cookie=0x5,udp,actions=drop")
    ofctl("add-group", mgmt, "group_id=1073741825,type=select,bucket=actions=drop")
    (group,) = [line for line in groups(node) if "hash,selection_method_param" in line]
    number = re.search(r"group_id=(\d+)", group)
    assert number
    ofctl("mod-group", mgmt, f"group_id={number[1]},type=select,bucket=actions=drop")
    before = flows(node), groups(node)

    done = look("diff", "--json")
    assert done.returncode == 1
    assert differences(done) == {
        ("default/web:p/TCP IPv4", "flow", "missing"),
        ("default/closed:p/TCP IPv4", "flow", "different"),
        ("pod default/pod", "flow", "missing"),
        ("nobody, in table ServiceLB", "flow", "too many"),
        ("", "flow", "foreign"),
        ("nobody, a group", "group", "too many"),
        ("default/cart:p/TCP IPv4", "group", "different"),
    }
    done = look("diff")
    assert done.returncode == 1
    assert (
        "default/web:p/TCP IPv4: 1 flow missing\n"
        "+table=ServiceLB priority=200,tcp,nw_dst=10.96.0.10,tp_dst=80 actions=group:"
    ) in done.stdout
    assert (
        "default/closed:p/TCP IPv4: 1 flow different\n"
        "-table=ServiceLB priority=200,tcp,nw_dst=10.96.0.12,tp_dst=80 actions=drop\n"
        "+table=ServiceLB priority=200,tcp,nw_dst=10.96.0.12,tp_dst=80 actions=meter:"
    ) in done.stdout
    assert (flows(node), groups(node)) == before
    explained = look("explain", "default/web").stdout
    assert re.search(r"cluster IP 10.96.0.10:80: to group \d+: not on the switch", explained)
    assert "otherwise on the switch" in look("explain", "default/cart").stdout


def test_diff_knows_the_meter_and_old_flows(
    node: Node, manifests: Manifests, start: Start, look: Look
) -> None:
    manifests.put(service("web", "10.96.0.10"))
    start().stop()
    node.ovs.ofctl("mod-meter", node.mgmt, "meter=28161,pktps,band=type=drop,rate=5")
    node.ovs.ofctl("add-flow", node.mgmt, "table=20,cookie=0x6e00000000000001,sctp,actions=drop")
    done = look("diff", "--summary")
    assert done.stdout.splitlines() == [
        "another version of the pipeline: 1 flow too many",
        "every node: 1 meter different",
    ]
    assert done.returncode == 1


def test_a_large_service_is_explained_in_parts(
    manifests: Manifests, start: Start, look: Look
) -> None:
    serve(manifests)
    start()
    done = look("explain", "default/large", "--json")
    explained = json.loads(done.stdout)
    parts = [group for group in explained["groups"] if group["role"] == "a part"]
    (whole,) = [group for group in explained["groups"] if group["role"] == "all endpoints"]
    assert sorted(whole["parts"]) == sorted(part["number"] for part in parts)
    assert len({e["address"] for part in parts for e in part["endpoints"]}) == 300
    assert whole["count"]["state"] == "installed"


def test_explain_tells_this_node_s_endpoints_apart(
    manifests: Manifests, start: Start, look: Look
) -> None:
    local = endpoints("shop", "10.244.0.5", "10.244.9.9")
    local["endpoints"][1]["nodeName"] = "elsewhere"
    spec = {"type": "NodePort", "externalTrafficPolicy": "Local", **STICKY}
    port = {"name": "p", "port": 80, "nodePort": 30080}
    manifests.put(service("shop", "10.96.0.20", ports=[port], **spec), local)
    start()
    explained = json.loads(look("explain", "default/shop", "--json").stdout)
    groups = {group["role"]: group for group in explained["groups"]}
    ends = {role: [e["address"] for e in group["endpoints"]] for role, group in groups.items()}
    assert ends.keys() == {"all endpoints", "this node's endpoints"}
    assert sorted(ends["all endpoints"]) == ["10.244.0.5:8080", "10.244.9.9:8080"]
    assert ends["this node's endpoints"] == ["10.244.0.5:8080"]
    for group in groups.values():
        assert group["count"]["state"] == "installed"
        assert all(f"reg8={group['number']:#x}" in e["flow"] for e in group["endpoints"])
    outside = [f for f in explained["frontends"] if f["condition"] == "from outside"]
    assert [f["group"] for f in outside] == [groups["this node's endpoints"]["number"]]


@pytest.mark.parametrize(("where", "answer"), [(NODE, "200, 1"), ("elsewhere", "503, 0")])
def test_explain_tells_what_load_balancers_are_told(
    node: Node, manifests: Manifests, where: str, answer: str
) -> None:
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000}
    manifests.put(
        service("web", "10.96.0.10", **spec), endpoints("web", "10.244.0.5", nodeName=where)
    )
    flags = ("--offline", f"--manifests={manifests.path}", f"--node-name={NODE}")
    done = finished(["explain", "default/web", *flags], node.netns)
    line = f"health check node port 31000: {answer} ready endpoint{'s' * (where != NODE)} on this"
    assert line in done.stdout
    explained = json.loads(
        finished(["explain", "default/web", *flags, "--json"], node.netns).stdout
    )
    ready = int(answer[-1])
    assert (explained["healthCheckNodePort"], explained["localReadyEndpoints"]) == (31000, ready)


def test_what_two_ports_share_is_there_for_both(
    manifests: Manifests, start: Start, look: Look
) -> None:
    serve(manifests)
    start()
    explained = [
        json.loads(line) for line in look("explain", "default/two", "--json").stdout.splitlines()
    ]
    states = [frontend["count"]["state"] for one in explained for frontend in one["frontends"]]
    assert states == ["installed"] * 4


def test_options_may_stand_before_the_name_of_a_command(
    node: Node, manifests: Manifests, start: Start, tmp_path: Path
) -> None:
    serve(manifests)
    start()
    config = tmp_path / "config.yaml"
    config.write_text(f"""
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
hostnameOverride: {NODE}
nsxdp: {{manifests: "{manifests.path}", ovsdb: "{node.ovsdb}", bridge: {node.bridge}}}
""")
    for arguments in (["--config", str(config), "diff"], ["diff", "--config", str(config)]):
        done = finished(arguments, node.netns)
        assert (done.returncode, done.stdout[:6]) == (0, "alike:"), done.stderr


@pytest.mark.parametrize(
    ("service_name", "says"),
    [
        ("default/wbe", "no Service default/wbe is served here: is it default/web?"),
        ("other/web", "no Service other/web is served here: is it default/web?"),
        ("default/web:https", "default/web has no port https: it has p"),
    ],
)
def test_an_unknown_service(node: Node, manifests: Manifests, service_name: str, says: str) -> None:
    manifests.put(service("web", "10.96.0.10"))
    done = finished(
        ["explain", service_name, "--offline", f"--manifests={manifests.path}"], node.netns
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"nsx-kube-proxy: {says}\n"


@pytest.mark.parametrize("command", [["diff"], ["top", "--once"], ["trace", "node", "a/b:1"]])
def test_no_bridge(look: Look, command: list[str]) -> None:
    done = look(*command, "--bridge=br-none")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no bridge br-none (there are: br-int)" in done.stderr


def test_explain_without_a_bridge_tells_the_way_out(look: Look) -> None:
    done = look("explain", "default/web", "--bridge=br-none")
    assert done.returncode == 2
    assert "explain --offline" in done.stderr


def test_no_api_server(node: Node, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps({
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }))  # fmt: skip
    done = finished(
        ["diff", f"--kubeconfig={kubeconfig}", f"--ovsdb={node.ovsdb}", f"--bridge={node.bridge}"],
        node.netns,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert f"127.0.0.1:{port}" in done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command.__name__))
def test_help_teaches_with_examples(node: Node, command: Callable[..., Any]) -> None:
    done = node.netns.run(
        ["env", "COLUMNS=200", "TERM=dumb", str(PROGRAM), command.__name__, "--help"]
    )
    assert all(line in done.stdout for line in examples(command))
    assert "--manifests" in done.stdout


def test_names_of_services_are_completed(node: Node, manifests: Manifests) -> None:
    serve(manifests)
    done = node.netns.run(
        [
            "env",
            "_NSX_KUBE_PROXY_COMPLETE=complete_bash",
            f"COMP_WORDS=nsx-kube-proxy explain --manifests {manifests.path} default/c",
            "COMP_CWORD=4",
            str(PROGRAM),
        ],
        check=False,
    )
    assert done.stdout.split() == ["default/cart", "default/closed"]


def test_connections_of_a_datapath_that_counts_them() -> None:
    """As the kernel's shows them: the userspace one has no counters."""
    planner = ServicePlanner("here")
    port = ServicePort(port=80, node_port=30080)
    spec = ServiceSpec(type="NodePort", cluster_ip="10.96.0.10", ports=(port,))
    planner.take(
        Op.UPSERT, Service(metadata=ObjectMeta(name="web", namespace="default"), spec=spec)
    )
    intent = Intent(planner, None)
    asyncio.run(intent.compile())
    name = ServicePortName("default", "web", "", "TCP")
    owner = planner.compiler.group_id(name, Family.IPV4)
    entry = (
        "tcp,orig=(src=10.244.0.6,dst={},sport=5000,dport={},packets=6,bytes=600),"
        "reply=(src=10.244.0.3,dst=10.244.0.6,sport=8080,dport=5000,packets=4,bytes=4000),"
        "zone=65312,mark=16,protoinfo=(state=ESTABLISHED)"
    )
    ends = [("10.96.0.10", 80), ("192.0.2.7", 30080), ("10.96.0.10", 81), ("192.0.2.7", 53)]
    dump = "\n".join(entry.format(*end) for end in ends)
    assert read_tracked(dump, intent) == {owner: Tracked(2, 20, 9200)}
    without = re.sub(r",packets=\d+,bytes=\d+", "", dump)
    assert read_tracked(without, intent) == {owner: Tracked(2, None, None)}
