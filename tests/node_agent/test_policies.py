"""Network policies at pods that a runtime adds, with a real API server and a real switch."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from runtime import SECONDS, Agent, Object, PluginError, until

from faults.agent import Agent as Proxy
from nsxdp.k8s import policy_objects
from nsxdp.k8s.objects import ObjectMeta
from nsxdp.k8s.source import Batch, Op
from nsxdp.lab import Netns, Node
from nsxdp.lab.apiserver import ApiServer
from nsxdp.lab.tools import slowness
from nsxdp.pipeline.registers import MASQUERADE_IPV4
from nsxdp_agents.node_agent.cni.request import Pod as Owner
from nsxdp_agents.node_agent.policies import Policies, UnknownPodError
from tests.asking import ask
from tests.definitions import cluster_network_policies

Sandbox = Callable[[str], Netns]
NODE = "node-1"
NSXDP = Path(sys.executable).with_name("nsxdp")


def pod(name: str, **labels: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {
            "nodeName": NODE,
            "containers": [
                {
                    "name": "c",
                    "image": "c",
                    "ports": [{"name": "http", "containerPort": 8080}],
                }
            ],
        },
    }


def only(*, port: Any = 8080, app: str = "client") -> Object:
    """To the web pods, these may connect, at one port."""
    peer = {"podSelector": {"matchLabels": {"app": app}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "only", "namespace": "default"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "web"}},
            "ingress": [{"from": [peer], "ports": [{"port": port}]}],
        },
    }


class Place:
    """A server and a client on one node, and whoever says what they may."""

    def __init__(self, node: Node, server: ApiServer, agent: Agent, sandbox: Sandbox) -> None:
        self.node = node
        self.server = server
        self.agent = agent
        self.sandbox = sandbox
        self.netns: dict[str, Netns] = {}
        self.address: dict[str, str] = {}

    def add(self, name: str, **labels: str) -> Netns:
        """A pod that the API server knows, and the runtime."""
        self.server.apply([pod(name, **labels)])
        self.netns[name] = self.sandbox(name)
        result = self.agent.runtime.add(name, self.netns[name])
        self.address[name] = result["ips"][0]["address"].partition("/")[0]
        return self.netns[name]

    def reaches(self, client: str, target: str, port: int = 8080) -> bool:
        """Whether a new connection comes about."""
        try:
            return ask(self.netns[client], self.address[target], "TCP", port, timeout=1) != ""
        except OSError:
            return False


def _node() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NODE},
        "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]},
    }


@pytest.fixture
def place(node: Node, start: Callable[..., Agent], sandbox: Sandbox) -> Iterator[Place]:
    with _place(node, start, sandbox) as place:
        yield place


@pytest.fixture
def log_place(node: Node, start: Callable[..., Agent], sandbox: Sandbox) -> Iterator[Place]:
    """One whose agent tells of what is denied."""
    with _place(node, start, sandbox, "--log-dropped-traffic", "--log-format=json") as place:
        yield place


@contextmanager
def _place(
    node: Node, start: Callable[..., Agent], sandbox: Sandbox, *flags: str
) -> Iterator[Place]:
    with closing(ApiServer(node.netns)) as server:
        server.apply([_node()])
        agent = start(f"--kubeconfig={server.kubeconfig}", f"--node-name={NODE}", *flags)
        yield Place(node, server, agent, sandbox)


@pytest.mark.datapath("netdev")
def test_the_switch_forgets_what_it_cached_before_a_policy(place: Place) -> None:
    """That of Debian 12 may keep to it else."""
    ovs = place.node.ovs
    ovs.vsctl("set", "Open_vSwitch", ".", "other_config:max-idle=3600000")
    place.add("web", app="web").serve_http(8080)
    place.add("client", app="client")
    assert place.reaches("client", "web")

    def cached() -> bool:
        return f"src={place.address['client']}," in ovs.appctl("dpctl/dump-flows", "-m")

    assert cached()
    place.server.apply([only()])
    until("the policy is there", lambda: "only" in place.agent.appctl("policy/show", "default/web"))
    until("it has forgotten", lambda: not cached())
    assert place.reaches("client", "web")
    assert cached()
    place.server.apply([pod("client", app="stranger")])
    until("it has forgotten again", lambda: not cached())
    assert not place.reaches("client", "web")


@pytest.mark.kernel
def test_a_policy_comes_changes_and_goes(place: Place) -> None:
    place.add("web", app="web").serve_http(8080)
    place.add("client", app="client")
    place.add("stranger", app="stranger")
    assert place.reaches("client", "web")
    assert place.reaches("stranger", "web")
    place.server.apply([only(port="http")])
    until("the stranger is refused", lambda: not place.reaches("stranger", "web"))
    assert place.reaches("client", "web")
    assert "isolated by NetworkPolicy default/only" in place.agent.appctl(
        "policy/show", "default/web"
    )
    place.server.apply([only(app="stranger")])
    until("the stranger may", lambda: place.reaches("stranger", "web"))
    assert not place.reaches("client", "web")
    place.server.apply([pod("client", app="stranger")])
    until("the client's labels are others", lambda: place.reaches("client", "web"))
    place.server.delete([only()])
    place.server.apply([pod("client", app="client")])
    until("there is no policy any more", lambda: place.reaches("client", "web"))


def test_rules_are_counted(place: Place) -> None:
    place.server.apply([only()])
    place.add("web", app="web").serve_http(8080)
    place.add("client", app="client")
    place.add("stranger", app="stranger")
    until("the server serves", lambda: place.reaches("client", "web"))
    assert not place.reaches("stranger", "web")
    allowed, refused = "NetworkPolicy default/only ingress[0]", "NetworkPolicy default/* ingress"
    until(
        "the switch has counted both",
        lambda: {(allowed, "accept"), (refused, "deny")} <= decided(place.agent),
    )
    samples = place.agent.node.netns.http_get("http://127.0.0.1:10261/metrics")
    name = "nsx_node_agent_policy_rule_packets_total"
    for rule, verdict in ((allowed, "accept"), (refused, "deny")):
        [line] = re.findall(
            re.escape(f'{name}{{rule="{rule}",verdict="{verdict}"}}') + " (.*)", samples
        )
        assert float(line) > 0


def counted(agent: Agent) -> dict[str, tuple[str, int]]:
    """What rules did with how many packets, as the agent says."""
    lines = agent.appctl("policy/counters").splitlines()
    found = [re.fullmatch(r"(.*): (\w+): ([0-9]+) packets, [0-9]+ bytes", line) for line in lines]
    return {one[1]: (one[2], int(one[3])) for one in found if one is not None}


def decided(agent: Agent) -> set[tuple[str, str]]:
    """The rules that have decided about packets, and how."""
    return {(rule, verdict) for rule, (verdict, packets) in counted(agent).items() if packets}


@pytest.mark.kernel
def test_denied_connections_are_told(log_place: Place) -> None:
    place = log_place
    place.server.apply([only()])
    web = place.add("web", app="web")
    stranger = place.add("stranger", app="stranger")
    web.serve_http(8080)
    assert not place.reaches("stranger", "web")
    first = until("the log tells", lambda: denials(place.agent))[0]
    assert first["source_port"] > 0
    assert datetime.fromisoformat(first["timestamp"]).tzinfo is not None
    assert (
        first.items()
        >= {
            "direction": "ingress",
            "policy": "NetworkPolicy default/only",
            "rule": "",
            "verdict": "deny",
            "source": place.address["stranger"],
            "source_pod": "default/stranger",
            "destination": place.address["web"],
            "destination_pod": "default/web",
            "destination_port": 8080,
            "protocol": "TCP",
        }.items()
    )
    flood = f"for i in $(seq 2000); do echo > /dev/udp/{place.address['web']}/9; done"
    stranger.run(["bash", "-c", flood])
    rule = "NetworkPolicy default/* ingress"
    until("the flood is counted", lambda: counted(place.agent)[rule][1] > 500)
    told = [one for one in denials(place.agent) if one["protocol"] == "UDP"]
    assert 0 < len(told) < counted(place.agent)[rule][1] / 2


def test_the_service_proxy_goes_on_to_refuse(log_place: Place, tmp_path: Path) -> None:
    """Packets that policies drop don't come to it, nor its own to the node agent."""
    place = log_place
    client = place.add("client", app="client")
    place.add("web", app="web")
    place.server.apply([only(app="nobody"), service("empty")])
    address = place.server.request("GET", "/api/v1/namespaces/default/services/empty")["spec"][
        "clusterIP"
    ]
    with Proxy(
        place.node,
        tmp_path / "proxy.log",
        f"--kubeconfig={place.server.kubeconfig}",
        f"--node-name={NODE}",
    ) as proxy:
        proxy.await_ready()
        until(
            "a Service without endpoints refuses",
            lambda: _curl(client, f"http://{address}/") == _REFUSED,
        )
        refused = proxy.metric("rejected_packets_total", "")
        assert _curl(client, f"http://{place.address['web']}:8080/") == _TIMED_OUT
        until("the log tells", lambda: denials(place.agent))
        assert proxy.metric("rejected_packets_total", "") == refused
        assert all(one["destination"] != address for one in denials(place.agent))


