"""A cluster of real nodes: the lab itself, on its reference network.

Run by ``make cluster-test``, as is ``test_agents.py``.
"""

import json
from collections.abc import Iterator

import pytest
from rich.console import Console

from nsxdp.lab.cluster import e2e
from nsxdp.lab.cluster.cluster import Cluster, Running
from nsxdp.lab.cluster.plan import Plan
from nsxdp.lab.owner import CGROUPS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]

SPEC = "Services should serve a basic endpoint from pods"


@pytest.fixture(scope="module")
def reference() -> Iterator[Cluster]:
    """The reference network and kube-proxy."""
    with Cluster(Plan()) as cluster:
        yield cluster


def test_all_nodes_are_ready(reference: Cluster) -> None:
    assert readiness(reference) == {f"node-{n}": "True" for n in (1, 2, 3)}


def test_a_spec_passes_and_its_results_are_files(reference: Cluster) -> None:
    results = e2e.run(Running(reference.owner), SPEC, console=Console())
    assert results.ok
    assert len(results.specs) == 1
    said = json.loads((results.directory / "results.json").read_text())
    assert said["summary"] == {"passed": 1}


def test_nothing_is_left_of_a_cluster(reference: Cluster) -> None:
    reference.close()
    assert reference.owner.netns() == []
    assert list(CGROUPS.glob(f"*/{reference.owner.cgroup}")) == []
    assert reference.owner.noted_sysctls == {}


def readiness(cluster: Cluster) -> dict[str, str]:
    nodes = json.loads(cluster.control.kubectl("get", "nodes", "--output=json"))["items"]
    return {
        node["metadata"]["name"]: condition["status"]
        for node in nodes
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready"
    }
