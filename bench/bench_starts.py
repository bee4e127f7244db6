"""Many pods start at once on a node of a real cluster: how long the runtime waits for the network.

Kubelet and containerd start them as fast as they can, with all processors busy, so these times are
those of plugins that wait in line for a processor. They are what the histograms of containerd and
of the agent tell: how many were done within a bucket's time.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.conftest import Record
from bench.results import duration
from nsxdp.lab.cluster.cluster import Cluster
from nsxdp.lab.cluster.node import METRICS, ClusterNode
from nsxdp.lab.cluster.plan import Plan

pytestmark = pytest.mark.timeout(3600)
"""A cluster's programs and images are made on first use."""

_PODS: Final = 200
_ROUNDS: Final = 2
_NODE: Final = "node-2"
_GROUP: Final = f"{_PODS} pods at once on a node of three, {_ROUNDS} times"
_SECONDS: Final = 300.0

_WANTED: Final = 0.11
"""Seconds: how many take less, or what the next smaller bucket has, is told."""

_RUNTIME: Final = (
    f"http://{METRICS}/v1/metrics",
    "containerd_cri_network_plugin_operations_duration_seconds_seconds",
    {"operation_type": "set_up_pod"},
)
"""What containerd tells of a plugin: the address, the histogram's name, and its labels."""

_AGENT: Final = (
    "http://127.0.0.1:10261/metrics",
    "nsx_node_agent_cni_request_duration_seconds",
    {"command": "ADD"},
)
"""What nsx-node-agent tells of itself."""

Histogram = dict[float, float]
"""How many were done within so many seconds."""


def _read(node: ClusterNode, source: tuple[str, str, dict[str, str]]) -> Histogram:
    address, name, labels = source
    with node.netns.enter(), urlopen(address, timeout=10) as answer:
        text = answer.read().decode()
    return {
        float(sample.labels["le"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == f"{name}_bucket" and labels.items() <= sample.labels.items()
    }


def _facts(before: Histogram, after: Histogram) -> dict[str, str]:
    """What came of those that were done meanwhile."""
    done = {limit: count - before.get(limit, 0) for limit, count in sorted(after.items())}
    everything = done[float("inf")]
    assert everything >= _PODS

    def quantile(part: float) -> str:
        limit = next(limit for limit, count in done.items() if count >= part * everything)
        return f"<= {duration(limit)}" if limit < float("inf") else "more"

    within = max(limit for limit in done if limit <= _WANTED)
    return {
        "half": quantile(0.5),
        "90 %": quantile(0.9),
        "99 %": quantile(0.99),
        f"within {duration(within)}": f"{done[within] / everything:.1%}",
    }


def _deployment(pause: str) -> dict[str, Any]:
    container = {"name": "pause", "image": pause, "imagePullPolicy": "Never"}
    labels = {"app": "starts"}
    pod = {
        "nodeName": _NODE,
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "starts", "namespace": "default"},
        "spec": {
            "replicas": _PODS,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


@contextlib.contextmanager
def _started(cluster: Cluster) -> Iterator[None]:
    """All of the pods are ready; and gone after ``with``."""
    cluster.control.client.apply([_deployment(cluster.pause)])
    wait = ("wait", "deployment/starts", "--for=condition=Available", f"--timeout={_SECONDS:g}s")
    cluster.control.kubectl(*wait, timeout=_SECONDS + 10)
    try:
        yield
    finally:
        delete = ("delete", "deployment/starts", "--cascade=foreground", f"--timeout={_SECONDS:g}s")
        cluster.control.kubectl(*delete, timeout=_SECONDS + 10)


def bench_starts(record: Record) -> None:
    """Our network, and that of the CNI project's plugins and kube-proxy."""
    plans = {
        "nsxdp": Plan(cni="nsx", proxy="nsx-kube-proxy"),
        "bridge and host-local": Plan(),
    }
    for who, plan in plans.items():
        sources = {who: _RUNTIME}
        if plan.cni == "nsx":
            sources["nsxdp, from the agent's being asked"] = _AGENT
        with Cluster(plan) as cluster:
            node = cluster.nodes[_NODE]
            before = {name: _read(node, source) for name, source in sources.items()}
            took = []
            for _ in range(_ROUNDS):
                begin = time.perf_counter()
                with _started(cluster):
                    took.append(time.perf_counter() - begin)
            ready = {"all ready": duration(statistics.median(took))}
            for name, source in sources.items():
                facts = _facts(before[name], _read(node, source)) | ready
                record(_GROUP, name, [], peer=plan.cni != "nsx", facts=facts)
