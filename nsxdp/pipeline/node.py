"""The bridge's ports to the flows of the forwarding stages.

Each pod's port is an owner; so are the gateway, the uplink, what the node is in the cluster, and
the flows that are always there. Their numbers are below those of the Service ports, which are group
ids.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from nsxdp.bridge import OFPORT_LOCAL, LocalPod, Port
from nsxdp.openflow import Stamped
from nsxdp.pipeline.columns import Address, family_of, ips, macs
from nsxdp.pipeline.compiled import Compiled, Piece
from nsxdp.pipeline.forwarding import BASE, FORWARDING, PORT, Network, unallocated
from nsxdp.pipeline.registers import BITS

if TYPE_CHECKING:
    from nsxdp.openflow.template import Column

__all__ = ["Address", "Gateway", "NodeCompiler", "NodePlan"]

_BASE: Final = 0
_GATEWAY: Final = 1
_UPLINK: Final = 2
_NODE: Final = 3
_FIRST_POD: Final = 4

_NAMES: Final = {
    _BASE: "every node",
    _GATEWAY: "the gateway",
    _UPLINK: "the uplink",
    _NODE: "the node's addresses and cluster IPs' ranges",
}
"""Who the owners are that aren't pods."""

_OUTSIDE: Final = BITS["Outside"].mask
_BY_UPLINK: Final = BITS["Uplink"].mask
_MASQUERADE: Final = BITS["Masquerade"].mask
_NODE_PROCESS: Final = BITS["Node"].mask

