"""The node's own interface on a bridge, and what it has moved to the bridge's own port, and back.

Nobody who is connected to the node shall notice. So the addresses are at both interfaces before
the one change that decides by which of them packets come, and while routes lead to the bridge's own
port, the node's interface is on the bridge. What is to be moved is in a file before anything is:
whoever is killed on the way goes on where it was when started again, and an interface that
ovs-vswitchd has made anew gets all of it.

With a userspace datapath the kernel would take what comes by the interface, too, beside the switch:
that is dropped by the nftables table `TABLE`, as soon as the switch takes it.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from nsxdp.logs import get_logger
from nsxdp.ovsdb import Client, OvsdbError, Transaction
from nsxdp.rtnetlink import (
    RTM,
    Address,
    Connection,
    Holding,
    Link,
    Neighbor,
    News,
    Request,
    Route,
    RtnetlinkError,
)
from nsxdp.rtnetlink.objects import IFF_UP
from nsxdp_agents.common.datapath import Datapath, chosen
from nsxdp_agents.common.files import replace
from nsxdp_agents.common.nft import NftError, Table, interface
from nsxdp_agents.common.wait import until_set
from nsxdp_agents.node_agent.rows import UPLINK, insert_bridge, insert_port

__all__ = ["TABLE", "NodeUplink", "UplinkError"]

log = get_logger(__name__)

TABLE: Final = "netdev nsxdp_uplink"
_NO_TABLE: Final = f"table {TABLE}\ndelete table {TABLE}\n"

_MADE: Final = {"nsxdp-role": "node-uplink"}
"""In the external_ids of a bridge that is made here, and goes with the uplink."""

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 30.0
"""The longest time between two looks: of routes, which may be a million, nothing is heard."""
_AGAIN_SECONDS: Final = 5.0
"""The least time until what failed is tried again."""
_NEWS: Final = (RTM.NEWLINK, RTM.NEWADDR, RTM.DELADDR)
_HARMLESS: Final = (errno.EEXIST, errno.EADDRNOTAVAIL, errno.ESRCH, errno.ENODEV)
"""It is so already."""


class UplinkError(Exception):
    """The interface can't be moved; one line with the way out."""


class _Record(Struct, frozen=True):
    """What is known of an uplink, in the file.

    Attributes
    ----------
    bridge, port
        The bridge's name, and the interface's.
    holdings
        What the node has there.
    index, boot
        The number of the bridge's own interface that has all of it, and which start of the machine
        it has that number of; 0: it is on its way.
    """

    bridge: str
    port: str
    holdings: tuple[Holding, ...]
    index: int = 0
    boot: str = ""

    def is_at(self, own: Link) -> bool:
        """Whether all of it is at this interface, or was, and somebody changed it."""
        return (self.index, self.boot) == (own.index, _boot())


def _boot() -> str:
    """Another one each time that the machine starts."""
    return _BOOT_ID.read_text().strip()


