"""What went is forgotten by few looks at what is tracked, and never by two in a row (KP-50)."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

import pytest
from proxying import Agent, Manifests, endpoints, ours, service, until

from nsxdp.conntrack import Entry, read_entries
from nsxdp.lab import Node
from nsxdp.lab.node import Pod
from nsxdp.pipeline.registers import ZONE
from nsxdp.services.conntrack import Stale
from nsxdp_agents.kube_proxy.forgetting import Forgetting
from nsxdp_agents.kube_proxy.metrics import Metrics

Start = Callable[..., Agent]

ECHO = "10.96.0.53"
CLIENTS = range(20_000, 20_040)
"""Their ports."""


@pytest.fixture
def client(node: Node) -> Pod:
    node.ovs.appctl("vlog/set", "ct_dpif:file:dbg")
    return node.add_pod("client")


def ask(client: Pod) -> None:
    """Send a datagram from each of the ports."""
    with client.enter():
        for port in CLIENTS:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                one.bind(("", port))
                one.sendto(b"hello\n", (ECHO, 80))


def tracked(node: Node) -> list[Entry]:
    """The clients' connections."""
    dump = node.ovs.appctl("dpctl/dump-conntrack", f"zone={ZONE}")
    return [entry for entry in read_entries(dump) if entry.dst == ECHO]


def looks(node: Node) -> list[str]:
    """Whom the switch was told to forget, each time: '::' is anybody."""
    return re.findall(r"ct_flush: zone=\d+ 'ct_nw_src=([^,]+)", node.ovs.log().read_text())


def test_kp50_a_new_agent_tells_whom_to_forget(
    node: Node, manifests: Manifests, start: Start, client: Pod
) -> None:
    manifests.put(
        service("echo", ECHO, protocol="UDP"),
        endpoints("echo", "10.244.0.201", "10.244.0.202", protocol="UDP"),
    )
    start().kill()
    ask(client)
    until("all is tracked", lambda: len(tracked(node)) == len(CLIENTS))
    gone = [entry for entry in tracked(node) if entry.reply_src == "10.244.0.201"]
    stay = [entry for entry in tracked(node) if entry.reply_src == "10.244.0.202"]
    assert gone
    assert stay
    manifests.put(endpoints("echo", "10.244.0.202", protocol="UDP"))
    start()
    until("they are forgotten", lambda: set(tracked(node)) == set(stay))
    assert looks(node) == [client.ip] * len(gone)


def test_kp50_a_service_that_is_made_anew_has_none_of_the_last_one_s_clients(
    node: Node, manifests: Manifests, start: Start, client: Pod
) -> None:
    old = service("old", ECHO, protocol="UDP"), endpoints("old", "10.244.0.201", protocol="UDP")
    manifests.put(*old)
    start()
    ask(client)
    until("all is tracked", lambda: len(tracked(node)) == len(CLIENTS))
    manifests.remove(*old)
    until("it is gone", lambda: not any(ECHO in flow for flow in ours(node)))
    assert len(tracked(node)) == len(CLIENTS)
    manifests.put(
        service("new", ECHO, protocol="UDP"), endpoints("new", "10.244.0.202", protocol="UDP")
    )
    until("they are forgotten", lambda: not tracked(node))
    ask(client)
    until("all is tracked anew", lambda: len(tracked(node)) == len(CLIENTS))
    assert {entry.reply_src for entry in tracked(node)} == {"10.244.0.202"}


def test_kp50_where_very_many_endpoints_go_the_switch_tells_of_all_once(
    node: Node, manifests: Manifests, start: Start, client: Pod
) -> None:
    manifests.put(
        service("echo", ECHO, protocol="UDP"),
        endpoints("echo", *(f"10.244.0.{n}" for n in range(100, 200)), protocol="UDP"),
    )
    agent = start()
    ask(client)
    until("all is tracked", lambda: len(tracked(node)) == len(CLIENTS))
    manifests.put(endpoints("echo", "10.244.0.201", protocol="UDP"))
    until("they are forgotten", lambda: not tracked(node))
    assert looks(node) == [client.ip] * len(CLIENTS)
    assert agent.metric("conntrack_reconciler_deleted_entries_total") == len(CLIENTS)
    assert agent.metric("conntrack_reconciler_sync_duration_seconds_count") > 0


class Switch:
    """Notes what it is told, and answers when it is let."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.asked = asyncio.Semaphore(0)
        self.answers = asyncio.Semaphore(0)

    def send(self, *messages: Any) -> None:
        self.told += messages

    async def barrier(self) -> None:
        self.asked.release()
        await self.answers.acquire()


def test_kp50_the_switch_looks_once_at_a_time() -> None:
    vip, ends = IPv4Address(ECHO).packed, [IPv4Address(f"10.244.0.{n}").packed for n in (1, 2, 3)]

    async def main() -> None:
        switch: Any = Switch()
        forgetting = Forgetting(switch, None, lambda _: [], Metrics())
        forgetting.soon(Stale(vip, 53, end, 1053) for end in ends)
        forgetting.soon([Stale(vip, 53, ends[0], 1053)])
        task = asyncio.create_task(forgetting.run())
        for number, end in enumerate(ends, 1):
            async with asyncio.timeout(60):
                await switch.asked.acquire()
            assert len(switch.told) == number
            assert switch.told[-1].reply.src.packed == end
            switch.answers.release()
        task.cancel()

    asyncio.run(main())
