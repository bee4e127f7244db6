"""Who had an address."""

from __future__ import annotations

from ipaddress import ip_address

from nsxdp.bridge import LocalPod
from nsxdp_agents.node_agent.who import LastPods


def pod(name: str, *addresses: str) -> LocalPod:
    return LocalPod(name, "0a:58:0a:f4:00:03", tuple(map(ip_address, addresses)), 3)


def test_who_had_an_address_last() -> None:
    last = LastPods()
    last.note(pod("default/a", "10.244.0.3", "fd00:244::3"))
    last.note(pod("default/b", "10.244.0.3"))
    asked = ("10.244.0.3", "fd00:244::3", "10.244.0.4", "nonsense")
    assert [last.pod_with(each) for each in asked] == ["default/b", "default/a", "", ""]


def test_only_so_many_are_remembered() -> None:
    last = LastPods()
    for n in range(1001):
        last.note(pod(f"default/p{n}", f"10.244.{n >> 8}.{n & 255}"))
    assert [last.pod_with(f"10.244.0.{n}") for n in (0, 1)] == ["", "default/p1"]
