"""Health and metrics as those who watch kube-proxy expect them."""

from __future__ import annotations

import inspect
import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from proxying import NODE, Agent, Manifests, endpoints, ours, service, until

import nsxdp
from nsxdp.k8s.objects import Node as NodeObject
from nsxdp.lab import Node
from nsxdp_agents.kube_proxy.cli import run
from nsxdp_agents.kube_proxy.health import Health

Start = Callable[..., Agent]


@pytest.mark.table("health.json", "cases", op=("new",))
def test_kp63_kp64_kube_proxy_s_own_cases(case: dict[str, Any]) -> None:
    """One commit serves both families here: their 'updated' counts once both have come."""
    now = 0.0
    first = case["ops"][0]
    health = Health(first["healthTimeoutSeconds"], lambda: now)
    waiting: set[str] = set()
    for op in case["ops"]:
        now = op.get("now", now)
        if "node" in op:
            value = op["node"]
            if value["metadata"].get("deletionTimestamp"):
                value["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            health.set_node(msgspec.convert(value, NodeObject))
        if op["op"] == "queued":
            waiting.add(op["ipFamily"])
            health.queued()
            health.started()
        elif op["op"] == "updated":
            waiting.discard(op["ipFamily"])
            if not waiting:
                health.updated()
        elif op["op"] == "get":
            status, text = health.answer(with_node=first["url"] == "/healthz")
            body, wanted = json.loads(text), op["body"]
            assert (status, body["healthy"]) == (op["status"], wanted["healthy"]), op
            assert body.get("nodeEligible") == wanted.get("nodeEligible"), op
            assert set(body) == set(wanted), op


def test_bodies_codes_and_modes(manifests: Manifests, start: Start) -> None:
    manifests.put(service("web", "10.96.0.10"), endpoints("web", "10.244.0.11"))
    agent = start()
    for path, port in (("/healthz", 10256), ("/livez", 10256), ("/healthz", 10249)):
        status, text = agent.get(path, port)
        body = json.loads(text)
        assert status == 200
        assert body["healthy"] is True
        assert body["lastUpdated"] <= body["currentTime"]
        assert set(body["status"]) == {"IPv4", "IPv6"}
        assert ("nodeEligible" in body) == (path == "/healthz")
    assert agent.get("/proxyMode", 10249) == (200, "openvswitch")
    assert agent.get("/nothing", 10249)[0] == 404
    assert agent.metric("proxy_healthz_total", 'code="200"') == 2
    assert agent.metric("proxy_livez_total", 'code="200"') == 1


def test_kp65_checks_of_health_as_service_level_indicators(start: Start) -> None:
    agent = start()
    agent.get("/healthz")
    agent.get("/livez")
    seen = agent.get("/metrics/slis", 10249)[1].splitlines()
    assert 'kubernetes_healthcheck{name="sync",type="livez"} 1.0' in seen
    assert 'kubernetes_healthcheck{name="node",type="healthz"} 1.0' in seen
    success = 'name="sync",status="success",type="healthz"'
    assert f"kubernetes_healthchecks_total{{{success}}} 1.0" in seen
    assert any(line.startswith("process_start_time_seconds ") for line in seen)


def test_kp65_what_it_is_and_what_it_is_told(start: Start) -> None:
    agent = start("--conntrack-udp-timeout=90s", "--nodeport-addresses=10.0.0.0/8,fd00::/8")
    status, text = agent.get("/flagz", 10249)
    assert status == 200
    said = {f"--{line}" for line in text.splitlines()}
    assert {
        *("--conntrack-udp-timeout=90s", "--nodeport-addresses=10.0.0.0/8,fd00::/8"),
        *(f"--node-name={NODE}", "--sync-period=1", "--log-level=info", "--masquerade-all=false"),
        "--feature-gates=AllowServiceExternalIPs=true",
    } <= said
    known = {f"--{name.replace('_', '-')}" for name in inspect.signature(run).parameters}
    assert {line.partition("=")[0] for line in said if "=" in line} <= known
    status, text = agent.get("/statusz", 10249)
    assert status == 200
    assert f"Binary version: {nsxdp.__version__}\n" in text
    for path in ("/configz", "/flagz", "/healthz", "/metrics/slis", "/statusz"):
        assert f" {path}" in text.splitlines()[-1]


def test_kp63_a_change_that_waits_too_long(node: Node, manifests: Manifests, start: Start) -> None:
    """Twice the sync period. The switch is gone meanwhile."""
    manifests.put(service("web", "10.96.0.10"), endpoints("web", "10.244.0.11"))
    agent = start()
    node.ovs.kill_vswitchd()
    # A switch that is gone is no fault of a proxy that has nothing to tell it.
    agent.await_log("br-int.mgmt")
    assert agent.get("/healthz")[0] == 200
    manifests.put(endpoints("web", "10.244.0.12"))
    until("unhealthy", lambda: agent.get("/healthz")[0] == 503)
    status, text = agent.get("/livez")
    body = json.loads(text)
    assert (status, body["healthy"]) == (503, False)
    assert body["lastUpdated"] < body["currentTime"]
    assert [body["status"][family]["healthy"] for family in ("IPv4", "IPv6")] == [False, False]
    assert agent.metric("proxy_livez_total", 'code="503"') == 1
    node.ovs.start_vswitchd()
    until("healthy again", lambda: agent.get("/healthz")[0] == 200)


KUBE_PROXY_S = {
    "sync_proxy_rules_duration_seconds": ["ip_family"],
    "sync_full_proxy_rules_duration_seconds": ["ip_family"],
    "sync_partial_proxy_rules_duration_seconds": ["ip_family"],
    "sync_proxy_rules_last_timestamp_seconds": ["ip_family"],
    "sync_proxy_rules_last_queued_timestamp_seconds": ["ip_family"],
    "network_programming_duration_seconds": ["ip_family"],
    "sync_proxy_rules_endpoint_changes_pending": [],
    "sync_proxy_rules_endpoint_changes_total": [],
    "sync_proxy_rules_service_changes_pending": [],
    "sync_proxy_rules_service_changes_total": [],
    "sync_proxy_rules_no_local_endpoints_total": ["ip_family", "traffic_policy"],
    "conntrack_reconciler_sync_duration_seconds": ["ip_family"],
    "conntrack_reconciler_deleted_entries_total": ["ip_family"],
    "proxy_healthz_total": ["code"],
    "proxy_livez_total": ["code"],
}
"""kube-proxy 1.36's own metrics that have nothing to do with its modes, and their labels."""


def test_kp68_kube_proxy_s_names_and_labels(manifests: Manifests, start: Start) -> None:
    """As queries have them: one that sums over a label that isn't there finds other numbers."""
    manifests.put(service("web", "10.96.0.10"), endpoints("web", "10.244.0.11"))
    agent = start()
    assert (agent.get("/healthz")[0], agent.get("/livez")[0]) == (200, 200)
    found: dict[str, list[str]] = {}
    for sample in agent.metrics():
        name, _, labels = sample.partition("{")
        name = name.removesuffix("_count")
        found[name] = re.findall(r'(\w+)="', labels)
    assert {name: found.get(name) for name in KUBE_PROXY_S} == KUBE_PROXY_S
    assert not [name for name in found if name.endswith("_created")]


NAMES = {
    "sync_proxy_rules_duration_seconds_count",
    "sync_full_proxy_rules_duration_seconds_count",
    "sync_partial_proxy_rules_duration_seconds_count",
    "sync_proxy_rules_last_timestamp_seconds",
    "sync_proxy_rules_last_queued_timestamp_seconds",
    "network_programming_duration_seconds_count",
    "conntrack_reconciler_sync_duration_seconds_count",
    "conntrack_reconciler_deleted_entries_total",
    "sync_proxy_rules_openflow_sync_failures_total",
    "sync_proxy_rules_openflow_flows_total",
    "sync_proxy_rules_openflow_groups_total",
    "sync_proxy_rules_openflow_messages_total",
    "sync_proxy_rules_openflow_drift_total",
}


def test_kp68_metrics(manifests: Manifests, start: Start) -> None:
    manifests.put(
        service("web", "10.96.0.10"),
        endpoints("web", "10.244.0.11"),
        service("local", "10.96.0.11", internalTrafficPolicy="Local"),
        endpoints("local", "10.244.9.1", nodeName="elsewhere"),
    )
    agent = start()
    seen = agent.metrics()
    for family in ("IPv4", "IPv6"):
        missing = {name for name in NAMES if f'{name}{{ip_family="{family}"}}' not in seen}
        assert not missing
    assert agent.metric("sync_proxy_rules_service_changes_total", "") == 2
    assert agent.metric("sync_proxy_rules_endpoint_changes_total", "") == 2
    assert agent.metric("sync_proxy_rules_service_changes_pending", "") == 0
    assert agent.metric("sync_proxy_rules_openflow_groups_total") == 1
    without = 'ip_family="IPv4",traffic_policy="internal"'
    assert agent.metric("sync_proxy_rules_no_local_endpoints_total", without) == 1
    assert agent.metric("process_resident_memory_bytes", "") < 150e6
    changed = endpoints("web", "10.244.0.12")
    stamp = "2100-01-01T00:00:00Z"  # later than the agent's start
    changed["metadata"]["annotations"] = {"endpoints.kubernetes.io/last-change-trigger-time": stamp}
    manifests.put(changed)
    name = "network_programming_duration_seconds_count"
    until("a change is timed", lambda: agent.metric(name) == 1)
    assert agent.metric(name, 'ip_family="IPv6"') == 0


def test_kp69_what_changes_nothing_is_not_waited_for(manifests: Manifests, start: Start) -> None:
    """An alert looks for a last change that is much younger than the last round."""
    web = service("web", "10.96.0.10")
    manifests.put(web, endpoints("web", "10.244.0.11"))
    agent = start()
    last = "sync_proxy_rules_last_queued_timestamp_seconds"
    until("the first is counted", lambda: agent.metric(last) > 0)
    queued, synced = agent.metric(last), agent.synced
    assert queued <= synced
    web["metadata"]["annotations"] = {"example.com/said": "nothing"}
    manifests.put(web)
    name = "sync_proxy_rules_service_changes_total"
    until("it came in", lambda: agent.metric(name, "") == 2)
    assert agent.metric(last) == queued
    manifests.put(endpoints("web", "10.244.0.12"))
    until("a change", lambda: agent.synced > synced)
    until("it is counted", lambda: agent.metric(last) > queued)


def test_an_address_in_use_is_logged_and_services_go_on(
    node: Node, manifests: Manifests, start: Start
) -> None:
    manifests.put(service("web", "10.96.0.10"), endpoints("web", "10.244.0.11"))
    with node.netns.enter():
        taken = socket.create_server(("0.0.0.0", 10256))
    with taken:
        agent = start()
        (line,) = agent.lines("can't be served")
        assert "--healthz-bind-address 0.0.0.0:10256" in line
        assert "ddress already in use" in line
        assert agent.synced > 0
    until("served when it is free", lambda: agent.get("/healthz")[0] == 200)


def test_no_http_servers_at_all(manifests: Manifests, start: Start) -> None:
    manifests.put(service("web", "10.96.0.10"))
    agent = start("--healthz-bind-address=", "--metrics-bind-address=[::1]:9000", wait=False)
    until("metrics", lambda: b"kubeproxy_" in metrics(agent))
    with pytest.raises(ConnectionRefusedError):
        agent.get("/healthz")


@pytest.mark.parametrize("everywhere", ["0.0.0.0", "[::]"])
def test_all_addresses_are_those_of_both_families(start: Start, everywhere: str) -> None:
    """As Go has it, so kube-proxy's health can be asked for by IPv6, too."""
    agent = start(f"--healthz-bind-address={everywhere}:10256")
    for host in ("127.0.0.1", "::1"):
        assert get(agent, "/healthz", host, 10256).startswith(b"HTTP/1.0 200 OK")


def metrics(agent: Agent) -> bytes:
    return get(agent, "/metrics", "::1", 9000)


def get(agent: Agent, path: str, host: str, port: int) -> bytes:
    with agent.netns.enter():
        connection = socket.create_connection((host, port), timeout=5)
    with connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_the_configuration_file_and_flags_that_override_it(
    node: Node, manifests: Manifests, start: Start, tmp_path: Path
) -> None:
    manifests.put(service("web", "10.96.0.10"), endpoints("web", "10.244.0.11"))
    file = tmp_path / "config.yaml"
    file.write_text(
        json.dumps(
            {
                "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
                "kind": "KubeProxyConfiguration",
                "hostnameOverride": NODE,
                "clientConnection": {"kubeconfig": ""},
                "healthzBindAddress": "127.0.0.1:11256",
                "metricsBindAddress": "127.0.0.1:11249",
                "nsxdp": {
                    "manifests": str(manifests.path),
                    "ovsdb": node.ovsdb,
                    "bridge": "no-such-bridge",
                    "syncPeriod": 5,
                    "hostRoutes": False,
                    "logFormat": "json",
                },
            }
        )
    )
    flags = (f"--config={file}", "--bridge=br-int", "--metrics-bind-address=127.0.0.1:10249")
    agent = start(*flags)
    assert agent.get("/healthz", 11256)[0] == 200
    (line,) = agent.lines("started")
    told = json.loads(line)
    assert (told["event"], told["node"], told["bridge"]) == ("started", NODE, "br-int")
    assert told["level"] == "info"
    _, text = agent.get("/configz", 10249)
    shown = json.loads(text)["kubeproxy.config.k8s.io"]
    assert (shown["nsxdp"]["bridge"], shown["nsxdp"]["syncPeriod"]) == ("br-int", 5)


def test_kp70_a_configuration_that_changes_ends_the_process(
    node: Node, manifests: Manifests, start: Start, tmp_path: Path
) -> None:
    """The file is a link into a directory that is swapped, as a ConfigMap's."""
    manifests.put(service("web", "10.96.0.10"), endpoints("web", "10.244.0.11"))
    volume = tmp_path / "volume"

    def swap(name: str, text: str) -> None:
        (volume / name).mkdir(parents=True)
        (volume / name / "config.yaml").write_text(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n" + text
        )
        (volume / "new").symlink_to(name)
        (volume / "new").rename(volume / "..data")

    said = f"nsxdp: {{manifests: {manifests.path}, bridge: br-int}}\nclusterCIDR: 10.0.0.0/8\n"
    swap("1", said)
    (volume / "config.yaml").symlink_to("..data/config.yaml")
    agent = start(f"--config={volume / 'config.yaml'}", f"--ovsdb={node.ovsdb}")
    (warned,) = agent.lines("means nothing here")
    assert "clusterCIDR" in warned
    assert "the bridge's port" in warned
    swap("2", said + "mode: what\n")
    agent.await_log("the new configuration cannot be used.*mode: must be one of")
    swap("3", "# the same\n" + said)
    swap("4", said + "oomScoreAdj: 5\n")
    assert agent.wait() == 1
    assert agent.lines("")[-1] == "nsx-kube-proxy: the configuration was changed: start anew"
    assert any("10.96.0.10" in flow for flow in ours(node))


def test_kp65_what_the_process_does(start: Start) -> None:
    agent = start()
    assert agent.get("/debug/pprof/heap", 10249)[0] == 404
    agent.stop()
    agent = start("--profiling")
    assert "Reflector" not in agent.get("/debug/pprof/heap", 10249)[1]
    status, text = agent.get("/debug/pprof/goroutine", 10249)
    assert status == 200
    assert "_follow_source" in text
    status, text = agent.get("/debug/pprof/profile?seconds=0.2", 10249)
    assert status == 200
    assert "cumulative" in text
    assert agent.get("/debug/pprof/profile?seconds=nan", 10249)[0] == 400


def test_kp70_when_the_process_is_killed(start: Start) -> None:
    """To be killed sooner needs no permission."""
    agent = start("--oom-score-adj=300")
    assert Path(f"/proc/{agent.process.pid}/oom_score_adj").read_text() == "300\n"
