"""Ports of the node that lead to pods (``containerPort.hostPort``): translated by its kernel.

All of them are in one nftables table, which is written as a whole whenever one comes or goes; a
connection keeps the translation that it began with. What the table says::

    map any4 { elements = { tcp . 8080 : 10.244.3.7 . 80 } }           # at all of its addresses
    map at4 { elements = { 192.0.2.1 . udp . 53 : 10.244.3.8 . 53 } }  # at one of them

Whoever asks gets the answer by the way of the question, as only the kernel can undo what it
translated. The bridge sends answers there if it tracks connections for policies, which see who asks
by his own address. Else who asks by the bridge is masqueraded by the node's address on it; and so
is, in any case, a pod that asks itself, and who asks at 127.0.0.1, where only he is who is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal, NamedTuple

from nsxdp.logs import get_logger
from nsxdp.rtnetlink import Connection, RtnetlinkError
from nsxdp.rtnetlink.inet import route_localnet
from nsxdp_agents.common.conntrack import forget
from nsxdp_agents.common.nft import NftError, Table, interface
from nsxdp_agents.node_agent.batches import Asked, Batches, settle
from nsxdp_agents.node_agent.cni.request import Attachment
from nsxdp_agents.node_agent.ipam import Address
from nsxdp_agents.node_agent.leases import Lease

__all__ = ["Disguise", "HostPortError", "HostPorts", "Opened", "opened", "ruleset"]

log = get_logger(__name__)

TABLE: Final = "inet nsxdp-host-ports"

Disguise = Literal["all", "by bridge", "itself"]
"""Who comes to a pod with the node's address: everybody, as answers pass by the node otherwise; who
asks by the bridge; or nobody but the pod itself. Who asks at 127.0.0.1 does in any case."""

_ROUTE_LOCALNET: Final = "/proc/sys/net/ipv4/conf/{}/route_localnet"


class HostPortError(Exception):
    """A port of the node can't be had; one line."""


class Opened(NamedTuple):
    """A port of the node, of one address family.

    Attributes
    ----------
    protocol, port
        Which.
    at
        The node's address, of the pod's family; None: each of them.
    pod, to
        The pod's address and port that it leads to.
    """

    protocol: str
    port: int
    at: Address | None
    pod: Address
    to: int

    def __str__(self) -> str:
        if self.at is None:
            return f"{self.port}/{self.protocol} of IPv{self.pod.version}"
        host = f"[{self.at}]" if self.at.version == 6 else str(self.at)
        return f"{host}:{self.port}/{self.protocol}"

    def excludes(self, other: Opened) -> bool:
        """Whether two pods can't have both: one of them would get what is for the other."""
        same = self.port == other.port and self.protocol == other.protocol
        at = self.at is None or other.at is None or self.at == other.at
        return same and at and self.pod.version == other.pod.version


def opened(lease: Lease) -> Iterator[Opened]:
    """The node's ports that lead to the pod with 'lease'.

    An address of the node leads to an address of the pod of its own family.
    """
    for asked in lease.host_ports:
        at = ip_address(asked.at) if asked.at else None
        for pod in lease.addresses:
            if at is None or at.version == pod.version:
                own = None if at is None or at.is_unspecified else at
                yield Opened(asked.protocol, asked.port, own, pod, asked.to)


def ruleset(gateway: str, ports: Iterable[Opened], disguised: Disguise = "by bridge") -> str:
    """All that nftables needs to know, in nft's syntax; what the table had is gone.

    'gateway' is the interface that leads to the bridge.

    Examples
    --------
    >>> from ipaddress import ip_address
    >>> from nsxdp_agents.node_agent.hostports import Opened, ruleset
    >>> port = Opened("tcp", 8080, None, ip_address("10.244.3.7"), 80)
    >>> "elements = { tcp . 8080 : 10.244.3.7 . 80 }" in ruleset("br-int", [port])
    True
    >>> "elements" in ruleset("br-int", [])
    False
    """
    name = interface(gateway)
    lines = [f"table {TABLE}", f"delete table {TABLE}"]
    found = list(ports)
    if not found:
        return "\n".join([*lines, ""])
    lines.append(f"table {TABLE} {{")
    for version, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        of_family = [port for port in found if port.pod.version == version]
        port_of, to = "inet_proto . inet_service", f"{kind} . inet_service"
        anywhere = [
            f"{port.protocol} . {port.port} : {port.pod} . {port.to}"
            for port in of_family
            if port.at is None
        ]
        somewhere = [
            f"{port.at} . {port.protocol} . {port.port} : {port.pod} . {port.to}"
            for port in of_family
            if port.at is not None
        ]
        pods = {f"{port.pod} . {port.protocol} . {port.to}" for port in of_family}
        same = {f"{port.pod} . {port.pod}" for port in of_family}
        lines += [
            f"  map any{version} {{ type {port_of} : {to};{_elements(anywhere)} }}",
            f"  map at{version} {{ type {kind} . {port_of} : {to};{_elements(somewhere)} }}",
            f"  set pods{version} {{ type {kind} . {port_of};{_elements(pods)} }}",
            f"  set same{version} {{ type {kind} . {kind};{_elements(same)} }}",
        ]
    to_pods, back = [], []
    for version, ip in ((4, "ip"), (6, "ip6")):
        to_pods += [
            f"fib daddr type local dnat {ip} to {ip} daddr . meta l4proto . th dport "
            f"map @at{version}",
            f"fib daddr type local dnat {ip} to meta l4proto . th dport map @any{version}",
        ]
        who = {
            "all": "",
            "by bridge": f"iifname {name} oifname {name} ",
            "itself": f"{ip} saddr . {ip} daddr @same{version} ",
        }[disguised]
        to_pod = f"{ip} daddr . meta l4proto . th dport @pods{version}"
        back.append(f"{who}ct status dnat {to_pod} masquerade")
    back.append(f"oifname {name} ip saddr 127.0.0.0/8 masquerade")
    for chain, kind, rules in (
        ("prerouting", "nat hook prerouting priority dstnat", to_pods),
        ("output", "nat hook output priority -100", to_pods),
        ("postrouting", "nat hook postrouting priority srcnat", back),
    ):
        lines += [f"  chain {chain} {{", f"    type {kind}; policy accept;"]
        lines += [*(f"    {rule}" for rule in rules), "  }"]
    return "\n".join([*lines, "}", ""])


