"""Bandwidth: who may be only so fast is no faster, either way, and others are."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable

import pytest
from runtime import SECONDS, Agent, Object, PluginError, Runtime, until

from nsxdp.lab import Netns, Node
from nsxdp.lab.tools import slowness
from nsxdp_agents.node_agent.cni.runtime_config import Bandwidth, Rate

Sandbox = Callable[[str], Netns]

MBIT = 1_000_000
RATE = 8 * MBIT
"""A megabyte a second."""

BURST = 8 * 100_000
TWICE = ("rate", "16mbit", "burst", "32k", "latency", "25ms")
SENT = 2_000_000
"""Bytes: more than can go at once, and wait in queues."""


def wants(**bits: int) -> Object:
    return {"bandwidth": bits}


def seconds_to_send(source: Netns, target: Netns, address: str) -> float:
    """How long it takes until all that is sent is there."""
    with target.enter():
        listener = socket.create_server(("", 9000))
    with listener, source.open_socket() as sender:
        sender.connect((address, 9000))
        receiver, _ = listener.accept()
        receiver.settimeout(SECONDS * slowness())
        sending = threading.Thread(target=sender.sendall, args=(bytes(SENT),))
        begin = time.monotonic()
        sending.start()
        with receiver:
            left = SENT
            while left:
                left -= len(receiver.recv(1 << 16))
        sending.join()
        return time.monotonic() - begin


def least_seconds() -> float:
    """What a token bucket takes at least: all but the burst waits for its bytes."""
    return (SENT - BURST / 8) / (RATE / 8)


@pytest.mark.kernel
@pytest.mark.parametrize("way", ["ingress", "egress"])
def test_a_pod_is_no_faster_than_it_may_be(
    agent: Agent, runtime: Runtime, sandbox: Sandbox, way: str
) -> None:
    slow, fast = sandbox("slow"), sandbox("fast")
    limits = wants(**{f"{way}Rate": RATE, f"{way}Burst": BURST})
    results = {
        "slow": runtime.add("slow", slow, wants=limits),
        "fast": runtime.add("fast", fast),
    }
    address = {
        name: result["ips"][0]["address"].partition("/")[0] for name, result in results.items()
    }
    there = seconds_to_send(fast, slow, address["slow"])
    back = seconds_to_send(slow, fast, address["fast"])
    limited = there if way == "ingress" else back
    assert limited >= least_seconds()
    # Open vSwitch looks at all ports' queues whenever one comes, and when it starts.
    runtime.add("next", sandbox("next"))
    agent.node.ovs.restart_vswitchd()
    until("the switch has its flows again", agent.answers)
    runtime.check("slow", slow, results["slow"])


def test_a_check_finds_that_somebody_took_the_limit_away(
    node: Node, runtime: Runtime, sandbox: Sandbox
) -> None:
    pod = sandbox("pod")
    result = runtime.add("4ac7", pod, wants=wants(ingressRate=RATE, egressRate=RATE))
    runtime.check("4ac7", pod, result)
    port = result["interfaces"][0]["name"]
    pod.run(["tc", "qdisc", "delete", "dev", "eth0", "root"])
    with pytest.raises(PluginError, match="eth0 does not keep to 1000000 bytes a second"):
        runtime.check("4ac7", pod, result)
    node.netns.run(["tc", "qdisc", "replace", "dev", port, "root", "tbf", *TWICE])
    with pytest.raises(PluginError, match=f"{port} does not keep to 1000000 bytes a second"):
        runtime.check("4ac7", pod, result)
    again = runtime.add("4ac7", pod, wants=wants(ingressRate=RATE, egressRate=RATE))
    runtime.check("4ac7", pod, again)


def test_pods_with_limits_share_what_says_so_to_open_vswitch(
    node: Node, agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    pods = {name: sandbox(name) for name in "abcd"}
    for name, pod in pods.items():
        runtime.add(name, pod, wants=wants(ingressRate=RATE))
    rows = json.loads(node.ovs.vsctl("--format=json", "--columns=type", "list", "QoS"))["data"]
    assert rows == [["linux-noop"]]
    runtime.collect([])
    assert agent.ports == []


@pytest.mark.parametrize(
    ("said", "ingress", "egress"),
    [
        (Bandwidth(), None, None),
        (Bandwidth(ingress_rate=8_000, ingress_burst=80_000), Rate(1_000, 10_000), None),
        (Bandwidth(egress_rate=8_000), None, Rate(1_000, 65_536)),
        (Bandwidth(egress_rate=8_000_000_000), None, Rate(10**9, 10**7)),
        (Bandwidth(ingress_rate=8_000, ingress_burst=2**32 - 1), Rate(1_000, 65_536), None),
        (Bandwidth(ingress_rate=1), Rate(1, 65_536), None),
        (Bandwidth(ingress_burst=80_000), None, None),
    ],
)
def test_limits_are_in_bits_and_a_burst_need_not_be_said(
    said: Bandwidth, ingress: Rate | None, egress: Rate | None
) -> None:
    assert (said.ingress, said.egress) == (ingress, egress)


def test_a_limit_below_zero_is_refused(agent: Agent, runtime: Runtime, sandbox: Sandbox) -> None:
    with pytest.raises(PluginError, match="Expected `int` >= 0") as refused:
        runtime.add("4ac7", sandbox("pod"), wants=wants(egressRate=-1))
    assert refused.value.code == 7
    assert agent.leases == []
