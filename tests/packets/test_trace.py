"""What this machine can't send, traced: SCTP, which userspace conntrack doesn't know (KP-43)."""

from __future__ import annotations

import re

import pytest
from cluster import Cluster

from nsxdp.pipeline.tables import TABLES

ENDPOINTS = {4: ["10.244.0.2", "10.244.0.3"], 6: ["fd00:244::2", "fd00:244::3"]}


def number(table: bytes) -> int:
    return TABLES.by_number.index(table)


@pytest.fixture
def packet(cluster: Cluster, family: int) -> str:
    """The first packet of an association, as ofproto/trace takes it."""
    vips = cluster.serve("sctp", ENDPOINTS[4] + ENDPOINTS[6], target=3868, protocol="SCTP")
    vip = vips[family == 6]
    if family == 4:
        addresses = f"sctp,nw_src={cluster.client.ip},nw_dst={vip},nw_ttl=64"
    else:
        addresses = f"sctp6,ipv6_src={cluster.client.ip6},ipv6_dst={vip},nw_ttl=64"
    port = cluster.node.ovs.ofport(cluster.client.port)
    return (
        f"{addresses},in_port={port},dl_src={cluster.client.mac},dl_dst={cluster.node.mac},"
        "sctp_src=33333,sctp_dst=80"
    )


def test_kp43_sctp_reaches_its_group(cluster: Cluster, packet: str) -> None:
    trace = cluster.node.ovs.appctl(
        "ofproto/trace", cluster.node.bridge, packet, "--ct-next", "trk,new"
    )
    tables = [int(n) for n in re.findall(r"^ ?(\d+)\. ", trace, re.MULTILINE)]
    stages = (b"Classifier", b"Conntrack", b"ConntrackState", b"NodeAddress", b"ServiceLB")
    assert tables == [number(table) for table in stages]
    assert re.search(r"sctp6?,(nw|ipv6)_dst=\S+,tp_dst=80, priority 200.*\n +group:\d+\n", trace)


def test_kp43_sctp_bucket_commits_the_translation(
    cluster: Cluster, packet: str, family: int
) -> None:
    chosen = set()
    for dp_hash in range(1, 9):
        trace = cluster.node.ovs.appctl(
            "ofproto/trace-packet-out",
            cluster.node.bridge,
            f"{packet},ct_state=trk|new,dp_hash={dp_hash}",
            f"resubmit(,{number(b'ServiceLB')})",
        )
        (commit,) = re.findall(r"^Datapath actions: (ct\(commit\S+)", trace, re.MULTILINE)
        found = re.fullmatch(
            r"ct\(commit,zone=65312,mark=0x10/0x10,nat\(dst=\[?([0-9a-f.:]+?)\]?:3868\)\),recirc\(\S+\)",
            commit,
        )
        assert found, commit
        chosen.add(found[1])
    assert chosen == set(ENDPOINTS[family])


def test_kp43_translated_sctp_reaches_its_pod(cluster: Cluster, packet: str, family: int) -> None:
    pod = cluster.servers[0]
    address = pod.ip if family == 4 else pod.ip6
    translated = re.sub(r"_dst=[^,]+,nw_ttl", f"_dst={address},nw_ttl", packet)
    trace = cluster.node.ovs.appctl(
        "ofproto/trace-packet-out",
        cluster.node.bridge,
        f"{translated},ct_state=trk|est",
        f"resubmit(,{number(b'L3Forwarding')})",
    )
    port = cluster.node.ovs.ofport(pod.port)
    (actions,) = re.findall(r"^Datapath actions: (.*)$", trace, re.MULTILINE)
    assert f"eth(src={cluster.node.mac},dst={pod.mac})" in actions
    assert re.search(r"(ttl|hlimit)=63", actions)
    assert re.search(rf"^ +output:{port}$", trace, re.MULTILINE)
