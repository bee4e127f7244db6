"""The bridge's ports of pods, in Open vSwitch's database.

A port is there when ovs-vswitchd has given it a number. What is to be added and removed until then
goes with the next transaction: so a hundred pods at once cost a few, and one pod doesn't wait for
others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, NamedTuple

import msgspec

from nsxdp.ovsdb import (
    Batch,
    Client,
    Insert,
    OvsdbError,
    Row,
    SchemaError,
    Transaction,
    TransactionError,
    Uuid,
    Watch,
)
from nsxdp.switch import BRIDGE_WATCHES
from nsxdp_agents.node_agent.batches import Asked, Batches, settle
from nsxdp_agents.node_agent.leases import Lease
from nsxdp_agents.node_agent.rows import delete_port, insert_port

__all__ = ["LEASE", "WATCHES", "PortError", "Ports", "external_ids", "lease_of"]

LEASE: Final = "nsxdp-lease"
"""The key, in an Interface's external_ids, whose value is all that is known of the pod, in JSON: an
agent that has lost its leases finds them there. It also says that the port is ours."""

_OF_BRIDGE: Final = next(watch for watch in BRIDGE_WATCHES if watch.table == "Bridge")

_MORE: Final = {
    "Bridge": Watch("Bridge", (*(_OF_BRIDGE.columns or ()), "other_config"), indexes=("name",)),
    "Interface": Watch(
        "Interface",
        (
            *("name", "ofport", "mac_in_use", "external_ids", "type", "error"),
            *("options", "mtu_request"),
        ),
        indexes=("name",),
    ),
    "Port": Watch("Port", ("name", "interfaces", "tag"), indexes=("interfaces", "name")),
    "Open_vSwitch": Watch("Open_vSwitch", ("datapaths", "ovs_version", "next_cfg", "cur_cfg")),
}

_LEFT_ALONE: Final = {"nsxdp": "left alone"}
_QOS: Final = Watch("QoS", ("external_ids",))

WATCHES: Final = (*(_MORE.get(watch.table, watch) for watch in BRIDGE_WATCHES), _QOS)
"""What `Ports` needs of its client; enough for a `nsxdp.switch.BridgeView` too."""


class PortError(Exception):
    """Open vSwitch doesn't do it; one line."""


def external_ids(lease: Lease) -> dict[str, str]:
    """What an Interface says of the pod behind it (`nsxdp.bridge`), and of whose it is."""
    known = {
        "iface-id": str(lease.owner) or lease.container,
        "attached-mac": lease.mac,
        "ip_addresses": ",".join(map(str, lease.addresses)),
        "k8s-namespace": lease.namespace,
        "k8s-pod": lease.pod,
        "k8s-pod-uid": lease.uid,
        "nsxdp-network": lease.network,
        "container-id": lease.container,
        LEASE: msgspec.json.encode(lease).decode(),
    }
    return {key: value for key, value in known.items() if value}


def lease_of(interface: Row) -> Lease | None:
    """The lease that a port of ours was made for; None: what it says of it can't be read."""
    try:
        return msgspec.json.decode(interface.external_ids.get(LEASE, ""), type=Lease)
    except msgspec.DecodeError:
        return None


_LOOK_SECONDS: Final = 0.05
"""How long what comes waits for ovs-vswitchd to look at what was committed before. For each change
of a bridge it looks at all ports: so it shall see many at once, and not one after the other."""


class _Change(NamedTuple):
    """Adds its operations to a transaction; and the number that ovs-vswitchd gives a new port."""

    build: Callable[[Transaction], None]
    number: asyncio.Future[int] | None = None


