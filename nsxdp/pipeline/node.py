"""The bridge's ports to the flows of the forwarding stages.

Each pod's port is an owner; so are the gateway, and the flows that are always there. Their numbers
are below those of the Service ports, which are group ids.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from nsxdp.bridge import OFPORT_LOCAL, LocalPod, Port
from nsxdp.openflow import Stamped
from nsxdp.pipeline.compiled import Compiled, Piece
from nsxdp.pipeline.forwarding import BASE, FORWARDING, PORT
from nsxdp.pipeline.service import Family

if TYPE_CHECKING:
    from nsxdp.openflow.template import Column

__all__ = ["Gateway", "NodeCompiler", "NodePlan"]

Address = IPv4Address | IPv6Address

_BASE: Final = 0
_GATEWAY: Final = 1
_FIRST_POD: Final = 2

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
    """Who is on the bridge. Without a gateway pods get no routes: no router to act for."""

    gateway: Gateway | None
    pods: tuple[LocalPod, ...]


class NodeCompiler:
    """Compiles what is on one bridge; remembers what it compiled last.

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

    def __init__(self) -> None:
        self._pods: dict[LocalPod, int] = {}
        self._gateway: Gateway | None = None
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
            need(_BASE, (template.stamp() for template in BASE))
            self._started = True
        rerouted = plan.gateway != self._gateway
        if rerouted:
            need(_GATEWAY, _gateway_flows(plan.gateway) if plan.gateway else ())
            self._gateway = plan.gateway
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


def _gateway_flows(gateway: Gateway) -> list[Stamped]:
    mac = _mac(gateway.mac)
    port = np.array([gateway.ofport], np.uint32)
    stamped = [PORT.stamp(mac=mac, port=port)]
    stamped += [
        templates.host_to_service.stamp(port=port, gateway_mac=mac)
        for templates in FORWARDING.values()
    ]
    # The first address of each family: from it the kernel sends to Services, as the routes say.
    first = {_family(address): address for address in reversed(gateway.addresses)}
    for family, address in first.items():
        columns: dict[str, Column] = {"port": port, "gateway_mac": mac, "ip": _ip(address)}
        stamped.append(FORWARDING[family].host_to_itself.stamp(**columns))
        stamped.append(FORWARDING[family].host_answers_itself.stamp(**columns))
    return stamped


def _pod_flows(pod: LocalPod, gateway: Gateway | None) -> list[Stamped]:
    mac = _mac(pod.mac)
    stamped = [PORT.stamp(mac=mac, port=np.array([pod.ofport], np.uint32))]
    if gateway is not None:
        columns = {"gateway_mac": _mac(gateway.mac), "mac": mac}
        for address in pod.ips:
            templates = FORWARDING[_family(address)]
            stamped.append(templates.pod_route.stamp(ip=_ip(address), **columns))
            stamped.append(templates.pod_hairpin.stamp(ip=_ip(address), **columns))
    return stamped


def _family(address: Address) -> Family:
    return 4 if isinstance(address, IPv4Address) else 6


def _mac(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex(text.replace(":", "")), np.uint8).reshape(1, 6)


def _ip(address: Address) -> NDArray[np.uint32] | NDArray[np.uint8]:
    if isinstance(address, IPv4Address):
        return np.array([int(address)], np.uint32)
    return np.frombuffer(address.packed, np.uint8).reshape(1, 16)
