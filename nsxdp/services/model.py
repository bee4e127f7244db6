"""The plain data of this package: what a Service port is, and what its endpoints are.

Both are views of one IP family: a dual-stack Service has a `ServicePort` for IPv4 and one for IPv6,
with the same `ServicePortName`.
"""

from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from nsxdp.services.addresses import Family, format_address, format_endpoint

__all__ = [
    "HINTED_NODE",
    "HINTED_ZONE",
    "LOCAL",
    "NODE_HINTS",
    "PROTOCOL_NUMBERS",
    "READY",
    "SERVING",
    "TERMINATING",
    "ZONE_HINTS",
    "Endpoints",
    "ServicePort",
    "ServicePortName",
]

PROTOCOL_NUMBERS: Final = {"TCP": 6, "UDP": 17, "SCTP": 132}
"""Kubernetes's word for a protocol -> its IP protocol number."""

# An endpoint's flags, one byte. What concerns "this node" was settled when the slice was read.
LOCAL: Final = 0x01
"""It runs on this node."""
SERVING: Final = 0x02
READY: Final = 0x04
TERMINATING: Final = 0x08
"""Its conditions (KEP-1672)."""
ZONE_HINTS: Final = 0x10
"""It has hints for zones."""
NODE_HINTS: Final = 0x20
"""It has hints for nodes."""
HINTED_NODE: Final = 0x40
"""One of its hints is this node."""
HINTED_ZONE: Final = 0x80
"""One of its hints is this node's zone."""


class ServicePortName(NamedTuple):
    """What names a Service port: ports of one Service with one name and two protocols are two."""

    namespace: str
    name: str
    port_name: str
    protocol: str

    @property
    def service(self) -> str:
        """The Service's key, ``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    def __str__(self) -> str:
        port = f":{self.port_name}" if self.port_name else ""
        return f"{self.namespace}/{self.name}{port}/{self.protocol}"


class ServicePort(Struct, frozen=True, gc=False):
    """One port of a Service in one IP family. Addresses are packed.

    Attributes
    ----------
    name
        What it is called; the same in both families.
    cluster_ip
        4 or 16 bytes.
    port
        At the cluster IP.
    node_port
        0: none.
    external_ips, load_balancer_vips
        Addresses of this family at which the Service is served too. Load balancer addresses whose
        ipMode is ``Proxy`` are not among them: their traffic has to go to the load balancer.
    source_ranges
        (network, prefix length): the sources that may use the load balancer's addresses; empty: all
        may.
    affinity_timeout
        Seconds that a client stays with its endpoint, None without session affinity.
    internal_local, external_local
        Whether the traffic policy for traffic from inside, from outside the cluster is ``Local``.
    health_check_node_port
        Port at which a load balancer asks whether this node has ready endpoints; 0: none.
    alone
        Whether it is the only one of its protocol at the cluster IP.
    """

    name: ServicePortName
    cluster_ip: bytes
    port: int
    node_port: int = 0
    external_ips: tuple[bytes, ...] = ()
    load_balancer_vips: tuple[bytes, ...] = ()
    source_ranges: tuple[tuple[bytes, int], ...] = ()
    affinity_timeout: int | None = None
    internal_local: bool = False
    external_local: bool = False
    health_check_node_port: int = 0
    alone: bool = False

    @property
    def family(self) -> Family:
        """Of its cluster IP, and of all that it has."""
        return Family.of(self.cluster_ip)

    @property
    def protocol(self) -> str:
        """``TCP``, ``UDP`` or ``SCTP``."""
        return self.name.protocol

    @property
    def externally_accessible(self) -> bool:
        """Whether anything but the cluster IP leads here."""
        return bool(self.node_port or self.load_balancer_vips or self.external_ips)

    @property
    def uses_cluster_endpoints(self) -> bool:
        """Whether any traffic goes to endpoints anywhere in the cluster (KP-22).

        Also with the external policy ``Local``: traffic from inside the cluster to an external
        address takes the short cut to any endpoint.
        """
        return not self.internal_local or self.externally_accessible

    @property
    def uses_local_endpoints(self) -> bool:
        """Whether any traffic goes to this node's endpoints alone (KP-22)."""
        return self.internal_local or (self.external_local and self.externally_accessible)

    def __str__(self) -> str:
        """``10.96.0.10:53/UDP of kube-system/kube-dns``."""
        name = self.name
        return (
            f"{format_endpoint(self.cluster_ip, self.port)}/{name.protocol} "
            f"of {name.namespace}/{name.name}"
        )


class Endpoints(Struct, frozen=True, gc=False):
    """Endpoints of a Service port in one family: sorted by address and port, none twice.

    The columns are byte strings, so equal endpoints compare equal and thousands of lists join
    cheaply; the properties are numpy views of them, read-only.

    Attributes
    ----------
    packed_addresses, packed_ports, packed_flags
        The columns' bytes: addresses as on the wire, ports in the machine's byte order.
    """

    family: Family
    packed_addresses: bytes = b""
    packed_ports: bytes = b""
    packed_flags: bytes = b""

    @property
    def addresses(self) -> NDArray[np.uint8]:
        """Shape (n, 4) or (n, 16)."""
        flat = np.frombuffer(self.packed_addresses, np.uint8)
        return flat.reshape(-1, self.family.width)

    @property
    def ports(self) -> NDArray[np.uint16]:
        """Shape (n,), in the machine's byte order."""
        return np.frombuffer(self.packed_ports, np.uint16)

    @property
    def flags(self) -> NDArray[np.uint8]:
        """Shape (n,): bits such as `READY`."""
        return np.frombuffer(self.packed_flags, np.uint8)

    def __len__(self) -> int:
        return len(self.packed_flags)

    def where(self, mask: NDArray[np.bool_]) -> "Endpoints":
        """The endpoints that the boolean 'mask' selects."""
        if mask.all():
            return self
        return Endpoints(
            self.family,
            self.addresses[mask].tobytes(),
            self.ports[mask].tobytes(),
            self.flags[mask].tobytes(),
        )

    def at(self, address: bytes, port: int) -> NDArray[np.bool_] | None:
        """Which endpoints are there, of which there is one at most: shape (n,); None: none is."""
        if address not in self.packed_addresses:  # as a rule, and faster than to look at rows
            return None
        here = (self.addresses == np.frombuffer(address, np.uint8)).all(axis=1)
        here &= self.ports == port
        return here if here.any() else None

    def texts(self) -> list[str]:
        """``10.0.0.1:80`` or ``[2001:db8::1]:80`` of each, in order."""
        width = self.family.width
        packed = self.packed_addresses
        return [
            format_endpoint(packed[row * width : (row + 1) * width], port)
            for row, port in enumerate(self.ports.tolist())
        ]

    def address_texts(self) -> list[str]:
        """``10.0.0.1`` or ``2001:db8::1`` of each, in order."""
        width = self.family.width
        packed = self.packed_addresses
        return [format_address(packed[at : at + width]) for at in range(0, len(packed), width)]
