"""explain, trace and top, and what packets really do."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
from typing import Any

import pytest
from cluster import HAIRPIN, HTTP, MASQUERADE, NODE, UDP, Cluster, of_family, until

Json = dict[str, Any]


def objects(cluster: Cluster, *arguments: str) -> list[Json]:
    done = cluster.look(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def trace(cluster: Cluster, *arguments: str) -> Json:
    (story,) = objects(cluster, "trace", *arguments)
    return story


def both(cluster: Cluster) -> list[str]:
    return [*of_family(cluster.servers, 4), *of_family(cluster.servers, 6)]


def url(host: str) -> str:
    return f"http://[{host}]/" if ":" in host else f"http://{host}/"


def end(host: str, port: int = HTTP) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# explain


def test_explain_counts_connections(cluster: Cluster, family: int) -> None:
    name = f"counted{family}"
    vip = cluster.serve(name, both(cluster), target=HTTP)[family == 6]
    for _ in range(7):
        cluster.client.http_get(url(vip))

    def counted() -> Json:
        found = objects(cluster, "explain", f"default/{name}")
        (one,) = [one for one in found if one["family"] == f"IPv{family}"]
        counts = one["groups"][0]["count"], one["frontends"][0]["count"]
        return one if all(count["packets"] == 7 for count in counts) else {}

    one = until(counted, "all connections counted")
    (frontend, others) = one["frontends"]
    assert (frontend["kind"], frontend["address"]) == ("cluster IP", end(vip, 80))
    assert others["count"]["packets"] == 0
    (group,) = one["groups"]
    assert frontend["group"] == group["number"]
    ends = group["endpoints"]
    assert {e["address"] for e in ends} == {end(ip) for ip in of_family(cluster.servers, family)}
    assert sum(e["count"]["packets"] for e in ends) == 7


def test_explain_knows_whom_clients_stay_with(cluster: Cluster) -> None:
    vip, _ = cluster.serve("kept", both(cluster), target=HTTP, spec="sessionAffinity: ClientIP")
    answer = cluster.client.http_get(url(vip))
    server = next(pod for pod in cluster.servers if pod.short == answer)

    def known() -> list[Json]:
        clients: list[Json] = objects(cluster, "explain", "default/kept")[0]["clients"]
        return clients

    (client,) = until(known, "the client is known")
    assert client["address"] == str(cluster.client.ip)
    assert client["endpoint"] == end(str(server.ip))


def test_explain_tells_why_an_endpoint_is_not_in_use(cluster: Cluster) -> None:
    cluster.serve(
        "unused",
        ["10.244.9.9"],
        target=HTTP,
        spec="internalTrafficPolicy: Local",
        nodes={"10.244.9.9": "there"},
    )
    done = cluster.look("explain", "default/unused")
    assert "cluster IP" in done.stdout
    assert "dropped" in done.stdout
    assert "not in use: 10.244.9.9:8080 ready, elsewhere; the traffic policy is Local" in (
        done.stdout
    )


def test_explain_tells_who_took_an_address(cluster: Cluster) -> None:
    for name in ("first-come", "late-come"):
        cluster.serve(name, both(cluster), target=HTTP, spec="externalIPs: [203.0.113.50]")
    texts = [
        cluster.look("explain", f"default/{name}").stdout for name in ("first-come", "late-come")
    ]
    assert "taken by" not in texts[0]
    assert re.search(
        r"external IP 203.0.113.50:80: to group \d+, masqueraded: taken by "
        r"default/first-come/TCP IPv4, 0 packets",
        texts[1],
    )


def test_explain_without_a_switch(cluster: Cluster) -> None:
    vip, _ = cluster.serve("offline", both(cluster), target=HTTP)
    done = cluster.look("explain", "default/offline", "--offline")
    assert f"cluster IP {vip}:80: to group" in done.stdout
    assert "packet" not in done.stdout


# trace


@pytest.mark.parametrize("who", ["client", "other", "web1", "web3"])
def test_trace_of_a_sticky_service_comes_true(cluster: Cluster, family: int, who: str) -> None:
    """Who has no connection yet: the hash of the client's IP is Open vSwitch's own."""
    name = f"foretold-{who}-{family}"
    vip = cluster.serve(name, both(cluster), target=HTTP, spec="sessionAffinity: ClientIP")
    pods = {pod.short: pod for pod in (cluster.client, cluster.other, *cluster.servers)}
    story = trace(cluster, f"default/{who}", f"{end(vip[family == 6], 80)}")
    answer = pods[who].http_get(url(vip[family == 6]))
    (address,) = of_family([pods[answer]], family)
    assert story["service"] == f"default/{name}/TCP IPv{family}"
    assert story["endpoint"] == end(address)
    assert story["outcome"] == "delivered"
    assert story["port"] == pods[answer].port
    assert story["masquerade"] == (HAIRPIN[family] if who == answer else "")


def test_trace_reaches_any_endpoint_that_is_asked_for(cluster: Cluster, family: int) -> None:
    cluster.serve("anyone", both(cluster), target=HTTP)
    ports = set()
    for address in of_family(cluster.servers, family):
        story = trace(
            *(cluster, "default/client", "default/anyone", f"--ip-version={family}"),
            f"--endpoint={end(address)}",
        )
        assert story["endpoint"] == end(address)
        assert "which of 4 endpoints" in story["notes"][0]
        ports.add(story["port"])
    assert ports == {pod.port for pod in cluster.servers}


def test_trace_says_that_no_choice_leads_elsewhere(cluster: Cluster) -> None:
    cluster.serve("anyone", both(cluster), target=HTTP)
    done = cluster.look("trace", "default/client", "default/anyone", "--endpoint=192.0.2.9:1")
    assert done.returncode == 2
    assert "no choice leads to 192.0.2.9:1" in done.stderr


def test_trace_of_who_is_outside(cluster: Cluster, family: int) -> None:
    cluster.serve("exposed", both(cluster), target=HTTP, spec="type: NodePort", node_port=30099)
    gateway = cluster.gateway(family)
    cluster.know_node_by(gateway)
    for target in ("default/exposed", end(gateway, 30099)):
        story = trace(cluster, "outside", target, f"--ip-version={family}")
        assert story["masquerade"] == MASQUERADE[family]
        assert story["outcome"] == "delivered"
        assert story["service"] == f"default/exposed/TCP IPv{family}"
    assert gateway in story["packet"]["before"][0]


def test_trace_of_sctp(cluster: Cluster, family: int) -> None:
    """KP-43: which this machine can't send."""
    cluster.serve("calls", both(cluster), target=3868, protocol="SCTP")
    story = trace(cluster, "default/client", "default/calls", f"--ip-version={family}")
    assert story["service"] == f"default/calls/SCTP IPv{family}"
    assert story["endpoint"] in {end(ip, 3868) for ip in of_family(cluster.servers, family)}
    assert story["outcome"] == "delivered"


