"""A source of Services that isn't there, or has mistakes: said once, and survived."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from proxying import SERVICE_CIDR, Agent, Manifests, endpoints, ours, service, until

from nsxdp.lab import Node

Start = Callable[..., Agent]


def test_an_api_server_that_is_not_there_is_waited_for(
    node: Node, start: Start, tmp_path: Path
) -> None:
    """One line, not one every second; and Ctrl-C ends the wait."""
    file = tmp_path / "kubeconfig"
    file.write_text(
        """
        apiVersion: v1
        kind: Config
        current-context: c
        clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
        users: [{name: u, user: {token: t}}]
        contexts: [{name: c, context: {cluster: c, user: u}}]
        """
    )
    agent = start(f"--kubeconfig={file}", wait=False)
    (line,) = agent.await_log("waiting for the API server")
    assert "127.0.0.1:1" in line
    assert "onnection refused" in line
    assert ours(node) == []
    assert agent.stop() == 0
    assert len(agent.lines()) <= 3, agent.lines()
    assert not agent.lines("Traceback")


def test_one_wrong_manifest_is_named_and_the_others_are_served(
    node: Node, manifests: Manifests, start: Start
) -> None:
    """A file that is wrong when the agent starts, or becomes wrong, stops no other."""
    node.add_pod("web", ip="10.244.0.11").serve_http(8080)
    manifests.put(service("web", "10.96.0.10"), endpoints("web", "10.244.0.11"), SERVICE_CIDR)
    (manifests.path / "broken.yaml").write_text("kind: Service\n  apiVersion: v1\n")
    wrong = service("wrong", "10.96.0.300")
    manifests.put(wrong)
    agent = start()
    (line,) = agent.await_log(r"broken\.yaml")
    assert "broken.yaml:2: not YAML" in line
    (line,) = agent.await_log(r"10\.96\.0\.300")
    assert "default/wrong" in line
    until("web is served", lambda: node.netns.http_get("http://10.96.0.10/") == "web")
    manifests.put(service("wrong", "10.96.0.30"))
    until("served when it is right", lambda: any("10.96.0.30" in flow for flow in ours(node)))
    assert not agent.lines("Traceback")


def test_only_wrong_manifests(manifests: Manifests, start: Start) -> None:
    (manifests.path / "broken.yaml").write_text("kind: [Service\n")
    agent = start(wait=False)
    agent.await_log(r"broken\.yaml")
    # Nothing is known to be wanted, so what was there would stay (KP-10).
    assert not agent.lines("Traceback")
    assert agent.process.poll() is None
    assert agent.stop() == 0
