"""One bridge of an Open vSwitch, as its database shows it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType

from nsxdp.bridge import Bridge, BridgeChanged, BridgeError, Port
from nsxdp.ovsdb import Batch, Client, Row, Uuid, Watch
from nsxdp.transport import Tls

__all__ = ["BRIDGE_WATCHES", "DATABASE", "BridgeView", "open_bridge"]

DATABASE = "Open_vSwitch"
"""The database's name."""


BRIDGE_WATCHES = (
    Watch("Open_vSwitch", ("datapaths", "ovs_version")),
    Watch(
        "Bridge",
        (
            "name",
            "datapath_id",
            "datapath_type",
            "external_ids",
            "fail_mode",
            "ports",
            "protocols",
        ),
        indexes=("name",),
    ),
    Watch("Port", ("interfaces", "tag"), indexes=("interfaces",)),
    Watch("Interface", ("name", "ofport", "mac_in_use", "external_ids", "type")),
)
"""What a `BridgeView` needs of its client."""


class BridgeView:
    """Follows one bridge by name.

    Parameters
    ----------
    client
        Of the database `DATABASE`, opened with `BRIDGE_WATCHES` at least.
    name
        The bridge's.

    Raises
    ------
    BridgeError
        There is no such bridge; the message names those that there are.

    Attributes
    ----------
    client, name
        As they were given.
    """

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name
        self._replica = client.replica
        self._row: Row | None = None
        self._known: dict[Uuid, Port] = {}
        self._ports: dict[str, Port] = {}
        self._bridge: Bridge | None = None
        self._changed_interfaces: set[Uuid] = set(self._replica["Interface"].uuids)
        self._stale = True
        if self.bridge is None:
            raise BridgeError(
                f"{client.remote}: there is no bridge {name} "
                f"(there are: {', '.join(sorted(self._names())) or 'none'}): "
                f"run ovs-vsctl add-br {name}"
            )
        self._unsubscribe = self._replica.subscribe(self._changed)

    def close(self) -> None:
        """Follow it no longer."""
        self._unsubscribe()

    @property
    def bridge(self) -> Bridge | None:
        """The bridge as it is now; None where it was deleted."""
        if self._stale:
            bridge = self._read()
            if bridge != self._bridge:
                self._bridge = bridge
            self._stale = False
        return self._bridge

    async def changes(self, since: Bridge | None = None) -> AsyncIterator[BridgeChanged]:
        """What differs between ``since`` and now, and then each change; it ends with the client.

        Without ``since``, all ports are seen to come first.  Changes that weren't fetched become
        one.
        """
        with self._replica.changes() as feed:
            seen = since
            if self.bridge != seen:
                change = BridgeChanged(seen, self.bridge)
                seen = self.bridge
                yield change
            async for _ in feed:
                now = self.bridge
                if now is not seen and now != seen:
                    change = BridgeChanged(seen, now)
                    seen = now
                    yield change

    def _changed(self, batch: Batch) -> None:
        """Note which interfaces may differ, so that reading them costs what has changed."""
        self._stale = True
        interfaces = self._changed_interfaces
        for change in batch.changes:
            rows = [row for row in (change.old, change.new) if row is not None]
            if change.table == "Interface":
                interfaces.add(change.uuid)
            elif change.table == "Port":
                interfaces.update(*(row.interfaces for row in rows))
            elif change.table == "Bridge" and any(row.name == self.name for row in rows):
                before, after = (
                    row.ports if row else frozenset() for row in (change.old, change.new)
                )
                for uuid in before ^ after:
                    port = self._replica["Port"].get(uuid)
                    if port is not None:
                        interfaces.update(port.interfaces)

    def _names(self) -> list[str]:
        return self._replica["Bridge"].column("name")

    def _read(self) -> Bridge | None:
        row = self._replica["Bridge"].one("name", self.name)
        self._read_ports(row)
        if row is None:
            self._row = None
            return None
        # When ovsdb-server restarts, ephemeral columns (a bridge's datapath_id, an interface's
        # mac_in_use) are empty until ovs-vswitchd writes them again: they still hold.
        before = self._bridge if self._row is not None and self._row.uuid == row.uuid else None
        self._row = row
        versions = [v for v in self._replica["Open_vSwitch"].column("ovs_version") if v]
        return Bridge(
            name=self.name,
            datapath_id=row.datapath_id or (before.datapath_id if before else ""),
            protocols=row.protocols,
            ports=MappingProxyType(dict(self._ports)),
            datapath_type=row.datapath_type,
            fail_mode=row.fail_mode or "",
            external_ids=row.external_ids,
            ovs_version=versions[0] if versions else "",
        )

    def _read_ports(self, bridge: Row | None) -> None:
        """Bring the ports up to date; the others stay the very same objects."""
        changed, self._changed_interfaces = self._changed_interfaces, set()
        before = {uuid: self._known.pop(uuid) for uuid in changed if uuid in self._known}
        for port in before.values():
            self._ports.pop(port.name, None)
        found = [] if bridge is None else [self._find(bridge, uuid) for uuid in changed]
        for row, interface in sorted(filter(None, found), key=lambda pair: str(pair[1].name)):
            known = before.get(interface.uuid)
            port = _port(row, interface, interface.mac_in_use or (known.mac if known else ""))
            self._known[interface.uuid] = self._ports[port.name] = port

    def _find(self, bridge: Row, uuid: Uuid) -> tuple[Row, Row] | None:
        """The rows of Port and Interface, if it is one of the bridge that has its number."""
        interface = self._replica["Interface"].get(uuid)
        if interface is None or interface.ofport is None or interface.ofport <= 0:
            return None
        for port in self._replica["Port"].by("interfaces", uuid):
            if port.uuid in bridge.ports:
                return port, interface
        return None


def _port(port: Row, interface: Row, mac: str) -> Port:
    return Port(
        name=interface.name,
        ofport=interface.ofport,
        mac=mac,
        external_ids=interface.external_ids,
        type=interface.type,
        tag=port.tag,
    )


@asynccontextmanager
async def open_bridge(
    remote: str,
    name: str,
    *,
    more: Sequence[Watch] = (),
    tls: Tls | None = None,
    timeout: float = 30.0,  # noqa: ASYNC109 - of each step
) -> AsyncIterator[BridgeView]:
    """Follow a bridge over a connection of its own.

    Parameters
    ----------
    remote
        Of the OVSDB server: ``unix:/var/run/openvswitch/db.sock``, say.
    name
        The bridge's.
    more
        What to replicate of further tables, for whom the view's client is of use.
    tls
        Our files, for an ``ssl:`` remote.
    timeout
        Seconds, as of `nsxdp.ovsdb.Client`.

    Raises
    ------
    OvsdbError
        The database can't be reached or read.
    BridgeError
        There is no such bridge; the message names those that there are.

    Examples
    --------
    >>> import asyncio
    >>> from nsxdp.bridge import local_pods
    >>> from nsxdp.lab import Node
    >>> from nsxdp.switch import open_bridge
    >>> async def main(node):
    ...     async with open_bridge(node.ovsdb, node.bridge) as view:
    ...         pods, problems = local_pods(view.bridge)
    ...         print([pod.iface_id for pod in pods], view.bridge.local_port.name)
    >>> with Node() as node:
    ...     pod = node.add_pod("web")
    ...     asyncio.run(main(node))
    ['default/web'] br-int
    """
    watches = (*BRIDGE_WATCHES, *more)
    async with Client(remote, DATABASE, watches, tls=tls, timeout=timeout) as client:
        view = BridgeView(client, name)
        try:
            yield view
        finally:
            view.close()
