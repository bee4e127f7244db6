"""A node that becomes a router: what it knew as a host, and what is done where it can't be one."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from runtime import PROGRAM, SECONDS, Agent, PluginError, until
from scapy.layers.inet6 import ICMPv6ND_RA, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import Ether

from nsxdp.lab import Netns, Node
from nsxdp_agents.node_agent.routing import let_route

MAC = "02:00:00:00:00:01"
ROUTER = "fe80::1"


class Wire:
    """A host, and a router that advertises itself."""

    def __init__(self, stack: ExitStack) -> None:
        self.host = stack.enter_context(Netns("host"))
        router = stack.enter_context(Netns("router"))
        self.host.iproute(
            f"link add wire type veth peer name wire netns {router.name}",
            "link add deaf type veth peer name deaf-too",
            "link set wire up",
        )
        self.host.sysctl("net.ipv6.conf.deaf.accept_ra", 0)
        router.iproute("link set wire up")
        with router.enter():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        stack.enter_context(self._socket)
        self._socket.bind(("wire", 0))

    def advertise(self) -> None:
        self._socket.send(
            bytes(
                Ether(src=MAC, dst="33:33:00:00:00:01")
                / IPv6(src=ROUTER, dst="ff02::1", hlim=255)
                / ICMPv6ND_RA(routerlifetime=1800)
                / ICMPv6NDOptSrcLLAddr(lladdr=MAC)
            )
        )

    @property
    def default_routes(self) -> list[str]:
        """Their next hops."""
        argv = ["ip", "-6", "-json", "route", "show", "default"]
        return [route["gateway"] for route in json.loads(self.host.run(argv).stdout or "[]")]

    def hears(self) -> bool:
        """Whether it hears the router now."""
        self.advertise()
        return self.default_routes == [ROUTER]

    def setting(self, name: str) -> str:
        return self.host.run(["sysctl", "-n", f"net.ipv6.conf.{name}"]).stdout.strip()


@pytest.fixture
def wire() -> Iterator[Wire]:
    with ExitStack() as stack:
        yield Wire(stack)


def by_init(host: Netns) -> None:
    host.run([PROGRAM, "--init-only"], timeout=SECONDS)
    assert host.run(["sysctl", "-n", "net.ipv4.ip_forward"]).stdout == "1\n"


def by_agent(host: Netns) -> None:
    with host.enter():
        let_route(6)


@pytest.mark.parametrize("start", [by_init, by_agent])
def test_a_node_that_routes_keeps_its_own_default_route(
    wire: Wire, start: Callable[[Netns], None]
) -> None:
    until("it hears the router", wire.hears)
    start(wire.host)
    assert wire.setting("all.forwarding") == "1"
    assert wire.default_routes == [ROUTER]
    wire.host.run(["ip", "-6", "route", "del", "default"])
    until("it hears the router again", wire.hears)
    wire.host.iproute("link add later type veth peer name later-too")
    assert [wire.setting(f"{name}.accept_ra") for name in ("later", "deaf")] == ["2", "0"]


def test_a_node_that_routes_already_stays_as_it_is(wire: Wire) -> None:
    wire.host.sysctl("net.ipv6.conf.all.forwarding", 1)
    by_init(wire.host)
    assert wire.setting("wire.accept_ra") == "1"


def test_who_cannot_let_the_node_route_does_the_rest_and_says_so(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapped = tmp_path / "in-a-container"
    read_only = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys"
    wrapped.write_text(
        f'#!/bin/sh\nexec unshare --mount sh -c \'{read_only} && exec "$@"\' sh {PROGRAM} "$@"\n'
    )
    wrapped.chmod(0o755)
    monkeypatch.setattr("runtime.PROGRAM", wrapped)
    node.netns.iproute(f"addr flush dev {node.bridge}", f"link set {node.bridge} down")
    node.netns.sysctl("net.ipv4.ip_forward", 0)
    shown = ["ip", "address", "show", "dev", node.bridge, "up"]
    with Agent(node, tmp_path, ready=False) as agent:
        until("the gateway is up", lambda: "10.244.0.1/24" in node.netns.run(shown).stdout)
        said = "does not route IPv4: /proc/sys/net/ipv4/ip_forward Read-only file system"
        until("it says so", lambda: said in agent.log.read_text())
        with pytest.raises(PluginError, match=said):
            agent.runtime.status()
        node.netns.sysctl("net.ipv4.ip_forward", 1)
        node.netns.iproute(f"link set {node.bridge} alias looked-at")
        until("pods can be added", agent.answers)
        assert agent.log.read_text().count("gateway lacks") == 1
