"""What ``ovs-appctl -t nsx-kube-proxy`` can ask the proxy."""

from __future__ import annotations

from typing import Final

from nsxdp.openflow import OpenFlowError
from nsxdp.services.addresses import parse_address
from nsxdp.services.model import ServicePort
from nsxdp.services.planner import ServicePlanner
from nsxdp.tracing.names import ServiceAddress
from nsxdp.tracing.packet import PacketError
from nsxdp.writer import Writer
from nsxdp_agents.common.unixctl import Command, as_json, read_cookie
from nsxdp_agents.kube_proxy.inspect.packet import destination
from nsxdp_agents.kube_proxy.inspect.services import (
    Frontends,
    UnknownServiceError,
    frontends,
    whose,
)
from nsxdp_agents.kube_proxy.node import NodeSide

__all__ = ["commands"]

_PROTOCOLS: Final = ("ANY", "TCP", "UDP", "SCTP")
_FIND: Final = "service/find takes NAMESPACE/NAME[:PORT], and any, tcp, udp or sctp, and 4 or 6"


def commands(planner: ServicePlanner, node: NodeSide, writer: Writer) -> dict[str, Command]:
    """The commands by their names; `ValueError` from one is told to who asked.

    Those about Services are for programs, and answer in JSON.
    """

    async def find(arguments: tuple[str, ...]) -> str:
        return as_json(_find(planner, arguments))

    async def owner_of(arguments: tuple[str, ...]) -> str:
        try:
            owner = await writer.owner(read_cookie("service/whose", arguments))
        except OpenFlowError as error:
            raise ValueError(str(error)) from None
        return as_json("" if owner is None else whose(planner, node, owner))

    async def at(arguments: tuple[str, ...]) -> str:
        known = frontends(planner.tracker)
        return as_json([_at(known, each) for each in arguments])

    return {
        "service/at": at,
        "service/find": find,
        "service/whose": owner_of,
    }


def _at(known: Frontends, where: str) -> str:
    """The Service port at ``PROTOCOL,ADDRESS,PORT``; empty: none is.

    Raises
    ------
    ValueError
        The text is something else.
    """
    protocol, _, rest = where.partition(",")
    address, _, number = rest.partition(",")
    packed = parse_address(address)
    if packed is None or not number.isdecimal():
        raise ValueError(f"{where}: service/at takes PROTOCOL,ADDRESS,PORT ...")
    key = protocol.upper(), int(number)
    port = known.get((*key, packed)) or known.get((*key, None))
    return _label(port) if port is not None else ""


def _label(port: ServicePort) -> str:
    return f"{port.name} {port.family.label}"


def _find(planner: ServicePlanner, arguments: tuple[str, ...]) -> ServiceAddress:
    """Where a Service is served: its cluster IP.

    Raises
    ------
    ValueError
        It isn't, or is at several ports.
    """
    name, protocol, version, *more = (*arguments, *("", "any", "")[len(arguments) :])
    protocol = protocol.upper()
    if "/" not in name or protocol not in _PROTOCOLS or version not in ("", "4", "6") or more:
        raise ValueError(_FIND)
    wanted = None if protocol == "ANY" else protocol
    try:
        target = destination(planner.tracker, name, wanted, int(version) if version else None)
    except (PacketError, UnknownServiceError) as error:
        raise ValueError(str(error)) from None
    port = target.service
    label = _label(port) if port is not None else name
    return ServiceAddress(label, str(target.address), target.port, target.protocol)
