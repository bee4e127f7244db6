"""The node's own interface goes on a bridge, and back, and who is connected doesn't notice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from runtime import SECONDS, Agent, Object, until

from nsxdp.lab import Netns, Node
from nsxdp.lab.ovs import datapath
from nsxdp.ovsdb import Client
from nsxdp.rtnetlink import Connection
from nsxdp.switch import DATABASE
from nsxdp_agents.common.options import OptionsError
from nsxdp_agents.node_agent import uplink
from nsxdp_agents.node_agent.options import read_options
from nsxdp_agents.node_agent.ports import WATCHES
from nsxdp_agents.node_agent.uplink import NodeUplink, UplinkError

WAN, BRIDGE = "wan", "br-ex"
FAR = {4: "198.18.0.1", 6: "fd99::1"}
"""Of who is connected: behind a router."""
OWN = {4: "192.0.2.1", 6: "2001:db8::1"}
SET_UP = (
    f"addr add {OWN[4]}/24 dev {WAN}",
    f"addr add 192.0.2.77/24 dev {WAN}",
    f"addr add {OWN[6]}/64 dev {WAN} nodad",
    f"addr add 2001:db8::77/64 dev {WAN} nodad valid_lft 5000 preferred_lft 4000",
    # As NetworkManager does, whose routes have a metric of their own.
    f"addr add 10.8.0.1/24 dev {WAN} noprefixroute",
    f"route add 10.8.0.0/24 dev {WAN} proto kernel scope link src 10.8.0.1 metric 101",
    f"route add default via 192.0.2.254 dev {WAN} proto dhcp metric 100 mtu 1400",
    f"route add 203.0.113.0/24 via 192.0.2.254 dev {WAN} src 192.0.2.77",
    f"route add 203.0.113.9 dev {WAN} scope link",
    f"route add 10.7.0.0/16 via 192.0.2.254 dev {WAN} table 107",
    f"route add default via 2001:db8::fe dev {WAN} metric 300 proto static",
    f"route add fd07::/64 via 2001:db8::fe dev {WAN} table 107",
)


class Wire:
    """A node with an interface of its own, and who is connected to it by that."""

    def __init__(self, stack: ExitStack, node: Node) -> None:
        self.node = node
        self.outside = stack.enter_context(Netns("outside"))
        peer = f"{WAN} netns {self.outside.name}"
        node.netns.iproute(
            f"link add {WAN} mtu 1450 type veth peer name {peer}", f"link set {WAN} up"
        )
        self.outside.iproute(
            f"link set {WAN} mtu 1450 up",
            f"addr add 192.0.2.254/24 dev {WAN}",
            f"addr add 2001:db8::fe/64 dev {WAN} nodad",
            *(f"addr add {ip} dev lo" for ip in FAR.values()),
        )
        node.netns.iproute(*SET_UP)
        for netns in (node.netns, self.outside):
            netns.run(["ethtool", "-K", WAN, "tx", "off"])
        node.netns.serve_tcp(7, "node")
        self.had = self.held_by(WAN)
        self._lines = [stack.enter_context(self._connected(family)) for family in (4, 6)]

    @contextlib.contextmanager
    def _connected(self, family: int) -> Iterator[BinaryIO]:
        with self.outside.enter():
            peer = socket.create_connection((OWN[family], 7), SECONDS, (FAR[family], 0))
        peer.settimeout(SECONDS)
        with peer, peer.makefile("rwb") as lines:
            yield lines  # type: ignore[misc]

    def held_by(self, device: str) -> set[str]:
        """What an interface has, as ip(8) shows it."""
        return set(_shown(self.node.netns, device))

    def assert_connected(self) -> None:
        """Who was connected at the beginning still is."""
        for lines in self._lines:
            lines.write(b"hello\n")
            lines.flush()
            assert lines.readline() == b"node\n"

    def assert_is_up(self) -> None:
        self.assert_connected()
        assert self.held_by(BRIDGE) == self.had
        assert self.held_by(WAN) == set()
        assert WAN in self.node.ovs.vsctl("list-ports", BRIDGE).split()

    def assert_is_down(self) -> None:
        self.assert_connected()
        assert self.held_by(WAN) == self.had
        assert BRIDGE not in self.node.ovs.vsctl("list-br").split()
        tables = self.node.netns.run(["nft", "list", "tables"]).stdout
        assert "nsxdp_uplink" not in tables


def _shown(netns: Netns, device: str) -> Iterator[str]:
    if not netns.run(["ip", "link", "show", device], check=False).stdout:
        return
    for interface in json.loads(netns.run(["ip", "-json", "addr", "show", device]).stdout):
        for address in interface["addr_info"]:
            if address["scope"] != "link":
                lives = "for a while" if address["valid_life_time"] < 5001 else "for ever"
                yield f"{address['local']}/{address['prefixlen']} {lives}"
    for family in ("-4", "-6"):
        argv = ["ip", family, "-json", "route", "show", "table", "all", "dev", device]
        for route in json.loads(netns.run(argv).stdout or "[]"):
            usual = route.get("type", "unicast") == "unicast"
            if usual and not route["dst"].startswith(("fe80", "ff")):
                yield json.dumps(
                    {k: v for k, v in route.items() if k not in ("dev", "flags", "expires")}
                )


@pytest.fixture
def wire(node: Node) -> Iterator[Wire]:
    with ExitStack() as stack:
        yield Wire(stack, node)


def test_it_goes_and_comes_back(wire: Wire, start: Callable[..., Agent]) -> None:
    agent = start(f"--node-uplink={WAN}")
    wire.assert_is_up()
    for file in (agent.directory / "state").iterdir():
        assert file.stat().st_mode & 0o077 == 0
    (link,) = json.loads(wire.node.netns.run(["ip", "-json", "link", "show", BRIDGE]).stdout)
    (old,) = json.loads(wire.node.netns.run(["ip", "-json", "link", "show", WAN]).stdout)
    assert (link["address"], link["mtu"]) == (old["address"], 1450)
    agent.kill()
    wire.assert_is_up()
    again = start(f"--node-uplink={WAN}")
    wire.assert_is_up()
    assert again.stop() == 0
    wire.assert_is_up()
    without = start()
    wire.assert_is_down()
    without.kill()
    start()
    wire.assert_is_down()


def test_new_connections_come_once(wire: Wire, start: Callable[..., Agent]) -> None:
    """What comes isn't taken by the kernel, too, where the switch is in userspace."""
    start(f"--node-uplink={WAN}")
    with (
        wire.node.netns.open_socket(socket.SOCK_DGRAM) as server,
        wire.outside.open_socket(socket.SOCK_DGRAM) as client,
    ):
        server.bind((OWN[4], 53))
        server.settimeout(SECONDS)
        for number in range(3):
            client.sendto(b"%d" % number, (OWN[4], 53))
        assert [server.recv(10) for _ in range(3)] == [b"0", b"1", b"2"]