class NodeUplink:
    """Moves what the node's interface has to a bridge, and back.

    Parameters
    ----------
    client
        Of Open vSwitch's database, with `nsxdp_agents.node_agent.ports.WATCHES`.
    file
        Where it is kept what is moved.
    """

    def __init__(self, client: Client, file: Path) -> None:
        self._client = client
        self._file = file
        self._table = Table(TABLE)
        self._due = asyncio.Event()

    async def set_up(self, bridge: str, port: str, datapath: Datapath) -> None:
        """Have the interface 'port' on 'bridge', which has what it had. What is so already, stays.

        Raises
        ------
        UplinkError, OvsdbError, RtnetlinkError, NftError
            It can't be done; what was reached still is.
        """
        before = self._read()
        if before is not None and (before.bridge, before.port) != (bridge, port):
            await self.take_down()
            before = None
        with Connection() as kernel:
            device = _link(kernel, port)
            self._is_on(bridge, port)
            held = kernel.holdings(device.index)
            await self._have_bridge(bridge, device, datapath)
            own = kernel.link(bridge)
            if own is None:
                await self._configured()
                own = _link(kernel, bridge)
            in_place = before is not None and before.is_at(own)
            if before is not None and in_place and not held:
                await self._have_port(bridge, port)
                await self._shield(bridge, port)
                now = kernel.holdings(own.index)
                if _names(now) != _names(before.holdings):
                    self._write(msgspec.structs.replace(before, holdings=tuple(now)))
                return
            if before is not None:
                held = _merged(kernel.holdings(own.index) if in_place else before.holdings, held)
            self._write(_Record(bridge, port, tuple(held)))
            addresses = [each for each in held if not each.route]
            routes = [each for each in held if each.route]
            up = Link(own.index, "", IFF_UP).change()
            _apply(kernel, [up, *(each.give(own.index) for each in addresses)], "can't be moved")
            await self._have_port(bridge, port)
            await self._shield(bridge, port)
            _move(kernel, routes, own.index)
            _take(kernel, addresses, device.index)
            moved = _names(held)
            left = [each for each in kernel.holdings(device.index) if each.name in moved]
            _take(kernel, left, device.index)
            self._write(_Record(bridge, port, tuple(held), own.index, _boot()))
        log.info("the node's interface is on a bridge", port=port, bridge=bridge)

    async def take_down(self) -> None:
        """Have the interface as it was before `set_up`; without one, nothing is done.

        Raises
        ------
        UplinkError, OvsdbError, RtnetlinkError, NftError
            It can't be done; what was reached still is.
        """
        before = self._read()
        if before is None:
            return
        with Connection() as kernel:
            device = _link(kernel, before.port)
            own = kernel.link(before.bridge)
            held: Iterable[Holding] = before.holdings
            if own is not None:
                now = kernel.holdings(own.index)
                held = now if before.is_at(own) else _merged(held, now)
            held = list(held)
            self._write(_Record(before.bridge, before.port, tuple(held)))
            addresses = [each for each in held if not each.route]
            up = Link(device.index, "", IFF_UP).change()
            _apply(kernel, [up, *(each.give(device.index) for each in addresses)], "can't go back")
            await self._table.write(_NO_TABLE, deletes=True)
            # What is sent by the interface goes out, on a bridge or not; what comes, comes to both.
            _move(kernel, [each for each in held if each.route], device.index)
            await self._have_no_port(before.bridge, before.port)
            if own is not None:
                _take(kernel, addresses, own.index)
            await self._have_no_bridge(before.bridge)
        self._file.unlink(missing_ok=True)
        log.info("the node's interface is on no bridge any more", port=before.port)

    async def keep(self, bridge: str, port: str, datapath: Datapath) -> None:
        """Have it so whatever happens, until cancelled."""
        names = (bridge, port)

        def hear(news: Link | Address | Route | Neighbor) -> None:
            if not isinstance(news, Link) or news.ifname in names:
                self._due.set()

        said = ""
        with News(_NEWS, hear, self._due.set):
            while True:
                try:
                    await self.set_up(bridge, port, datapath)
                    said = ""
                except (UplinkError, OvsdbError, RtnetlinkError, NftError) as error:
                    if str(error) != said:
                        log.warning("the node's interface is not as it should be", reason=error)
                    said = str(error)
                    # What was done in part is news, too: nobody shall try again for that at once.
                    await asyncio.sleep(_AGAIN_SECONDS)
                await until_set(self._due, _LOOK_SECONDS)
                self._due.clear()

    # The file.

    def _read(self) -> _Record | None:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=_Record)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise UplinkError(f"{self._file}: {error}: delete it, if it is of no use") from None

    def _write(self, record: _Record) -> None:
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace(self._file, msgspec.json.encode(record))
        except OSError as error:
            raise UplinkError(f"{error.filename or self._file}: {error.strerror}") from None

    # The switch.

    async def _have_bridge(self, name: str, device: Link, datapath: Datapath) -> None:
        """Have a bridge that is any switch, and whose own port looks like 'device'."""
        replica = self._client.replica
        mac = device.address.hex(":")
        there = replica["Bridge"].one("name", name)
        own = replica["Interface"].one("name", name)
        has = own.mtu_request if own is not None else None
        if there is not None and (there.other_config.get("hwaddr"), has) == (mac, device.mtu):
            return

        datapath_type = await asyncio.to_thread(chosen, datapath)

        def build(transaction: Transaction) -> None:
            if (there := replica["Bridge"].one("name", name)) is not None:
                other_config = {**there.other_config, "hwaddr": mac}
                transaction.update("Bridge", there, {"other_config": other_config})
                mtu = {"mtu_request": device.mtu}
                transaction.update("Interface", [("name", "==", name)], mtu)
                return
            columns = {
                "datapath_type": datapath_type,
                "fail_mode": "standalone",
                "external_ids": _MADE,
                "other_config": {"hwaddr": mac},
            }
            insert_bridge(transaction, name, columns, {"mtu_request": device.mtu})

        await self._client.transact(build)
        await self._configured()

    def _is_on(self, bridge: str, port: str) -> bool:
        """Whether the bridge has that port.

        Raises
        ------
        UplinkError
            Another one has it.
        """
        replica = self._client.replica
        row = replica["Port"].one("name", port)
        on = replica["Bridge"].one("name", bridge)
        if row is not None and (on is None or row.uuid not in on.ports):
            raise UplinkError(f"{port} is on another bridge: run ovs-vsctl del-port {port}")
        return row is not None

    async def _have_port(self, bridge: str, port: str) -> None:
        if self._is_on(bridge, port):
            return

        def build(transaction: Transaction) -> None:
            insert_port(transaction, bridge, port, {"external_ids": UPLINK})

        await self._client.transact(build)
        await self._configured()

    async def _have_no_port(self, bridge: str, port: str) -> None:
        row = self._client.replica["Port"].one("name", port)
        if row is None:
            return

        def build(transaction: Transaction) -> None:
            transaction.mutate(
                "Bridge", [("name", "==", bridge)], [("ports", "delete", [row.uuid])]
            )

        await self._client.transact(build)
        await self._configured()

    async def _have_no_bridge(self, name: str) -> None:
        row = self._client.replica["Bridge"].one("name", name)
        if row is None or row.external_ids.get("nsxdp-role") != _MADE["nsxdp-role"]:
            return

        def build(transaction: Transaction) -> None:
            transaction.mutate("Open_vSwitch", [], [("bridges", "delete", [row.uuid])])

        await self._client.transact(build)

    async def _configured(self) -> None:
        """Wait until ovs-vswitchd has done all that the database says now."""

        def build(transaction: Transaction) -> None:
            transaction.mutate("Open_vSwitch", [], [("next_cfg", "+=", 1)])

        await self._client.transact(build)
        wanted = self._of_all("next_cfg")

        def done() -> bool:
            return self._of_all("cur_cfg") >= wanted

        try:
            async with asyncio.timeout(_SECONDS):
                with self._client.replica.changes() as feed:
                    if done():
                        return
                    async for _ in feed:
                        if done():
                            return
        except TimeoutError:
            pass
        raise UplinkError(f"ovs-vswitchd did nothing for {_SECONDS:g} s: see whether it runs")

    def _of_all(self, column: str) -> int:
        """A number of the database's one row about all of Open vSwitch."""
        for number in self._client.replica["Open_vSwitch"].column(column):
            return int(number)
        raise UplinkError("Open vSwitch's database says nothing of it: run ovs-vsctl init")

    async def _shield(self, bridge: str, port: str) -> None:
        """Leave what comes by the interface to a switch in userspace."""
        row = self._client.replica["Bridge"].one("name", bridge)
        if row is None or row.datapath_type != "netdev":
            return
        hook = f"type filter hook ingress device {interface(port)} priority 0; policy drop;"
        text = f"{_NO_TABLE}table {TABLE} {{\n  chain ingress {{ {hook} }}\n}}\n"
        if not (self._table.was_written(text) and await self._table.is_as_left()):
            await self._table.write(text)


