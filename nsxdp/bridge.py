"""What a bridge and its ports are, and which pods they lead to: values only, no I/O.

Who plugs a pod into the bridge writes into its Interface's ``external_ids``

=================  =====================================================================
``iface-id``       who is there: ``NAMESPACE/POD``, or any other name
``attached-mac``   the MAC address that the pod has
``ip_addresses``   its IP addresses, separated by commas; none as long as none is known
``nsxdp-role``     ``gateway`` where the node itself is behind the port; ``uplink`` where what is
                   outside the cluster is
=================  =====================================================================
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

__all__ = [
    "OFPORT_LOCAL",
    "Bridge",
    "BridgeChanged",
    "BridgeError",
    "LocalPod",
    "Port",
    "PortChanged",
    "gateway",
    "local_pod",
    "local_pods",
    "require_openflow15",
    "uplink",
]

OFPORT_LOCAL = 65534
"""The bridge's own port as the database numbers it; OFPP_LOCAL (0xfffffffe) in OpenFlow 1.5."""

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class BridgeError(Exception):
    """A bridge isn't there or can't be used; the message is one line with the way out."""


@dataclass(frozen=True, slots=True)
class Port:
    """An Interface of the bridge that ovs-vswitchd has given a port number.

    Attributes
    ----------
    name
        The Interface's name.
    ofport
        Its OpenFlow port number, from 1; `OFPORT_LOCAL` for the bridge's own port.
    mac
        The MAC address of the device on the bridge's side.
    external_ids
        The Interface's.
    type
        Such as ``internal`` or ``geneve``; empty for a device of the system.
    tag
        The access VLAN; None: the port is a trunk.
    """

    name: str
    ofport: int
    mac: str
    external_ids: Mapping[str, str]
    type: str = ""
    tag: int | None = None


@dataclass(frozen=True, slots=True)
class Bridge:
    """One bridge as it was at one time.

    Attributes
    ----------
    name
        The bridge's.
    external_ids
        The bridge's.
    datapath_id
        16 hexadecimal digits; empty as long as ovs-vswitchd hasn't made the bridge.
    protocols
        The versions of OpenFlow that it is restricted to; empty: Open vSwitch's default.
    ports
        By the Interface's name.
    datapath_type
        ``netdev`` for the userspace datapath; empty or ``system`` for the kernel's.
    fail_mode
        ``standalone`` or ``secure``; empty: the default, which is standalone.
    ovs_version
        Of the Open vSwitch that runs it; empty where its start script didn't write it.
    """

    name: str
    datapath_id: str
    protocols: frozenset[str]
    ports: Mapping[str, Port]
    datapath_type: str = ""
    fail_mode: str = ""
    external_ids: Mapping[str, str] | None = None
    ovs_version: str = ""

    @property
    def binds(self) -> bool:
        """Whether its datapath can bind connections that need no translation: ``nat(src)``.

        Before Open vSwitch 3.3 ovs-vswitchd ends, by an assertion, when the userspace datapath gets
        a packet of such a connection between the end of its time and its removal: it takes the
        connection's other half for the connection (lib/conntrack.c, conn_key_lookup()).
        """
        return self.datapath_type != "netdev" or _release(self.ovs_version) >= (3, 3)

    @property
    def revises(self) -> bool:
        """Whether its datapath revises each cached flow, where another answer is due from now on.

        Before Open vSwitch 3.1.3 the userspace datapath may change another of them instead, one
        that meets the same packet (lib/dpif-netdev.c, flow_put_on_pmd()), and the first one stays
        for as long as packets of it go on coming.
        """
        return self.datapath_type != "netdev" or _release(self.ovs_version) >= (3, 1, 3)

    @property
    def local_port(self) -> Port | None:
        """The bridge's own port."""
        port = self.ports.get(self.name)
        return port if port is not None and port.ofport == OFPORT_LOCAL else None


@dataclass(frozen=True, slots=True)
class PortChanged:
    """A port that came (``old`` is None), went (``new`` is None) or changed."""

    old: Port | None
    new: Port | None


