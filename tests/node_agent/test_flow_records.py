"""Records of real connections between pods: in a file, and at a real collector."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from manifests import Json, a_pod, of, policy
from runtime import PROXY, SECONDS, Agent, until

from nsxdp.lab import Netns, Node
from tests.collector import Nfcapd

NODE = "node-1"


class Place:
    """A node whose agent tells of connections; pods that serve at port 80."""

    def __init__(self, node: Node, directory: Path, start: Callable[..., Agent]) -> None:
        self.node = node
        self.file = directory / "flows.jsonl"
        self.manifests = directory / "manifests"
        self.manifests.mkdir()
        self.collector = Nfcapd(node.netns, directory / "collected")
        node_object = of("Node", NODE, "v1", spec={"podCIDRs": ["10.244.0.0/24", "fd00:244::/64"]})
        self.put("node", node_object, policy("port-80", "ingress", ports=[{"port": 80}]))
        self.agent = start(
            f"--manifests={self.manifests}",
            f"--node-name={NODE}",
            f"--flow-records={self.file}",
            "--ipfix-collector=127.0.0.1:4739",
            "--flow-records-interval=1",
        )
        self.netns: dict[str, Netns] = {}
        self.ips: dict[str, list[str]] = {}

    def put(self, name: str, *objects: Json) -> None:
        made = self.manifests / f"{name}.new"
        made.write_text(yaml.safe_dump_all(objects))
        made.rename(self.manifests / f"{name}.yaml")

    def add(self, netns: Netns, name: str) -> None:
        result = self.agent.runtime.add(name, netns)
        self.netns[name] = netns
        self.ips[name] = [ip["address"].partition("/")[0] for ip in result["ips"]]
        self.put(name, a_pod(name, NODE, self.ips[name]))
        netns.serve_http(80)

    def records(self, **fields: object) -> list[Json]:
        """Those that say this."""
        if not self.file.exists():
            return []
        lines = self.file.read_text().splitlines()
        found = [json.loads(line) for line in lines]
        return [one for one in found if fields.items() <= one.items()]

    def record(self, **fields: object) -> Json:
        """The one that says this, once it is there."""
        until(f"a record with {fields}", lambda: self.records(**fields))
        return self.records(**fields)[0]

    def metric(self, name: str) -> dict[str, float]:
        samples = self.node.netns.http_get("http://127.0.0.1:10261/metrics").splitlines()
        wanted = f"nsx_node_agent_flow_records_{name}total{{"
        found = (line.removeprefix(wanted) for line in samples if line.startswith(wanted))
        return {line.split('"')[1]: float(line.split()[1]) for line in found}


@pytest.fixture
def place(node: Node, tmp_path: Path, start: Callable[..., Agent]) -> Iterator[Place]:
    with ExitStack() as stack:
        place = Place(node, tmp_path, start)
        for name in ("client", "web"):
            place.add(stack.enter_context(Netns(name)), name)
        yield place


def url(address: str) -> str:
    return f"http://[{address}]/" if ":" in address else f"http://{address}/"


def test_a_connection_is_told_of(place: Place) -> None:
    for address, client in zip(place.ips["web"], place.ips["client"], strict=True):
        place.netns["client"].http_get(url(address))
        record = place.record(destination=address, verdict="allow", reason="end")
        port = record.pop("source_port")
        assert 0 < port < 65536
        assert record.pop("start") <= record.pop("end")
        counts = [record.pop(f"{way}{what}") for way in ("", "reply_") for what in COUNTS]
        assert counts == [None] * 4 or all(counts)
        assert record == {
            "node": NODE,
            "verdict": "allow",
            "reason": "end",
            "protocol": "TCP",
            "source": client,
            "source_pod": "default/client",
            "source_node": NODE,
            "destination": address,
            "destination_port": 80,
            "destination_pod": "default/web",
            "destination_node": NODE,
            "service": "",
            "service_address": "",
            "service_port": 0,
            "direction": "",
            "policy": "",
            "rule": "",
            "egress_rule": "",
            "ingress_rule": "NetworkPolicy default/port-80 ingress[0]",
        }


COUNTS = ("packets", "bytes")


def test_what_is_denied_is_told_of_with_its_policy(place: Place) -> None:
    address = place.ips["web"][0]
    argv = ["curl", "--silent", "--max-time", "1", f"http://{address}:81/"]
    assert place.netns["client"].run(argv, check=False).returncode
    record = place.record(verdict="deny")
    assert (record["destination"], record["destination_port"]) == (address, 81)
    assert (record["source_pod"], record["destination_pod"]) == ("default/client", "default/web")
    assert (record["policy"], record["direction"]) == ("NetworkPolicy default/port-80", "ingress")
    assert record["reason"] == "denied"
    # Only who asks for that has it in the log.
    assert "a connection is denied" not in place.agent.log.read_text()


def test_both_ends_rules_are_named_that_let_a_connection_through(place: Place) -> None:
    place.put("out", policy("out", "egress", ports=[{"port": 82}, {"port": 80}]))
    rule = "NetworkPolicy default/out egress[0]"
    until("it holds", lambda: rule in place.agent.appctl("policy/show", "default/client"))
    place.netns["client"].http_get(url(place.ips["web"][1]))
    record = place.record(destination=place.ips["web"][1], reason="end")
    assert record["egress_rule"] == rule
    assert record["ingress_rule"] == "NetworkPolicy default/port-80 ingress[0]"
    assert record["direction"] == record["policy"] == record["rule"] == ""
    # The node itself is let in by none.
    place.node.netns.http_get(url(place.ips["web"][0]))
    record = place.record(destination=place.ips["web"][0], reason="end")
    assert record["egress_rule"] == record["ingress_rule"] == ""


def test_a_pod_that_is_gone_is_named(place: Place) -> None:
    with Netns("brief") as netns:
        place.add(netns, "brief")
        with netns.enter():
            connection = socket.create_connection((place.ips["web"][0], 80), SECONDS)
        place.netns["client"].http_get(url(place.ips["web"][1]))
        place.record(destination=place.ips["web"][1])  # so the agent knows of the first one, too
        place.agent.runtime.delete("brief", netns)
    connection.close()
    (place.manifests / "brief.yaml").unlink()
    until("it is gone", lambda: place.agent.appctl("pod/find", "default/brief").strip() == "null")
    place.node.ovs.appctl("dpctl/flush-conntrack")
    assert place.record(source=place.ips["brief"][0])["source_pod"] == "default/brief"


def test_the_nodes_of_pods_are_named(place: Place) -> None:
    far = "10.244.1.9"
    spec = {"podCIDRs": ["10.244.1.0/24"]}
    status = {"addresses": [{"type": "InternalIP", "address": "192.0.2.9"}]}
    node = of("Node", "node-2", "v1", spec=spec, status=status)
    place.netns["client"].http_get(url(place.ips["web"][1]))
    place.record(destination=place.ips["web"][1])  # before there is that node
    place.put("node-2", node, a_pod("far", "node-2", [far]))
    until("it is known", lambda: "default/far" in place.agent.appctl("pod/find", far))
    until("it has a way there", lambda: far.rpartition(".")[0] in place.agent.appctl("peers"))
    with place.netns["client"].open_socket(socket.SOCK_DGRAM) as sender:
        sender.sendto(b"", (far, 53))
    place.netns["client"].http_get(url(place.ips["web"][0]))
    place.record(destination=place.ips["web"][0])  # so the agent knows of the first one, too
    place.node.ovs.appctl("dpctl/flush-conntrack")
    record = place.record(destination=far)
    assert (record["source_pod"], record["source_node"]) == ("default/client", NODE)
    assert (record["destination_pod"], record["destination_node"]) == ("default/far", "node-2")


def test_a_service_is_named(place: Place) -> None:
    ports = [{"name": f"port-{port}", "port": port} for port in (80, 81)]
    place.put(
        "shop",
        of("Service", "shop", "v1", spec={"clusterIP": "10.96.0.10", "ports": ports}),
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "shop",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "shop"},
            },
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": [{"addresses": [place.ips["web"][0]]}],
        },
    )
    node = place.node
    argv = [str(PROXY), f"--manifests={place.manifests}", f"--ovsdb={node.ovsdb}"]
    argv += [f"--bridge={node.bridge}", f"--node-name={NODE}"]
    proxy = node.netns.popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        curl = ["curl", "--silent", "--max-time", "1", url("10.96.0.10")]
        client = place.netns["client"]
        until("it is served", lambda: client.run(curl, check=False).returncode == 0)
        record = place.record(service="default/shop:port-80/TCP IPv4", reason="end")
        assert record["ingress_rule"] == "NetworkPolicy default/port-80 ingress[0]"
        assert (record["service_address"], record["service_port"]) == ("10.96.0.10", 80)
        assert (record["destination"], record["destination_pod"]) == (
            place.ips["web"][0],
            "default/web",
        )
        # What is refused isn't told of as let through, though it is tracked.
        assert client.run([*curl[:-1], "http://10.96.0.10:81/"], check=False).returncode
        place.record(verdict="deny", destination_port=81)
        client.http_get(url(place.ips["web"][1]))
        place.record(destination=place.ips["web"][1])  # so the agent has looked
        node.ovs.appctl("dpctl/flush-conntrack")
        node.netns.http_get(url(place.ips["web"][1]))
        place.record(destination=place.ips["web"][1], source_pod="")
        assert not place.records(verdict="allow", service_port=81)
    finally:
        proxy.terminate()
        proxy.wait(SECONDS)


def test_a_collector_gets_the_same(place: Place) -> None:
    for address in place.ips["web"]:
        place.netns["client"].http_get(url(address))
        place.record(destination=address, reason="end")
    until("all are sent", lambda: place.metric("").get("ipfix", 0) >= 2)
    assert place.metric("")["file"] >= 2
    assert place.metric("lost_") == {}
    flows = place.collector.flows()
    ends = {(flow.get("src4_addr") or flow.get("src6_addr"), flow["dst_port"]) for flow in flows}
    assert {(ip, 80) for ip in place.ips["client"]} <= ends


def test_a_file_that_is_moved_away_gets_a_successor(place: Place) -> None:
    web = place.ips["web"][0]
    place.netns["client"].http_get(url(web))
    place.record(destination=web)
    before = place.file.with_suffix(".1")
    place.file.rename(before)
    had = before.read_text()
    place.netns["client"].http_get(url(place.ips["web"][1]))
    place.record(destination=place.ips["web"][1])
    assert before.read_text() == had


def test_what_cannot_be_written_is_counted(place: Place) -> None:
    place.file.unlink(missing_ok=True)
    place.file.mkdir()
    place.netns["client"].http_get(url(place.ips["web"][0]))
    until("it is lost", lambda: place.metric("lost_").get("file"))
    assert "flow records are lost" in place.agent.log.read_text()
    until("the collector has it", lambda: place.metric("").get("ipfix"))


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--ipfix-collector=4739", "must be HOST:PORT"),
        ("--ipfix-collector=host:0", "must be HOST:PORT"),
        ("--flow-records-interval=0", "must be 1 to 600 seconds"),
    ],
)
def test_options_that_cannot_be(flag: str, says: str) -> None:
    program = Path(sys.executable).with_name("nsx-node-agent")
    done = subprocess.run([program, flag], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert says in done.stderr