_LOCAL: Final = 0xFFFF_FFFE
"""OFPP_LOCAL: OpenFlow's number of the bridge's own port."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """The port behind which the node's kernel is, the pods' router.

    Attributes
    ----------
    ofport
        OpenFlow's number of the port.
    mac
        To which pods send what is for elsewhere.
    addresses
        Of the node in the pods' network; from the first of each family it sends to Services.
    """

    ofport: int
    mac: str
    addresses: tuple[Address, ...] = ()

    @classmethod
    def of(cls, port: Port, addresses: Iterable[Address] = ()) -> Gateway:
        """The gateway behind 'port', which has 'addresses'."""
        return cls(_LOCAL if port.ofport == OFPORT_LOCAL else port.ofport, port.mac, (*addresses,))


@dataclass(frozen=True, slots=True)
class NodePlan:
    """Who is on the bridge, and what the node is in the cluster.

    Attributes
    ----------
    gateway
        Without one pods get no routes: no router to act for.
    pods
        Who is on the bridge.
    uplink
        OpenFlow's number of the port on the bridge by which the outside comes; None: it comes by
        way of the gateway.
    addresses
        The node's, beside the gateway's: who has one of them and comes by the gateway is a process
        of the node.
    node_port_addresses
        At which the node serves node ports.
    ranges
        From which Services get their cluster IPs.
    """

    gateway: Gateway | None
    pods: tuple[LocalPod, ...]
    uplink: int | None = None
    addresses: frozenset[Address] = frozenset()
    node_port_addresses: frozenset[Address] = frozenset()
    ranges: frozenset[Network] = frozenset()


class NodeCompiler:
    """Compiles what is on one bridge; remembers what it compiled last.

    Parameters
    ----------
    masquerade_all
        Whether endpoints shall take the node for the client whoever connects to a cluster IP
        (KP-30).

    Examples
    --------
    >>> from nsxdp.bridge import LocalPod
    >>> from nsxdp.openflow.fake import FakeSwitch
    >>> from nsxdp.pipeline.node import NodeCompiler, NodePlan
    >>> from nsxdp.pipeline.tables import TABLES
    >>> switch = FakeSwitch(TABLES)
    >>> pod = LocalPod("default/web", "0a:58:0a:f4:00:05", (), 5)
    >>> _ = switch.apply(NodeCompiler().compile(NodePlan(None, (pod,))).messages)
    >>> print(switch.dump_flows()[-2])
    table=L2Forwarding, priority=200,dl_dst=0a:58:0a:f4:00:05 actions=output:5
    """

    def __init__(self, *, masquerade_all: bool = False) -> None:
        self._masquerade_all = masquerade_all
        self._pods: dict[LocalPod, int] = {}
        self._last = NodePlan(None, ())
        self._started = False
        self._next = _FIRST_POD

    def compile(self, plan: NodePlan) -> Compiled:
        """What has to change for 'plan': pods that are as they were cost nothing."""
        owners: list[int] = []
        pieces: list[Piece] = []

        def need(owner: int, stamped: Iterable[Stamped]) -> None:
            row = np.array([len(owners)], np.uint32)
            owners.append(owner)
            pieces.extend((piece, np.repeat(row, len(piece))) for piece in stamped)

        if not self._started:
            need(_BASE, self._base_flows())
            self._started = True
        last, self._last = self._last, plan
        rerouted = plan.gateway != last.gateway
        if rerouted or plan.addresses != last.addresses:
            need(_GATEWAY, self._gateway_flows(plan))
        if rerouted or plan.uplink != last.uplink:
            need(_UPLINK, _uplink_flows(plan))
        if (plan.node_port_addresses, plan.ranges) != (last.node_port_addresses, last.ranges):
            need(_NODE, _node_flows(plan))
        for pod in self._pods.keys() - set(plan.pods):
            need(self._pods.pop(pod), ())
        for pod in plan.pods:
            if pod not in self._pods:
                self._pods[pod] = self._next
                self._next += 1
            elif not rerouted:
                continue
            need(self._pods[pod], _pod_flows(pod, plan.gateway))
        return Compiled(owners, pieces)

    @property
    def plan(self) -> NodePlan:
        """What was compiled last."""
        return self._last

    def whose(self, owner: int) -> str:
        """Who an owner is, in words: ``pod default/web``; empty: none of these."""
        pods = (f"pod {pod.iface_id}" for pod, number in self._pods.items() if number == owner)
        return _NAMES.get(owner) or next(pods, "")

    def _base_flows(self) -> list[Stamped]:
        stamped = [template.stamp() for template in BASE]
        if self._masquerade_all:
            stamped += [
                templates.any_origin.stamp(origin=_MASQUERADE) for templates in FORWARDING.values()
            ]
        return stamped

    def _gateway_flows(self, plan: NodePlan) -> list[Stamped]:
        if plan.gateway is None:
            return []
        gateway = plan.gateway
        mac = macs([gateway.mac])
        port = np.array([gateway.ofport], np.uint32)
        stamped = [PORT.stamp(mac=mac, port=port)]
        for templates in FORWARDING.values():
            stamped += [
                templates.host_to_service.stamp(port=port, gateway_mac=mac),
                templates.masqueraded_to_host.stamp(port=port, gateway_mac=mac),
                templates.host_answers_masqueraded.stamp(port=port, gateway_mac=mac),
            ]
        # The first address of each family: from it the kernel sends to Services, as routes say.
        first = {family_of(address): address for address in reversed(gateway.addresses)}
        own = {*gateway.addresses, *plan.addresses}
        for family, address in first.items():
            templates = FORWARDING[family]
            columns: dict[str, Column] = {"port": port, "gateway_mac": mac, "ip": ips([address])}
            stamped.append(templates.host_to_itself.stamp(**columns))
            stamped.append(templates.host_answers_itself.stamp(**columns))
            # Who has none of the node's addresses came from elsewhere through its kernel.
            stamped.append(templates.origin.stamp(port=port, origin=_OUTSIDE | _MASQUERADE))
            # Who has another one than the gateway's can't have it at an endpoint elsewhere: the
            # kernel takes nothing from the bridge that has an address of its own.
            at_gateway = _MASQUERADE if self._masquerade_all else 0
            stamped += [
                templates.host_origin.stamp(
                    port=port,
                    ip=ips([ip]),
                    origin=at_gateway if ip in gateway.addresses else _MASQUERADE | _NODE_PROCESS,
                )
                for ip in own
                if family_of(ip) == family
            ]
        return stamped


def _uplink_flows(plan: NodePlan) -> list[Stamped]:
    if plan.uplink is None:
        return []
    port = np.array([plan.uplink], np.uint32)
    stamped = []
    for templates in FORWARDING.values():
        origin = _OUTSIDE | _BY_UPLINK | _MASQUERADE
        stamped.append(templates.origin.stamp(port=port, origin=origin))
        if plan.gateway is not None:
            mac = macs([plan.gateway.mac])
            stamped.append(templates.answer_by_uplink.stamp(port=port, gateway_mac=mac))
    return stamped


def _node_flows(plan: NodePlan) -> list[Stamped]:
    stamped = [unallocated(network).stamp() for network in plan.ranges]
    stamped += [
        FORWARDING[family_of(address)].node_address.stamp(ip=ips([address]))
        for address in plan.node_port_addresses
    ]
    return stamped


def _pod_flows(pod: LocalPod, gateway: Gateway | None) -> list[Stamped]:
    mac = macs([pod.mac])
    stamped = [PORT.stamp(mac=mac, port=np.array([pod.ofport], np.uint32))]
    if gateway is not None:
        columns = {"gateway_mac": macs([gateway.mac]), "mac": mac}
        for address in pod.ips:
            templates = FORWARDING[family_of(address)]
            stamped.append(templates.pod_route.stamp(ip=ips([address]), **columns))
            stamped.append(templates.pod_to_itself.stamp(ip=ips([address])))
            stamped.append(templates.pod_hairpin.stamp(ip=ips([address]), **columns))
    return stamped
