"""Our agents are the only network and the only proxy of a cluster of real nodes.

They are installed by their manifests, with kubectl. ``NSXDP_SPECS`` is a regular expression that
chooses specs of Kubernetes's own suite by name, and ``NSXDP_SKIP`` one that leaves some of them
out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from rich.console import Console
from traffic import SERVER, Traffic

from faults.agent import until
from nsxdp.lab import tools
from nsxdp.lab.cluster import coredns, e2e
from nsxdp.lab.cluster.cluster import Cluster, Running
from nsxdp.lab.cluster.deploy import DAEMON_SETS, NAMESPACE, apply_agents
from nsxdp.lab.cluster.plan import Plan

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(7200)]

SPECS = os.environ.get("NSXDP_SPECS") or "Services should serve a basic endpoint from pods"
SKIP = os.environ.get("NSXDP_SKIP", "")

PROCESSES = {
    "nsx-node-agent": "nsx-node-agent",
    "nsx-kube-proxy": "nsx-kube-proxy",
    "nsx-ovs": "nsx-ovs",
    "ovsdb-server": "nsx-ovs",
    "ovs-vswitchd": "nsx-ovs",
}
"""What runs on a node, and the DaemonSet that brings it."""


@pytest.fixture(scope="module")
def bare() -> Iterator[Cluster]:
    """No network of pods, and no proxy."""
    with Cluster(Plan(cni="none", proxy="none")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def ours(bare: Cluster) -> Cluster:
    """Ours are installed, as anybody would."""
    apply_agents(bare.control)
    bare.control.await_all("wait", "node", "--all", "--for=condition=Ready")
    bare.control.await_rollout("deployment", coredns.DEPLOYMENT)
    return bare


@pytest.fixture(scope="module")
def traffic(ours: Cluster) -> Iterator[Traffic]:
    with closing(Traffic(ours)) as traffic:
        yield traffic


def get(cluster: Cluster, *what: str) -> dict[str, Any]:
    said = cluster.control.kubectl("get", f"--namespace={NAMESPACE}", *what, "--output=json")
    found: dict[str, Any] = json.loads(said)
    return found


def pods_of(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = get(cluster, "pods", f"--selector=app.kubernetes.io/name={name}")[
        "items"
    ]
    return items


def readiness(cluster: Cluster) -> dict[str, str]:
    return {
        node["metadata"]["name"]: condition["status"]
        for node in get(cluster, "nodes")["items"]
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready"
    }


def test_nodes_wait_for_a_network_of_pods(bare: Cluster) -> None:
    assert readiness(bare) == {f"node-{n}": "False" for n in (1, 2, 3)}


def test_with_our_agents_they_are_ready(ours: Cluster) -> None:
    assert readiness(ours) == {f"node-{n}": "True" for n in (1, 2, 3)}
    for name in DAEMON_SETS:
        status = get(ours, "daemonset", name)["status"]
        assert status["numberReady"] == status["desiredNumberScheduled"] == ours.plan.nodes


def test_the_suite_s_specs_pass(ours: Cluster) -> None:
    console = Console()
    results = e2e.run(Running(ours.owner), SPECS, skip=SKIP, procs=4, console=console)
    console.print()
    results.show(console)
    assert [spec.name for spec in results.specs if not spec.ok] == []


def test_the_bridge_has_what_nsx_kube_proxy_wants(ours: Cluster) -> None:
    pods = pods_of(ours, "nsx-kube-proxy")
    assert len(pods) == ours.plan.nodes
    for pod in pods:
        said = ours.control.kubectl(
            *("exec", f"--namespace={NAMESPACE}", pod["metadata"]["name"], "--"),
            *("nsx-kube-proxy", "--config=/etc/nsx-kube-proxy/config.yaml"),
            *("--ncp-ini=/etc/nsx-ujo/ncp.ini", "diff", "--summary"),
        )
        assert said


def test_a_node_s_own_processes_reach_the_api_server_by_its_service(ours: Cluster) -> None:
    for node in ours.nodes:
        ask = ("curl", "--silent", "--insecure", "--max-time", "5", "--retry", "5")
        said = on(ours, node, *ask, "--retry-all-errors", "https://10.96.0.1/version")
        assert json.loads(said)["major"] == "1"


def on(cluster: Cluster, node: str, *command: str) -> str:
    running = Running(cluster.owner)
    return tools.run(running.on_node(node, command), env=running.environment).stdout


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_gets_a_processor_at_once(ours: Cluster, process: str) -> None:
    """It may have a real-time priority, in a container with no more rights than it needs."""
    for node in ours.nodes:

        def before_others(node: str = node) -> bool:
            return "SCHED_RR" in on(ours, node, "chrt", "--pid", pid_on(ours, node, process))

        until(f"{process} of {node} runs before others", before_others)


def test_a_load_balancer_leads_to_the_nodes_with_endpoints(ours: Cluster) -> None:
    """With the policy Local, and whoever is outside is seen by its own address."""
    metadata = {"name": "balanced", "namespace": NAMESPACE}
    service = {
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "selector": {"app": "balanced"},
        "ports": [{"port": 80}],
    }
    container = {
        "name": "server",
        "image": "nsxdp:0.1.0",
        "command": ["python3", SERVER, "--name=balanced", "--http=80"],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata | {"labels": {"app": "balanced"}},
        "spec": {"nodeName": "node-2", "containers": [container]},
    }
    made = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service}
    client = ours.control.client
    client.apply([pod, made])
    try:
        (entry,) = until(
            "it has an address",
            lambda: get(ours, "service", "balanced")["status"]["loadBalancer"].get("ingress"),
        )
        said = until(
            "it answers",
            lambda: (
                ours.control.netns.run(
                    ["curl", "--silent", "--max-time", "2", f"http://{entry['ip']}/client"]
                ).stdout
            ),
        )
        assert said.startswith("198.51.100.2:")
    finally:
        client.delete([pod, made])
    until(
        "its finalizer lets it go",
        lambda: "balanced" not in str(get(ours, "services")),
    )


# Whatever restarts, what is established goes on.


def costs(cluster: Cluster, process: str) -> bool:
    """Whether connections that are translated don't outlive the end of `process`.

    A userspace datapath keeps its connections in ovs-vswitchd, which takes them along.
    """
    if process not in ("nsx-ovs", "ovs-vswitchd"):
        return False
    (pod, *_) = pods_of(cluster, "nsx-ovs")
    datapath = cluster.control.kubectl(
        *("exec", f"--namespace={NAMESPACE}", pod["metadata"]["name"], "--"),
        *("ovs-vsctl", "get", "Bridge", "br-int", "datapath_type"),
    )
    return datapath.strip() == "netdev"


def assert_nothing_broke(traffic: Traffic, *, but_services: bool) -> None:
    traffic.await_answers()
    broken = traffic.lost()
    if but_services:
        broken = {place: how for place, how in broken.items() if not place.by_service}
    assert broken == {}


@pytest.mark.parametrize("process", PROCESSES)
def test_kill_9_of_a_process_on_all_nodes_breaks_no_connection(
    ours: Cluster, traffic: Traffic, process: str
) -> None:
    def whole() -> bool:
        after = pids()
        return all(after[node] and after[node] != before[node] for node in ours.nodes)

    def pids() -> dict[str, str]:
        return {node: pid_on(ours, node, process) for node in ours.nodes}

    traffic.forget()
    before = pids()
    for node, pid in before.items():
        on(ours, node, "kill", "-9", pid)
    until(f"{process} runs again", whole, 180)
    ours.control.await_rollout("daemonset", PROCESSES[process])
    assert_nothing_broke(traffic, but_services=costs(ours, process))


def pid_on(cluster: Cluster, node: str, process: str) -> str:
    """The process, as the node numbers it; empty: there is none."""
    running = Running(cluster.owner)
    found = tools.run(running.on_node(node, ["pidof", "-x", process]), check=False).stdout
    return found.split()[-1] if found.strip() else ""


@pytest.mark.parametrize("name", ["nsx-node-agent", "nsx-kube-proxy", "nsx-ovs"])
def test_a_rolling_update_breaks_no_connection(ours: Cluster, traffic: Traffic, name: str) -> None:
    traffic.forget()
    before = {pod["metadata"]["name"] for pod in pods_of(ours, name)}
    ours.control.kubectl("rollout", "restart", f"--namespace={NAMESPACE}", f"daemonset/{name}")
    ours.control.await_rollout("daemonset", name)
    assert not before & {pod["metadata"]["name"] for pod in pods_of(ours, name)}
    assert_nothing_broke(traffic, but_services=costs(ours, name))
