"""Pods on a platform's trunk: what each has, the platform says, and a VLAN each leads there."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from runtime import SECONDS, Agent, Object, PluginError, Runtime, until

from faults.agent import Agent as Proxy
from nsxdp.k8s.objects import ObjectMeta
from nsxdp.k8s.policy_objects import Pod
from nsxdp.k8s.resources import PODS
from nsxdp.k8s.source import Batch, Op
from nsxdp.lab import OVS, Netns, Node
from nsxdp.lab.apiserver import ApiServer
from nsxdp.ovsdb import Client
from nsxdp.switch import DATABASE, BridgeView
from nsxdp.transport import parse_remote
from nsxdp_agents.common.options import OptionsError
from nsxdp_agents.node_agent.cni.errors import CniError
from nsxdp_agents.node_agent.cni.install import install
from nsxdp_agents.node_agent.cni.request import Attachment, Command, Config, Request
from nsxdp_agents.node_agent.cni.request import Pod as Owner
from nsxdp_agents.node_agent.dataplane import open_dataplane
from nsxdp_agents.node_agent.options import API_VERSION, KIND, read_options
from nsxdp_agents.node_agent.platform import ANNOTATION, read_network
from nsxdp_agents.node_agent.platform import Platform as Told
from nsxdp_agents.node_agent.ports import WATCHES
from nsxdp_agents.node_agent.wiring import Wiring

Sandbox = Callable[[str], Netns]
NODE = "node-1"
NSXDP = Path(sys.executable).with_name("nsxdp")
TRUNK = "trunk"
FAR = {4: "10.9.9.9", 6: "fd00:9::9"}
"""Behind the platform's router."""
MANAGEMENT = {"node": "198.51.100.1", "router": "198.51.100.2"}


def network(vlan: int, *, uid: str = "", **other: object) -> Object:
    """What the platform says of a pod on the segment that is called by its VLAN."""
    return {
        "uid": uid,
        "vlan": vlan,
        "mac_address": f"02:50:56:00:00:{vlan:02X}",
        "ip_addresses": [f"10.1.{vlan}.5/24", f"fd00:1:{vlan}::5/64"],
        "gateway_ips": [f"10.1.{vlan}.1", f"fd00:1:{vlan}::1"],
        **other,
    }


def pod(name: str, says: Object | str | None) -> Object:
    value = says if isinstance(says, str) else json.dumps(says)
    annotations = {} if says is None else {ANNOTATION: value}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "annotations": annotations},
        "spec": {"nodeName": NODE, "containers": [{"name": "c", "image": "c"}]},
    }


class Platform:
    """The platform: segments, the router between them, and what it says in manifests."""

    def __init__(self, stack: ExitStack, node: Node, directory: Path) -> None:
        self.node = node
        self.router = stack.enter_context(Netns("router"))
        self.switch = stack.enter_context(OVS(self.router))
        self.manifests = directory / "manifests"
        self.manifests.mkdir()
        for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            self.router.sysctl(key, 1)
        self.switch.add_bridge("segments")
        for name in (TRUNK, "management"):
            node.netns.iproute(
                f"link add {name} type veth peer name {name} netns {self.router.name}"
            )
        self.router.iproute(f"link set {TRUNK} arp off up")
        for netns in (node.netns, self.router):
            netns.run(["ethtool", "-K", TRUNK, "tx", "off"])
        for netns, name in ((node.netns, "node"), (self.router, "router")):
            netns.iproute(
                f"addr add {MANAGEMENT[name]}/24 dev management", "link set management up"
            )
        self.switch.vsctl("add-port", "segments", TRUNK)
        self.router.iproute(f"addr add {FAR[4]}/32 dev lo", f"addr add {FAR[6]}/128 dev lo nodad")
        node.netns.iproute(f"route add 10.1.0.0/16 via {MANAGEMENT['router']}")
        for vlan in (11, 12, 13):
            self._segment(vlan)

    def _segment(self, vlan: int) -> None:
        device = f"seg{vlan}"
        self.switch.vsctl(
            *("add-port", "segments", device, f"tag={vlan}"),
            *("--", "set", "interface", device, "type=internal"),
        )
        self.router.iproute(
            f"addr add 10.1.{vlan}.1/24 dev {device}",
            f"addr add fd00:1:{vlan}::1/64 dev {device} nodad",
            f"link set {device} up",
        )

    def received(self, device: str) -> int:
        """How many packets have come to the router by a segment."""
        said = self.router.run(["ip", "-json", "-s", "link", "show", device]).stdout
        return int(json.loads(said)[0]["stats64"]["rx"]["packets"])

    def say(self, name: str, says: Object | str | None) -> None:
        self.write(name, pod(name, says))

    def write(self, name: str, *objects: Object) -> None:
        made = self.manifests / f"{name}.new"
        made.write_text(yaml.safe_dump_all(objects))
        made.rename(made.with_suffix(".yaml"))

    @property
    def flags(self) -> tuple[str, ...]:
        """Of an agent that listens to it."""
        return (
            "--forwarding=nsx",
            f"--uplink-port={TRUNK}",
            f"--manifests={self.manifests}",
            f"--node-name={NODE}",
        )