def _elements(texts: Iterable[str]) -> str:
    found = ", ".join(sorted(texts))
    return f" elements = {{ {found} }}" if found else ""


class HostPorts:
    """Keeps the node's kernel as pods' host ports need it, in this process's network namespace.

    Parameters
    ----------
    gateway
        The interface that leads to the bridge.
    disguised
        Who comes to a pod with the node's address.
    look_seconds
        Between two looks at the table: nobody tells who changes it.
    """

    def __init__(
        self, gateway: str, disguised: Disguise = "by bridge", *, look_seconds: float = 30.0
    ) -> None:
        self._gateway = gateway
        self._disguised: Disguise = disguised
        self._look_seconds = look_seconds
        self._ports: dict[Attachment, tuple[Opened, ...]] = {}
        self._batches = Batches(self._write_together)
        self._from_loopback = False
        """Whether who is on the node asks a pod by 127.0.0.1."""
        self._table = Table(TABLE)

    async def restore(self, leases: Iterable[Lease]) -> None:
        """Have the ports of 'leases', and none else. What the kernel refuses is logged."""
        self._ports = {lease.attachment: found for lease in leases if (found := _opened(lease))}
        try:
            await self._batches.do(None)
        except HostPortError as error:
            log.warning("host ports can't be reached", reason=str(error))

    async def add(self, lease: Lease) -> None:
        """Have the ports of 'lease'.

        Raises
        ------
        HostPortError
            Another pod has one of them, or the kernel refuses; then `remove` takes back what it has
            taken.
        """
        wanted = _opened(lease)
        if not wanted:
            return
        if len({port[:4] for port in wanted}) < len(wanted):
            raise HostPortError(f"one host port of {lease.attachment} leads to two of its ports")
        for attachment, ports in self._ports.items():
            for port in ports:
                if attachment != lease.attachment and any(map(port.excludes, wanted)):
                    raise HostPortError(f"host port {port} is that of {attachment} already")
        self._ports[lease.attachment] = wanted
        await self._batches.do(None)
        for port in wanted:
            if port.protocol == "udp":
                # Who asked before went on to the node itself, and would for as long as he asks.
                await forget("udp", port.pod.version, port.port, at=port.at)

    async def remove(self, attachment: Attachment) -> None:
        """Have none for 'attachment'.

        Raises
        ------
        HostPortError
            The kernel refuses.
        """
        ports = self._ports.pop(attachment, ())
        if not ports:
            return
        await self._batches.do(None)
        for port in ports:
            if port.protocol == "udp":
                await forget("udp", port.pod.version, port.port, pod=port.pod)

    async def keep(self) -> None:
        """Make good again what somebody changed, until cancelled."""
        while True:
            await asyncio.sleep(self._look_seconds)
            if await self._table.is_as_left():
                continue
            log.warning("somebody changed the nftables table: it is made anew", table=TABLE)
            try:
                await self._batches.do(None)
            except HostPortError as error:
                log.warning("host ports can't be reached", reason=str(error))

    def gateway_is_there(self) -> None:
        """Let what the node sends from 127.0.0.1 go to the bridge, where a host port needs it.

        For a thread; and for whenever the interface is made anew. The kernel then takes what is
        for 127.0.0.1 from there, too, but the bridge lets nobody send that.

        Raises
        ------
        OSError, RtnetlinkError
            The kernel refuses.
        """
        if self._from_loopback:
            # Not set again if it is: whoever listens for news of the interface hears of it.
            setting = Path(_ROUTE_LOCALNET.format(self._gateway))
            if setting.read_text().strip() == "0":
                with Connection() as node:
                    for refused in node.apply([route_localnet(self._gateway)]):
                        raise refused

    async def _write_together(self, batch: Asked[None]) -> None:
        error = None
        try:
            wanted = [port for ports in self._ports.values() for port in ports]
            four = any(port.pod.version == 4 for port in wanted)
            self._from_loopback = four and self._disguised != "all"
            rules = ruleset(self._gateway, wanted, self._disguised)
            await self._table.write(rules, deletes=not wanted)
            await asyncio.to_thread(self.gateway_is_there)
        except (NftError, RtnetlinkError) as refused:
            error = HostPortError(str(refused))
        except OSError as refused:
            error = HostPortError(f"{refused.filename}: {refused.strerror}")
        settle(batch, error)


def _opened(lease: Lease) -> tuple[Opened, ...]:
    """Each once."""
    return tuple(dict.fromkeys(opened(lease)))
