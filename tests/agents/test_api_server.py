"""Services from a real API server: each change is followed, its absences are survived."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from proxying import NODE, Agent, buckets, endpoints, finished, flows, groups, ours, service, until

from nsxdp.lab import ApiServer, Node

Start = Callable[..., Agent]

WEB = "10.96.0.10"


@pytest.fixture
def begin(apiserver: ApiServer, node: Node, start: Start) -> Iterator[Callable[..., Agent]]:
    """Starts the agent where the API server is; the switch's sockets are files."""

    def starter(**keywords: Any) -> Agent:
        apiserver.apply([service("other", "10.96.0.90"), endpoints("other", "10.244.0.90")])
        flags = (f"--kubeconfig={apiserver.kubeconfig}", "--no-host-routes")
        return start(*flags, netns=apiserver.netns, **keywords)

    yield starter
    assert node.netns.path.exists()


def leads(node: Node, vip: str, *wanted: str) -> bool:
    """Whether a virtual address leads to exactly these endpoints."""
    flow = [flow for flow in ours(node) if f"nw_dst={vip}," in flow]
    if not flow:
        return not wanted
    number = flow[0].rpartition("group:")[2]
    group = [group for group in groups(node) if group.startswith(f"group_id={number},")]
    found = {part.partition(")")[0] for part in "".join(group).split("nat(dst=")[1:]}
    return found == set(wanted)


def test_changes_are_followed(
    apiserver: ApiServer, node: Node, begin: Callable[..., Agent]
) -> None:
    agent = begin()
    until("other is served", lambda: leads(node, "10.96.0.90", "10.244.0.90:8080"))
    apiserver.apply([service("web", WEB)])
    until("no endpoints: refused", lambda: any("meter:28161" in flow for flow in ours(node)))
    apiserver.apply([endpoints("web", "10.244.0.11")])
    until("one endpoint", lambda: leads(node, WEB, "10.244.0.11:8080"))
    sent = agent.messages
    apiserver.apply([endpoints("web", "10.244.0.11", "10.244.0.12")])
    until("two endpoints", lambda: leads(node, WEB, "10.244.0.11:8080", "10.244.0.12:8080"))
    until("counted", lambda: agent.messages > sent)
    assert agent.messages == sent + 1
    apiserver.apply([endpoints("web", "10.244.0.12")])
    until("the other one", lambda: leads(node, WEB, "10.244.0.12:8080"))
    # The Service's port is another one.
    apiserver.apply([service("web", WEB, port=81)])
    until("the new port", lambda: any(f"nw_dst={WEB},tp_dst=81 " in f for f in ours(node)))
    assert not any(f"nw_dst={WEB},tp_dst=80 " in flow for flow in ours(node))
    apiserver.delete([service("web", WEB), endpoints("web")])
    until("gone", lambda: not any(WEB in flow for flow in ours(node)))
    assert len(groups(node)) == 1
    agent.await_comparison()
    assert agent.drift == 0


def test_commands_that_look_do_it_by_the_api_server(
    apiserver: ApiServer, node: Node, begin: Callable[..., Agent]
) -> None:
    begin()
    until("other is served", lambda: leads(node, "10.96.0.90", "10.244.0.90:8080"))
    options = [f"--ovsdb={node.ovsdb}", f"--bridge={node.bridge}", f"--node-name={NODE}"]
    options += [f"--kubeconfig={apiserver.kubeconfig}", "--no-host-routes"]
    done = finished(["diff", *options], apiserver.netns)
    assert (done.returncode, done.stderr, done.stdout[:6]) == (0, "", "alike:")
    done = finished(["explain", "default/other", *options], apiserver.netns)
    assert (done.returncode, done.stderr) == (0, "")
    assert "10.244.0.90:8080 ready, on this node, bucket" in done.stdout


