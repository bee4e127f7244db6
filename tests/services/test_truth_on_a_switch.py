"""kube-proxy's packets, asked of Open vSwitch: ``ofproto/trace`` with the flows that are made.

Where nobody counts as a pod (detectLocal ``none``), who is masqueraded isn't compared: on a bridge,
a pod is known by its port.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import pytest
from corpora import (
    Json,
    canonical,
    node_port_addresses,
    origin,
    own_addresses,
    planner_of,
    ranges,
)

from nsxdp.lab import Node, Pod
from nsxdp.openflow import Connection, DesiredSet
from nsxdp.pipeline.node import Gateway, NodeCompiler, NodePlan
from nsxdp.pipeline.registers import BITS, COOKIE_PREFIX, GROUP_FIRST, GROUP_LAST, VIRTUAL_MAC
from nsxdp.pipeline.tables import TABLES
from nsxdp.transport import parse_remote
from nsxdp.unixctl import call, control_socket

NODE_ADDRESS = TABLES.by_number.index(b"NodeAddress")


class Bridge(NamedTuple):
    """A bridge, a pod on it, and who is behind the uplink."""

    node: Node
    pod: Pod
    outside: Pod

    def port(self, who: str) -> int:
        if who == "node":
            return 0xFFFF_FFFE
        return self.node.ovs.ofport((self.pod if who == "pod" else self.outside).port)


@pytest.fixture(scope="module")
def bridge() -> Iterator[Bridge]:
    with Node("truth") as node:
        meter = "meter=28161,pktps,burst,bands=type=drop,rate=1000,burst_size=1000"
        node.ovs.ofctl("add-meter", node.mgmt, meter)
        yield Bridge(node, node.add_pod("pod"), node.add_pod("outside"))


def messages(case: Json, table: Json, bridge: Bridge) -> bytes:
    """All that the switch needs for a case."""
    config = table["configs"][case["config"]]
    own = own_addresses(config)
    plan = NodePlan(
        Gateway(bridge.port("node"), bridge.node.mac, tuple(own)[:1]),
        (),
        uplink=bridge.port("outside"),
        addresses=own | {ip_address(canonical(text)) for text in case["localIPs"]},
        node_port_addresses=node_port_addresses(config),
        ranges=ranges(config),
    )
    desired = DesiredSet(COOKIE_PREFIX, GROUP_FIRST, GROUP_LAST)
    for owned in (
        NodeCompiler(masquerade_all=config["masqueradeAll"]).compile(plan),
        planner_of(case, table).round(1000.0).owned,
    ):
        desired.replace(owned.owners, owned.messages, owned.ends)
    return desired.dump()


def flow(packet: Json, who: str, bridge: Bridge) -> str:
    """The packet as ofproto/trace takes it."""
    source, target = canonical(packet["sourceIP"]), canonical(packet["destIP"])
    six = "6" if ":" in target else ""
    kind = "ipv6" if six else "nw"
    name = packet["protocol"].lower()
    mac = VIRTUAL_MAC if who == "node" else bridge.node.mac
    return (
        f"in_port={bridge.port(who)},{name}{six},{kind}_src={source},{kind}_dst={target},nw_ttl=64,"
        f"dl_src=0a:58:00:00:00:99,dl_dst={mac},{name}_src=33333,{name}_dst={packet['destPort']}"
    )


@pytest.mark.table("nftables.json", "steps", "syncs")
def test_packets(case: Json, table: Json, bridge: Bridge) -> None:
    bridge.node.ovs.ofctl("del-flows", bridge.node.mgmt)
    bridge.node.ovs.ofctl("del-groups", bridge.node.mgmt)
    asyncio.run(_ask(case, table, bridge))


async def _ask(case: Json, table: Json, bridge: Bridge) -> None:
    config = table["configs"][case["config"]]
    remote = parse_remote(bridge.node.mgmt, 6653)
    async with Connection(remote, tables=TABLES) as connection:
        await connection.ready(10.0)
        await connection.commit(messages(case, table, bridge))
    socket = control_socket(Path(bridge.node.ovsdb.removeprefix("unix:")).parent)
    for packet in case["packets"]:
        who = origin(case, config, packet["sourceIP"])
        first = flow(packet, who, bridge)
        text = await call(socket, "ofproto/trace", "br-int", first, "--ct-next", "trk,new")
        seen = [text]
        if re.search(r"^ +group:", text, re.MULTILINE):
            # What dp_hash will be, a trace can't know: it is told.
            bits = re.search(r"^Flow: recirc.*\breg0=(0x\w+)", text, re.MULTILINE)
            again = f"load:{bits[1] if bits else 0}->NXM_NX_REG0[],resubmit(,{NODE_ADDRESS})"
            seen = [
                await call(
                    socket,
                    *("ofproto/trace-packet-out", "br-int"),
                    f"{first},ct_state=trk|new,dp_hash={number}",
                    again,
                )
                for number in range(1, 5)
            ]
        for text in seen:
            _check(packet, text, compare=who != "node" and config["detectLocal"]["mode"] != "none")


def _check(packet: Json, text: str, *, compare: bool) -> None:
    done = re.findall(r"^Datapath actions: (.*)$", text, re.MULTILINE)
    translated = re.search(r"nat\(dst=([^)]+)\)", " ".join(done))
    if packet["verdict"] == "dnat":
        assert translated, text
        assert translated[1] in packet["endpoints"], packet
        if packet["masquerade"] is not None and compare:
            # In the pass that has the group: what comes after it, such a trace doesn't show.
            bits = re.search(r"^Final flow: .*\breg0=(0x\w+)", text, re.MULTILINE)
            masqueraded = bool(bits and int(bits[1], 0) & BITS["Masquerade"].mask)
            # Who is translated to itself is rewritten as its pod's own flow says.
            to_itself = translated[1].rpartition(":")[0].strip("[]") == packet["sourceIP"]
            assert (masqueraded or to_itself) == packet["masquerade"], packet
        return
    assert not translated, packet
    if packet["verdict"] == "reject":
        assert "userspace" in done[-1], packet
    elif packet["verdict"] == "drop":
        assert done[-1] == "drop", packet
