"""Pods on a platform's network: what each one has, the platform has said, in the Pod's annotation.

Who speaks for the platform (nsx-ncp) makes the pod's port there, and when that works, writes into
the Pod what it is. Then, and not before, the pod can be added::

    metadata:
      annotations:
        ncp/pod-network: |
          {"uid": "6d1c...", "vlan": 11, "mac_address": "02:50:56:00:00:0b",
           "ip_addresses": ["10.4.7.2/24", "fd00:4:7::2/64"],
           "gateway_ips": ["10.4.7.1", "fd00:4:7::1"]}

``uid`` is the Pod's own. So nobody's network is one that a Pod of the same name had before, and no
template of a Pod can have the annotation already, for nobody knows the uid of what isn't made yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from nsxdp.k8s.policy_objects import Pod
from nsxdp.k8s.resources import PODS, Want
from nsxdp.k8s.source import Batch, Op
from nsxdp_agents.node_agent.assignment import Assignment
from nsxdp_agents.node_agent.cni.errors import CniError, Code
from nsxdp_agents.node_agent.cni.request import Pod as Owner
from nsxdp_agents.node_agent.cni.request import Request
from nsxdp_agents.node_agent.ipam import Address
from nsxdp_agents.node_agent.leases import Lease

__all__ = ["ANNOTATION", "Platform", "read_network", "wants"]

ANNOTATION: Final = "ncp/pod-network"
"""The key of what a pod has."""


class _Network(Struct):
    """The annotation's value."""

    uid: str
    vlan: Annotated[int, Meta(ge=1, le=4093)]
    """4094 is the platform's own."""
    mac_address: Annotated[str, Meta(pattern="^(?i:[0-9a-f][02468ace](:[0-9a-f]{2}){5})$")]
    """Of one interface, and not of a group."""
    ip_addresses: Annotated[tuple[str, ...], Meta(min_length=1, max_length=2)]
    gateway_ips: Annotated[tuple[str, ...], Meta(min_length=1, max_length=2)]


_decode = msgspec.json.Decoder(_Network).decode


def wants(node: str) -> tuple[Want, ...]:
    """What has to be followed: the Pods of this node."""
    return (Want(PODS, fields=f"spec.nodeName={node}"),)


def read_network(text: str) -> tuple[str, Assignment]:
    """Read an annotation: the uid of whose it is, and what that has.

    Raises
    ------
    ValueError
        It can't be used.

    Examples
    --------
    >>> from nsxdp_agents.node_agent.platform import read_network
    >>> uid, network = read_network(
    ...     '{"uid": "6d1c", "vlan": 11, "mac_address": "02:50:56:00:00:0b",'
    ...     ' "ip_addresses": ["10.4.7.2/24"], "gateway_ips": ["10.4.7.1"]}'
    ... )
    >>> print(uid, network.vlan, *network.ips, "by", *network.gateways)
    6d1c 11 10.4.7.2/24 by 10.4.7.1
    """
    try:
        said = _decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    interfaces = [_interface(each) for each in said.ip_addresses]
    gateways = [ip_address(each) for each in said.gateway_ips]
    for text in (*said.ip_addresses, *said.gateway_ips):
        if "%" in text:
            raise ValueError(f"{text} has a zone, and addresses of pods have none")
    if len({each.version for each in interfaces}) < len(interfaces):
        raise ValueError(f"ip_addresses {', '.join(said.ip_addresses)}: one of each family at most")
    by_version = {gateway.version: gateway for gateway in gateways}
    for each in interfaces:
        gateway = by_version.pop(each.version, None)
        if gateway is None:
            raise ValueError(f"gateway_ips: {each} has none")
        if gateway not in each.network or gateway == each.ip:
            raise ValueError(f"gateway_ips: {gateway} is no neighbor of {each}")
    if by_version or len(gateways) > len(interfaces):
        raise ValueError(f"gateway_ips {', '.join(said.gateway_ips)}: one for each address")
    of = {gateway.version: str(gateway) for gateway in gateways}
    return said.uid, Assignment(
        tuple(map(str, interfaces)),
        tuple(of[each.version] for each in interfaces),
        said.mac_address.lower(),
        said.vlan,
    )


def _interface(text: str) -> IPv4Interface | IPv6Interface:
    found = ip_interface(text)
    ip = found.ip
    other = ip.is_unspecified or ip.is_multicast or ip.is_loopback or ip.is_link_local
    if "/" not in text or other:
        raise ValueError(f"ip_addresses: {text} is no address of a pod with its prefix length")
    return found


class _Told(Struct, frozen=True):
    """What is known of a Pod."""

    uid: str
    names: frozenset[str]
    """The uids by which a runtime may know it."""
    network: str | None


