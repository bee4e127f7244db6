"""A cluster of real nodes: Kubernetes's own tests on it, and our agents by their manifests.

Run by ``make cluster-test``; ``NSXDP_SPECS`` is a regular expression that chooses specs by name.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from nsxdp.lab import tools
from nsxdp.lab.cluster import e2e
from nsxdp.lab.cluster.cluster import Cluster, Running
from nsxdp.lab.cluster.deploy import DAEMON_SETS, NAMESPACE
from nsxdp.lab.cluster.plan import Plan
from nsxdp.lab.owner import CGROUPS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]

SPECS = os.environ.get("NSXDP_SPECS") or "Services should serve a basic endpoint from pods"
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")


@pytest.fixture(scope="module")
def reference() -> Iterator[Cluster]:
    """The reference network and kube-proxy."""
    with Cluster(Plan()) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def ours() -> Iterator[Cluster]:
    """No network of pods, and nsx-kube-proxy by its manifests."""
    with Cluster(Plan(cni="none", proxy="nsx-kube-proxy")) as cluster:
        yield cluster


def readiness(cluster: Cluster) -> dict[str, str]:
    nodes = json.loads(cluster.control.kubectl("get", "nodes", "--output=json"))["items"]
    return {
        node["metadata"]["name"]: condition["status"]
        for node in nodes
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready"
    }


def test_all_nodes_are_ready(reference: Cluster) -> None:
    assert readiness(reference) == {f"node-{n}": "True" for n in (1, 2, 3)}


def test_the_suite_s_specs_pass(reference: Cluster) -> None:
    console = Console()
    found = e2e.run(Running(reference.owner), SPECS, procs=4, console=console)
    console.print()
    console.print(e2e.table(found))
    console.print(e2e.summary(found))
    assert [spec.name for spec in found if not spec.ok] == []


def test_nothing_is_left_of_a_cluster(reference: Cluster) -> None:
    reference.close()
    assert reference.owner.netns() == []
    assert list(CGROUPS.glob(f"*/{reference.owner.cgroup}")) == []
    assert reference.owner.noted_sysctls == {}


def test_nodes_without_a_network_of_pods_wait_for_one(ours: Cluster) -> None:
    assert readiness(ours) == {f"node-{n}": "False" for n in (1, 2, 3)}


@pytest.mark.parametrize("name", DAEMON_SETS)
def test_an_agent_is_ready_on_every_node(ours: Cluster, name: str) -> None:
    said = ours.control.kubectl(
        "get", f"--namespace={NAMESPACE}", "daemonset", name, "--output=json"
    )
    status = json.loads(said)["status"]
    assert status["numberReady"] == status["desiredNumberScheduled"] == ours.plan.nodes


def pods_of(cluster: Cluster, name: str) -> list[str]:
    said = cluster.control.kubectl(
        *("get", "pods", f"--namespace={NAMESPACE}", "--output=name"),
        f"--selector=app.kubernetes.io/name={name}",
    )
    return said.split()


def test_the_bridge_has_what_nsx_kube_proxy_wants(ours: Cluster) -> None:
    pods = pods_of(ours, "nsx-kube-proxy")
    assert len(pods) == ours.plan.nodes
    for pod in pods:
        said = ours.control.kubectl(
            *("exec", f"--namespace={NAMESPACE}", pod, "--", "nsx-kube-proxy"),
            *("--config=/etc/nsx-kube-proxy/config.yaml", "diff", "--summary"),
        )
        assert said, pod


def test_a_node_s_own_processes_reach_the_api_server_by_its_service(ours: Cluster) -> None:
    running = Running(ours.owner)

    def on(node: str, *command: str) -> str:
        return tools.run(running.on_node(node, command), env=running.environment).stdout

    for number, node in enumerate(running.nodes, 1):
        # The gateway's address, which is for whoever plugs pods into the bridge to give.
        on(node, "ip", "address", "add", f"192.0.2.{number}/32", "dev", "br-int")
        ask = ("curl", "--silent", "--insecure", "--max-time", "5", "--retry", "5")
        said = on(node, *ask, "--retry-all-errors", "https://10.96.0.1/version")
        assert json.loads(said)["major"] == "1"
        assert on(node, "ovs-appctl", "version").startswith("ovs-vswitchd")


def test_a_rolling_update_of_an_agent_makes_it_ready_again(ours: Cluster) -> None:
    before = pods_of(ours, "nsx-kube-proxy")
    ours.control.kubectl(
        "rollout", "restart", f"--namespace={NAMESPACE}", "daemonset/nsx-kube-proxy"
    )
    ours.control.await_rollout("daemonset", "nsx-kube-proxy")
    after = pods_of(ours, "nsx-kube-proxy")
    assert not set(before) & set(after)