@pytest.mark.kernel
@pytest.mark.parametrize("masqueraded", [False, True], ids=["ClusterIP", "external IP"])
def test_a_service_is_no_way_round_what_policies_refuse(
    place: Place, tmp_path: Path, masqueraded: bool
) -> None:
    """Though both ends want to talk: nobody answers what wasn't let in, and later it may be."""
    one, other = place.add("one", app="web"), place.add("other", app="web")
    isolated = only(app="nobody")
    of_two = service("two", externalIPs=["203.0.113.7"], ports=[{"port": 53, "protocol": "UDP"}])
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "two",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "two"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [place.address["other"]], "nodeName": NODE}],
        "ports": [{"port": 8080, "protocol": "UDP"}],
    }
    place.server.apply([isolated, of_two, endpoints])
    found = place.server.request("GET", "/api/v1/namespaces/default/services/two")
    address = "203.0.113.7" if masqueraded else found["spec"]["clusterIP"]
    flags = f"--kubeconfig={place.server.kubeconfig}", f"--node-name={NODE}"
    with (
        Proxy(place.node, tmp_path / "proxy.log", *flags) as proxy,
        one.open_socket(socket.SOCK_DGRAM) as client,
        other.open_socket(socket.SOCK_DGRAM) as server,
    ):
        proxy.await_ready()
        client.bind(("", 5555))
        server.bind(("", 8080))
        client.settimeout(slowness())
        server.settimeout(slowness())
        until("the pods are isolated", lambda: "only" in place.agent.appctl("policy/show"))
        until("it was sent", lambda: client.sendto(b"?", (address, 53)) and tracked(place, address))
        for _ in range(2):
            for client_s in (place.address["one"], MASQUERADE_IPV4):
                server.sendto(b"!", (client_s, 5555))
            with pytest.raises(TimeoutError):
                client.recv(10)
            client.sendto(b"?", (address, 53))
            with pytest.raises(TimeoutError):
                server.recv(10)
        isolated["spec"]["ingress"] = [{"ports": [{"port": 8080, "protocol": "UDP"}]}]
        place.server.apply([isolated])

        def gets_it() -> bool:
            client.sendto(b"?", (address, 53))
            with suppress(TimeoutError):
                _, asker = server.recvfrom(10)
                return bool(server.sendto(b"!", asker))
            return False

        until("it is let in", gets_it)
        assert client.recv(10) == b"!"


