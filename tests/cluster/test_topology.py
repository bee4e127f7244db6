"""Traffic that stays near: Kubernetes's own specs, which want two nodes in each of three zones."""

from __future__ import annotations

import pytest
from rich.console import Console

from nsxdp.lab.cluster import e2e
from nsxdp.lab.cluster.cluster import Cluster, Running
from nsxdp.lab.cluster.plan import Plan

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

LIST = "topology"


def test_traffic_stays_near() -> None:
    console = Console()
    with Cluster(Plan(nodes=6, cni="nsx", proxy="nsx-kube-proxy")) as cluster:
        results = e2e.run(Running(cluster.owner), LIST, procs=4, console=console)
    results.show(console)
    assert [spec.name for spec in results.specs if spec.state != "passed"] == []
