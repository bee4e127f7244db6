"""KP-53: how connections are tracked, by the kernel and by Open vSwitch."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from proxying import PROGRAM, Agent, Manifests, service, until

from nsxdp.lab import Netns, Node
from nsxdp_agents.kube_proxy.conntrack import (
    Tracking,
    most_connections,
    of_kernel,
    of_open_vswitch,
    set_sysctls,
    sysctls,
)
from nsxdp_agents.kube_proxy.options import Options
from nsxdp_agents.kube_proxy.values import duration

Start = Callable[..., Agent]

_SYSCTLS = Path("proc/sys/net/netfilter")
_HASH_SIZE = Path("sys/module/nf_conntrack/parameters/hashsize")
_SETTERS = {
    "SetMax": "nf_conntrack_max",
    "SetTCPEstablishedTimeout": "nf_conntrack_tcp_timeout_established",
    "SetTCPCloseWaitTimeout": "nf_conntrack_tcp_timeout_close_wait",
    "SetTCPBeLiberal": "nf_conntrack_tcp_be_liberal",
    "SetUDPTimeout": "nf_conntrack_udp_timeout",
    "SetUDPStreamTimeout": "nf_conntrack_udp_timeout_stream",
}


@pytest.mark.table("conntrack.json", "max")
def test_kp53_how_many(case: dict[str, Any]) -> None:
    assert most_connections(case["maxPerCore"], case["min"], case["cores"]) == case["max"]


def options(config: dict[str, Any]) -> Options:
    """The table's; what isn't there isn't set, and has no default."""

    def seconds(name: str) -> float:
        return duration(config.get(name, "0s"))

    return Options(
        conntrack_max_per_core=config.get("MaxPerCore", 0),
        conntrack_min=config.get("Min", 0),
        conntrack_tcp_established=seconds("TCPEstablishedTimeout"),
        conntrack_tcp_close_wait=seconds("TCPCloseWaitTimeout"),
        conntrack_tcp_be_liberal=config["TCPBeLiberal"],
        conntrack_udp=seconds("UDPTimeout"),
        conntrack_udp_stream=seconds("UDPStreamTimeout"),
    )


@pytest.mark.table("conntrack.json", "sysctls")
def test_kp53_which_sysctls_are_set(case: dict[str, Any], tmp_path: Path) -> None:
    tracking = of_kernel(options(case["config"]), cores=2)
    found = [name if name == "nf_conntrack_max" else (name, n) for name, n in sysctls(tracking)]
    wanted = []
    for text in case["setters"]:
        name, _, value = text.rstrip(")").partition("(")
        wanted.append((_SETTERS[name], int(value)) if value else _SETTERS[name])
    assert found == wanted
    assert of_open_vswitch(options(case["config"]), cores=2) == tracking
    # Without these files nothing can be set.
    assert bool(set_sysctls(tracking, tmp_path)) == bool(wanted)


def test_what_is_not_configured_is_as_kube_proxy_has_it() -> None:
    assert of_kernel(Options(), cores=2) == Tracking(131072, 86400, 3600)
    assert of_kernel(Options(), cores=8) == Tracking(262144, 86400, 3600)
    assert of_open_vswitch(Options(), cores=8) == Tracking()


def kernel(root: Path, hash_size: int, **values: int) -> Path:
    """A tree with the files of a kernel."""
    (root / _SYSCTLS).mkdir(parents=True)
    (root / _HASH_SIZE).parent.mkdir(parents=True)
    (root / _HASH_SIZE).write_text(f"{hash_size}\n")
    for name, value in values.items():
        (root / _SYSCTLS / name).write_text(f"{value}\n")
    return root


def test_the_hash_table_grows_with_what_it_may_hold(tmp_path: Path) -> None:
    root = kernel(tmp_path / "small", 1000, nf_conntrack_max=4000)
    assert set_sysctls(Tracking(most=40000), root) == []
    assert (root / _HASH_SIZE).read_text() == "10000"
    assert (root / _SYSCTLS / "nf_conntrack_max").read_text() == "40000"
    root = kernel(tmp_path / "large", 20000, nf_conntrack_max=40000)
    for path in (root / _HASH_SIZE, root / _SYSCTLS / "nf_conntrack_max"):
        before = path.stat().st_mtime_ns
        assert set_sysctls(Tracking(most=40000), root) == []
        assert path.stat().st_mtime_ns == before  # may be read-only
    (problem,) = set_sysctls(Tracking(udp=30), root)
    assert problem.startswith("nf_conntrack_udp_timeout = 30: ")


