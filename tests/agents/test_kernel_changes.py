"""What a change of one Service costs the node's kernel: what changed, however many there are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address

import pytest

from nsxdp.lab import Netns
from nsxdp.rtnetlink import Connection, RefusedError, Request, Route
from nsxdp.rtnetlink.objects import decode
from nsxdp.services.addresses import Family
from nsxdp_agents.common import nft, tools
from nsxdp_agents.kube_proxy import routes
from nsxdp_agents.kube_proxy.host import HostRoutes
from nsxdp_agents.kube_proxy.nat import Element, HostNat
from nsxdp_agents.kube_proxy.routes import Prefix

GATEWAY = "gw0"
MANY = 10_000

Asked = list[tuple[str, ...]]


class Counted(Connection):
    """A `Connection` that notes what the kernel is asked."""

    asked: Asked

    def routes(self, family: int, *, oif: int, protocol: int) -> list[Route]:
        self.asked.append(("routes",))
        return super().routes(family, oif=oif, protocol=protocol)

    def apply(self, requests: Sequence[Request]) -> list[RefusedError]:
        for request in requests:
            thing = decode(request.type, request.body)
            dst = f"{ip_address(thing.dst)}/{thing.dst_len}" if isinstance(thing, Route) else ""
            self.asked.append((request.type.name, dst))
        return super().apply(requests)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What netlink and nft were asked since this was last emptied."""
    asked: Asked = []
    run = tools.run

    def counted(
        tool: str, *arguments: str, package: str, text: str = "", harmless: str = ""
    ) -> str:
        asked.append((tool, *(text.splitlines() or arguments)))
        return run(tool, *arguments, package=package, text=text, harmless=harmless)

    monkeypatch.setattr(nft, "run", counted)
    monkeypatch.setattr(Counted, "asked", asked, raising=False)
    monkeypatch.setattr(routes, "Connection", Counted)
    return asked


@pytest.fixture
def gateway(netns: Netns) -> Netns:
    netns.iproute(
        f"link add {GATEWAY} type veth peer name peer", "link set peer up", f"link set {GATEWAY} up"
    )
    return netns


def external(number: int) -> Prefix:
    """A Service's external address."""
    return bytes([10, 50, number >> 8, number & 255]), 32


def node_port(number: int) -> Element:
    return Element.node_port(Family.IPV4, "TCP", 20_000 + number)


def text(prefix: Prefix) -> str:
    return ".".join(map(str, prefix[0]))


def run(netns: Netns, test: Callable[[HostRoutes, asyncio.Event], Awaitable[None]]) -> None:
    """Run 'test' inside, on routes that hear what the kernel says; an event tells that they did."""

    async def hearing() -> None:
        host, heard = HostRoutes(GATEWAY), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(hear(host, heard))
            await test(host, heard)
            task.cancel()

    async def hear(host: HostRoutes, heard: asyncio.Event) -> None:
        async for _ in host.changes():
            await host.apply()
            heard.set()

    with netns.enter():
        asyncio.run(hearing())


def routed(netns: Netns) -> set[str]:
    shown = netns.run(["ip", "-4", "route", "show", "proto", "110"]).stdout
    return {line.split()[0] for line in shown.splitlines()}


def test_kp73_one_route_more_or_less_is_one_message(gateway: Netns, asked: Asked) -> None:
    there = [external(number) for number in range(MANY)]
    gateway.iproute(
        *(f"route add {text(p)} via 169.254.0.253 dev {GATEWAY} proto 110 onlink" for p in there)
    )

    async def test(host: HostRoutes, heard: asyncio.Event) -> None:
        host.replace([], there)
        await host.apply()
        await heard.wait()
        # Routes that are there already stay.
        assert len([what for what in asked if what[0] == "NEWROUTE"]) == 3
        assert len([what for what in asked if what[0] == "routes"]) == 2
        asked.clear()
        one = external(MANY)
        host.replace([], [one])
        await host.apply()
        assert asked == [("NEWROUTE", f"{text(one)}/32")]
        assert text(one) in routed(gateway)
        asked.clear()
        host.replace([one], [])
        await host.apply()
        # The kernel tells of the deletion, too; when it tells of an address, it has told that.
        heard.clear()
        gateway.iproute("addr add 192.0.2.1/32 dev lo")
        await heard.wait()
        assert asked == [("DELROUTE", f"{text(one)}/32")]
        assert text(one) not in routed(gateway)

    run(gateway, test)


def test_the_last_route_takes_the_next_hop_with_it(gateway: Netns, asked: Asked) -> None:
    one, other = external(1), external(2)

    async def test(host: HostRoutes, _: asyncio.Event) -> None:
        host.replace([], [one])
        await host.apply()
        assert len(routed(gateway)) == 4
        host.replace([one], [other])
        await host.apply()
        assert text(other) in routed(gateway)
        host.replace([other], [])
        await host.apply()
        assert routed(gateway) == set()
        asked.clear()
        await host.apply()
        assert asked == []

    run(gateway, test)


def test_after_a_refusal_all_is_tried(gateway: Netns) -> None:
    one, other = external(1), external(2)

    async def test(host: HostRoutes, heard: asyncio.Event) -> None:
        host.replace([], [one])
        await host.apply()
        gateway.iproute(f"link set {GATEWAY} down")
        host.replace([], [other])
        await host.apply()
        gateway.iproute(f"link set {GATEWAY} up")
        heard.clear()
        while not {text(one), text(other)} <= routed(gateway):
            await heard.wait()
            heard.clear()

    run(gateway, test)


def test_news_that_are_too_many_make_all_doubtful(gateway: Netns) -> None:
    async def test(host: HostRoutes, heard: asyncio.Event) -> None:
        host.replace([], [external(1)])
        await host.apply()
        await heard.wait()
        # As nothing is awaited, nothing is heard: not that the route is gone, at the latest.
        gateway.iproute(
            *(f"addr add 10.2.{n >> 8}.{n & 255}/32 dev lo" for n in range(4000)),
            f"route del {text(external(1))}/32 proto 110",
        )
        while text(external(1)) not in routed(gateway):
            heard.clear()
            await heard.wait()

    run(gateway, test)


def test_kp73_one_node_port_more_or_less_is_one_element(netns: Netns, asked: Asked) -> None:
    async def test() -> None:
        host = HostNat()
        host.replace([], [node_port(number) for number in range(MANY)])
        await host.apply(GATEWAY)
        assert len(asked) == 2  # made, and read once
        for verb, before, after in (
            ("add", [], [node_port(MANY)]),
            ("delete", [node_port(MANY)], []),
        ):
            asked.clear()
            host.replace(before, after)
            await host.apply(GATEWAY)
            element = f"{verb} element inet nsxdp ports {{ tcp . {20_000 + MANY} }}"
            assert asked == [("nft", element)]
        asked.clear()
        await host.apply(GATEWAY)
        assert asked == []
        # A look finds all as it has to be, and the change after it is as small as before it.
        host.doubt()
        host.replace([], [node_port(MANY)])
        await host.apply(GATEWAY)
        assert [what[1] for what in asked] == [
            "--json",
            f"add element inet nsxdp ports {{ tcp . {20_000 + MANY} }}",
        ]

    with netns.enter():
        asyncio.run(test())