def test_the_api_server_of_ncp_ini(
    apiserver: ApiServer, node: Node, start: Start, tmp_path: Path
) -> None:
    """Where it is, and the files for it; what else the file says in vain is told."""
    apiserver.apply([service("other", "10.96.0.90"), endpoints("other", "10.244.0.90")])
    config = json.loads(apiserver.kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    for name, said in (
        ("ca", cluster["certificate-authority-data"]),
        ("cert", user["client-certificate-data"]),
        ("key", user["client-key-data"]),
    ):
        (tmp_path / name).write_bytes(base64.b64decode(said))
    url = urlsplit(cluster["server"])
    ini = tmp_path / "etc" / "ncp.ini"
    ini.parent.mkdir()
    text = (
        f"[DEFAULT]\nlog_dir = {tmp_path}\n"
        f"[k8s]\napiserver_host_ip = {url.hostname}\napiserver_host_port = {url.port}\n"
        "ca_file = $log_dir/ca\nclient_cert_file = $log_dir/cert\n"
        f"client_private_key_file = $log_dir/key\n[nsx_node_agent]\novs_bridge = {node.bridge}\n"
    )
    ini.write_text(text)
    agent = start(f"--ncp-ini={ini}", "--no-host-routes", netns=apiserver.netns)
    until("other is served", lambda: leads(node, "10.96.0.90", "10.244.0.90:8080"))
    (warned,) = agent.lines("means nothing here")
    assert "[DEFAULT] log_dir" in warned
    (ini.parent / "new").write_text(f"{text}[coe]\nprofiling = True\n")
    (ini.parent / "new").rename(ini)
    assert agent.wait() == 1
    assert agent.lines("")[-1] == "nsx-kube-proxy: the configuration was changed: start anew"


def test_a_restart_sends_nothing(
    apiserver: ApiServer, node: Node, begin: Callable[..., Agent]
) -> None:
    apiserver.apply([service("web", WEB), endpoints("web", "10.244.0.11", "10.244.0.12")])
    begin().kill()
    before, numbers = (flows(node), groups(node)), buckets(node)
    agent = begin()
    agent.await_comparison()
    assert agent.messages == 0
    assert (flows(node), groups(node)) == before
    assert buckets(node) == numbers
    assert agent.stop() == 0


def test_kp10_nothing_is_removed_before_all_is_known(
    apiserver: ApiServer, node: Node, begin: Callable[..., Agent], start: Start
) -> None:
    apiserver.apply([service("web", WEB), endpoints("web", "10.244.0.11")])
    begin().kill()
    before = (flows(node), groups(node))
    # Without an API server.
    apiserver.kill()
    flags = (f"--kubeconfig={apiserver.kubeconfig}", "--no-host-routes")
    agent = start(*flags, netns=apiserver.netns, wait=False)
    agent.await_log("waiting for the API server")
    assert (flows(node), groups(node)) == before
    apiserver.start()
    agent.await_ready()
    agent.await_comparison()
    assert agent.messages == 0
    assert (flows(node), groups(node)) == before
    agent.kill()
    # With one that gives Services, but no EndpointSlices.
    user = apiserver.kubeconfig_for("half-blind")
    apiserver.apply(role("half-blind", ["services", "nodes", "servicecidrs"]))
    agent = start(f"--kubeconfig={user}", "--no-host-routes", netns=apiserver.netns, wait=False)
    (line, *_) = agent.await_log("endpointslices.*forbidden")
    assert "half-blind" in line
    assert (flows(node), groups(node)) == before
    # As soon as they are given, all goes on.
    apiserver.apply([endpoints("web", "10.244.0.11", "10.244.0.12")])
    apiserver.apply(role("half-blind", ["services", "nodes", "servicecidrs", "endpointslices"]))
    until("the new endpoint", lambda: "10.244.0.12:8080" in buckets(node))
    assert agent.messages == 1
    apiserver.delete(role("half-blind", []))


def role(user: str, resources: list[str]) -> list[dict[str, Any]]:
    """Lets 'user' look at some resources."""
    group = "rbac.authorization.k8s.io"
    rule = {"apiGroups": ["*"], "resources": resources, "verbs": ["list", "watch"]}
    return [
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": user},
            "rules": [rule],
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": user},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": user},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        },
    ]