def test_trace_of_who_comes_by_the_uplink(cluster: Cluster) -> None:
    """The sender's MAC is kept, or the answer would go elsewhere."""
    cluster.serve("wired", both(cluster), target=HTTP)
    node = cluster.node
    role = "external_ids:nsxdp-role=uplink"
    node.ovs.vsctl(
        *("add-port", node.bridge, "wire", "--", "set", "interface", "wire", "type=internal", role)
    )
    try:
        number = node.ovs.ofport("wire")
        arguments = ("dump-flows", node.mgmt, f"table=0,ip,in_port={number}")
        until(lambda: "reg0" in node.ovs.ofctl(*arguments), "the uplink is known")
        story = trace(cluster, "outside", "default/wired")
        assert story["packet"]["in_port"] == number
        assert story["masquerade"] == MASQUERADE[4]
        (snat,) = [step for step in story["steps"] if step["table"] == "ServiceSNAT"]
        assert "answers go back by the uplink" in snat["words"]
    finally:
        node.ovs.vsctl("del-port", node.bridge, "wire")


def test_trace_of_the_node(cluster: Cluster, family: int) -> None:
    address = "10.244.9.9" if family == 4 else "fd00:244:9::9"
    cluster.serve("far", [address], target=HTTP, nodes={address: "there"})
    story = trace(cluster, "node", "default/far", f"--ip-version={family}")
    assert (story["outcome"], story["port"]) == ("delivered", cluster.node.bridge)
    assert story["masquerade"] == NODE[family]
    assert "kernel" in " ".join(story["notes"])


def test_trace_tells_why_a_packet_goes_nowhere(cluster: Cluster) -> None:
    vip, _ = cluster.serve("nobody", [], target=HTTP)
    cluster.serve(
        "local-only",
        ["10.244.9.9"],
        target=HTTP,
        spec="internalTrafficPolicy: Local",
        nodes={"10.244.9.9": "there"},
    )
    with pytest.raises(ConnectionRefusedError):
        cluster.client.http_get(url(vip))
    cases = {
        "default/nobody": ("rejected", "has no endpoints: the proxy answers with a TCP reset"),
        f"{vip}:81": ("rejected", "only other ports of the address (default/nobody/TCP IPv4)"),
        "default/local-only": ("dropped", "its traffic policy is Local"),
        "10.99.99.99:80": ("dropped", "in a range of cluster IPs, and no Service has it"),
    }
    for target, (outcome, why) in cases.items():
        story = trace(cluster, "default/client", target)
        assert story["outcome"] == outcome
        assert why in story["end"]