class Platform:
    """What the platform has said of this node's pods.

    Parameters
    ----------
    leases
        What pods have: what is one's, no other gets.
    seconds
        How long a pod that is added waits for the platform.

    Attributes
    ----------
    loaded
        Set when all that there was at the start is known.
    """

    def __init__(self, leases: Iterable[Lease], *, seconds: float) -> None:
        self.loaded = asyncio.Event()
        self._leases = leases
        self._seconds = seconds
        self._pods: dict[str, _Told] = {}
        self._waiting: dict[str, Owner] = {}
        """The containers whose pods wait for the platform, as long as there is a reason to."""
        self._closed = False
        self._news = asyncio.Event()
        """Of the next thing that is told; then there is another."""

    @property
    def problem(self) -> str:
        """See `nsxdp_agents.node_agent.assignment.Assigner`."""
        if self._closed:
            return "this agent ends: the next one will be told of pods"
        if self.loaded.is_set():
            return ""
        return "this node's pods are not known yet: see whether the API server can be reached"

    def take(self, batch: Batch) -> None:
        """Take note of what a source says; what is no Pod is left out."""
        for op, obj in batch.events:
            if not isinstance(obj, Pod):
                continue
            if op is Op.DELETE:
                self._forget(obj.key)
            else:
                network = (obj.metadata.annotations or {}).get(ANNOTATION)
                self._pods[obj.key] = _Told(obj.metadata.uid, obj.uids, network)
        if batch.kind == PODS.kind and batch.synced:
            self.loaded.set()
        self._tell()

    async def assign(self, request: Request) -> Assignment:
        """See `nsxdp_agents.node_agent.assignment.Assigner`; it waits for the platform."""
        owner = request.pod
        if not owner.name:
            text = "CNI_ARGS has no K8S_POD_NAME: the platform knows pods of Kubernetes alone"
            raise CniError(Code.BAD_ENVIRONMENT, text)
        container = request.attachment.container
        self._waiting[container] = owner
        try:
            async with asyncio.timeout(self._seconds):
                while isinstance(said := self._said_of(owner), str):
                    if container not in self._waiting:
                        text = f"pod {owner}: nobody waits any more for its network: it is deleted"
                        raise CniError(Code.TRY_AGAIN, f"{text}, or this agent ends", said)
                    await self._news.wait()
        except TimeoutError:
            text = f"pod {owner}: the platform has given it no network within {self._seconds:g} s"
            raise CniError(Code.TRY_AGAIN, text, str(said)) from None
        finally:
            self._waiting.pop(container, None)
        self._refuse_taken(said, request)
        return said

    def give_up(self, container: str) -> None:
        """See `nsxdp_agents.node_agent.assignment.Assigner`."""
        if self._waiting.pop(container, None) is not None:
            self._tell()

    def close(self) -> None:
        """Nothing is told any more: who waits, fails."""
        self._closed = True
        self._waiting.clear()
        self._tell()

    def take_back(self, addresses: tuple[Address, ...]) -> None:
        """See `nsxdp_agents.node_agent.assignment.Assigner`; they are the platform's."""

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _forget(self, key: str) -> None:
        """A Pod is gone; so nobody waits for its network."""
        gone = self._pods.pop(key, None)
        if gone is None:
            return
        for container, owner in list(self._waiting.items()):
            if str(owner) == key and (not owner.uid or owner.uid in gone.names):
                self.give_up(container)

    def _said_of(self, owner: Owner) -> Assignment | str:
        """What a pod has; or why that isn't known yet, in words."""
        told = self._pods.get(str(owner))
        if told is None or (owner.uid and owner.uid not in told.names):
            return "the API server has not told of this pod on this node"
        if told.network is None:
            return f"it has no annotation {ANNOTATION}: see whether nsx-ncp runs, and its log"
        try:
            uid, assignment = read_network(told.network)
        except ValueError as error:
            return f"its annotation {ANNOTATION} can't be used: {error}"
        if uid != told.uid:
            return f"its annotation {ANNOTATION} is about another pod, of uid {uid or 'none'}"
        return assignment

    def _refuse_taken(self, said: Assignment, request: Request) -> None:
        """See that nothing of it is another's here.

        Raises
        ------
        CniError
            Something is: of a pod that goes just now, mostly.
        """
        wanted = {f"VLAN {said.vlan}", said.mac, *(ip.partition("/")[0] for ip in said.ips)}
        for lease in self._leases:
            has = {f"VLAN {lease.vlan}", lease.mac, *map(str, lease.addresses)}
            if lease.attachment != request.attachment and (both := wanted & has):
                whose = lease.owner if lease.pod else lease.attachment
                text = f"pod {request.pod}: {min(both)} is still that of {whose} on this node"
                raise CniError(Code.TRY_AGAIN, text)