def test_an_api_server_that_went_and_forgot_the_past(
    apiserver: ApiServer, node: Node, begin: Callable[..., Agent]
) -> None:
    apiserver.apply([service("web", WEB), endpoints("web", "10.244.0.11")])
    apiserver.apply([service("old", "10.96.0.30"), endpoints("old", "10.244.0.31")])
    agent = begin()
    before = (flows(node), groups(node))
    sent = agent.messages
    apiserver.kill()
    agent.await_log("127.0.0.1:6443")
    agent.await_comparison()
    assert (flows(node), groups(node)) == before
    # What happens meanwhile can't be replayed: the store has forgotten it.
    apiserver.load([endpoints("web", "10.244.0.11", "10.244.0.12")])
    for key in ("services/specs/default/old", "endpointslices/default/old-1"):
        encoded = base64.b64encode(f"/registry/{key}".encode()).decode()
        apiserver.etcd.call(("deleterange", {"key": encoded}))
    apiserver.compact()
    apiserver.start()
    until("the new endpoint", lambda: leads(node, WEB, "10.244.0.11:8080", "10.244.0.12:8080"))
    until("the old Service is gone", lambda: leads(node, "10.96.0.30"))
    # The new bucket; the old group, with which its flow goes, or the flow by itself; the flow for
    # the ports that the old Service hasn't. If its endpoints go first, connections are rejected
    # until it goes: its flow is changed once.
    assert agent.messages - sent <= 5
    apiserver.apply([endpoints("web", "10.244.0.13")])
    until("followed as ever", lambda: leads(node, WEB, "10.244.0.13:8080"))


def a_node(zone: str) -> dict[str, Any]:
    labels = {"topology.kubernetes.io/zone": zone} if zone else {}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": labels}}


def test_the_node_s_zone_chooses_endpoints(
    apiserver: ApiServer, node: Node, begin: Callable[..., Agent]
) -> None:
    zoned = endpoints("web", "10.244.0.11", "10.244.0.12")
    for endpoint, zone in zip(zoned["endpoints"], ("a", "b"), strict=True):
        endpoint |= {"zone": zone, "hints": {"forZones": [{"name": zone}]}}
    apiserver.apply([service("web", WEB, trafficDistribution="PreferClose"), zoned, a_node("")])
    begin()
    both = ("10.244.0.11:8080", "10.244.0.12:8080")
    until("no zone: all", lambda: leads(node, WEB, *both))
    apiserver.apply([a_node("a")])
    until("zone a", lambda: leads(node, WEB, both[0]))
    apiserver.apply([a_node("b")])
    until("zone b", lambda: leads(node, WEB, both[1]))
    apiserver.apply([a_node("c")])
    until("a zone without endpoints: all", lambda: leads(node, WEB, *both))


def test_kp63_a_node_that_is_about_to_go_is_not_eligible(
    apiserver: ApiServer, begin: Callable[..., Agent]
) -> None:
    apiserver.apply([a_node("")])
    agent = begin()
    assert agent.get("/healthz")[0] == 200
    taint = {"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}
    apiserver.apply([a_node("") | {"spec": {"taints": [taint]}}])
    until("healthz says so", lambda: agent.get("/healthz")[0] == 503)
    status, body = agent.get("/healthz")
    assert '"nodeEligible": false' in body
    assert '"healthy": true' in body
    assert (status, agent.get("/livez")[0]) == (503, 200)
    apiserver.apply([a_node("")])
    until("eligible again", lambda: agent.get("/healthz")[0] == 200)
    # One with a finalizer is being deleted until that is gone.
    going = a_node("")
    going["metadata"]["finalizers"] = ["nsxdp.example/wait"]
    apiserver.apply([going])
    apiserver.delete([going])
    until("being deleted", lambda: agent.get("/healthz")[0] == 503)
    apiserver.apply([a_node("")])


def test_kp63_a_node_that_the_api_server_does_not_know_is_not_eligible(
    apiserver: ApiServer, begin: Callable[..., Agent]
) -> None:
    """Its name was mistaken, perhaps: no endpoint would be local."""
    agent = begin()
    agent.await_log("there is no such Node")
    assert (agent.get("/healthz")[0], agent.get("/livez")[0]) == (503, 200)
    apiserver.apply([a_node("")])
    until("eligible", lambda: agent.get("/healthz")[0] == 200)
    apiserver.delete([a_node("")])
    until("gone", lambda: agent.get("/healthz")[0] == 503)


def test_kp68_requests_to_the_api_server_are_counted(
    apiserver: ApiServer, begin: Callable[..., Agent]
) -> None:
    """From the first one on."""
    agent = begin()
    host = apiserver.url.partition("://")[2]
    asked = agent.metric("rest_client_requests_total", f'code="200",host="{host}",method="GET"')
    assert asked >= 9  # the version; a list and a watch of four kinds
    timed = agent.metric("rest_client_request_duration_seconds_count", f'host="{host}",verb="GET"')
    assert timed >= asked
    apiserver.stop()
    name = f'rest_client_requests_total{{code="<error>",host="{host}",method="GET"}}'
    until("errors, too", lambda: agent.metrics().get(name, 0) > 0)
