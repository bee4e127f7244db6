"""The way of a packet from a pod to a pod, a Service or an address, over nodes that can be asked.

A node is known by its run directory, where Open vSwitch and the agents have their sockets. Who
sends is looked for on the bridges; where it is on none of them, the packet is taken up where it
comes from its node.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Final, NamedTuple

from nsxdp.bridge import Bridge, BridgeError, LocalPod, local_pods
from nsxdp.bridge import gateway as gateway_of
from nsxdp.openflow import Switch
from nsxdp.pipeline.node import Gateway
from nsxdp.pipeline.registers import VIRTUAL_MAC
from nsxdp.pipeline.tables import TABLES
from nsxdp.switch import open_bridge
from nsxdp.tracing.names import AgentNames
from nsxdp.tracing.packet import (
    SOURCE_PORT,
    Address,
    Packet,
    PacketError,
    from_pod,
    in_tunnel,
    read_address,
)
from nsxdp.tracing.story import Story
from nsxdp.tracing.teller import follow

__all__ = ["Question", "Station", "follow_way", "is_destination", "open_station"]

_SERVICE: Final = "svc/"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Attributes
    ----------
    source
        A pod, ``NAMESPACE/NAME``, or its address.
    destination
        ``NAMESPACE/NAME:PORT`` of a pod, ``svc/NAMESPACE/NAME[:PORT]`` or ``ADDRESS:PORT``. Without
        a namespace it is ``default``.
    protocol
        ``TCP``, ``UDP`` or ``SCTP``; None: the Service port's, else TCP.
    version
        Of IP, 4 or 6; None: the first that both have.
    endpoint
        ``ADDRESS:PORT`` of the one to choose, where the choice is the datapath's.
    """

    source: str
    destination: str
    protocol: str | None = None
    version: int | None = None
    source_port: int = SOURCE_PORT
    endpoint: str = ""


class _Target(NamedTuple):
    """For whom the packet is."""

    address: Address
    port: int
    protocol: str


@dataclass(frozen=True, slots=True)
class Station:
    """A node that can be asked.

    Attributes
    ----------
    directory
        Its run directory.
    """

    directory: Path
    bridge: Bridge
    switch: Switch
    names: AgentNames

    @property
    def pods(self) -> list[LocalPod]:
        """The pods on its bridge."""
        return local_pods(self.bridge)[0]

    @property
    def gateway(self) -> Gateway:
        """The port that leads to the node itself."""
        port = gateway_of(self.bridge)
        if port is None:
            raise PacketError(
                f"bridge {self.bridge.name} in {self.directory} has no port of its own: see "
                "whether ovs-vswitchd runs"
            )
        return Gateway.of(port)

    def pod(self, name: str) -> LocalPod | None:
        """The pod of that name, or with that address."""
        address = read_address(name)
        found = (pod for pod in self.pods if pod.iface_id == name or address in pod.ips)
        return next(found, None)


@asynccontextmanager
async def open_station(directory: Path, bridge: str) -> AsyncIterator[Station]:
    """A node's bridge, to ask about.

    Raises
    ------
    BridgeError, OvsdbError, OpenFlowError
        It can't be.
    """
    async with AsyncExitStack() as stack:
        view = await stack.enter_async_context(open_bridge(f"unix:{directory}/db.sock", bridge))
        if view.bridge is None:
            raise BridgeError(f"bridge {bridge} was deleted")
        switch = Switch(f"unix:{directory}/{bridge}.mgmt", tables=TABLES)
        await stack.enter_async_context(switch)
        yield Station(directory, view.bridge, switch, AgentNames(directory))


def is_destination(text: str) -> bool:
    """Whether a text is meant to be a `Question.destination`, and not a flow.

    Examples
    --------
    >>> from nsxdp.tracing.way import is_destination
    >>> [is_destination(text) for text in ("default/web:80", "svc/web", "default/web", "10.0.0.1")]
    [True, True, True, True]
    >>> [is_destination(text) for text in ("tcp,tp_dst=80", "ip,nw_dst=10.0.0.0/8", "arp")]
    [False, False, False]
    """
    if "=" in text:
        return False
    return ":" in text or "/" in text or read_address(text) is not None