def tracked(place: Place, address: str) -> bool:
    """Whether the switch tracks a connection to an address."""
    return f"dst={address}," in place.node.ovs.appctl("dpctl/dump-conntrack", "zone=65312")


_REFUSED = 7
_TIMED_OUT = 28


def _curl(client: Netns, url: str) -> int:
    """How curl ends: 0, or its number of an error."""
    argv = ["curl", "-s", "-m", str(slowness()), url]
    return client.run(argv, check=False).returncode


def service(name: str, **spec: object) -> Object:
    """A Service with nobody behind it, unless slices say so."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"app": "nobody"}, "ports": [{"port": 80}], **spec},
    }


def denials(agent: Agent) -> list[Object]:
    """The log's records of denied connections."""
    lines = agent.log.read_text().splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
    return [one for one in records if one["event"] == "a connection is denied"]


def test_a_pod_is_isolated_when_it_is_added(place: Place) -> None:
    place.server.apply([only(app="nobody")])
    place.add("client", app="client")
    place.add("web", app="web").serve_http(8080)
    assert not place.reaches("client", "web")


def test_a_pod_that_the_api_server_does_not_know_is_to_be_tried_again(place: Place) -> None:
    with pytest.raises(PluginError, match="hasn't told of it within") as unknown:
        place.agent.runtime.add("ghost", place.sandbox("ghost"))
    assert unknown.value.code == 11
    assert place.agent.leases == []