def test_the_switch_is_restarted(wire: Wire, start: Callable[..., Agent]) -> None:
    start(f"--node-uplink={WAN}")
    wire.node.ovs.restart_vswitchd()
    until("all is there again", lambda: wire.held_by(BRIDGE) == wire.had)
    wire.assert_is_up()


def test_what_is_changed_meanwhile_goes_back_too(wire: Wire, start: Callable[..., Agent]) -> None:
    agent = start(f"--node-uplink={WAN}")
    node = wire.node.netns
    node.iproute(
        f"addr add 192.0.2.99/24 dev {BRIDGE}",
        f"addr delete 192.0.2.77/24 dev {BRIDGE}",
        # As a DHCP client does that knows nothing of bridges.
        f"addr add 192.0.2.88/24 dev {WAN}",
    )
    until("it is where the others are", lambda: "192.0.2.88" in str(wire.held_by(BRIDGE)))
    until("it is there alone", lambda: not wire.held_by(WAN))
    agent.kill()
    start()
    wire.assert_connected()
    found = str(wire.held_by(WAN))
    assert [ip in found for ip in ("2.99/", "2.88/", "2.77/")] == [True, True, False]


def test_it_is_killed_and_started_again(wire: Wire, start: Callable[..., Agent]) -> None:
    for flags in ([f"--node-uplink={WAN}"], [], [f"--node-uplink={WAN}"]):
        for _ in range(3):
            agent = start(*flags, ready=False)
            agent.kill()
            wire.assert_connected()
    start(f"--node-uplink={WAN}")
    wire.assert_is_up()


