"""More than 256 endpoints: two levels of groups, one connection (dp_hash knows 256 buckets)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest
from cluster import HTTP, UDP, Cluster, begin_with_fragments, until

from nsxdp.lab.programs import Server
from nsxdp.pipeline.tables import TABLES

N = 300
SERVICE_LB = TABLES.by_number.index(b"ServiceLB")


def addresses(family: int) -> list[str]:
    if family == 4:
        return [f"10.244.0.{n}" for n in range(50, 200)] + [f"10.244.1.{n}" for n in range(150)]
    return [f"fd00:244::1:{n:x}" for n in range(N)]


@pytest.fixture(scope="module")
def vips(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """A Service with 300 endpoints in each family, all of them addresses of one pod."""
    pod = cluster.node.add_pod("hundreds")
    both = [*addresses(4), *addresses(6)]
    pod.iproute(
        *(f"addr add {ip}/32 dev lo" for ip in addresses(4)),
        *(f"addr add {ip}/128 dev lo nodad" for ip in addresses(6)),
    )
    cluster.node.ovs.vsctl(
        *("set", "interface", pod.port, f'external_ids:ip_addresses="{",".join(both)}"')
    )
    with Server(pod, "hundreds", http=[HTTP]):
        made = cluster.serve("large", both, target=HTTP)
        until(
            lambda: f"{both[-1]} " in cluster.node.ovs.ofctl("dump-flows", cluster.node.mgmt),
            "the pod's addresses",
        )
        yield made


@pytest.mark.kernel
def test_every_connection_is_served(cluster: Cluster, vips: tuple[str, str], family: int) -> None:
    vip = vips[family == 6]
    report = cluster.client.traffic("http", vip, 80, rate=500, count=600).wait()
    assert (report["answered"], report["errors"]) == (600, {})
    tracked = cluster.node.ovs.appctl("dpctl/dump-conntrack")
    used = re.findall(rf"dst={re.escape(vip)},.*?reply=\(src=([^,]+)", tracked)
    assert set(used) <= set(addresses(family))
    # 600 balls in 300 bins leave 41 empty on average; unequal parts and hashes, some more.
    assert len(set(used)) > 150
    assert max(Counter(used).values()) < 20


def test_source_port_chooses_the_part_and_the_hash_the_endpoint(
    cluster: Cluster, vips: tuple[str, str]
) -> None:
    vip, _ = vips
    parts, chosen = Counter[str](), set[str]()
    for n in range(64):
        # Even ports, as Linux gives them to connect().
        flow = (
            f"tcp,in_port=1,nw_src=10.244.0.9,nw_dst={vip},tcp_src={32768 + 94 * n},tcp_dst=80,"
            f"ct_state=trk|new,dp_hash={n + 1}"
        )
        trace = cluster.node.ovs.appctl(
            "ofproto/trace-packet-out", cluster.node.bridge, flow, f"resubmit(,{SERVICE_LB})"
        )
        buckets = re.findall(r"using bucket (\d+)", trace)
        assert len(buckets) == 2, trace
        parts[buckets[0]] += 1
        (dnat,) = re.findall(r"^ +ct\(commit,.*nat\(dst=([\d.]+):8080\)", trace, re.MULTILINE)
        assert dnat in addresses(4)
        chosen.add(dnat)
    assert set(parts) == {"1", "2", "3", "4"}
    assert max(parts.values()) < 40
    assert len(chosen) > 30


@pytest.mark.kernel
def test_a_connection_may_begin_with_fragments(
    cluster: Cluster, vips: tuple[str, str], family: int
) -> None:
    """They have no source port, so they go to endpoints of one part."""
    assert vips
    both = [*addresses(4), *addresses(6)]
    large = cluster.serve("fragments", both, target=UDP, protocol="UDP")
    pod = cluster.node.pods["hundreds"]
    for _ in range(10):
        begin_with_fragments(cluster.client, large[family == 6], pod, UDP)
