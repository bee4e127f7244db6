"""``nsxdp trace`` from pod to pod, and what packets really do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from joined import Place, Two
from manifests import Json, a_pod, of, policy
from runtime import PROXY, SECONDS, until

from nsxdp.lab import LabError
from nsxdp.openflow.trace import read_trace

NSXDP = Path(sys.executable).with_name("nsxdp")


@pytest.fixture(scope="module")
def traced(two: Two) -> Two:
    """Both nodes have policies, and the first one a Service proxy."""
    ends = [{"addresses": [ips[0]]} for ips in (two.far_ips, two.web_ips)]
    slices = {
        "metadata": {
            "name": "shop",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "shop"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 80}],
        "endpoints": ends,
    }
    objects = [
        a_pod("web", two.here.name, two.web_ips),
        a_pod("far", two.there.name, two.far_ips),
        policy("port-80", "ingress", ports=[{"port": 80}]),
        policy("not-81", "egress", ports=[{"port": 80}, {"port": 82}]),
        of(
            "Service",
            "shop",
            "v1",
            spec={"clusterIP": "10.96.0.10", "ports": [{"name": "http", "port": 80}]},
        ),
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", **slices},
    ]
    manifests = two.here.manifest.parent
    made = manifests / "objects.new"
    made.write_text(yaml.safe_dump_all(objects))
    made.rename(manifests / "objects.yaml")
    node = two.here.node
    argv = [
        *(PROXY, f"--manifests={manifests}", f"--ovsdb={node.ovsdb}", f"--bridge={node.bridge}"),
        f"--node-name={two.here.name}",
    ]
    with (two.here.directory / "proxy.log").open("w") as log:
        proxy = node.netns.popen(list(map(str, argv)), stdout=log, stderr=log)
    two.stack.callback(proxy.wait, SECONDS)
    two.stack.callback(proxy.terminate)
    for place in (two.here, two.there):
        until("the policies hold", lambda place=place: "80" in place.agent.appctl("policy/show"))
    until("the Service is served", lambda: _is_served(two.here))
    return two


def _is_served(place: Place) -> bool:
    return "endpoint:" in run("web", "svc/shop", places=[place]).stdout


def run(*words: str, places: list[Place]) -> subprocess.CompletedProcess[str]:
    directories = [f"--run-dir={place.node.ovs.directory}" for place in places]
    return subprocess.run(
        [NSXDP, "trace", *directories, *words],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def told(two: Two, *words: str, places: list[Place] | None = None) -> list[Json]:
    """The stories."""
    done = run("--json", *words, places=places or [two.here, two.there])
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("version", [4, 6])
def test_a_packet_is_followed_to_the_other_node(traced: Two, mode: str, version: int) -> None:
    here, there = told(traced, "default/web", "default/far:80", f"--ip-version={version}")
    assert here["egress"] == "allowed by NetworkPolicy default/not-81 egress[0]"
    assert (here["node"], here["way"], here["next_node"], here["port"]) == (
        traced.here.name,
        "route" if mode == "none" else "tunnel",
        traced.there.name,
        traced.here.node.bridge if mode == "none" else "nsx-tunnel",
    )
    assert there["ingress"] == "allowed by NetworkPolicy default/port-80 ingress[0]"
    assert (there["outcome"], there["way"]) == ("delivered", "local")
    assert there["end"].startswith("to pod default/far, out of port nsx")
    traced.web.http_get(f"http://{_url(traced.far_ips[version == 6])}/")


def _url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def test_the_policy_is_named_that_lets_a_packet_not_out(traced: Two) -> None:
    (here,) = told(traced, "web", "far:81")
    assert here["outcome"] == "dropped"
    isolated = "isolated by NetworkPolicy default/not-81, and no rule allows it"
    assert here["egress"] == f"denied: {isolated}"
    assert here["end"] == "the sender's policies deny it"


def test_the_policy_is_named_that_lets_a_packet_not_in(traced: Two) -> None:
    here, there = told(traced, "web", "far:82")
    assert here["outcome"] == "delivered"
    assert there["outcome"] == "dropped"
    isolated = "isolated by NetworkPolicy default/port-80, and no rule allows it"
    assert there["ingress"] == f"denied: {isolated}"
    assert there["end"] == "the receiver's policies deny it"


def test_a_service_is_followed_to_its_endpoint(traced: Two) -> None:
    far = f"{traced.far_ips[0]}:80"
    here, there = told(traced, "web", "svc/default/shop:http", f"--endpoint={far}")
    assert here["service"] == "default/shop:http/TCP IPv4"
    assert (here["endpoint"], here["endpoint_pod"]) == (far, "default/far")
    assert "which of 2 endpoints it is" in here["notes"][0]
    assert there["packet"]["text"] == f"TCP {traced.web_ips[0]}:33333 -> {far}"
    assert there["outcome"] == "delivered"
    (itself,) = told(traced, "web", "svc/shop", f"--endpoint={traced.web_ips[0]}:80")
    assert itself["end"].startswith("to pod default/web")
    assert itself["masquerade"] == "169.254.0.252"


def test_the_other_node_tells_its_part_alone(traced: Two) -> None:
    (there,) = told(traced, "web", "far:80", places=[traced.there])
    assert there["packet"]["sender"] == f"pod default/web on node {traced.here.name} (192.0.2.1)"
    assert there["end"].startswith("to pod default/far")
    (here,) = told(traced, "web", "far:80", places=[traced.here])
    assert f"on node {traced.there.name} isn't known here" in here["notes"][-1]


@pytest.mark.parametrize(
    ("target", "way", "end"),
    [
        ("198.51.100.9:80", "outside", "with the node's address as its source (SNAT)"),
        ("10.244.0.1:80", "node", "to the node itself"),
    ],
)
def test_what_is_for_no_pod(traced: Two, target: str, way: str, end: str) -> None:
    (here,) = told(traced, "web", target)
    assert here["way"] == way
    assert end in here["end"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nobody", "web:80"], "no pod default/nobody is known (here are: default/far, "),
        (["web", "svc/ship"], "no Service default/ship is served here: is it default/shop?"),
        (["web", "svc/shop:https"], "default/shop has no port https: it has http"),
        (["web", "far:http"], "with the port's number"),
        (["web", "far:70000"], "with the port's number"),
        (["web", "default/far"], "with the port's number"),
        (["web", "198.51.100.9"], "with the port's number"),
        (["web", "svc/shop", "--ip-version=6"], "has no port of that protocol and IP version"),
    ],
)
def test_what_cannot_be_asked(traced: Two, words: list[str], says: str) -> None:
    done = run(*words, places=[traced.here, traced.there])
    assert (done.returncode, done.stdout) == (1, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_people_see_a_tree(traced: Two) -> None:
    short = run("web", "far:80", places=[traced.here]).stdout
    assert "├── egress: allowed by NetworkPolicy default/not-81 egress[0]" in short
    assert "EgressRules" not in short
    whole = run("web", "far:80", "--tables", places=[traced.here]).stdout
    assert "├── EgressRules: allowed by NetworkPolicy default/not-81 egress[0]" in whole


def test_without_agents_what_the_switch_knows_is_told(traced: Two) -> None:
    agent = traced.there.agent
    agent.kill()
    try:
        done = run("default/far", f"{traced.web_ips[0]}:80", places=[traced.there])
        assert done.returncode == 0
        assert "nsx-node-agent can't be asked" in done.stdout
        assert "egress: allowed by a rule that is not known here" in done.stdout
    finally:
        agent.start()


@pytest.mark.parametrize("command", ["pod/find", "policy/rule", "policy/rule x", "pod/find a b"])
def test_wrong_questions_to_the_agent(traced: Two, command: str) -> None:
    with pytest.raises(LabError, match=f"{command.split()[0]} takes"):
        traced.here.agent.appctl(*command.split())


@pytest.mark.parametrize(
    "words", ["", "shop", "default/shop icmp", "default/shop tcp 5", "a/b tcp 4 x"]
)
def test_wrong_questions_to_the_proxy(traced: Two, words: str) -> None:
    node = traced.here.node
    argv = ["ovs-appctl", "-t", "nsx-kube-proxy", "service/find", *words.split()]
    done = node.netns.run(argv, env=node.ovs.env, check=False)
    assert done.returncode
    assert "service/find takes NAMESPACE/NAME[:PORT]" in done.stderr


def test_steps_know_the_bridge_that_they_are_on() -> None:
    text = """Flow: ip
bridge("br0")
-------------
 0. priority 5
    output:2
    bridge("br1")
    -------------
         0. priority 0
            NORMAL
 1. priority 6
    drop

Final flow: unchanged
Megaflow: ip
Datapath actions: 2
"""
    assert [step.bridge for step in read_trace(text).steps] == ["br0", "br1", "br0"]
