"""KP-33: session affinity for longer than a flow can be idle, by a clock that the test moves."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from proxying import Agent, Clock, Manifests, endpoints, service, until

from nsxdp.lab import Node, Pod
from nsxdp.services.affinity import MOST_IDLE, learned

Start = Callable[..., Agent]

VIP = "10.96.0.10"
DAY = 86400
PODS = [f"10.244.0.{n}" for n in range(11, 19)]


class Affinity:
    """What the switch has learned of the only client."""

    def __init__(self, node: Node, clock: Clock) -> None:
        self._node = node
        self._clock = clock

    @property
    def text(self) -> str:
        """The flow; empty: it has learned nothing, or forgotten it."""
        flows = self._node.ovs.ofctl(
            "dump-flows", self._node.mgmt, "cookie=0x6eff800000000000/0xffff800000000000"
        )
        return next((line for line in flows.splitlines() if "reg7=" in line), "")

    def number(self, name: str) -> int:
        """Of ``idle_timeout``, ``hard_timeout`` or ``idle_age``; 0: it has none."""
        found = re.search(rf"\b{name}=(\d+)", self.text)
        return int(found[1]) if found else 0

    def await_it(self, what: str, holds: Callable[[], object]) -> None:
        """Statistics come to the flow as the clock moves on."""

        def look() -> object:
            if seen := holds():
                return seen
            self._clock.forward(1)
            return None

        until(what, look)


@pytest.fixture
def node(timeless: Node) -> Node:
    return timeless


@pytest.fixture
def client(node: Node, manifests: Manifests) -> Pod:
    for number, address in enumerate(PODS):
        node.add_pod(f"web{number}", ip=address).serve_http(8080)
    sticky: dict[str, Any] = {
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": DAY}},
    }
    manifests.put(service("web", VIP, **sticky), endpoints("web", *PODS))
    return node.add_pod("client")


def get(client: Pod) -> str:
    return client.http_get(f"http://{VIP}/")


def test_a_day(node: Node, client: Pod, start: Start) -> None:
    agent = start()
    chosen = get(client)
    clock = Clock(node)
    affinity = Affinity(node, clock)
    affinity.await_it("learned", lambda: affinity.text)
    assert (affinity.number("idle_timeout"), affinity.number("hard_timeout")) == (MOST_IDLE, 0)

    # Nobody looks for six hours; the next agent sees it all the same.
    agent.kill()
    clock.forward(6 * 3600)
    assert affinity.number("idle_timeout") == MOST_IDLE
    agent = start()
    until("it has an end", lambda: affinity.number("hard_timeout"))
    left = DAY - affinity.number("idle_age")
    assert abs(affinity.number("hard_timeout") - left) <= 2
    assert affinity.number("idle_timeout") == 0

    # After more than a flow could be idle, the client comes again: its affinity begins anew.
    clock.forward(15 * 3600)
    assert affinity.number("idle_age") == MOST_IDLE
    assert get(client) == chosen
    affinity.await_it("used", lambda: affinity.number("idle_age") < 60)
    until("it has its idle timeout", lambda: affinity.number("idle_timeout") == MOST_IDLE)
    assert affinity.number("hard_timeout") == 0
    used = clock.now - affinity.number("idle_age")

    # Then it stays away, for a day.
    clock.forward(10 * 3600)
    until("it has an end", lambda: affinity.number("hard_timeout"))
    clock.forward(used + DAY - clock.now - 60)
    assert affinity.text
    assert get(client) == chosen
    affinity.await_it("used", lambda: affinity.number("idle_age") < 60)
    until("it has its idle timeout", lambda: affinity.number("idle_timeout") == MOST_IDLE)
    used = clock.now - affinity.number("idle_age")
    clock.forward(10 * 3600)
    until("it has an end", lambda: affinity.number("hard_timeout"))
    clock.forward(used + DAY - clock.now - 60)
    assert affinity.text
    clock.forward(120)
    until("it is gone", lambda: not affinity.text)
    agent.stop()


def test_no_agent_at_all(node: Node, client: Pod, start: Start) -> None:
    """Then it ends when a flow ends that nobody uses, and not never."""
    start().kill()
    get(client)
    clock = Clock(node)
    affinity = Affinity(node, clock)
    affinity.await_it("learned", lambda: affinity.text)
    clock.forward(MOST_IDLE + 60)
    until("it is gone", lambda: not affinity.text)


def test_what_is_learned_for_longer_can_be_told() -> None:
    columns = learned([1, MOST_IDLE, MOST_IDLE + 1, DAY])
    assert columns.timeouts.tolist() == [1, MOST_IDLE, MOST_IDLE, MOST_IDLE]
    assert [hex(cookie) for cookie in columns.cookies.tolist()] == [
        "0x6eff000000000001",
        "0x6eff000000000001",
        "0x6eff800100000001",
        "0x6eff800151800001",
    ]
