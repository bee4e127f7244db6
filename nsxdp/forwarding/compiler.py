"""From pods, nodes and the node's configuration to flows: one owner a pod, one a peer node.

What changes costs what it is: a pod's change is that pod's flows, whatever else there is. Many at
once are columns, stamped in one go.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nsxdp.forwarding.model import NodeConfig, Peer, PodPort
from nsxdp.openflow import Stamped, Template
from nsxdp.pipeline import trunk
from nsxdp.pipeline.columns import family_of, ips, mac, macs
from nsxdp.pipeline.compiled import Compiled, Piece
from nsxdp.pipeline.joints import HOST_HOP, JOINTS
from nsxdp.pipeline.neighbors import ANSWER, NEIGHBOR, elsewhere
from nsxdp.pipeline.registers import VIRTUAL_MAC
from nsxdp.pipeline.routing import (
    HOP,
    KNOWN_PORT,
    OUTPUT,
    ROUTER,
    SWITCH,
    TO_POD,
    UNKNOWN,
    masqueraded_answer,
    to_peer,
)
from nsxdp.pipeline.service import FAMILIES, Family
from nsxdp.pipeline.spoofguard import GUARD, HOST, LINK_LOCAL_ASKS, ONLY_ASKED, SENDER, from_peer

if TYPE_CHECKING:
    from nsxdp.openflow.template import Column

    Columns = Mapping[str, Column]

__all__ = ["OWNERS_END", "ForwardingCompiler"]

OWNERS_END: Final = 1 << 32
"""No owner of these has this number, or a larger one."""

_NODE: Final = 0
_FIRST: Final = 1

_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")

_VLANS: Final = range(1, 4094)
"""A pod's. 4094 is the platform's own."""

Rows = NDArray[np.uint32]


class ForwardingCompiler:
    """Compiles what one node forwards; remembers what it was told last.

    Examples
    --------
    >>> from ipaddress import ip_address, ip_network
    >>> from nsxdp.forwarding.compiler import ForwardingCompiler
    >>> from nsxdp.forwarding.model import NodeConfig, PodPort
    >>> from nsxdp.openflow.fake import FakeSwitch
    >>> from nsxdp.pipeline.node import Gateway
    >>> from nsxdp.pipeline.tables import TABLES
    >>> gateway = Gateway(2, "0a:58:0a:f4:00:01", (ip_address("10.244.0.1"),))
    >>> compiler, switch = ForwardingCompiler(), FakeSwitch(TABLES)
    >>> cidrs = (ip_network("10.244.0.0/24"),)
    >>> _ = switch.apply(compiler.configure(NodeConfig("noEncap", gateway, cidrs)).messages)
    >>> web = PodPort("default/web", 5, "0a:58:0a:f4:00:05", (ip_address("10.244.0.5"),))
    >>> pod = compiler.set_pods([web])
    >>> _ = switch.apply(pod.messages)
    >>> print(next(flow for flow in switch.dump_flows() if "table=L2" in flow and ":05" in flow))
    table=L2Forwarding, priority=301,dl_dst=0a:58:0a:f4:00:05
        actions=set_field:0x5->reg1,goto_table:Output
    >>> compiler.whose(int(pod.owners[0]))
    'pod default/web'
    """

    def __init__(self) -> None:
        self._config: NodeConfig | None = None
        self._pods: dict[str, PodPort] = {}
        self._peers: dict[str, Peer] = {}
        self._numbers: dict[str, int] = {}
        self._next = _FIRST

    @property
    def config(self) -> NodeConfig:
        """What `configure` was told last, which must have been."""
        if self._config is None:
            raise ValueError("the node's configuration isn't known: call configure() first")
        return self._config

    @property
    def pods(self) -> Collection[PodPort]:
        """The pods that there are."""
        return self._pods.values()

    @property
    def peers(self) -> Collection[Peer]:
        """The other nodes that there are."""
        return self._peers.values()

    def configure(self, config: NodeConfig) -> Compiled:
        """The node is as 'config' says: all that is known is compiled for it, if that is new.

        Raises
        ------
        ValueError
            A pod that is known can't be forwarded like that; nothing was changed.
        """
        if config == self._config:
            return Compiled([], [])
        for pod in self._pods.values():
            _check(pod, config)
        self._config = config
        owners = _Owners()
        owners.needs(_NODE, _node(config))
        self._add_pods(owners, [*self._pods.values()])
        self._add_peers(owners, [*self._peers.values()])
        return owners.compiled()

    def set_pods(self, pods: Iterable[PodPort], gone: Iterable[str] = ()) -> Compiled:
        """These pods are there, or as they are now; those of the names in 'gone' aren't any more.

        A pod that is as it was costs nothing.

        Raises
        ------
        ValueError
            A pod can't be forwarded; the message names it, and nothing was changed.
        """
        new = {pod.name: pod for pod in pods if self._pods.get(pod.name) != pod}
        for pod in new.values():
            _check(pod, self.config)
        owners = _Owners()
        for name in {*gone} - new.keys():
            if self._pods.pop(name, None):
                owners.needs_nothing(self._numbers.pop(f"pod {name}"))
        self._pods |= new
        self._add_pods(owners, [*new.values()])
        return owners.compiled()

    def set_peers(self, peers: Iterable[Peer], gone: Iterable[str] = ()) -> Compiled:
        """Likewise, of other nodes."""
        new = {peer.name: peer for peer in peers if self._peers.get(peer.name) != peer}
        owners = _Owners()
        for name in {*gone} - new.keys():
            if self._peers.pop(name, None):
                owners.needs_nothing(self._numbers.pop(f"node {name}"))
        self._peers |= new
        self._add_peers(owners, [*new.values()])
        return owners.compiled()

    def whose(self, owner: int) -> str:
        """Who an owner is, in words: ``pod default/web``; empty: none of these."""
        if owner == _NODE:
            return "this node"
        return next((who for who, number in self._numbers.items() if number == owner), "")

    def _number(self, who: str) -> int:
        if who not in self._numbers:
            self._numbers[who] = self._next
            self._next += 1
        return self._numbers[who]

    def _add_pods(self, owners: _Owners, pods: Sequence[PodPort]) -> None:
        rows = owners.rows([self._number(f"pod {pod.name}") for pod in pods])
        owners.pieces += _pods(pods, self.config, rows)

    def _add_peers(self, owners: _Owners, peers: Iterable[Peer]) -> None:
        for peer in peers:
            owners.needs(self._number(f"node {peer.name}"), _peer(peer, self.config))


class _Owners:
    """Gathers what owners need."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.pieces: list[Piece] = []

    def rows(self, owners: Sequence[int]) -> Rows:
        """The rows of 'owners', which are new here."""
        first = len(self.numbers)
        self.numbers += owners
        return np.arange(first, len(self.numbers), dtype=np.uint32)

    def needs(self, owner: int, stamped: Iterable[Stamped]) -> None:
        """'owner' needs all of 'stamped'."""
        row = self.rows([owner])
        self.pieces += [(piece, np.repeat(row, len(piece))) for piece in stamped]

    def needs_nothing(self, owner: int) -> None:
        """'owner' is gone."""
        self.rows([owner])

    def compiled(self) -> Compiled:
        """All of it."""
        return Compiled(self.numbers, self.pieces)


