"""Events for people, on a real API server; the agent may do what the manual says it needs."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import Any

import pytest
from proxying import NODE, Agent, endpoints, ours, service, until

from nsxdp.k8s.resources import EVENTS, service_proxy_wants
from nsxdp.lab import ApiServer, Node
from nsxdp.openflow import CommitError
from nsxdp_agents.kube_proxy.events import CONTROLLER, Events

Start = Callable[..., Agent]

GROUP = "rbac.authorization.k8s.io"


def permissions(user: str, *, events: bool = True) -> list[dict[str, Any]]:
    """What the manual asks for, for a user."""
    rules: list[dict[str, Any]] = [
        {
            "apiGroups": [want.resource.group],
            "resources": [want.resource.plural],
            "verbs": ["list", "watch"],
        }
        for want in service_proxy_wants(NODE, service_cidrs=True)
    ]
    if events:
        verbs = ["create", "patch"]
        rules.append({"apiGroups": [EVENTS.group], "resources": [EVENTS.plural], "verbs": verbs})
    about = {"apiVersion": f"{GROUP}/v1", "metadata": {"name": user}}
    reference = {"apiGroup": GROUP, "kind": "ClusterRole", "name": user}
    subject = {"apiGroup": GROUP, "kind": "User", "name": user}
    return [
        about | {"kind": "ClusterRole", "rules": rules},
        about | {"kind": "ClusterRoleBinding", "roleRef": reference, "subjects": [subject]},
    ]


@pytest.fixture
def begin(apiserver: ApiServer, start: Start) -> Callable[..., Agent]:
    """Starts the agent as a user, where the API server is."""

    def starter(user: str, *flags: str, **keywords: Any) -> Agent:
        kubeconfig = apiserver.kubeconfig_for(user)
        every = (f"--kubeconfig={kubeconfig}", "--no-host-routes", *flags)
        return start(*every, netns=apiserver.netns, **keywords)

    return starter


def told(apiserver: ApiServer, reason: str, times: int = 1) -> dict[str, Any]:
    """The Event with that reason, as soon as it was told as often."""

    def look() -> dict[str, Any] | None:
        for event in apiserver.client.request("GET", EVENTS.path("default"))["items"]:
            count = event.get("series", {}).get("count", 1)
            if event["reason"] == reason and count >= times:
                return dict(event)
        return None

    event = until(f"an Event {reason}", look)
    assert event is not None
    assert event["reportingController"] == CONTROLLER
    assert event["reportingInstance"] == NODE
    return event


def test_kp42_what_cannot_be_served(apiserver: ApiServer, begin: Callable[..., Agent]) -> None:
    apiserver.apply(permissions("proxy"))
    balancer = service(
        "web",
        "10.96.0.10",
        type="LoadBalancer",
        externalTrafficPolicy="Local",
        healthCheckNodePort=31000,
    )
    apiserver.apply([balancer, endpoints("web", "10.244.0.11")])
    with apiserver.netns.enter():
        others = [socket.create_server(("0.0.0.0", port)) for port in (31000, 10256)]
    try:
        agent = begin("proxy", wait=False)
        started = told(apiserver, "Starting")
        assert (started["type"], started["action"]) == ("Normal", "StartKubeProxy")
        assert started["regarding"] == {
            "apiVersion": "v1",
            "kind": "Node",
            "name": NODE,
            "uid": NODE,
        }
        failed = told(apiserver, "FailedToStartProxierHealthcheck")
        assert (failed["type"], failed["action"]) == ("Warning", "StartKubeProxy")
        assert "0.0.0.0:10256" in failed["note"]
        port = told(apiserver, "FailedToStartServiceHealthcheck")
        assert (port["type"], port["action"]) == ("Warning", "Listen")
        assert port["regarding"]["name"] == "web"
        assert (
            f'node {NODE} failed to start healthcheck "default/web" on port 31000' in port["note"]
        )
        assert not agent.lines("cannot record")
    finally:
        for other in others:
            other.close()


def test_a_switch_that_refuses(
    apiserver: ApiServer, node: Node, begin: Callable[..., Agent]
) -> None:
    """The table of Services is full before it begins."""
    apiserver.apply(permissions("proxy"))
    apiserver.apply([service("web", "10.96.0.10"), endpoints("web", "10.244.0.11")])
    agent = begin("proxy")
    (flow,) = (flow for flow in ours(node) if "nw_dst=10.96.0.10,tp_dst=80" in flow)
    group = flow.rpartition("group:")[2]
    agent.kill()
    number = re.search(r"table=(\d+)", flow)
    assert number is not None
    node.ovs.ofctl("del-groups", node.mgmt)
    node.ovs.vsctl(
        *("--", "--id=@t", "create", "Flow_Table", "flow_limit=0", "overflow_policy=refuse"),
        *("--", "set", "Bridge", node.bridge, f"flow_tables:{number[1]}=@t"),
    )
    begin("proxy", wait=False)
    event = told(apiserver, "SwitchRefused", times=2)
    assert (event["type"], event["action"]) == ("Warning", "Commit")
    assert event["regarding"]["name"] == "web"
    assert "OFPFMFC_TABLE_FULL" in event["note"]
    assert f"group:{group}" in event["note"]


def test_an_object_that_cannot_be_used(apiserver: ApiServer, begin: Callable[..., Agent]) -> None:
    apiserver.apply(permissions("proxy"))
    astray = endpoints("web", "10.244.0.11")
    del astray["metadata"]["labels"]
    apiserver.apply([service("web", "10.96.0.10"), astray])
    begin("proxy")
    event = told(apiserver, "CannotBeUsed")
    assert (event["type"], event["action"]) == ("Warning", "Plan")
    assert event["regarding"] == {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "namespace": "default",
        "name": "web-1",
    }
    assert "has no label kubernetes.io/service-name" in event["note"]


def test_without_the_permission_nothing_else_is_missing(
    apiserver: ApiServer, node: Node, begin: Callable[..., Agent]
) -> None:
    apiserver.apply(permissions("mute", events=False))
    apiserver.apply([service("web", "10.96.0.10"), endpoints("web", "10.244.0.11")])
    agent = begin("mute")
    (line,) = agent.await_log("cannot record an Event")
    assert "RBAC must grant the verb create on events.events.k8s.io" in line
    assert any("nw_dst=10.96.0.10" in flow for flow in ours(node))


def test_without_an_api_server_nobody_is_told() -> None:
    events = Events(None, "node")
    events.starting()
    events.cannot_check("default/web", 1, "x")
    events.unusable("Service default/web: x")
    events.refused(CommitError("OFPFMFC_TABLE_FULL", "group:1", 0, b""))