class Ports:
    """The ports of pods on one bridge.

    Parameters
    ----------
    client
        Of Open vSwitch's database, with `WATCHES`.
    bridge
        The bridge's name.
    seconds
        How long ovs-vswitchd may need for a new port.
    """

    def __init__(self, client: Client, bridge: str, *, seconds: float = 20.0) -> None:
        self._client = client
        self._bridge = bridge
        self._seconds = seconds
        self._batches = Batches(self._commit_together)
        self._awaited: dict[str, _Awaited] = {}
        self._made: tuple[Transaction, Insert] | None = None
        """The transaction that makes the QoS, and that one."""
        self._forget = client.replica.subscribe(self._look)

    def close(self) -> None:
        """Follow the database no longer."""
        self._forget()

    def ours(self) -> Iterator[Row]:
        """The Interfaces of all pods' ports."""
        for row in self._client.replica["Interface"]:
            if LEASE in row.external_ids:
                yield row

    def named(self, name: str) -> Row | None:
        """The Interface of that name."""
        return self._client.replica["Interface"].one("name", name)

    def has(self, lease: Lease) -> bool:
        """Whether there is a port for 'lease' that says what it should."""
        port = self._client.replica["Port"].one("name", lease.port)
        row = self.named(lease.port)
        if port is None or row is None:
            return False
        return bool(row.external_ids == external_ids(lease) and port.tag == lease.vlan)

    async def add(self, lease: Lease) -> int:
        """Have a port for 'lease', in place of one of that name; its OpenFlow number.

        Raises
        ------
        PortError
            The database doesn't take it, or ovs-vswitchd doesn't, or not in time.
        """
        with self._number_of(lease.port) as number:
            await self._batches.do(_Change(partial(self._add, lease), number))
            try:
                async with asyncio.timeout(self._seconds):
                    return await number
            except TimeoutError:
                raise PortError(
                    f"port {lease.port}: ovs-vswitchd gave it no number within "
                    f"{self._seconds:g} s: see whether it runs, and what its log says"
                ) from None

    async def remove(self, port: str) -> None:
        """Have no port of that name.

        Raises
        ------
        PortError
            The database doesn't take it.
        """
        if self._client.replica["Port"].one("name", port) is not None:
            await self._batches.do(_Change(partial(self._remove, port)))

    # What goes into a transaction.

    def _add(self, lease: Lease, transaction: Transaction) -> None:
        self._remove(lease.port, transaction)
        columns: dict[str, object] = {}
        if lease.vlan is not None:
            columns["tag"] = lease.vlan
        if lease.ingress is not None:
            columns["qos"] = self._left_alone(transaction)
        interface = {"external_ids": external_ids(lease)}
        insert_port(transaction, self._bridge, lease.port, interface, columns)

    def _remove(self, port: str, transaction: Transaction) -> None:
        delete_port(transaction, self._client.replica, port)

    def _left_alone(self, transaction: Transaction) -> Uuid | Insert:
        """The QoS of ports at whose queues Open vSwitch doesn't touch, for they are ours."""
        for row in self._client.replica["QoS"]:
            if row.external_ids == _LEFT_ALONE:
                return row.uuid
        if self._made is None or self._made[0] is not transaction:
            columns = {"type": "linux-noop", "external_ids": _LEFT_ALONE}
            self._made = transaction, transaction.insert("QoS", columns)
        return self._made[1]

    async def _commit_together(self, batch: Asked[_Change]) -> None:
        """Commit all of it at once; if that is refused, one by one: it is the fault of one."""
        error: Exception | None = None
        try:
            transaction = self._client.transaction()
            for change, _ in batch:
                change.build(transaction)
            await self._client.commit(transaction)
        except (TransactionError, SchemaError) as refused:
            if len(batch) > 1:
                for each in batch:
                    await self._commit_together([each])
                return
            error = PortError(str(refused))
        except OvsdbError as failure:
            error = PortError(str(failure))
        settle(batch, error)
        numbers = [change.number for change, _ in batch if change.number is not None]
        if numbers and error is None:
            await asyncio.wait(numbers, timeout=_LOOK_SECONDS)

    @contextmanager
    def _number_of(self, port: str) -> Iterator[asyncio.Future[int]]:
        """The number that ovs-vswitchd will give the next Interface of that name."""
        before = self.named(port)
        number: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._awaited[port] = _Awaited(number, before.uuid if before else None)
        try:
            yield number
        finally:
            del self._awaited[port]
            number.cancel()

    def _look(self, batch: Batch) -> None:
        for change in batch.of("Interface"):
            row = change.new
            if row is None or not (awaited := self._awaited.get(row.name)):
                continue
            number = awaited.number
            if row.uuid == awaited.not_of or number.done():
                continue
            if row.ofport is not None and row.ofport > 0:
                number.set_result(row.ofport)
            elif row.error:
                number.set_exception(PortError(f"port {row.name}: ovs-vswitchd says: {row.error}"))


class _Awaited(NamedTuple):
    """A port's number, and the Interface whose number it isn't."""

    number: asyncio.Future[int]
    not_of: Uuid | None