@pytest.fixture
def platform(node: Node, tmp_path: Path) -> Iterator[Platform]:
    with ExitStack() as stack:
        yield Platform(stack, node, tmp_path)


@pytest.fixture
def nsx_agent(platform: Platform, start: Callable[..., Agent]) -> Agent:
    """An agent whose pods are on the platform."""
    return start(*platform.flags)


@pytest.fixture
def hasty(platform: Platform, start: Callable[..., Agent]) -> Agent:
    """One that doesn't wait for long."""
    return start(*platform.flags, "--config-retry-timeout=1")


def url(address: str, port: int = 80) -> str:
    return f"http://[{address}]:{port}/" if ":" in address else f"http://{address}:{port}/"


def test_a_pod_has_what_the_platform_said(
    node: Node, platform: Platform, nsx_agent: Agent, sandbox: Sandbox
) -> None:
    one, two = sandbox("one"), sandbox("two")
    platform.say("one", network(11))
    platform.say("two", network(12))
    result = nsx_agent.runtime.add("one", one)
    nsx_agent.runtime.add("two", two)
    assert [ip["address"] for ip in result["ips"]] == ["10.1.11.5/24", "fd00:1:11::5/64"]
    assert [route["gw"] for route in result["routes"]] == ["10.1.11.1", "fd00:1:11::1"]
    assert result["interfaces"][1]["mac"] == "02:50:56:00:00:0b"
    assert node.ovs.vsctl("get", "port", result["interfaces"][0]["name"], "tag") == "11"
    nsx_agent.runtime.check("one", one, result)
    platform.router.serve_http(80, "far")
    two.serve_http(80)
    for client in (one, two):
        assert [client.http_get(url(ip)) for ip in FAR.values()] == ["far", "far"]
    counts = [platform.received("seg12")]
    # By the platform's router, for the bridge doesn't know the way.
    for ip in ("10.1.12.5", "fd00:1:12::5"):
        assert one.http_get(url(ip)) == "two"
        assert platform.router.http_get(url(ip)) == "two"
        counts.append(platform.received("seg12"))
    assert counts[0] < counts[1] < counts[2]
    nsx_agent.runtime.delete("one", one)
    assert len(nsx_agent.ports) == len(nsx_agent.leases) == 1


def test_a_packet_is_followed_to_the_platform(
    node: Node, platform: Platform, nsx_agent: Agent, sandbox: Sandbox
) -> None:
    platform.say("one", network(11))
    nsx_agent.runtime.add("one", sandbox("one"))
    argv = [NSXDP, "trace", "--json", f"--run-dir={node.ovs.directory}", "one", f"{FAR[4]}:80"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=True)
    story = json.loads(done.stdout)
    assert (story["outcome"], story["way"], story["port"]) == ("delivered", "trunk", TRUNK)
    assert story["end"].startswith("to the platform, in the sender's VLAN")
    words = {(step["table"], step["priority"]): step["words"] for step in story["steps"]}
    assert words["Conntrack", 261].startswith("whether it is an answer of an endpoint")
    assert words["ConntrackState", 1] == "no Service proxy is on the bridge: passes by"