async def follow_way(stations: list[Station], question: Question) -> list[Story]:
    """What becomes of the first packet of a connection, node by node.

    Parameters
    ----------
    stations
        The nodes that can be asked.

    Raises
    ------
    PacketError
        There is no such packet; says what there is.
    UnixctlError, OpenFlowError
        Open vSwitch can't be asked.
    """
    source = _with_namespace(question.source)
    at = next((station for station in stations if station.pod(source)), None)
    first = at or stations[0]
    sender = first.pod(source)
    addresses = sender.ips if sender else await _addresses(stations, source)
    target = await _target(stations, first, question, {a.version for a in addresses})
    own = next((a for a in addresses if a.version == target.address.version), None)
    if own is None:
        raise PacketError(f"pod {source} has no IPv{target.address.version} address")
    packet = Packet(
        f"pod {source}",
        0,
        target.protocol,
        own,
        question.source_port,
        target.address,
        target.port,
        first.gateway.mac,
        first.gateway.mac,
    )
    if sender is not None:
        packet = from_pod(packet, sender, own)
    else:
        packet = await _arriving(first, packet)
    stories: list[Story] = []
    left = list(stations)
    here: Station | None = first
    while here is not None:
        left.remove(here)
        endpoint = "" if stories else question.endpoint
        story, _ = await follow(here.names, here.bridge, here.switch, packet, endpoint)
        story.notes += here.names.notes
        if stories:
            story.notes = [note for note in story.notes if note not in stories[0].notes]
        stories.append(story)
        if not story.next_node:
            break
        here = await _named(left, story.next_node)
        if here is None:
            story.notes.append(
                f"what becomes of it on node {story.next_node} isn't known here: ask there, or "
                "give its run directory, too"
            )
            break
        packet = await _arriving(here, _as_it_left(story), story.node)
    return stories


def _with_namespace(name: str) -> str:
    return name if "/" in name or read_address(name) is not None else f"default/{name}"


async def _addresses(stations: list[Station], pod: str) -> tuple[Address, ...]:
    """Those of a pod that is on none of the bridges.

    Raises
    ------
    PacketError
        Nobody knows it.
    """
    if (address := read_address(pod)) is not None:
        return (address,)
    for station in stations:
        if found := await station.names.addresses(pod):
            return found
    there = sorted({one.iface_id for station in stations for one in station.pods})
    notes = "".join(f"; {note}" for station in stations for note in station.names.notes)
    raise PacketError(f"no pod {pod} is known (here are: {', '.join(there) or 'none'}){notes}")


async def _target(
    stations: list[Station], first: Station, question: Question, versions: set[int]
) -> _Target:
    """For whom a packet is, of one of these versions of IP."""
    if question.version is not None:
        versions = versions & {question.version}
    text, protocol = question.destination, question.protocol
    if text.startswith(_SERVICE):
        words = [_with_namespace(text.removeprefix(_SERVICE)), protocol or "any"]
        if len(versions) == 1:
            words += map(str, versions)
        served = await first.names.service_address(*words)
        return _Target(ip_address(served.address), served.port, served.protocol)
    found = re.fullmatch(r"(.+):(\d+)", text)
    if found is None or not 0 < int(found[2]) < 65536:
        raise PacketError(
            f"{text}: must be NAMESPACE/POD:PORT, svc/NAMESPACE/NAME:PORT or ADDRESS:PORT, with "
            "the port's number"
        )
    if (address := read_address(found[1])) is not None:
        return _Target(address, int(found[2]), protocol or "TCP")
    name = _with_namespace(found[1])
    pods = (pod for station in stations if (pod := station.pod(name)))
    pod = next(pods, None)
    has = pod.ips if pod is not None else await _addresses(stations, name)
    common = next((one for one in has if one.version in versions), None)
    if common is None:
        raise PacketError(f"pod {name} has no address of the sender's IP version")
    return _Target(common, int(found[2]), protocol or "TCP")


async def _named(stations: list[Station], node: str) -> Station | None:
    """The node of that name."""
    for station in stations:
        facts = await station.names.node()
        if facts is not None and facts.name == node:
            return station
    return None


def _as_it_left(story: Story) -> Packet:
    """A packet as another node gets it: translated."""
    packet = story.packet
    if story.endpoint:
        address, _, port = story.endpoint.rpartition(":")
        packet = replace(packet, dst=ip_address(address.strip("[]")), dst_port=int(port))
    if story.masquerade:
        packet = replace(packet, src=ip_address(story.masquerade))
    return packet


async def _arriving(station: Station, packet: Packet, node: str = "") -> Packet:
    """A packet as it comes to a node from another one: that 'node', else its sender's.

    Raises
    ------
    PacketError
        It doesn't come from there.
    """
    facts = await station.names.node()
    peers = facts.peers if facts is not None else ()
    peer = next((one for one in peers if one.name == node or one.has(packet.src)), None)
    if facts is None or peer is None:
        notes = "".join(f"; {note}" for note in station.names.notes)
        raise PacketError(
            f"{packet.src} is no address of a pod here, and no other node is known that has it"
            f"{notes}"
        )
    packet = replace(packet, sender=f"{packet.sender} on {peer}")
    if not peer.has(packet.src):  # that node's kernel gave it an address that leads back there
        own = map(ip_address, peer.addresses)
        source = next((one for one in own if one.version == packet.src.version), packet.src)
        packet = replace(packet, src=source)
    if facts.tunnel is not None and peer.addresses:
        packet = replace(packet, dl_dst=VIRTUAL_MAC)
        outer = ip_address(peer.addresses[0])
        return in_tunnel(packet, facts.tunnel, peer.tunnel_key, outer)
    gateway = station.gateway
    pod = next((pod for pod in station.pods if packet.dst in pod.ips), None)
    mac = pod.mac if pod is not None else VIRTUAL_MAC
    return replace(packet, in_port=gateway.ofport, dl_src=gateway.mac, dl_dst=mac)