async def test_what_fails_is_not_tried_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though what was done in part is news of interfaces."""
    monkeypatch.setattr(uplink, "_AGAIN_SECONDS", SECONDS)
    tries = []

    class Failing(NodeUplink):
        async def set_up(self, *place: str) -> None:
            tries.append(place)
            self._due.set()
            raise UplinkError("it can't be done")

    nobody: Any = None
    keeping = asyncio.ensure_future(Failing(nobody, tmp_path / "uplink").keep("b", "p", "auto"))
    for _ in range(100):
        await asyncio.sleep(0)
    keeping.cancel()
    assert tries == [("b", "p", "auto")]


class Killed(BaseException):
    """As by ``kill -9``: nobody can do anything about it."""


class Fate:
    """Kills after so many of the steps that change something."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 0
        apply, transact, write = Connection.apply, Client.transact, NodeUplink._write

        def one_by_one(kernel: Connection, requests: Iterable[Any]) -> list[Any]:
            refused = []
            for request in requests:
                self.step()
                refused += apply(kernel, [request])
            return refused

        async def before_and_after(client: Client, build: Any) -> Any:
            self.step()
            done = await transact(client, build)
            self.step()
            return done

        def written(uplink: NodeUplink, record: Any) -> None:
            self.step()
            write(uplink, record)

        monkeypatch.setattr(Connection, "apply", one_by_one)
        monkeypatch.setattr(Client, "transact", before_and_after)
        monkeypatch.setattr(NodeUplink, "_write", written)

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


def test_it_is_killed_at_any_step(
    wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fate = Fate(monkeypatch)

    async def move(*, up: bool) -> None:
        async with Client(wire.node.ovsdb, DATABASE, WATCHES) as client:
            moved = NodeUplink(client, tmp_path / "uplink")
            await (moved.set_up(BRIDGE, WAN, datapath()) if up else moved.take_down())

    def survives(steps: int, *, up: bool) -> bool:
        """Whether it came to its end before it was killed."""
        fate.left = steps
        with wire.node.netns.enter():
            try:
                asyncio.run(move(up=up))
            except Killed:
                return False
        return True

    kills = 0
    for up in (True, False):
        assert survives(0, up=not up)
        for steps in range(1, 100):
            wire.assert_connected()
            if survives(steps, up=up):
                break
            kills += 1
            # Also before somebody goes on, as the neighbors are known.
            wire.assert_connected()
            assert survives(0, up=up)
            (wire.assert_is_up if up else wire.assert_is_down)()
            assert survives(0, up=not up)
    assert kills > 40
    wire.assert_is_down()


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"bridge": "br-ex", "node_uplink": "eth0"}, "--node-bridge br-ex: must be another one"),
        (
            {"forwarding": "nsx", "uplink_port": "eth0", "node_uplink": "eth0"},
            "--node-uplink eth0: the uplink to the platform is another",
        ),
    ],
)
def test_options_that_do_not_fit_together(flags: Object, problem: str) -> None:
    with pytest.raises(OptionsError, match=problem):
        read_options(None, flags)


def test_what_can_not_be_done_changes_nothing(
    wire: Wire, start: Callable[..., Agent], tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match="there is no interface eth9"):
        start("--node-uplink=eth9")
    wire.node.netns.iproute(
        f"route add 10.9.0.0/16 nexthop via 192.0.2.254 dev {WAN} nexthop via 192.0.2.253 dev {WAN}"
    )
    with pytest.raises(AssertionError, match=r"the route to 10\.9\.0\.0/16 has several next hops"):
        start(f"--node-uplink={WAN}")
    wire.node.netns.iproute("route delete 10.9.0.0/16")
    wire.node.netns.iproute("link add lan type veth peer name other")
    wire.node.ovs.vsctl("add-br", "others", "--", "add-port", "others", "lan")
    with pytest.raises(AssertionError, match="lan is on another bridge: run ovs-vsctl del-port"):
        start("--node-uplink=lan")
    (tmp_path / "uplink").write_text("{")

    async def take_down() -> None:
        async with Client(wire.node.ovsdb, DATABASE, WATCHES) as client:
            await NodeUplink(client, tmp_path / "uplink").take_down()

    with pytest.raises(UplinkError, match="delete it, if it is of no use"):
        asyncio.run(take_down())
    wire.assert_connected()
    assert wire.held_by(WAN) == wire.had
