"""Addresses and leases by themselves; options, the installed files, and what the agent tells."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import threading
from collections.abc import Callable
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from runtime import PROGRAM, SECONDS, Agent, PluginError, Runtime, until

from nsxdp.lab import Netns, Node, tools
from nsxdp.ovsdb import Client
from nsxdp.pipeline.compiled import Compiled
from nsxdp.pipeline.forwarding import BASE
from nsxdp.switch import DATABASE
from nsxdp.transport import parse_remote
from nsxdp_agents.common.options import OptionsError
from nsxdp_agents.node_agent.batches import Asked, Batches, settle
from nsxdp_agents.node_agent.bridge import (
    TUNNEL,
    GatewayKeeper,
    ensure_bridge,
    ensure_tunnel,
)
from nsxdp_agents.node_agent.cni.install import PLUGIN, install
from nsxdp_agents.node_agent.cni.server import Server
from nsxdp_agents.node_agent.dataplane import DataplaneError, open_dataplane
from nsxdp_agents.node_agent.ipam import Address, ExhaustedError, Pool, Pools
from nsxdp_agents.node_agent.leases import Lease, Leases, LeasesError
from nsxdp_agents.node_agent.options import Options, read_options, written
from nsxdp_agents.node_agent.pods import Pods
from nsxdp_agents.node_agent.ports import WATCHES

Sandbox = Callable[[str], Netns]


def lease(n: int) -> Lease:
    """A lease like any other."""
    return Lease(
        f"c{n}",
        "eth0",
        "nsx",
        (f"10.0.0.{n}/24",),
        ("10.0.0.1",),
        "0a:58:0a:00:00:02",
        1500,
        f"p{n}",
    )


@given(st.lists(st.integers(0, 9), max_size=60))
def test_no_address_is_given_twice_and_the_oldest_comes_first(choices: list[int]) -> None:
    pool = Pool(ip_network("10.0.0.0/28"))
    free: list[Address] = [pool.network[n] for n in range(3, 15)]
    taken: list[Address] = []
    for choice in choices:
        if choice < 6:
            if free:
                assert pool.take() == free[0]
                taken.append(free.pop(0))
            else:
                with pytest.raises(ExhaustedError):
                    pool.take()
        elif taken:
            address = taken.pop(choice % len(taken))
            pool.release(address)
            free.append(address)
        assert pool.free == len(free)


@pytest.mark.parametrize(
    ("networks", "first"),
    [
        (["10.0.0.0/29"], ["10.0.0.3"]),
        (["fd00::/64"], ["fd00::3"]),
        (["10.0.0.0/24", "fd00::/112"], ["10.0.0.3", "fd00::3"]),
    ],
)
def test_pods_get_no_address_that_has_another_use(networks: list[str], first: list[str]) -> None:
    pools = Pools()
    pools.use(map(ip_network, networks))
    assert list(map(str, pools.take())) == first
    for pool in pools.pools:
        given = {pool.take() for _ in range(min(pool.free, 300))}
        assert not given & {pool.network[n] for n in (0, 1, 2)}
        if pool.network.version == 4:
            assert pool.network.broadcast_address not in given


@pytest.mark.parametrize("cidrs", ["10.0.0.0/30", "10.0.0.0/24,10.1.0.0/24", "10.0.0.1/24", "x"])
def test_networks_that_cannot_be_used_are_said(cidrs: str) -> None:
    with pytest.raises(OptionsError, match="--pod-cidr"):
        Options(pod_cidrs=tuple(cidrs.split(","))).check()


async def test_leases_are_there_after_the_file_is_read_again(tmp_path: Path) -> None:
    leases = Leases(tmp_path / "leases")
    await asyncio.gather(*(leases.give(lease(n)) for n in range(3, 40)))
    for n in (7, 5):
        await leases.give_back(lease(n).attachment)
    kept = set(leases)
    await leases.close()
    again = Leases(tmp_path / "leases")
    assert set(again) == kept
    assert list(map(str, again.free)) == ["10.0.0.7", "10.0.0.5"]
    await again.close()


async def test_history_does_not_grow_without_an_end(tmp_path: Path) -> None:
    leases = Leases(tmp_path / "leases")
    await leases.give(lease(3))
    largest = 0
    for _ in range(60):
        await asyncio.gather(*(leases.give(lease(n)) for n in range(10, 100)))
        await asyncio.gather(*(leases.give_back(lease(n).attachment) for n in range(10, 100)))
        largest = max(largest, (tmp_path / "leases").stat().st_size)
    assert (tmp_path / "leases").stat().st_size < largest
    await leases.close()
    again = Leases(tmp_path / "leases")
    assert list(again) == [lease(3)]
    assert list(map(str, again.free)) == [f"10.0.0.{n}" for n in range(10, 100)]
    await again.close()


async def test_what_is_returned_last_is_history_too(tmp_path: Path) -> None:
    leases = Leases(tmp_path / "leases")
    await asyncio.gather(*(leases.give(lease(n)) for n in (3, 4)))
    leases._lines = 1 << 20  # so that the file is written anew
    await leases.give_back(lease(3).attachment)
    await leases.close()
    assert "returned" not in (tmp_path / "leases").read_text()
    again = Leases(tmp_path / "leases")
    assert list(again) == [lease(4)]
    await again.close()


async def test_what_the_disk_does_not_take_is_not_given(tmp_path: Path) -> None:
    leases = Leases(tmp_path / "leases")
    leases._file = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(LeasesError, match="No space left on device"):
        await leases.give(lease(3))
    assert list(leases) == []
    await leases.close()


async def test_a_batch_that_fails_is_told_and_the_next_one_is_done() -> None:
    done: list[int] = []

    async def work(batch: Asked[int]) -> None:
        await asyncio.sleep(0)
        if (1, batch[0][1]) in batch:
            raise RuntimeError("can't start new thread")
        done.extend(item for item, _ in batch)
        settle(batch, None)

    batches = Batches(work)
    asked = [asyncio.ensure_future(batches.do(n)) for n in (1, 2, 3)]
    async with asyncio.timeout(SECONDS):
        said = await asyncio.gather(*asked, return_exceptions=True)
        await batches.do(4)
    assert [str(each) for each in said] == ["can't start new thread"] * 3
    assert done == [4]


async def test_who_is_cancelled_waits_for_what_a_thread_does() -> None:
    """Or the thread would make what nobody takes back."""
    nobody: Any = [None] * 6
    never: Any = None
    pods = Pods(*nobody, mtu=never, checksums=never, readiness=never, realtime_priority=0)
    begun, may_end = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        may_end.wait(SECONDS)

    with closing(pods):
        asked = asyncio.ensure_future(pods._in_thread(work))
        await asyncio.to_thread(begun.wait, SECONDS)
        asked.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        assert not asked.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await asked


async def test_flows_that_nobody_writes_any_more_are_not_waited_for(node: Node) -> None:
    def nobody(*_: object) -> None:
        return None

    flow = Compiled([42], [(BASE[0].stamp(), [0])])
    opened = open_dataplane(parse_remote(node.mgmt), None, on_commit=nobody, on_refusal=nobody)
    async with opened as dataplane, asyncio.timeout(SECONDS):
        dataplane.replace(flow)
        waiting = asyncio.ensure_future(dataplane.confirmed())
        await asyncio.sleep(0)
        writing = asyncio.ensure_future(dataplane.run())
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(DataplaneError, match="nobody writes"):
            await waiting
        with pytest.raises(DataplaneError, match="nobody writes"):
            await dataplane.confirmed()
        assert dataplane.problem


async def test_who_is_served_at_the_end_is_waited_for_as_long_as_is_said(tmp_path: Path) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def handler(*_: object) -> bytes:
        begun.set()
        await may_end.wait()
        return b""

    server = Server(tmp_path / "cni.sock", handler, lambda *_: None)
    async with asyncio.timeout(SECONDS), server.serving():
        runtime = Runtime(tmp_path / "cni.sock")
        process = runtime.popen({"CNI_COMMAND": "STATUS"}, runtime.config())
        await begun.wait()
        await server.finish(0.01)
        assert not (tmp_path / "cni.sock").exists()
        assert process.poll() is None
        may_end.set()
    assert await asyncio.to_thread(process.wait, SECONDS) == 0


def test_a_place_where_nothing_can_be_kept_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(LeasesError, match=r"state: File exists|Not a directory"):
        Leases(tmp_path / "state" / "leases")


def test_the_tunnel_port_is_on_the_bridge_that_is_used(node: Node) -> None:
    """Also when another one was used before."""

    async def use(bridge: str) -> None:
        async with Client(node.ovsdb, DATABASE, WATCHES) as client:
            await ensure_bridge(client, bridge, "auto")
            await ensure_tunnel(client, bridge, "geneve")

    for bridge in ("before", "now"):
        asyncio.run(use(bridge))
        assert TUNNEL in node.ovs.vsctl("list-ports", bridge).split()


def test_the_gateway_stays_as_pods_need_it(node: Node) -> None:
    """Though nobody tells who lets the node route no longer."""
    forwards = Path("/proc/sys/net/ipv4/ip_forward")
    seen: list[str] = []

    async def keep() -> None:
        loop, enough = asyncio.get_running_loop(), asyncio.Event()

        def done() -> None:
            seen.append(forwards.read_text())
            forwards.write_text("0")
            if len(seen) == 5:
                loop.call_soon_threadsafe(enough.set)

        keeper = GatewayKeeper(node.bridge, (), done, look_seconds=0.01)
        keeper.use([Pool(ip_network("10.244.0.0/24"))])
        keeping = asyncio.create_task(keeper.keep())
        async with asyncio.timeout(SECONDS):
            await enough.wait()
        keeping.cancel()

    with node.netns.enter():
        asyncio.run(keep())
    assert set(seen) == {"1\n"}


def test_the_gateway_of_a_pod_stays_as_long_as_the_pod(node: Node) -> None:
    """Though new pods have another one; and nobody takes what somebody else gave."""
    leases = [lease(3)]
    gateways = ["10.0.0.1", "10.1.0.1", "10.244.0.1"]

    def on_interface() -> list[str]:
        argv = ["ip", "-json", "-4", "address", "show", "dev", node.bridge]
        (link,) = json.loads(node.netns.run(argv).stdout)
        return sorted(address["local"] for address in link["addr_info"])

    async def until_it_has(*ips: str) -> None:
        await asyncio.to_thread(until, f"it has {ips}", lambda: on_interface() == [*ips])

    async def keep() -> None:
        keeper = GatewayKeeper(node.bridge, leases, lambda: None, look_seconds=0.01)
        keeping = asyncio.create_task(keeper.keep())
        keeper.use([Pool(ip_network("10.0.0.0/24"))])
        await until_it_has(gateways[0], gateways[2])
        keeper.use([Pool(ip_network("10.1.0.0/24"))])
        await until_it_has(*gateways)
        leases.clear()
        await until_it_has(*gateways[1:])
        keeping.cancel()

    with node.netns.enter():
        asyncio.run(keep())


def test_the_file_says_what_the_flags_say(tmp_path: Path) -> None:
    options = Options(pod_cidrs=("10.244.3.0/24",), mtu=1400, log_level="debug").check()
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(written(options)))
    assert read_options(file, {}).options == options
    assert read_options(file, {"mtu": 1300}).options.mtu == 1300


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "is no mapping"),
        ("kind: Pod", "is Pod of no apiVersion"),
        ("{apiVersion: nsxdp.io/v1alpha1, kind: NodeAgentConfiguration, x: 1}", "unknown field"),
        ("{apiVersion: nsxdp.io/v1alpha1, kind: NodeAgentConfiguration, mtu: 1}", "--mtu 1: must"),
        ("{apiVersion: nsxdp.io/v1alpha1, kind: NodeAgentConfiguration, mtu: a}", "mtu"),
        ("{", "expected"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(content)
    with pytest.raises(OptionsError, match=said):
        read_options(file, {})


def test_a_start_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    flags = [f"--state-dir={tmp_path}/state", "--pod-cidr=10.0.0.0/24", "--ovsdb=unix:/none"]
    done = tools.run([PROGRAM, *flags], check=False, timeout=SECONDS)
    assert done.returncode == 1
    assert done.stderr.startswith("nsx-node-agent: unix:/none")
    assert len(done.stderr.splitlines()) == 1


def test_ncp_ini_is_beneath_flags_and_is_followed(
    start: Callable[..., Agent], tmp_path: Path
) -> None:
    ini = tmp_path / "etc" / "ncp.ini"
    ini.parent.mkdir()
    said = "[nsx_node_agent]\novs_bridge = another\nmtu = 1400\n"
    ini.write_text(said + "waiting_before_cni_response = 3\n")
    agent = start(f"--ncp-ini={ini}")  # and a bridge
    assert "waiting_before_cni_response" in agent.log.read_text()
    asked = ("get", "Interface", agent.node.bridge, "mtu_request")
    until("the bridge's MTU", lambda: agent.node.ovs.vsctl(*asked) == "1400")
    (ini.parent / "new").write_text(said.replace("1400", "1300"))
    (ini.parent / "new").rename(ini)
    assert agent.process.wait(SECONDS) == 1
    assert agent.log.read_text().endswith("the configuration was changed: start anew\n")


def test_the_plugin_and_its_configuration_are_installed_for_the_runtime(
    start: Callable[..., Agent], sandbox: Sandbox, tmp_path: Path
) -> None:
    binaries, configurations = tmp_path / "bin", tmp_path / "net.d"
    agent = start(f"--install-cni={binaries}", f"--cni-conf-dir={configurations}")
    until("both are there", lambda: (configurations / "10-nsx.conflist").is_file())
    said = json.loads((configurations / "10-nsx.conflist").read_text())
    # What a runtime from before lists of versions knows; others choose from the list.
    assert said["cniVersion"] == "1.0.0"
    assert "1.1.0" in said["cniVersions"]
    (plugin,) = said.pop("plugins")
    program = binaries / plugin["type"]
    assert program.stat().st_mode & 0o777 == 0o755
    assert program.read_bytes() == PLUGIN.read_bytes()
    runtime = Runtime(agent.socket, program=program)
    given = {"CNI_COMMAND": "ADD", **runtime.variables("4ac7", sandbox("pod"))}
    # As a runtime does it: the list's name and version, and what the plugin's part says.
    config = {"cniVersion": said["cniVersion"], "name": said["name"], **plugin}
    assert runtime.result_of(runtime.popen(given, config))["ips"]
    before = program.stat().st_ino
    install(binaries, configurations, str(agent.socket))
    assert program.stat().st_ino == before


def test_what_the_agent_tells(agent: Agent, runtime: Runtime, sandbox: Sandbox) -> None:
    def get(path: str, port: int) -> tuple[int, str]:
        with agent.node.netns.enter():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
            connection.request("GET", path, headers={"Connection": "close"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    runtime.add("4ac7", sandbox("pod"))
    with pytest.raises(PluginError):
        runtime.check("other", sandbox("other"), {})
    samples = get("/metrics", 10261)[1].splitlines()
    assert 'nsx_node_agent_cni_request_duration_seconds_count{command="ADD"} 1.0' in samples
    assert 'nsx_node_agent_cni_errors_total{code="3",command="CHECK"} 1.0' in samples
    assert "nsx_node_agent_pods 1.0" in samples
    assert 'nsx_node_agent_ipam_addresses_free{ip_family="IPv4"} 251.0' in samples
    assert json.loads(get("/configz", 10261)[1])["bridge"] == agent.node.bridge
    assert get("/healthz", 10260) == (200, "ok\n")
    assert agent.appctl("version").startswith("nsx-node-agent (nsxdp) ")
    assert "ipam/show" in agent.appctl("list-commands")
    assert agent.appctl("ipam/show").splitlines()[0] == "10.244.0.0/24: 252 addresses, 251 free"
    agent.node.ovs.kill_ovsdb_server()
    until("it is not healthy", lambda: get("/healthz", 10260)[0] == 503)
    assert get("/livez", 10260)[0] == 200
    agent.node.ovs.start_ovsdb_server()
    until("it is healthy again", lambda: get("/healthz", 10260)[0] == 200)
    agent.appctl("exit")
    assert agent.process.wait(SECONDS) == 0


def test_an_agent_in_a_container_is_asked_there_or_by_its_socket(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has another process number there than on the node, which its pidfile can't tell."""
    wrapped = tmp_path / "in-a-container"
    wrapped.write_text(f'#!/bin/sh\nexec unshare --pid --fork --kill-child {PROGRAM} "$@"\n')
    wrapped.chmod(0o755)
    monkeypatch.setattr("runtime.PROGRAM", wrapped)
    with Agent(node, tmp_path) as agent:
        said = agent.appctl_by(str(Path(node.ovs.directory) / "nsx-node-agent.1.ctl"), "ipam/show")
        assert said.startswith("10.244.0.0/24: 252 addresses")
        within = ["nsenter", f"--pid=/proc/{agent.process.pid}/ns/pid_for_children"]
        argv = [*within, "ovs-appctl", "-t", "nsx-node-agent", "ipam/show"]
        assert node.netns.run(argv, env=node.ovs.env).stdout == said
