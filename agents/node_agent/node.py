"""What Kubernetes says of nodes: the networks of this one's pods, and where those of others are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from ipaddress import ip_network
from typing import Final, Protocol

from nsxdp.forwarding.model import Peer, reserved
from nsxdp.k8s.defaults import parse_ip
from nsxdp.k8s.manifests import ManifestDirectory
from nsxdp.k8s.objects import Node
from nsxdp.k8s.reflector import Reflector
from nsxdp.k8s.resources import NODES, Want
from nsxdp.k8s.source import Batch, Op, Source
from nsxdp.logs import get_logger
from nsxdp_agents.common.options import api_files
from nsxdp_agents.common.start import open_client
from nsxdp_agents.node_agent import platform
from nsxdp_agents.node_agent.ipam import Address, Network
from nsxdp_agents.node_agent.options import Options
from nsxdp_agents.node_agent.policies import WANTS as OF_POLICIES

__all__ = ["WANTS", "Nodes", "follow", "open_source"]

log = get_logger(__name__)


WANTS: Final = (Want(NODES), *OF_POLICIES)
"""What the agent follows where the node is its pods' router."""


async def open_source(options: Options, stack: AsyncExitStack) -> Source | None:
    """Where the Node comes from; None: nobody is asked.

    An API server needn't be there yet: what needs none goes on meanwhile.

    Raises
    ------
    StartError
        It can't be used.
    """
    if options.pod_cidrs:
        return None
    wants = platform.wants(options.node_name) if options.mode == "nsx" else WANTS
    if options.manifests:
        return await stack.enter_async_context(ManifestDirectory(options.manifests, wants))
    client = await open_client(
        stack,
        "nsx-node-agent",
        kubeconfig=options.kubeconfig,
        server=options.server,
        files=api_files(options),
        otherwise="the networks of its pods with --pod-cidr",
    )
    return await stack.enter_async_context(Reflector(client, wants))


class Takes(Protocol):
    """Who is told of other nodes."""

    def __call__(self, peers: Iterable[Peer], gone: Iterable[str] = ()) -> None:
        """These are there, or as they are now; those of the names in 'gone' aren't."""


class Nodes:
    """Knows all nodes; tells what changes.

    Parameters
    ----------
    name
        This node's.
    use
        Is told the networks of this node's pods, whenever they are others. A node that has none
        keeps those it had: its pods do.
    set_peers
        Is told of the other nodes.

    Attributes
    ----------
    loaded
        Set when all that there were at the start have been told.
    addresses
        This node's, by which others know it (``InternalIP``).
    """

    def __init__(self, name: str, use: Callable[[list[Network]], None], set_peers: Takes) -> None:
        self.loaded = asyncio.Event()
        self.addresses: tuple[Address, ...] = ()
        self._name = name
        self._use = use
        self._set_peers = set_peers
        self._networks: list[Network] = []
        self._nodes: dict[str, Node] = {}
        self._said: dict[str, list[str]] = {}

    @property
    def by_ipv6(self) -> bool:
        """Whether nodes reach each other by IPv6 first, as the first address of this one says."""
        return bool(self.addresses) and self.addresses[0].version == 6

    def take(self, batch: Batch) -> None:
        """Take note of what a source says; what isn't a Node is left out."""
        changed: dict[str, Node | None] = {}
        for op, obj in batch.events:
            if not isinstance(obj, Node):
                continue
            if obj.name != self._name:
                changed[obj.name] = obj if op is Op.UPSERT else None
            elif op is Op.UPSERT:
                self._take_own(obj)
        self._take_others(changed)
        if batch.kind == NODES.kind and batch.synced:
            self.loaded.set()

    def _take_own(self, node: Node) -> None:
        before = self.by_ipv6, self._networks
        self.addresses = tuple(_addresses(node))
        networks = self._networks_of(node)
        if networks and networks != self._networks:
            try:
                self._use(networks)
            except ValueError as error:
                log.warning("the node's podCIDRs cannot be used", reason=str(error))
            else:
                self._networks = networks
        if (self.by_ipv6, self._networks) != before:  # which matter to others
            self._take_others(dict(self._nodes))

    def _take_others(self, changed: dict[str, Node | None]) -> None:
        gone = [name for name, node in changed.items() if node is None]
        for name in gone:
            self._nodes.pop(name, None)
            self._said.pop(name, None)
        there = {name: node for name, node in changed.items() if node is not None}
        self._nodes |= there
        if there or gone:
            self._set_peers([self._peer(node) for node in there.values()], gone)

    def _peer(self, node: Node) -> Peer:
        first = 6 if self.by_ipv6 else 4
        addresses = sorted(_addresses(node), key=lambda address: address.version != first)
        return Peer(node.name, tuple(addresses), tuple(self._networks_of(node)))

    def _networks_of(self, node: Node) -> list[Network]:
        """The networks of a node's pods; what is wrong with one is told once."""
        found, problems = [], []
        for text in node.spec.pod_cidrs or filter(None, (node.spec.pod_cidr,)):
            try:
                network: Network = ip_network(text)
                reserved(network)
            except ValueError as error:
                problems.append(str(error))
                continue
            own = [one for one in self._networks if one.version == network.version]
            if node.name != self._name and any(map(network.overlaps, own)):
                problems.append(f"{network} has addresses of this node's pods")
            else:
                found.append(network)
        if self._said.get(node.name, []) != problems:
            for problem in problems:
                log.warning("a podCIDR cannot be used", node=node.name, reason=problem)
            self._said[node.name] = problems
        return found


def _addresses(node: Node) -> Iterator[Address]:
    """By which nodes know it."""
    for told in node.status.addresses:
        address = parse_ip(told.address) if told.type == "InternalIP" else None
        if address is not None:
            yield address


async def follow(source: Source, *takers: Callable[[Batch], None]) -> None:
    """Tell all that comes to each of 'takers', until cancelled."""
    async for batch in source:
        for error in batch.errors:
            log.warning("an object cannot be used", reason=str(error))
        for take in takers:
            take(batch)