def test_services_are_served_on_the_trunk(
    node: Node, platform: Platform, nsx_agent: Agent, sandbox: Sandbox, tmp_path: Path
) -> None:
    ips = {"10.96.0.10": ("10.1.11.5", "10.1.12.5", FAR[4]), "fd00:96::10": ("fd00:1:12::5",)}
    slices = [
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"web-{number}",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "web"},
            },
            "addressType": "IPv6" if ":" in vip else "IPv4",
            "ports": [{"name": "", "port": 8080}],
            "endpoints": [{"addresses": [ip]} for ip in endpoints],
        }
        for number, (vip, endpoints) in enumerate(ips.items())
    ]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "clusterIP": "10.96.0.10",
            "clusterIPs": list(ips),
            "ipFamilies": ["IPv4", "IPv6"],
            "ports": [{"port": 80}],
        },
    }
    platform.write("service", service, *slices)
    one, two = sandbox("one"), sandbox("two")
    for name, vlan, netns in (("one", 11, one), ("two", 12, two)):
        platform.say(name, network(vlan))
        nsx_agent.runtime.add(name, netns)
        netns.serve_http(8080)
    platform.router.serve_http(8080, "far")
    flags = (f"--manifests={platform.manifests}", f"--node-name={NODE}")
    with Proxy(node, tmp_path / "proxy.log", *flags) as proxy:
        proxy.await_ready()
        found = {one.http_get(url("10.96.0.10")) for _ in range(40)}
        assert found == {"one", "two", "far"}  # also itself
        assert one.http_get(url("fd00:96::10")) == "two"


def test_an_add_waits_for_the_platform(
    platform: Platform, nsx_agent: Agent, sandbox: Sandbox
) -> None:
    runtime = nsx_agent.runtime
    waiting = runtime.start_add("late", sandbox("late"))
    platform.say("late", None)
    platform.say("late", network(11, uid="of another"))
    # Another pod's turn comes meanwhile.
    platform.say("soon", network(12))
    runtime.add("soon", sandbox("soon"))
    assert waiting.poll() is None
    platform.say("late", network(11))
    assert runtime.result_of(waiting)["ips"][0]["address"] == "10.1.11.5/24"


@pytest.fixture
def patient(platform: Platform, start: Callable[..., Agent]) -> Agent:
    """An agent whose pods wait for longer than anybody else does."""
    return start(*platform.flags, "--config-retry-timeout=570")


def test_who_is_deleted_waits_no_longer(
    platform: Platform, patient: Agent, sandbox: Sandbox
) -> None:
    platform.say("late", None)
    waiting = patient.runtime.start_add("late", sandbox("late"))

    def deleted() -> bool:
        patient.runtime.delete("late")
        return waiting.poll() is not None

    until("the ADD is over", deleted)
    with pytest.raises(PluginError, match="nobody waits any more") as failed:
        patient.runtime.result_of(waiting)
    assert failed.value.code == 11
    platform.say("late", network(11))
    patient.runtime.add("late", sandbox("again"))


@pytest.mark.parametrize(
    ("said", "seconds"),
    [({"forwarding": "nsx", "configRetryTimeout": 300}, 330), ({"configRetryTimeout": 300}, None)],
)
def test_the_installed_plugin_waits_for_as_long_as_its_pod(
    tmp_path: Path, said: Object, seconds: int | None
) -> None:
    file = tmp_path / "config.yaml"
    kind = {"apiVersion": API_VERSION, "kind": KIND}
    file.write_text(yaml.safe_dump(kind | said))
    install(tmp_path / "bin", tmp_path, "/cni.sock", read_options(file, {}).options.plugin_timeout)
    (plugin,) = json.loads((tmp_path / "10-nsx.conflist").read_text())["plugins"]
    assert plugin.get("timeout") == seconds


def test_an_agent_that_ends_lets_nobody_wait(
    platform: Platform, patient: Agent, sandbox: Sandbox
) -> None:
    platform.say("late", None)
    waiting = patient.runtime.start_add("late", sandbox("late"))
    platform.say("soon", network(12))
    patient.runtime.add("soon", sandbox("soon"))
    assert patient.stop() == 0
    with pytest.raises(PluginError):
        patient.runtime.result_of(waiting)


