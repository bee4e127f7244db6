"""What a runtime wants for one pod beside addresses: its host ports, and how fast it may be.

A plugin gets that under ``runtimeConfig`` if its configuration declares the capabilities.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Annotated, Final, Literal, cast, get_args

from msgspec import Meta, Struct, field

from nsxdp_agents.node_agent.cni.errors import CniError, Code

__all__ = ["CAPABILITIES", "HostPort", "PortMapping", "RuntimeConfig", "host_ports"]

CAPABILITIES: Final = ("portMappings",)
"""What our configuration declares."""

Protocol = Literal["tcp", "udp", "sctp"]

_Port = Annotated[int, Meta(ge=0, le=0xFFFF)]


class PortMapping(Struct):
    """A port of the node that leads to one of the pod, as the runtime says it."""

    host_port: _Port = field(name="hostPort", default=0)
    container_port: _Port = field(name="containerPort", default=0)
    protocol: str = "tcp"
    host_ip: str = field(name="hostIP", default="")


class HostPort(Struct, frozen=True, omit_defaults=True):
    """The same, as it can be made (``containerPort.hostPort``).

    Attributes
    ----------
    protocol, port
        Of the node.
    to
        The pod's port.
    at
        At which of the node's addresses; ``0.0.0.0`` and ``::``: at all of that family; empty: at
        all.
    """

    protocol: Protocol
    port: int
    to: int
    at: str = ""


class RuntimeConfig(Struct):
    """What is known of it here."""

    port_mappings: Annotated[list[PortMapping], Meta(max_length=1024)] = field(
        name="portMappings", default=[]
    )


def host_ports(mappings: Iterable[PortMapping]) -> tuple[HostPort, ...]:
    """What 'mappings' want; a port 0 of the node is none.

    Raises
    ------
    CniError
        One can't be made.
    """
    return tuple(_checked(mapping) for mapping in mappings if mapping.host_port)


def _checked(mapping: PortMapping) -> HostPort:
    text = f"portMappings: hostPort {mapping.host_port}"
    protocol = mapping.protocol.lower()
    if protocol not in get_args(Protocol):
        known = ", ".join(get_args(Protocol))
        raise CniError(Code.BAD_CONFIG, f"{text}: protocol {protocol[:20]!a}: there are {known}")
    if not mapping.container_port:
        raise CniError(Code.BAD_CONFIG, f"{text}: there is no containerPort")
    try:
        at = str(ip_address(mapping.host_ip)) if mapping.host_ip else ""
    except ValueError:
        at = "%"
    if "%" in at:  # one with a zone can't be in a rule, either
        problem = f"{text}: hostIP {mapping.host_ip[:60]!a} is no address"
        raise CniError(Code.BAD_CONFIG, problem)
    return HostPort(cast(Protocol, protocol), mapping.host_port, mapping.container_port, at)