def heard(obj: policy_objects.Pod | policy_objects.Namespace) -> Batch:
    """What a watch tells of an object."""
    return Batch(type(obj).__name__, [(Op.UPSERT, obj)], True, 0.0)


async def test_a_pod_waits_for_its_namespace_too() -> None:
    """What the Admin tier says of namespaces is in force from its first packet."""
    policies = Policies(NODE, every_pod=True)
    waiting = asyncio.create_task(policies.known(Owner("default", "web")))
    meta = ObjectMeta(namespace="default", name="web")
    policies.take(heard(policy_objects.Pod(metadata=meta)))
    policies.take(heard(policy_objects.Namespace(metadata=ObjectMeta(name="other"))))
    # As long as it takes to see that nothing happens: a turn for each that could wake.
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()
    policies.take(heard(policy_objects.Namespace(metadata=ObjectMeta(name="default"))))
    await waiting


async def test_it_is_said_what_the_api_server_has_not_told_of() -> None:
    policies = Policies(NODE, every_pod=True, seconds=0)
    owner = Owner("default", "web", "1")
    spec = policy_objects.PodSpec(node_name=NODE)
    with pytest.raises(UnknownPodError, match="web: the API server hasn't told of it within"):
        await policies.known(owner)
    for uid, missing in (("of before", "it"), ("1", "its namespace")):
        meta = ObjectMeta(namespace="default", name="web", uid=uid)
        policies.take(heard(policy_objects.Pod(metadata=meta, spec=spec)))
        with pytest.raises(UnknownPodError, match=f"hasn't told of {missing} within"):
            await policies.known(owner)
    # A directory of manifests needn't tell of anything.
    await Policies(NODE, every_pod=False, seconds=0).known(owner)


def test_cluster_network_policies_may_come_later(place: Place) -> None:
    place.add("web", app="web").serve_http(8080)
    place.add("client", app="client")
    assert place.reaches("client", "web")
    deny = _deny_all()
    with cluster_network_policies(place.server):
        place.server.apply([deny])
        until("they are refused", lambda: not place.reaches("client", "web"))
    until("they are not", lambda: place.reaches("client", "web"))


def _deny_all() -> Object:
    """Nobody may connect to anybody."""
    return _cluster_policy("deny", ingress=[{"action": "Deny", "from": [{"namespaces": {}}]}])


def _cluster_policy(name: str, tier: str = "Admin", **rules: Any) -> Object:
    """One for all pods."""
    return {
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": name},
        "spec": {"tier": tier, "priority": 1, "subject": {"namespaces": {}}, **rules},
    }


def test_a_trace_names_the_rule_that_leaves_a_packet_to_nobody(place: Place) -> None:
    place.add("web", app="web")
    place.add("client", app="client")
    everybody = [{"namespaces": {}}]
    rules = {
        "ingress": [{"action": "Pass", "from": everybody}],
        "egress": [{"action": "Pass", "to": everybody}],
    }
    argv = [NSXDP, "trace", "--json", f"--run-dir={place.node.ovs.directory}"]

    def traced() -> Object:
        """What is told of a packet that the policy is asked about."""
        story: Object = json.loads(subprocess.check_output([*argv, "client", "web:8080"]))
        asked = any(step["table"] == "IngressBaseline" for step in story["steps"])
        return story if asked else {}

    with cluster_network_policies(place.server):
        place.server.apply([_cluster_policy("pass", tier="Baseline", **rules)])
        story = until("the policy is there", traced)
    assert story["outcome"] == "delivered"
    for way in ("egress", "ingress"):
        passed = f"left to the next tier by ClusterNetworkPolicy pass {way}[0]"
        assert story[way] == f"allowed: {passed}, and there is none"


def test_established_connections_go_on(place: Place) -> None:
    place.add("web", app="web").serve_tcp(8080)
    client = place.add("client", app="client")
    with client.enter():
        connection = socket.create_connection((place.address["web"], 8080), SECONDS * slowness())
    with connection:
        assert _asks(connection)
        place.server.apply([only(app="nobody")])
        until("a new one is refused", lambda: not _connects(client, place.address["web"]))
        assert _asks(connection)


