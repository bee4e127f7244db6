"""What a runtime wants for one pod beside addresses: its host ports, and how fast it may be.

A plugin gets that under ``runtimeConfig`` if its configuration declares the capabilities. Names in
it are read as plugins in Go do, to which ``HostPort`` is ``hostPort``: containerd says the former,
and CNI's conventions have the latter.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Annotated, Any, Final, Literal, cast, get_args

from msgspec import Meta, Struct, ValidationError, convert, field

from nsxdp_agents.node_agent.cni.errors import CniError, Code

__all__ = [
    "CAPABILITIES",
    "HostPort",
    "PortMapping",
    "Rate",
    "RuntimeConfig",
    "host_ports",
    "read_runtime_config",
]

CAPABILITIES: Final = ("portMappings", "bandwidth")
"""What our configuration declares."""

Protocol = Literal["tcp", "udp", "sctp"]

_Port = Annotated[int, Meta(ge=0, le=0xFFFF)]
_Bits = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]

_UNSAID: Final = 0xFFFF_FFFF
"""A burst that runtimes name who were told of none. It would be half a gigabyte at full speed."""

_BURST_BYTES, _BURSTS_A_SECOND = 1 << 16, 100
"""What there is where none is named: a large packet, or what goes in a hundredth of a second.
"""


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


class Rate(Struct, frozen=True):
    """How fast something may be: bytes a second, and bytes at once after a pause."""

    bytes: int
    burst: int


class Bandwidth(Struct):
    """How fast a pod may be, in bits and bits a second; 0: as fast as it can.

    What comes to it is ``ingress``, what it sends is ``egress``.
    """

    ingress_rate: _Bits = field(name="ingressRate", default=0)
    ingress_burst: _Bits = field(name="ingressBurst", default=0)
    egress_rate: _Bits = field(name="egressRate", default=0)
    egress_burst: _Bits = field(name="egressBurst", default=0)

    @property
    def ingress(self) -> Rate | None:
        """What comes to the pod; None: as fast as it can."""
        return _rate(self.ingress_rate, self.ingress_burst)

    @property
    def egress(self) -> Rate | None:
        """What the pod sends, likewise."""
        return _rate(self.egress_rate, self.egress_burst)


def _rate(rate: int, burst: int) -> Rate | None:
    if not rate:
        return None
    least = max(1, rate // 8)
    said = burst // 8 if burst < _UNSAID else 0
    return Rate(least, said or max(_BURST_BYTES, least // _BURSTS_A_SECOND))


class RuntimeConfig(Struct):
    """What is known of it here."""

    bandwidth: Bandwidth = field(default_factory=Bandwidth)

    port_mappings: Annotated[list[PortMapping], Meta(max_length=1024)] = field(
        name="portMappings", default=[]
    )


def read_runtime_config(said: Any) -> RuntimeConfig:
    """What a runtime wants, from what it says.

    Raises
    ------
    CniError
        It can't be understood.

    Examples
    --------
    >>> from nsxdp_agents.node_agent.cni.runtime_config import read_runtime_config
    >>> read_runtime_config({"portMappings": [{"HostPort": 8080}]}).port_mappings[0].host_port
    8080
    """
    try:
        return convert(_named(said), RuntimeConfig)
    except ValidationError as error:
        raise CniError(Code.BAD_CONFIG, f"runtimeConfig: {error}") from None


def _named(value: Any) -> Any:
    """The same, with names as CNI's conventions have them."""
    if isinstance(value, dict):
        return {name[:1].lower() + name[1:]: _named(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_named(inner) for inner in value]
    return value


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