@pytest.mark.parametrize("uid", ["", "7"])
async def test_who_is_gone_from_kubernetes_waits_no_longer(uid: str) -> None:
    told = Told([], seconds=SECONDS)
    known = Pod(metadata=ObjectMeta(name="web", namespace="default", uid="7"))
    told.take(Batch(PODS.kind, [(Op.UPSERT, known)], True, 0))
    attachment = Attachment("4ac7", "eth0")
    request = Request(Command.ADD, Config(), attachment, "", Owner("default", "web", uid))
    waiting = asyncio.ensure_future(told.assign(request))
    await asyncio.sleep(0)
    other = Pod(metadata=ObjectMeta(name="db", namespace="default", uid="8"))
    told.take(Batch(PODS.kind, [(Op.DELETE, other)], True, 0))
    await asyncio.sleep(0)
    assert not waiting.done()
    told.take(Batch(PODS.kind, [(Op.DELETE, known)], True, 0))
    with pytest.raises(CniError, match="nobody waits any more"):
        await waiting


@pytest.mark.parametrize(
    ("says", "problem"),
    [
        (None, f"no network within 1 s.*no annotation {ANNOTATION}"),
        (network(11, uid="7"), "within 1 s.*about another pod, of uid 7"),
        ("{", f"annotation {ANNOTATION} can't be used.*truncated"),
        (network(4094), "can't be used.*<= 4093.*vlan"),
        (network(11, mac_address="01:00:5e:00:00:01"), "can't be used.*mac_address"),
        (network(11, ip_addresses=["10.1.11.5"]), "can't be used.*with its prefix length"),
        (network(11, gateway_ips=["10.1.11.1"]), "can't be used.*fd00:1:11::5/64 has none"),
        (
            network(11, gateway_ips=["10.1.12.1", "fd00:1:11::1"]),
            "10.1.12.1 is no neighbor of 10.1.11.5/24",
        ),
        (network(11, ip_addresses=["10.1.11.5/24", "fd00::5%a/64"]), "fd00::5%a/64 has a zone"),
        (network(11, ip_addresses=["169.254.0.5/24"]), "169.254.0.5/24 is no address of a pod"),
        (
            network(11, ip_addresses=["10.1.11.5/24", "10.1.11.6/24"]),
            "can't be used.*one of each family",
        ),
    ],
)
def test_an_add_tells_what_is_missing(
    platform: Platform, hasty: Agent, sandbox: Sandbox, says: Object | str | None, problem: str
) -> None:
    platform.say("pod", says)
    with pytest.raises(PluginError, match=problem) as failed:
        hasty.runtime.add("pod", sandbox("pod"))
    assert failed.value.code == 11
    assert hasty.ports == hasty.devices == hasty.leases == []
    platform.say("pod", network(11))
    hasty.runtime.add("pod", sandbox("again"))


def test_who_is_no_pod_here_has_no_network(
    platform: Platform, hasty: Agent, sandbox: Sandbox
) -> None:
    elsewhere = pod("pod", network(11))
    elsewhere["spec"]["nodeName"] = "node-2"
    platform.write("pod", elsewhere)
    with pytest.raises(PluginError, match="has not told of this pod on this node"):
        hasty.runtime.add("pod", sandbox("pod"))
    container = hasty.runtime.variables("4ac7", sandbox("container"))
    with pytest.raises(PluginError, match="no K8S_POD_NAME") as nameless:
        hasty.runtime.call("ADD", container | {"CNI_ARGS": ""})
    assert nameless.value.code == 4


@pytest.mark.parametrize(
    "other",
    [
        {"vlan": 11},
        {"mac_address": "02:50:56:00:00:0b"},
        {"ip_addresses": ["10.1.11.5/24"], "gateway_ips": ["10.1.11.1"]},
    ],
)
def test_what_is_one_pods_no_other_gets(
    platform: Platform, nsx_agent: Agent, sandbox: Sandbox, other: Object
) -> None:
    runtime = nsx_agent.runtime
    platform.say("first", network(11))
    platform.say("second", network(12) | other)
    runtime.add("first", sandbox("first"))
    with pytest.raises(PluginError, match="is still that of default/first") as taken:
        runtime.add("second", sandbox("second"))
    assert taken.value.code == 11
    runtime.delete("first")
    runtime.add("second", sandbox("again"))


