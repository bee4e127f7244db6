"""Following a bridge of a real ovs-vswitchd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nsxdp.bridge import (
    OFPORT_LOCAL,
    Bridge,
    BridgeChanged,
    BridgeError,
    gateway,
    local_pods,
    require_openflow15,
)
from nsxdp.ovsdb import Client, Transaction, TransactionError
from nsxdp.switch import BRIDGE_WATCHES, DATABASE, BridgeView, open_bridge

PATIENCE = 20.0


async def until(
    changes: AsyncIterator[BridgeChanged], holds: Callable[[Bridge], bool]
) -> tuple[Bridge, list[tuple[str | None, str | None]]]:
    """The first bridge of which something holds, and the ports that changed on the way."""
    ports: list[tuple[str | None, str | None]] = []
    async with asyncio.timeout(PATIENCE):
        async for change in changes:
            ports += [(c.old and c.old.name, c.new and c.new.name) for c in change.ports]
            if change.new is not None and holds(change.new):
                return change.new, ports
    raise AssertionError("the changes ended")


async def test_ports_come_change_and_go(vswitch: Any) -> None:
    async with open_bridge(vswitch.remote, "br0") as view:
        changes = view.changes()
        bridge, ports = await until(changes, lambda b: "br0" in b.ports)
        assert ports == [(None, "br0")]
        assert view.bridge is bridge
        assert bridge.local_port is not None
        assert gateway(bridge) is bridge.local_port
        assert bridge.local_port.ofport == OFPORT_LOCAL
        assert len(bridge.datapath_id) == 16
        assert len(bridge.local_port.mac) == 17
        assert (bridge.datapath_type, bridge.fail_mode) == ("netdev", "")
        require_openflow15("br0", bridge.protocols)

        await asyncio.to_thread(
            vswitch.vsctl,
            *("add-port", "br0", "web0", "tag=7", "--", "set", "Interface", "web0"),
            *("type=internal", "external_ids:iface-id=default/web"),
            *('external_ids:attached-mac="02:00:00:00:00:01"',),
            'external_ids:ip_addresses="10.0.0.5,fd00::5"',
        )
        bridge, ports = await until(changes, lambda b: "web0" in b.ports)
        assert ports == [(None, "web0")], "a port isn't there before it has its number"
        web = bridge.ports["web0"]
        assert (web.type, web.tag) == ("internal", 7)
        [pod], problems = local_pods(bridge)
        assert (pod.iface_id, pod.mac, pod.ofport) == (
            "default/web",
            "02:00:00:00:00:01",
            web.ofport,
        )
        assert [str(ip) for ip in pod.ips] == ["10.0.0.5", "fd00::5"]
        assert problems == []

        await asyncio.to_thread(
            vswitch.vsctl, "set", "Interface", "web0", "external_ids:iface-id=default/db"
        )
        before = bridge.ports["br0"]
        bridge, ports = await until(
            changes, lambda b: b.ports["web0"].external_ids["iface-id"] == "default/db"
        )
        assert ports == [("web0", "web0")]
        assert bridge.ports["br0"] is before

        await asyncio.to_thread(vswitch.vsctl, "del-port", "web0")
        bridge, ports = await until(changes, lambda b: "web0" not in b.ports)
        assert ports == [("web0", None)]


async def test_a_port_without_a_device_is_not_there(vswitch: Any) -> None:
    async with open_bridge(vswitch.remote, "br0") as view:
        await asyncio.to_thread(vswitch.vsctl, "add-port", "br0", "nodevice0")
        await asyncio.to_thread(
            vswitch.vsctl, "add-port", "br0", "p0", "--", "set", "Interface", "p0", "type=internal"
        )
        bridge, _ = await until(view.changes(), lambda b: "p0" in b.ports)
        assert "nodevice0" not in bridge.ports
        [interface] = [r for r in view.client.replica["Interface"] if r.name == "nodevice0"]
        assert interface.ofport == -1


async def test_a_bridge_that_is_deleted_and_made_again(vswitch: Any) -> None:
    async with open_bridge(vswitch.remote, "br0") as view:
        changes = view.changes(since=view.bridge)
        await asyncio.to_thread(vswitch.vsctl, "del-br", "br0")
        async with asyncio.timeout(PATIENCE):
            async for change in changes:
                if change.new is None:
                    break
        assert view.bridge is None
        await asyncio.to_thread(
            vswitch.vsctl, "add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev"
        )
        _, ports = await until(changes, lambda b: "br0" in b.ports)
        assert ports == [(None, "br0")]


async def test_a_restart_of_the_database_is_not_seen(vswitch: Any) -> None:
    async with open_bridge(vswitch.remote, "br0") as view:
        bridge, _ = await until(view.changes(), lambda b: bool(b.ports and b.datapath_id))
        changes = view.changes(since=bridge)
        await asyncio.to_thread(vswitch.restart)
        await asyncio.to_thread(
            vswitch.vsctl, "--no-wait", "set", "Bridge", "br0", "external_ids:a=b"
        )
        after, ports = await until(changes, lambda b: bool(b.external_ids))
        assert ports == []
        assert after.ports == bridge.ports
        assert after.datapath_id == bridge.datapath_id


async def test_a_missing_bridge_is_named_with_those_that_exist(server: Any) -> None:
    with pytest.raises(BridgeError, match=r"no bridge br0 \(there are: none\): run ovs-vsctl add-"):
        async with open_bridge(server.remote, "br0"):
            pass
    server.vsctl("--no-wait", "add-br", "br2", "--", "add-br", "br1")
    with pytest.raises(BridgeError, match=r"no bridge br0 \(there are: br1, br2\)"):
        async with open_bridge(server.remote, "br0"):
            pass


async def test_a_bridge_that_no_vswitchd_has_seen_has_no_ports(server: Any) -> None:
    server.vsctl("--no-wait", "add-br", "br0", "--", "set", "Bridge", "br0", "protocols=OpenFlow13")
    server.vsctl("--no-wait", "set", "Open_vSwitch", ".", "ovs_version=3.1.0")
    async with Client(server.remote, DATABASE, BRIDGE_WATCHES) as client:
        view = BridgeView(client, "br0")
        assert view.bridge is not None
        assert view.bridge.ports == {}
        assert view.bridge.ovs_version == "3.1.0"
        with pytest.raises(BridgeError, match="protocols=OpenFlow13,OpenFlow15"):
            require_openflow15("br0", view.bridge.protocols)
        changes = view.changes(since=view.bridge)
        waiting = asyncio.ensure_future(anext(changes, None))
        server.vsctl("--no-wait", "add-br", "other")
    async with asyncio.timeout(PATIENCE):
        assert await waiting is None, "what happens to other bridges is no change of this one"


step = st.one_of(
    st.tuples(st.just("add"), st.sampled_from(["br0", "br1"]), st.integers(-1, 5)),
    st.tuples(st.just("bond"), st.sampled_from(["br0", "br1"]), st.integers(-1, 5)),
    st.tuples(st.just("ofport"), st.integers(0, 9), st.none() | st.integers(-1, 5)),
    st.tuples(st.just("tag"), st.integers(0, 9), st.none() | st.integers(1, 9)),
    st.tuples(st.just("move"), st.integers(0, 9), st.sampled_from(["br0", "br1"])),
    st.tuples(st.just("delete"), st.integers(0, 9), st.none()),
    st.tuples(st.just("again"), st.sampled_from(["br0", "br1"]), st.booleans()),
)


def take(client: Client, txn: Transaction, number: int, step: tuple[str, Any, Any]) -> None:
    """Add one step to a transaction; it has no effect where there is no such row."""
    kind, first, second = step
    replica = client.replica
    if kind in ("add", "bond"):
        interfaces = [
            txn.insert("Interface", {"name": f"{letter}{number}", "ofport": second})
            for letter in ("ab" if kind == "bond" else "a")
        ]
        port = txn.insert("Port", {"name": f"p{number}", "interfaces": interfaces})
        txn.mutate("Bridge", [("name", "==", first)], [("ports", "insert", [port])])
    elif kind == "again":
        [root] = replica["Open_vSwitch"].rows
        bridge = replica["Bridge"].one("name", first)
        if bridge is not None:
            txn.mutate("Open_vSwitch", root, [("bridges", "delete", bridge)])
        if bridge is None or second:
            ports = bridge.ports if bridge is not None else frozenset()
            new = txn.insert("Bridge", {"name": first, "ports": ports})
            txn.mutate("Open_vSwitch", root, [("bridges", "insert", new)])
    elif rows := sorted(replica["Port"], key=lambda row: str(row.uuid)):
        port_row = rows[first % len(rows)]
        if kind == "ofport":
            [interface, *_] = port_row.interfaces
            txn.update("Interface", interface, {"ofport": second})
        elif kind == "tag":
            txn.update("Port", port_row, {"tag": second})
        else:
            txn.mutate("Bridge", (), [("ports", "delete", [port_row])])
            if kind == "move":
                where = [("name", "==", second)]
                txn.mutate("Bridge", where, [("ports", "insert", [port_row])])


async def walk(remote: str, steps: list[list[tuple[str, Any, Any]]]) -> None:
    number = 0
    async with asyncio.timeout(PATIENCE), Client(remote, DATABASE, BRIDGE_WATCHES) as client:
        txn = client.transaction()
        txn.delete("Open_vSwitch", ())
        bridges = [txn.insert("Bridge", {"name": name}) for name in ("br0", "br1")]
        txn.insert("Open_vSwitch", {"bridges": bridges})
        await client.commit(txn)
        view = BridgeView(client, "br0")
        changes = view.changes(since=view.bridge)
        told: dict[str, Any] = {}
        for batch in steps:
            txn = client.transaction()
            for one in batch:
                number += 1
                take(client, txn, number, one)
            before = view.bridge
            with suppress(TransactionError):  # such as two bridges of one name
                await client.commit(txn)
            if client.replica["Bridge"].one("name", "br0") is None:
                assert view.bridge is None
            else:
                assert view.bridge == BridgeView(client, "br0").bridge
            if view.bridge == before:
                continue
            for change in (await anext(changes)).ports:
                if change.old is not None:
                    assert told.pop(change.old.name) == change.old
                if change.new is not None:
                    told[change.new.name] = change.new
            assert told == (view.bridge.ports if view.bridge else {})


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.lists(step, min_size=1, max_size=3), min_size=1, max_size=8))
def test_what_is_followed_is_what_is_found_anew(vswitch_server: Any, steps: Any) -> None:
    asyncio.run(walk(vswitch_server.remote, steps))