# What each needs.


def _node(config: NodeConfig) -> Iterator[Stamped]:
    for template in (*JOINTS, *GUARD, UNKNOWN, OUTPUT):
        yield template.stamp()
    if config.uplink is not None:
        for template in (*trunk.REFUSED, *trunk.UPLINK):
            yield _stamp(template, {"uplink": _port(config.uplink)})
        return
    for template in (*ONLY_ASKED, ANSWER, *HOP):
        yield template.stamp()
    gateway = config.gateway
    router, port = macs([gateway.mac]), _port(gateway.ofport)
    for template in (*HOST, *HOST_HOP, *ROUTER):
        yield _stamp(template, {"port": port, "gateway_mac": router})
    yield SWITCH.stamp(mac=router, port=_out(port))
    for address in gateway.addresses:
        family, ip = family_of(address), ips([address])
        yield SENDER[family].own.stamp(port=port, ip=ip)
        yield _stamp(NEIGHBOR[family], {"ip": ip, "mac": router, "port": _out(port)})
    if config.tunnel is not None:
        tunnel = _port(config.tunnel)
        yield KNOWN_PORT.stamp(port=tunnel)
        for address in config.masquerade:
            template = masqueraded_answer(family_of(address))
            yield template.stamp(port=tunnel, address=ips([address]))


class _OfPods(NamedTuple):
    """The templates of pods' flows: of each pod, of one that has IPv6, and of each address."""

    pod: tuple[Template, ...]
    pod_ipv6: tuple[Template, ...]
    address: dict[Family, tuple[Template, ...]]


_ROUTED: Final = _OfPods(
    (SWITCH,),
    (LINK_LOCAL_ASKS,),
    {
        family: (
            SENDER[family].sends,
            SENDER[family].asks,
            SENDER[family].own,
            *SENDER[family].answers,
            NEIGHBOR[family],
            TO_POD[family],
        )
        for family in FAMILIES
    },
)
"""Where the bridge is their switch and router."""

