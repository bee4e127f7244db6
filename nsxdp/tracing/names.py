"""Who is who, as far as Open vSwitch doesn't know it: the agents on a node tell who asks."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import msgspec
from msgspec import Struct

from nsxdp.tracing.packet import Address, PacketError
from nsxdp.unixctl import RefusedError, UnixctlError, call, control_socket

__all__ = ["AgentNames", "Names", "NodeFacts", "Other", "PodAddresses", "Ruling", "ServiceAddress"]

_NODE_AGENT: Final = "nsx-node-agent"
_PROXY: Final = "nsx-kube-proxy"
_MOST: Final = 16 << 20
"""Bytes of an answer: there may be thousands of nodes."""

_T = TypeVar("_T")


class Ruling(Struct, frozen=True):
    """What decides about a packet.

    Attributes
    ----------
    rule
        ``NetworkPolicy default/web ingress[0]``; where no rule allows what a pod's policies isolate
        it from, these policies: ``NetworkPolicy default/web``.
    action
        ``accept``, ``deny`` or ``pass``.
    isolated
        Whether it is that no rule allows it.
    """

    rule: str
    action: str
    isolated: bool = False

    def __str__(self) -> str:
        if self.isolated:
            return f"denied: isolated by {self.rule}, and no rule allows it"
        verbs = {"accept": "allowed by", "deny": "denied by", "pass": "left to the next tier by"}
        return f"{verbs.get(self.action, self.action)} {self.rule}"


class Other(Struct, frozen=True):
    """Another node.

    Attributes
    ----------
    addresses
        Of the node.
    networks
        Of its pods.
    """

    name: str
    addresses: tuple[str, ...]
    networks: tuple[str, ...]
    tunnel_key: int = 0

    def has(self, address: Address) -> bool:
        """Whether a pod with that address is there."""
        return any(address in ip_network(network) for network in self.networks)

    def __str__(self) -> str:
        return f"node {self.name} ({self.addresses[0]})" if self.addresses else f"node {self.name}"


class NodeFacts(Struct, frozen=True):
    """A node, as its agent knows it.

    Attributes
    ----------
    mode
        How pods of other nodes are reached: ``geneve``, ``vxlan``, ``noEncap`` or ``nsx``.
    addresses
        The node's, in the pods' network and in its own.
    networks
        Of its pods.
    tunnel
        OpenFlow's number of the tunnel port; None: there is none.
    peers
        The other nodes.
    """

    name: str
    mode: str
    addresses: tuple[str, ...]
    networks: tuple[str, ...]
    tunnel: int | None
    peers: tuple[Other, ...]

    def is_own(self, address: Address) -> bool:
        """Whether an address is of this node's pods' networks."""
        return any(address in ip_network(network) for network in self.networks)

    def peer(self, address: Address) -> Other | None:
        """The node that has the pod with an address."""
        return next((peer for peer in self.peers if peer.has(address)), None)


class ServiceAddress(Struct, frozen=True):
    """Where a Service port is served.

    Attributes
    ----------
    service
        Its name: ``default/web:http/TCP IPv4``.
    """

    service: str
    address: str
    port: int
    protocol: str


class PodAddresses(Struct, frozen=True):
    """A pod of the cluster."""

    name: str
    addresses: tuple[str, ...]


class Names(Protocol):
    """What a trace's words need."""

    async def service(self, cookie: int) -> str:
        """Whose flow of the Service proxy it is; empty: not known."""

    async def ruling(self, cookie: int) -> Ruling | None:
        """The rule of policies that a flow is of; None: not known."""

    async def pod(self, address: Address) -> str:
        """The pod of the cluster with an address, ``namespace/name``; empty: none is known."""

    async def node(self) -> NodeFacts | None:
        """The node, and the others; None: not known."""


class AgentNames:
    """What the agents of the node know, asked as ``ovs-appctl`` asks them.

    Parameters
    ----------
    directory
        Where their control sockets are: Open vSwitch's run directory.

    Attributes
    ----------
    notes
        Which agent couldn't be asked, and so what isn't known.
    """

    def __init__(self, directory: Path) -> None:
        self.notes: list[str] = []
        self._directory = directory
        self._silent: set[str] = set()
        self._node: NodeFacts | None = None

    async def service(self, cookie: int) -> str:
        """As of `Names`."""
        return await self._ask(_PROXY, "service/whose", f"{cookie:#x}", type_=str) or ""

    async def ruling(self, cookie: int) -> Ruling | None:
        """As of `Names`."""
        return await self._ask(_NODE_AGENT, "policy/rule", f"{cookie:#x}", type_=Ruling)

    async def pod(self, address: Address) -> str:
        """As of `Names`."""
        found = await self._ask(_NODE_AGENT, "pod/find", str(address), type_=PodAddresses)
        return found.name if found is not None else ""

    async def node(self) -> NodeFacts | None:
        """As of `Names`."""
        if self._node is None:
            self._node = await self._ask(_NODE_AGENT, "node", type_=NodeFacts)
        return self._node

    async def addresses(self, pod: str) -> tuple[Address, ...]:
        """Those of a pod of the cluster, ``namespace/name``; none: it isn't known."""
        found = await self._ask(_NODE_AGENT, "pod/find", pod, type_=PodAddresses)
        return tuple(map(ip_address, found.addresses)) if found is not None else ()

    async def service_address(self, *words: str) -> ServiceAddress:
        """Where ``NAMESPACE/NAME[:PORT]`` is served.

        Parameters
        ----------
        words
            The Service, and the protocol and the version of IP, if it has several.

        Raises
        ------
        PacketError
            It isn't, or nobody knows.
        """
        try:
            socket = control_socket(self._directory, _PROXY)
            text = await call(socket, "service/find", *words, most=_MOST)
            return msgspec.json.decode(text, type=ServiceAddress)
        except RefusedError as error:
            raise PacketError(error.said) from None
        except (UnixctlError, msgspec.DecodeError) as error:
            raise PacketError(f"Service {words[0]}: {error}") from None

    async def services_at(self, places: Sequence[tuple[str, str, int]]) -> list[str] | None:
        """The Services that are served at protocols, addresses and ports; None: nobody knows.

        A name is empty where there is none.
        """
        words = [",".join(map(str, place)) for place in places]
        return await self._ask(_PROXY, "service/at", *words, type_=list[str])

    async def _ask(self, agent: str, *command: str, type_: type[_T]) -> _T | None:
        """What an agent answers; None: it doesn't know, or it can't be asked."""
        if agent in self._silent:
            return None
        try:
            text = await call(control_socket(self._directory, agent), *command, most=_MOST)
            answer: Any = msgspec.json.decode(text, type=type_ | None)
        except (UnixctlError, msgspec.DecodeError) as error:
            self._silent.add(agent)
            self.notes.append(f"{agent} can't be asked, so what it knows isn't told: {error}")
            return None
        found: _T | None = answer
        return found