def test_pods_outlive_restarts_and_repairs(
    node: Node, platform: Platform, nsx_agent: Agent, sandbox: Sandbox
) -> None:
    one = sandbox("one")
    platform.say("one", network(11))
    result = nsx_agent.runtime.add("one", one)
    port = result["interfaces"][0]["name"]
    one.serve_tcp(7)
    with platform.router.enter():
        connection = socket.create_connection(("10.1.11.5", 7), SECONDS)
    with connection, connection.makefile("rwb") as lines:

        def says() -> bytes:
            lines.write(b"hello\n")
            lines.flush()
            return lines.readline()

        assert says() == b"one\n"
        nsx_agent.kill()
        assert says() == b"one\n"
        nsx_agent.start()
        assert says() == b"one\n"
        # Somebody takes its VLAN away, and it gets it again.
        node.ovs.vsctl("remove", "port", port, "tag", "11")
        until("the port has its VLAN", lambda: node.ovs.vsctl("get", "port", port, "tag") == "11")
        until("the pod is whole", lambda: nsx_agent.runtime.check("one", one, result) is None)
        assert says() == b"one\n"


def test_the_uplink_is_found_and_kept(
    node: Node, platform: Platform, start: Callable[..., Agent], sandbox: Sandbox
) -> None:
    flags = [flag for flag in platform.flags if not flag.startswith("--uplink-port")]
    agent = start(*flags, ready=False)
    with pytest.raises(PluginError, match="has no uplink at work: name one with --uplink-port"):
        agent.runtime.status()
    node.ovs.vsctl(
        *("add-port", node.bridge, TRUNK, "--"), *("set", "interface", TRUNK, "ofport_request=1")
    )
    until("the agent has found it", agent.answers)
    assert node.ovs.vsctl("get", "interface", TRUNK, "external_ids:nsxdp-role") == "uplink"
    agent.kill()
    node.ovs.vsctl("del-port", TRUNK)
    named = start(*platform.flags)
    node.ovs.vsctl("del-port", TRUNK)
    until("it is there again", lambda: TRUNK in node.ovs.vsctl("list-ports", node.bridge))
    until("pods can be added", named.answers)
    platform.say("one", network(11))
    named.runtime.add("one", one := sandbox("one"))
    platform.router.serve_http(80, "far")
    assert one.http_get(url(FAR[4])) == "far"


async def test_an_uplink_that_comes_while_the_agent_starts_is_seen(node: Node) -> None:
    port = ("add-port", node.bridge, "up", "--", "set", "interface", "up", "type=internal")
    remote = parse_remote(node.mgmt)
    async with (
        Client(node.ovsdb, DATABASE, WATCHES) as client,
        open_dataplane(
            remote, None, on_commit=lambda _: None, on_refusal=lambda: None
        ) as dataplane,
        asyncio.timeout(SECONDS),
    ):
        view = BridgeView(client, node.bridge)
        wiring = Wiring(view, dataplane, "nsx")
        wiring.use(())
        assert "has no uplink at work" in wiring.problem
        await asyncio.to_thread(node.ovs.vsctl, *port, "external_ids:nsxdp-role=uplink")
        async for change in view.changes():
            if change.new is not None and "up" in change.new.ports:
                break
        following = asyncio.create_task(wiring.follow())
        await wiring.configured.wait()
        following.cancel()


def test_an_uplink_that_comes_free_is_taken(node: Node, nsx_agent: Agent) -> None:
    """What happens to another bridge, this one doesn't tell."""
    take = ("add-br", "other", "--", "add-port", "other", TRUNK)
    node.ovs.vsctl("del-port", node.bridge, TRUNK, "--", *take)
    until("the agent says so", lambda: "is on another bridge" in nsx_agent.log.read_text())
    node.ovs.vsctl("del-port", "other", TRUNK)
    until("it is there again", lambda: TRUNK in node.ovs.vsctl("list-ports", node.bridge))
    until("pods can be added", nsx_agent.answers)