_ON_TRUNK: Final = _OfPods(
    trunk.POD,
    trunk.POD_IPV6,
    {family: (SENDER[family].sends, *trunk.ADDRESS[family]) for family in FAMILIES},
)
"""Where a platform is."""


def _pods(pods: Sequence[PodPort], config: NodeConfig, rows: Rows) -> Iterator[Piece]:
    """The flows of many pods; 'rows' are their owners'."""
    if not pods:
        return
    all_of = _ROUTED if config.uplink is None else _ON_TRUNK
    of_pods: dict[str, NDArray[np.integer[Any]]] = {
        "port": np.array([pod.ofport for pod in pods], np.uint32),
        "mac": macs(pod.mac for pod in pods),
        "vlan": np.array([pod.vlan or 0 for pod in pods], np.uint16),
    }
    of_node: Columns = {"gateway_mac": mac(config.gateway.mac), "uplink": config.uplink or 0}
    for template in all_of.pod:
        yield _stamp(template, {**of_pods, **of_node}), rows
    for family in FAMILIES:
        has = [(at, ip) for at, pod in enumerate(pods) for ip in pod.ips if family_of(ip) == family]
        if not has:
            continue
        at = np.array([at for at, _ in has])
        columns = {name: column[at] for name, column in of_pods.items()}
        columns["ip"] = ips(ip for _, ip in has)
        for template in all_of.address[family]:
            yield _stamp(template, {**columns, **of_node}), rows[at]
        if family == 6:
            at = np.unique(at)
            columns = {name: column[at] for name, column in of_pods.items()}
            for template in all_of.pod_ipv6:
                yield _stamp(template, {**columns, **of_node}), rows[at]


def _peer(peer: Peer, config: NodeConfig) -> Iterator[Stamped]:
    if config.uplink is not None:
        return
    gateway_mac = macs([config.gateway.mac])
    for net in peer.pod_cidrs:
        family, address = family_of(net.network_address), ips([net.network_address])
        if family == 4:
            yield elsewhere(net.prefixlen).stamp(ip=address, mac=gateway_mac)
        if config.tunnel is None or not peer.addresses:
            continue
        if family == 4:
            yield elsewhere(net.prefixlen, asked_by=True).stamp(
                ip=address, mac=macs([VIRTUAL_MAC]), port=_port(config.gateway.ofport)
            )
        tunnel = _port(config.tunnel)
        to = peer.addresses[0]
        templates = to_peer(family, family_of(to), net.prefixlen)
        yield templates.route.stamp(
            gateway_mac=gateway_mac, net=address, key=peer.tunnel_key, node=ips([to]), port=tunnel
        )
        for own in config.masquerade:
            if family_of(own) == family:
                yield templates.masquerade.stamp(net=address, address=ips([own]))
        for here in config.pod_cidrs:
            if here.version != net.version:
                continue
            for node in peer.addresses:
                template = from_peer(family, family_of(node), net.prefixlen, here.prefixlen)
                yield template.stamp(
                    port=tunnel,
                    key=peer.tunnel_key,
                    node=ips([node]),
                    src=address,
                    dst=ips([here.network_address]),
                    gateway_mac=gateway_mac,
                )


def _check(pod: PodPort, config: NodeConfig) -> None:
    """Raise ValueError where 'pod' can't be one on such a node."""
    if not _MAC.fullmatch(pod.mac):
        raise ValueError(f"pod {pod.name}: {pod.mac!r} is no MAC address")
    if pod.mac in (config.gateway.mac, VIRTUAL_MAC):
        raise ValueError(f"pod {pod.name}: {pod.mac} is the MAC address of the pods' router")
    if config.mode == "nsx" and pod.vlan not in _VLANS:
        raise ValueError(f"pod {pod.name}: VLAN {pod.vlan} is none of {_VLANS[0]} to {_VLANS[-1]}")
    for ip in pod.ips:
        if ip in config.gateway.addresses or ip in config.masquerade:
            raise ValueError(f"pod {pod.name}: {ip} is an address of the node")


def _stamp(template: Template, columns: Columns) -> Stamped:
    """Stamp it with those of the columns that it has holes for."""
    return template.stamp(**{hole.name: columns[hole.name] for hole in template.holes})


def _port(number: int) -> NDArray[np.uint32]:
    return np.array([number], np.uint32)


def _out(port: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Ports as an output to a register has them: of 16 bits."""
    return port & np.uint32(0xFFFF)
