"""The bridge that pods are on: made where there is none, and the node's own way to it.

The bridge's own port leads to the node's kernel, which is the pods' router: it has the first
address of each of their networks. Addresses say who gave them, so that one that isn't needed any
more goes, and nobody else's.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator
from ipaddress import ip_address
from typing import Final

from nsxdp.bridge import BridgeError
from nsxdp.forwarding.model import TUNNELS, Mode
from nsxdp.logs import get_logger
from nsxdp.ovsdb import Client, Row, Transaction
from nsxdp.rtnetlink import (
    RTM,
    Address,
    Connection,
    Link,
    Neighbor,
    News,
    Route,
    RtnetlinkError,
)
from nsxdp.rtnetlink.objects import FAMILIES, IFA_F_NODAD, IFF_UP
from nsxdp_agents.common.datapath import Datapath, chosen
from nsxdp_agents.common.wait import until_set
from nsxdp_agents.node_agent.ipam import Pool
from nsxdp_agents.node_agent.leases import Lease
from nsxdp_agents.node_agent.routing import let_route
from nsxdp_agents.node_agent.rows import UPLINK, delete_port, insert_bridge, insert_port

__all__ = [
    "PROTOCOL",
    "TUNNEL",
    "GatewayKeeper",
    "ensure_bridge",
    "ensure_mtu",
    "ensure_tunnel",
    "ensure_uplink",
]

log = get_logger(__name__)

PROTOCOL: Final = 0x6F
"""Marks what is ours in the kernel: routes (rtm_protocol), and the gateway's addresses
(IFA_PROTO). The Service proxy's have another number."""

TUNNEL: Final = "nsx-tunnel"
"""The bridge's port to other nodes."""

_BY_FLOWS: Final = {"remote_ip": "flow", "key": "flow"}
"""Options of a tunnel whose other end, and number, each flow says."""


async def ensure_bridge(client: Client, name: str, datapath: Datapath) -> None:
    """Have a bridge of that name, with its own port; one that is there stays as it is.

    Its MAC address is the pods' router's: written down, it is no longer the lowest of all ports',
    which would be another one as pods come and go. A bridge that is made is none by itself
    (fail_mode=secure): it drops until it has flows. One that is there keeps its mode, as Open
    vSwitch deletes all flows, the Service proxy's too, when that changes.

    Raises
    ------
    BridgeError
        There is still none: nobody has told the database that it is Open vSwitch's.
    OvsdbError
        The database doesn't take it.
    """
    there = client.replica["Bridge"].one("name", name)
    if there is not None and "hwaddr" in there.other_config:
        return
    datapath_type = await asyncio.to_thread(chosen, datapath)

    def build(transaction: Transaction) -> None:
        if client.replica["Bridge"].one("name", name) is not None:
            own = client.replica["Interface"].one("name", name)
            mac = (own.mac_in_use if own is not None else None) or _some_mac()
            # Who has said one keeps it: what is inserted into a map replaces nothing.
            transaction.mutate(
                "Bridge",
                [("name", "==", name)],
                [("other_config", "insert", {"hwaddr": mac})],
            )
            return
        columns = {
            "datapath_type": datapath_type,
            "fail_mode": "secure",
            "other_config": {"hwaddr": _some_mac()},
        }
        insert_bridge(transaction, name, columns)
        log.info("there is no such bridge: it is made", bridge=name, datapath=datapath_type)

    await client.transact(build)
    if client.replica["Bridge"].one("name", name) is None:
        raise BridgeError(
            f"bridge {name} can't be made in an empty database: run ovs-vsctl --no-wait init"
        )


async def ensure_tunnel(client: Client, bridge: str, mode: Mode) -> None:
    """Have the one port for tunnels to all nodes, or none where 'mode' has no tunnels.

    Raises
    ------
    OvsdbError
        The database doesn't take it.
    """
    wanted = mode if mode in TUNNELS else None
    on = client.replica["Bridge"].one("name", bridge)
    port = client.replica["Port"].one("name", TUNNEL)
    there = client.replica["Interface"].one("name", TUNNEL)
    if port is None and wanted is None:
        return
    is_on = port is not None and on is not None and port.uuid in on.ports
    if is_on and there is not None and (there.type, there.options) == (wanted, _BY_FLOWS):
        return

    def build(transaction: Transaction) -> None:
        delete_port(transaction, client.replica, TUNNEL)
        if wanted is not None:
            insert_port(transaction, bridge, TUNNEL, {"type": wanted, "options": _BY_FLOWS})

    await client.transact(build)


async def ensure_uplink(client: Client, bridge: str, name: str) -> None:
    """Have the interface 'name' on the bridge, up, as the one port with the role of the uplink.

    Without a name it is the port that has the role; without such a one, the port with the OpenFlow
    number 1, as administrators of NSX's nodes make it. If that isn't there, nothing is done.

    Raises
    ------
    BridgeError
        It is on another bridge.
    OvsdbError
        The database doesn't take it.
    RtnetlinkError
        The kernel refuses to have it up.
    """
    replica = client.replica
    row = replica["Bridge"].one("name", bridge)
    ports = {replica["Port"].get(uuid) for uuid in (row.ports if row else ())}
    there = {
        interface.name: interface
        for port in ports
        for uuid in (port.interfaces if port else ())
        if (interface := replica["Interface"].get(uuid)) is not None
    }
    with_role = [
        each.name for each in there.values() if UPLINK.items() <= each.external_ids.items()
    ]
    if not name:
        first = (each.name for each in there.values() if each.ofport == 1 and not _is_pod(each))
        name = next(iter(with_role), "") or next(first, "")
    if not name:
        return

    def build(transaction: Transaction) -> None:
        for other in {*with_role} - {name}:
            transaction.mutate(
                "Interface", [("name", "==", other)], [("external_ids", "delete", UPLINK)]
            )
        if name in there:
            transaction.mutate(
                "Interface", [("name", "==", name)], [("external_ids", "insert", UPLINK)]
            )
            return
        insert_port(transaction, bridge, name, {"external_ids": UPLINK})

    if name not in there and replica["Interface"].one("name", name) is not None:
        raise BridgeError(
            f"the uplink {name} is on another bridge than {bridge}: run ovs-vsctl del-port {name}"
        )
    if with_role != [name]:
        await client.transact(build)
        log.info("the uplink leads to the platform", bridge=bridge, port=name)
    with Connection() as node:
        link = node.link(name)
        if link is not None and not link.flags & IFF_UP:
            for refused in node.apply([Link(link.index, "", IFF_UP).change()]):
                raise refused