def test_an_uplink_of_another_bridge_is_refused(
    node: Node, platform: Platform, start: Callable[..., Agent]
) -> None:
    node.ovs.vsctl("add-br", "other", "--", "add-port", "other", TRUNK)
    with pytest.raises(AssertionError, match=f"is on another bridge.*del-port {TRUNK}"):
        start(*platform.flags)


def test_who_comes_by_a_host_port_has_the_nodes_address(
    platform: Platform, nsx_agent: Agent, sandbox: Sandbox
) -> None:
    """The platform brings a pod's answers to the client itself, which didn't ask the pod."""
    web = sandbox("web")
    platform.say("web", network(11))
    mapping = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
    nsx_agent.runtime.add("web", web, wants={"portMappings": [mapping]})
    web.serve_http(80)
    ip = MANAGEMENT["node"]
    assert platform.router.http_get(url(ip, 8080)) == "web"
    client = platform.router.http_get(f"{url(ip, 8080)}client")
    assert client.partition(":")[0] == ip


def test_an_api_server_tells_what_the_platform_said(
    node: Node, platform: Platform, start: Callable[..., Agent], sandbox: Sandbox
) -> None:
    with closing(ApiServer(node.netns)) as server:
        flags = [flag for flag in platform.flags if not flag.startswith("--manifests")]
        agent = start(*flags, f"--kubeconfig={server.kubeconfig}")
        server.apply([pod("one", None)])
        path = "/api/v1/namespaces/default/pods/one"
        uid = server.request("GET", path)["metadata"]["uid"]
        variables = agent.runtime.variables("one", one := sandbox("one"))
        variables["CNI_ARGS"] += f";K8S_POD_UID={uid}"
        given = {"CNI_COMMAND": "ADD", **variables}
        waiting = agent.runtime.popen(given, agent.runtime.config())
        for of in ("another", uid):
            server.apply([pod("one", network(11, uid=of))])
        agent.runtime.result_of(waiting)
        platform.router.serve_http(80, "far")
        assert one.http_get(url(FAR[4])) == "far"


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"forwarding": "nat"}, "--forwarding nat: must be one of standalone, nsx"),
        ({"uplink_port": "ens192"}, "only --forwarding nsx has an uplink"),
        ({"forwarding": "nsx", "pod_cidrs": ("10.0.0.0/24",)}, "--pod-cidr 10.0.0.0/24"),
        ({"forwarding": "nsx", "encapsulation": "geneve"}, "--encapsulation geneve"),
        ({"forwarding": "nsx", "log_dropped_traffic": True}, "--log-dropped-traffic yes"),
        ({"config_retry_timeout": 0}, "--config-retry-timeout 0: must be 1 to 570"),
        ({"forwarding": "nsx", "uplink_port": "br-int"}, "--uplink-port br-int: is a bridge"),
        ({"node_uplink": "br-int"}, "--node-uplink br-int: is a bridge"),
        (
            {"pod_cidrs": ("10.0.0.0/24",), "kubeconfig": __file__},
            "--kubeconfig .*: with --pod-cidr",
        ),
        (
            {"pod_cidrs": ("10.0.0.0/24",), "server": "https://api.example:6443"},
            "the API server https://api.example:6443: with --pod-cidr",
        ),
        ({"pod_cidrs": ("10.0.0.0/24",), "encapsulation": "vxlan"}, "--encapsulation vxlan: with"),
        (
            {"pod_cidrs": ("10.0.0.0/24",), "log_dropped_traffic": True},
            "--log-dropped-traffic yes: with --pod-cidr",
        ),
    ],
)
def test_options_that_do_not_fit_together(flags: Object, problem: str) -> None:
    with pytest.raises(OptionsError, match=problem):
        read_options(None, flags)


@given(st.text() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_whatever_an_annotation_says_is_understood_or_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_network(text)


def test_an_older_runtime_is_answered(
    platform: Platform, nsx_agent: Agent, sandbox: Sandbox
) -> None:
    platform.say("old", network(11))
    old = Runtime(nsx_agent.socket, "0.4.0")
    assert old.add("old", sandbox("old"))["ips"][0]["gateway"] == "10.1.11.1"