def test_trace_tells_who_may_not_use_a_load_balancer(cluster: Cluster) -> None:
    cluster.serve(
        "balanced",
        both(cluster),
        target=HTTP,
        spec="type: LoadBalancer, loadBalancerSourceRanges: [10.244.0.0/24]",
        ingress=["203.0.113.77"],
    )
    assert trace(cluster, "default/client", "203.0.113.77:80")["outcome"] == "delivered"
    story = trace(cluster, "198.51.100.9", "203.0.113.77:80")
    assert story["outcome"] == "dropped"
    assert "198.51.100.9 is in none of loadBalancerSourceRanges" in story["end"]


def test_trace_of_what_is_for_no_service(cluster: Cluster) -> None:
    web = cluster.servers[0]
    done = cluster.look("trace", str(cluster.client.ip), f"{web.ip}:{HTTP}", "--raw")
    assert f"ServiceLB: no Service has {HTTP}/TCP at {web.ip}: passes by" in done.stdout
    assert f"delivered: to pod default/{web.short}, out of port {web.port}" in done.stdout
    assert "Datapath actions: " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["default/stranger", "10.96.0.1:80"], "no pod default/stranger is on this bridge"),
        (["somebody", "10.96.0.1:80"], "somebody: must be an address, a pod NAMESPACE/POD"),
        (["node", "192.0.2.200:80"], "the node's kernel sends the packet elsewhere"),
        (["node", "10.96.0.1"], "must be ADDRESS:PORT"),
        (["10.244.0.9", "[fd00:96::1]:80"], "different IP versions"),
    ],
)
def test_trace_refuses_what_is_no_packet(cluster: Cluster, arguments: list[str], says: str) -> None:
    done = cluster.look("trace", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr


def test_looking_changes_nothing(cluster: Cluster) -> None:
    cluster.serve("seen", both(cluster), target=UDP, protocol="UDP")
    cluster.forget_connections()
    trace(cluster, "default/client", "default/seen")
    objects(cluster, "explain", "default/seen")
    assert "zone=65312" not in cluster.node.ovs.appctl("dpctl/dump-conntrack")
    done = cluster.look("diff")
    assert (done.returncode, done.stdout.split(":")[0]) == (0, "alike")


# top


def test_top_sees_who_is_busy(cluster: Cluster) -> None:
    vip, _ = cluster.serve("busy", both(cluster), target=UDP, protocol="UDP")
    load = cluster.client.traffic("udp", vip, 80, rate=100)

    def busy() -> Json:
        (first,) = objects(cluster, "top", "-n", "1", "-i", "0.5", "--connections")
        return first if first["service"] == "default/busy" else {}

    first = until(busy, "the Service is the busiest")
    report = load.stop()
    assert report["errors"] == {}
    assert first["new_per_second"] > 0
    assert first["endpoints"] == 4
    assert first["connections"] > 0
    assert first["packets_per_second"] is None  # the userspace datapath doesn't count them


def test_top_sees_what_is_refused(cluster: Cluster) -> None:
    vip, _ = cluster.serve("refusing", [], target=UDP)
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            cluster.client.http_get(url(vip))

    def refused() -> Json:
        rows = objects(cluster, "top", "-n", "1000", "-i", "0.1")
        (row,) = [
            row for row in rows if (row["service"], row["family"]) == ("default/refusing", "IPv4")
        ]
        return row if row["refused"] == 3 else {}

    assert until(refused, "that packets were refused")["new"] == 0


def test_top_in_a_pipe_is_a_table(cluster: Cluster) -> None:
    vip, _ = cluster.serve("piped", both(cluster), target=HTTP)
    cluster.client.http_get(url(vip))

    def rows() -> list[list[str]]:
        done = cluster.look("top", "-n", "1000", "-i", "0.1")
        lines = [line.split() for line in done.stdout.splitlines()]
        assert lines[0][:3] == ["SERVICE", "PORT", "NEW/S"]
        return [line for line in lines if line[0] == "default/piped/TCP" and line[4] == "1"]

    (row,) = until(rows, "that the connection is counted")
    assert row[1] == "IPv4"
    assert row[-1] == "4"


def test_top_lives_on_a_terminal_until_ctrl_c(cluster: Cluster) -> None:
    vip, _ = cluster.serve("alive", both(cluster), target=HTTP)
    terminal, side = pty.openpty()
    process = cluster.look_on(side, "top", "-n", "1000", "-i", "0.1")
    os.close(side)

    def read_until(pattern: str) -> None:
        seen = ""
        while not re.search(pattern, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)):
            seen += os.read(terminal, 1 << 16).decode(errors="replace")

    read_until("default/alive")
    cluster.client.http_get(url(vip))
    read_until(r"default/alive/TCP IPv4\s+[\d.]+\s+0\.0\s+1 ")
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # the terminal's other side is closed
        while rest := os.read(terminal, 1 << 16):
            assert b"Traceback" not in rest
    assert process.wait(30) == 130
    os.close(terminal)
