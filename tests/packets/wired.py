"""A node whose bridge is wired by us: the node agent's forwarding flows, kept by a real writer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Any, Self

from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from nsxdp.forwarding.compiler import ForwardingCompiler
from nsxdp.forwarding.model import Mode, NodeConfig, Peer, PodPort
from nsxdp.lab import Netns, Node, Pod, tools
from nsxdp.openflow import Connection, DesiredSet
from nsxdp.pipeline.node import Gateway
from nsxdp.pipeline.registers import (
    NODE_COOKIE_PREFIX,
    NODE_GROUP_FIRST,
    NODE_GROUP_LAST,
    OTHER_NODE_PREFIXES,
)
from nsxdp.transport import parse_remote
from nsxdp.writer import Commit, Writer

__all__ = ["Tap", "Wired", "marked"]


class Wired:
    """What the node agent does on a lab's node, without its process: each `sync` is a new start.

    Parameters
    ----------
    node
        Its pods are taken as they are at each `sync`.
    mode, tunnel, uplink
        See `NodeConfig`.
    """

    def __init__(
        self,
        node: Node,
        mode: Mode = "noEncap",
        *,
        tunnel: int | None = None,
        uplink: int | None = None,
    ) -> None:
        self.node = node
        self.peers: list[Peer] = []
        self.vlans: dict[str, int] = {}
        gateways = [gateway for gateway in (node.gateway, node.gateway6) if gateway is not None]
        self.config = NodeConfig(
            mode,
            Gateway(0xFFFF_FFFE, node.mac, tuple(gateway.ip for gateway in gateways)),
            tuple(gateway.network for gateway in gateways),
            # The lab's pods begin with the second address.
            tuple(gateway.network[-2] for gateway in gateways) if tunnel else (),
            tunnel=tunnel,
            uplink=uplink,
        )

    def port(self, pod: Pod) -> PodPort:
        """A pod as the compiler takes it."""
        return PodPort(
            f"{pod.namespace}/{pod.short}",
            self.node.ovs.ofport(pod.port),
            pod.mac,
            tuple(map(ip_address, pod.addresses)),
            self.vlans.get(pod.short),
        )

    def sync(self) -> Commit:
        """Start, compare what the switch has with what it shall have, and end."""
        compiler = ForwardingCompiler()
        return asyncio.run(
            self._write(
                compiler.configure(self.config),
                compiler.set_peers(self.peers),
                compiler.set_pods(map(self.port, self.node.pods.values())),
            )
        )

    async def _write(self, *compiled: Any) -> Commit:
        commits: list[Commit] = []
        desired = DesiredSet(NODE_COOKIE_PREFIX, NODE_GROUP_FIRST, NODE_GROUP_LAST)
        async with Connection(parse_remote(self.node.mgmt)) as connection:
            writer = Writer(
                connection,
                desired,
                other_prefixes=OTHER_NODE_PREFIXES,
                on_commit=commits.append,
                on_refusal=lambda error: commits.append(error),  # type: ignore[arg-type]
            )
            for owned in compiled:
                writer.replace(owned)
            work = asyncio.create_task(writer.run())
            await writer.settled()
            work.cancel()
        for commit in commits:
            assert isinstance(commit, Commit), commit
        self.node.ovs.appctl("revalidator/wait")
        return commits[0]


class Tap:
    """All frames at a pod's device: sends some, sees which come.

    Frames that are sent one after the other by one port come out in that order; so what isn't there
    when a later one is, was dropped.
    """

    def __init__(self, netns: Netns, device: str = "eth0") -> None:
        with netns.enter():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self._socket.bind((device, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, *packets: Packet) -> None:
        """Send frames as they are."""
        for packet in packets:
            self._socket.send(bytes(packet))

    def until(self, last: Callable[[Packet], object], seconds: float = 10.0) -> list[Packet]:
        """The frames that come in, to the one for which 'last' is true."""
        seen: list[Packet] = []
        self._socket.settimeout(seconds * tools.slowness())
        while True:
            try:
                data, where = self._socket.recvfrom(65536)
            except TimeoutError:
                raise AssertionError(f"it never came; seen: {seen}") from None
            if where[2] == socket.PACKET_OUTGOING:
                continue
            seen.append(Ether(data))
            if last(seen[-1]):
                return seen


def marked(packets: Iterable[Packet]) -> list[bytes]:
    """What they carry, of those that carry something of ours."""
    return [bytes(packet[Raw]) for packet in packets if Raw in packet]