@dataclass(frozen=True, slots=True)
class BridgeChanged:
    """A bridge before and after; None where there was none."""

    old: Bridge | None
    new: Bridge | None

    @property
    def ports(self) -> tuple[PortChanged, ...]:
        """What differs between the ports of both; first those that went."""
        old: Mapping[str, Port] = {} if self.old is None else self.old.ports
        new: Mapping[str, Port] = {} if self.new is None else self.new.ports
        gone = [PortChanged(port, None) for name, port in old.items() if name not in new]
        others = [
            PortChanged(before, port)
            for name, port in new.items()
            # Those that didn't change are the same objects, mostly, and comparing costs more.
            if (before := old.get(name)) is not port and before != port
        ]
        return (*gone, *others)


@dataclass(frozen=True, slots=True)
class LocalPod:
    """A pod behind a port of the bridge.

    Attributes
    ----------
    iface_id
        Who it is: ``NAMESPACE/POD``, or any other name.
    mac
        In lower case, with colons.
    ips
        Its addresses; none as long as none is known.
    ofport
        The port's OpenFlow number.
    """

    iface_id: str
    mac: str
    ips: tuple[IPv4Address | IPv6Address, ...]
    ofport: int


def local_pod(port: Port) -> LocalPod | None:
    """The pod behind a port, or None where there is none.

    Raises
    ------
    ValueError
        The port's ``external_ids`` can't be understood; the message names the port and the value.

    Examples
    --------
    >>> from nsxdp.bridge import Port, local_pod
    >>> ids = {"iface-id": "default/web", "attached-mac": "0A:58:0A:F4:00:02"}
    >>> local_pod(Port("web", 1, "fe:00:00:00:00:01", ids))
    LocalPod(iface_id='default/web', mac='0a:58:0a:f4:00:02', ips=(), ofport=1)
    """
    iface_id = port.external_ids.get("iface-id", "")
    if not iface_id:
        return None
    where = f"port {port.name} of {iface_id}: external_ids"
    mac = port.external_ids.get("attached-mac", "").lower()
    if not mac:
        raise ValueError(f"{where}: no attached-mac")
    if not _MAC.fullmatch(mac):
        raise ValueError(f"{where}: attached-mac {mac!r} is no MAC address")
    ips = []
    for text in port.external_ids.get("ip_addresses", "").split(","):
        if text.strip():
            try:
                ips.append(ip_address(text.strip()))
            except ValueError:
                raise ValueError(
                    f"{where}: ip_addresses {text.strip()!r} is no IP address"
                ) from None
    return LocalPod(iface_id, mac, tuple(ips), port.ofport)


def local_pods(bridge: Bridge) -> tuple[list[LocalPod], list[str]]:
    """All pods behind a bridge's ports, and what is wrong with the ports that can't be used."""
    pods, problems = [], []
    for port in bridge.ports.values():
        try:
            pod = local_pod(port)
        except ValueError as error:
            problems.append(str(error))
        else:
            if pod is not None:
                pods.append(pod)
    return pods, problems


def gateway(bridge: Bridge) -> Port | None:
    """The port that leads to the node itself: the one with that role, else the bridge's own."""
    return _with_role(bridge, "gateway") or bridge.local_port


def uplink(bridge: Bridge, name: str = "") -> Port | None:
    """The port by which the outside comes: the one of that name, else the one with that role."""
    return bridge.ports.get(name) if name else _with_role(bridge, "uplink")


def _release(version: str) -> tuple[int, ...]:
    """Of ``3.1.0-dev``: 3 and 1; of what is no version, nothing."""
    return tuple(int(number) for number in version.split(".") if number.isdecimal())


def _with_role(bridge: Bridge, role: str) -> Port | None:
    for port in bridge.ports.values():
        if port.external_ids.get("nsxdp-role") == role:
            return port
    return None


def require_openflow15(name: str, protocols: Collection[str]) -> None:
    """See that a bridge speaks OpenFlow 1.5, from its ``protocols`` column.

    Open vSwitch speaks it by default from 2.8 on, so nothing said is enough.

    Parameters
    ----------
    name
        The bridge's, for the message.
    protocols
        The column's values, such as ``OpenFlow15``.

    Raises
    ------
    BridgeError
        It doesn't; the message has the command that lets it.
    """
    if protocols and "OpenFlow15" not in protocols:
        wanted = ",".join(sorted({*protocols, "OpenFlow15"}))
        raise BridgeError(
            f"bridge {name} does not speak OpenFlow 1.5: "
            f"run ovs-vsctl set bridge {name} protocols={wanted}"
        )