def test_a_real_kernel(netns: Netns) -> None:
    """A namespace has values of its own, but for how many connections there may be."""
    wanted = Tracking(0, 4321, 654, True, 32, 109)
    with netns.enter():
        assert set_sysctls(wanted) == []
        for name, value in sysctls(wanted):
            assert (Path("/") / _SYSCTLS / name).read_text() == f"{value}\n"


FLAGS = (
    "--conntrack-max-per-core=12345",
    "--conntrack-min=1000000",
    "--conntrack-tcp-timeout-established=2h",
    "--conntrack-udp-timeout=33s",
    "--conntrack-udp-timeout-stream=1m17s",
    "--conntrack-tcp-be-liberal=true",
)


def limits(node: Node) -> tuple[str, str]:
    """How many connections Open vSwitch tracks at most, and whether it checks TCP's sequence."""
    return (
        node.ovs.appctl("dpctl/ct-get-maxconns").strip(),
        node.ovs.appctl("dpctl/ct-get-tcp-seq-chk").strip().rpartition(" ")[2],
    )


def policies(node: Node) -> dict[int, str]:
    """The timeouts of each zone that has any."""
    text = node.ovs.vsctl("list-zone-tp", "netdev")
    found = re.findall(r"^Zone:(\d+), Timeout Policies: (.*)$", text, re.MULTILINE)
    return {int(zone): timeouts for zone, timeouts in found}


def ours(timeouts: str) -> dict[int, str]:
    return {65312: timeouts, 65313: timeouts}


CLOSED = "tcp_close=66 {}tcp_time_wait=66"
"""There whatever is configured."""


def test_open_vswitch_is_told(node: Node, manifests: Manifests, start: Start) -> None:
    manifests.put(service("web", "10.96.0.10"))
    before = limits(node)
    start().stop()
    assert limits(node) == before
    agent = start(*FLAGS)
    assert limits(node) == ("1000000", "disabled")
    wanted = CLOSED.format("tcp_established=7200 ")
    assert policies(node) == ours(f"{wanted} udp_first=33 udp_multiple=77 udp_single=33")
    # The daemon forgets; its database doesn't.
    node.ovs.kill_vswitchd()
    node.ovs.start_vswitchd()
    until("told again", lambda: limits(node) == ("1000000", "disabled"))
    agent.stop()
    start("--conntrack-tcp-timeout-established=300s").stop()
    assert policies(node) == ours(CLOSED.format("tcp_established=300 "))
    # Others' zones are theirs.
    node.ovs.vsctl("add-zone-tp", "netdev", "zone=5", "udp_first=9")
    start().stop()
    assert policies(node) == {5: "udp_first=9", **ours(CLOSED.format(""))}


def test_what_somebody_deletes_or_alters_comes_back(node: Node, start: Start) -> None:
    start("--conntrack-udp-timeout=33s")
    wanted = policies(node)
    node.ovs.vsctl("del-zone-tp", "netdev", "zone=65313")
    until("restored", lambda: policies(node) == wanted)
    (policy,) = node.ovs.vsctl("--bare", "--columns=_uuid", "list", "CT_Timeout_Policy").split()
    node.ovs.vsctl("set", "CT_Timeout_Policy", policy, "timeouts:tcp_close=1")
    until("set right", lambda: policies(node) == wanted)
    node.ovs.vsctl("clear", "Open_vSwitch", ".", "datapaths")
    until("there again", lambda: policies(node) == wanted)


def test_init_only_and_cleanup(node: Node) -> None:
    where = [f"--ovsdb={node.ovsdb}", f"--manifests={node.ovs.directory}"]
    node.netns.run([PROGRAM, *where, *FLAGS, "--init-only"])
    assert limits(node) == ("1000000", "disabled")
    assert set(policies(node)) == {65312, 65313}
    node.netns.run([PROGRAM, *where, "--cleanup"])
    assert policies(node) == {}
