"""nsx-kube-proxy's looks at a bridge that has the node agent's flows, too."""

from __future__ import annotations

import pytest
from cluster import HTTP, Cluster, of_family

BRIDGES = ("wired",)


@pytest.fixture
def served(cluster: Cluster) -> str:
    ends = [ip for version in (4, 6) for ip in of_family(cluster.servers[:1], version)]
    cluster.serve("near", ends, target=HTTP)
    return cluster.servers[0].short


def test_a_trace_tells_of_both_owners_tables(cluster: Cluster, served: str) -> None:
    told = cluster.look("trace", "default/client", "default/near").stdout
    assert "SpoofGuard: the sender's own addresses" in told
    assert "Hop: one hop less" in told
    assert f"delivered: to pod default/{served}" in told


def test_the_other_owner_s_flows_are_no_difference(cluster: Cluster, served: str) -> None:
    done = cluster.look("diff")
    assert (done.returncode, done.stdout.split(":")[0]) == (0, "alike"), served
    cluster.node.ovs.ofctl("add-flow", cluster.node.mgmt, "cookie=0x7,table=0,tcp,actions=drop")
    assert "somebody else's flow, left alone" in cluster.look("diff").stdout
    cluster.node.ovs.ofctl("del-flows", cluster.node.mgmt, "cookie=0x7/-1")