def _asks(connection: socket.socket) -> bool:
    """Whether a server at the other end answers."""
    connection.settimeout(SECONDS * slowness())
    connection.sendall(b"hello\n")
    return bool(connection.recv(100))


def _connects(client: Netns, address: str) -> bool:
    with client.enter():
        try:
            socket.create_connection((address, 8080), slowness()).close()
        except OSError:
            return False
    return True


def test_policies_change_while_the_api_server_is_away(place: Place) -> None:
    place.server.apply([only()])
    place.add("web", app="web").serve_http(8080)
    place.add("client", app="client")
    place.add("stranger", app="stranger")
    until("the client may", lambda: place.reaches("client", "web"))
    place.server.kill()
    assert place.reaches("client", "web")
    assert not place.reaches("stranger", "web")
    place.server.load([only(app="stranger")])
    place.server.start()
    until("the stranger may", lambda: place.reaches("stranger", "web"))
    assert not place.reaches("client", "web")
    # Likewise while the agent is away, too: what the switch has stays.
    place.agent.kill()
    place.server.apply([only(app="client")])
    assert place.reaches("stranger", "web")
    assert not place.reaches("client", "web")
    place.agent.start()
    until("the client may again", lambda: place.reaches("client", "web"))
    assert not place.reaches("stranger", "web")


def test_policies_that_may_not_be_read_keep_no_pod_waiting(
    node: Node, start: Callable[..., Agent], sandbox: Sandbox
) -> None:
    """Whoever forgot to allow ClusterNetworkPolicies has pods all the same, and is told."""
    with closing(ApiServer(node.netns)) as server, cluster_network_policies(server):
        server.apply([_node(), *_grants("agent")])
        kubeconfig = server.kubeconfig_for("agent")
        agent = start(f"--kubeconfig={kubeconfig}", f"--node-name={NODE}")
        place = Place(node, server, agent, sandbox)
        place.add("web", app="web").serve_http(8080)
        place.add("client", app="client")
        until("the client may", lambda: place.reaches("client", "web"))
        said = agent.log.read_text()
        assert "it is as if there were none" in said
        assert 'cannot list resource "clusternetworkpolicies"' in said
        # Once allowed, they hold.
        deny = _deny_all()
        server.apply([deny, *_grants("agent", "clusternetworkpolicies")])
        until("they are refused", lambda: not place.reaches("client", "web"), 120)


def test_pods_are_deleted_while_the_api_server_is_away(
    place: Place, sandbox: Sandbox, tmp_path: Path
) -> None:
    agent, runtime = place.agent, place.agent.runtime
    place.add("web", app="web")
    agent.kill()
    place.server.kill()
    configurations = tmp_path / "net.d"
    agent.argv += [f"--install-cni={tmp_path}/bin", f"--cni-conf-dir={configurations}"]
    agent.start(ready=False)

    def missing() -> tuple[int, str]:
        with pytest.raises(PluginError) as away:
            runtime.status()
        return away.value.code, away.value.said["msg"].partition(":")[0]

    until("all else is there", lambda: missing() == (50, "not all nodes are known yet"))
    with pytest.raises(PluginError) as refused:
        runtime.add("client", sandbox("client"))
    assert refused.value.code == 11
    assert not configurations.exists()
    assert place.node.netns.http_get("http://127.0.0.1:10260/livez") == "ok"
    runtime.delete("web", place.netns["web"])
    assert agent.ports == agent.devices == agent.leases == []
    place.server.start()
    until("all is known", agent.answers)
    place.add("other").serve_http(8080)
    place.add("client")
    until("the client may", lambda: place.reaches("client", "other"))
    until("the runtime is told", lambda: [*configurations.iterdir()])


def _grants(user: str, *more: str) -> list[Object]:
    """What lets a user see what there must be, and 'more'."""
    plurals = ["nodes", "pods", "namespaces", "networkpolicies", *more]
    group = "rbac.authorization.k8s.io"
    return [
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": user},
            "rules": [{"apiGroups": ["*"], "resources": plurals, "verbs": ["list", "watch"]}],
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": user},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": user},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        },
    ]