def _is_pod(interface: Row) -> bool:
    return "iface-id" in interface.external_ids


async def ensure_mtu(client: Client, bridge: str, mtu: int) -> None:
    """Have the bridge's own port have that MTU; Open vSwitch gives it to the device.

    Raises
    ------
    OvsdbError
        The database doesn't take it.
    """

    def build(transaction: Transaction) -> None:
        transaction.update("Interface", [("name", "==", bridge)], {"mtu_request": mtu})

    own = client.replica["Interface"].one("name", bridge)
    if own is not None and own.mtu_request != mtu:
        await client.transact(build)


def _some_mac() -> str:
    """One that is no pod's (see `nsxdp_agents.node_agent.plug.mac_of`)."""
    return (bytes([0x0A, 0x5A]) + secrets.token_bytes(4)).hex(":")


class GatewayKeeper:
    """Keeps the node's interface on the bridge up, with the addresses that pods know it by.

    A switch with a userspace datapath makes the interface anew whenever it is started: the kernel
    tells, and it is made good again.

    Parameters
    ----------
    interface
        The bridge's own port.
    leases
        What pods have: as long as one has an address of a network of before, its gateway stays.
    also
        Done in a thread whenever the interface is as it should be.
    look_seconds
        The longest time between two looks: nobody tells who lets the node route no longer, and what
        failed may work now.
    """

    def __init__(
        self,
        interface: str,
        leases: Iterable[Lease],
        also: Callable[[], None],
        *,
        look_seconds: float = 30.0,
    ) -> None:
        self._interface = interface
        self._leases = leases
        self._also = also
        self._look_seconds = look_seconds
        self._pools: tuple[Pool, ...] | None = None
        self._due = asyncio.Event()
        self._said: list[str] = []

    @property
    def problem(self) -> str:
        """Why pods' gateway isn't as they need it; empty: it is."""
        return "; ".join(self._said)

    def use(self, pools: Iterable[Pool]) -> None:
        """Pods have addresses of these from now on."""
        self._pools = tuple(pools)
        self._due.set()

    async def keep(self) -> None:
        """Do so, until cancelled."""
        seconds: float | None = None  # nothing is known yet
        with News((RTM.NEWLINK, RTM.DELADDR), self._hear, self._due.set):
            while True:
                await until_set(self._due, seconds)
                self._due.clear()
                seconds = self._look_seconds
                in_use = {ip for lease in self._leases for ip in lease.gateways}
                problems = await asyncio.to_thread(self._apply, in_use)
                for problem in problems:
                    if problem not in self._said:
                        log.warning("pods' gateway lacks what they need", reason=problem)
                self._said = problems

    def _hear(self, news: Link | Address | Route | Neighbor) -> None:
        if not isinstance(news, Link) or news.ifname == self._interface:
            self._due.set()

    def _apply(self, in_use: Collection[str]) -> list[str]:
        """Make it so, as far as it can be; why the rest can't."""
        problems: list[str] = []
        try:
            with Connection() as node:
                problems += self._have_addresses(node, in_use)
            problems += _let_route({pool.network.version for pool in self._pools or ()})
            self._also()
        except RtnetlinkError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(_words(error))
        return problems

    def _have_addresses(self, node: Connection, in_use: Collection[str]) -> list[str]:
        link = node.link(self._interface)
        if link is None:
            return [f"there is no interface {self._interface} in this network namespace"]
        has = {(a.own, a.prefixlen): a for a in node.addresses() if a.index == link.index}
        pools = self._pools or ()
        wanted = {(pool.gateway.packed, pool.network.prefixlen) for pool in pools}
        requests = [
            address.delete()
            for each, address in has.items()
            if self._pools is not None and address.protocol == PROTOCOL and each not in wanted
            if str(ip_address(address.own)) not in in_use
        ]
        for pool in pools:
            version = pool.network.version
            local = pool.gateway.packed
            if (local, pool.network.prefixlen) not in has:
                flags = IFA_F_NODAD if version == 6 else 0
                requests.append(
                    Address(
                        *(FAMILIES[version], link.index, local, pool.network.prefixlen),
                        local if version == 4 else b"",
                        flags=flags,
                        protocol=PROTOCOL,
                    ).replace()
                )
        if not link.flags & IFF_UP:
            requests.insert(0, Link(link.index, "", IFF_UP).change())
        refused = node.apply(requests) if requests else []
        return [f"{self._interface}: {error.reason}" for error in refused]


def _let_route(versions: Iterable[int]) -> Iterator[str]:
    """Have the node route those versions of IP; why it can't."""
    for version in versions:
        try:
            let_route(version)
        except OSError as error:
            yield f"the node does not route IPv{version}: {_words(error)}"


def _words(error: OSError) -> str:
    return f"{error.filename or ''} {error.strerror or error}".strip()
