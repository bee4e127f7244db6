"""Many pods at once, and many after each other: each gets its own, and nothing is left of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from runtime import Agent, Runtime, until

from nsxdp.lab import Netns

Sandbox = Callable[[str], Netns]

CYCLES = int(os.environ.get("NSXDP_CNI_CYCLES") or 30)
"""`make cni-cycles` has a thousand."""

AT_ONCE = 40


def test_pods_that_come_at_once_get_each_its_own(
    agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    pods = {f"c{n}": sandbox(f"c{n}") for n in range(AT_ONCE)}
    begun = [runtime.start_add(name, pod) for name, pod in pods.items()]
    results = [runtime.result_of(process) for process in begun]
    for family in (0, 1):
        assert len({result["ips"][family]["address"] for result in results}) == AT_ONCE
    assert len({result["interfaces"][1]["mac"] for result in results}) == AT_ONCE
    assert len(agent.ports) == len(agent.devices) == len(agent.leases) == AT_ONCE
    for (name, pod), result in zip(pods.items(), results, strict=True):
        runtime.check(name, pod, result)
    runtime.collect([])
    assert agent.ports == agent.devices == agent.leases == []


def test_one_container_s_requests_are_done_one_after_the_other(
    agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    pod = sandbox("pod")
    begun = [runtime.start_add("4ac7", pod) for _ in range(8)]
    results = [runtime.result_of(process) for process in begun]
    assert all(result == results[0] for result in results)
    assert len(agent.ports) == len(agent.devices) == len(agent.leases) == 1


def test_pods_that_come_and_go_leave_nothing(
    agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    pod = sandbox("pod")

    def cycle(n: int) -> None:
        runtime.add(f"c{n}", pod)
        runtime.delete(f"c{n}", pod)

    def files() -> int:
        return len(list(Path(f"/proc/{agent.process.pid}/fd").iterdir()))

    def flows() -> str:
        said = agent.node.ovs.ofctl("dump-aggregate", agent.node.mgmt)
        return said.partition("flow_count=")[2]

    none = flows()
    assert int(none) > 0
    for n in range(5):
        cycle(n)
    before = files()
    for n in range(5, 5 + CYCLES):
        cycle(n)
    until("as many open files as before", lambda: files() <= before)
    assert agent.ports == agent.devices == agent.leases == []
    assert flows() == none
    assert "10.244.0.0/24: 252 addresses, 252 free" in agent.appctl("ipam/show")
    assert not agent.node.netns.run(["ip", "-brief", "link", "show", "type", "veth"]).stdout
    assert {path.name for path in (agent.directory / "state").iterdir()} == {
        "leases",
        "leases.lock",
    }