def _link(kernel: Connection, name: str) -> Link:
    link = kernel.link(name)
    if link is None:
        raise UplinkError(f"there is no interface {name} in this network namespace")
    return link


def _names(holdings: Iterable[Holding]) -> set[str]:
    return {each.name for each in holdings}


def _merged(*groups: Iterable[Holding]) -> list[Holding]:
    """All of them; of two of a name the later one. Addresses come first."""
    all_of = {each.name: each for group in groups for each in group}
    return sorted(all_of.values(), key=lambda each: (each.route, " via " in each.name))


def _apply(kernel: Connection, requests: list[Request], problem: str) -> None:
    for refused in kernel.apply(requests):
        if refused.code not in _HARMLESS:
            raise UplinkError(f"the node's addresses {problem}: {refused.reason}")


def _move(kernel: Connection, routes: Iterable[Holding], index: int) -> None:
    """Let routes lead to another interface, each at once. Of one that can't, the log tells."""
    requests = {each.give(index): each for each in routes}
    for refused in kernel.apply(list(requests)):
        if refused.code not in _HARMLESS:
            name = requests[refused.request].name
            log.warning("a route of the node is lost", route=name, reason=refused.reason)


def _take(kernel: Connection, holdings: Iterable[Holding], index: int) -> None:
    requests = {each.take(index): each for each in holdings}
    for refused in kernel.apply(list(requests)):
        if refused.code not in _HARMLESS:
            name = requests[refused.request].name
            log.warning("an interface keeps what was moved", what=name, reason=refused.reason)
