"""What is stamped, coded, compared and loaded: the flows of Services, in any number."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nsxdp.openflow import Stamped, gather
from nsxdp.pipeline.registers import GROUP_FIRST, LEARNED_COOKIE
from nsxdp.pipeline.service import TEMPLATES, Frontend, frontend

TCP: Final = TEMPLATES[4, "TCP"]
BALANCE: Final = frontend(4, "TCP", Frontend("balance"))
BUCKETS: Final = 10
"""Of each group."""

_VIP: Final = int(IPv4Address("10.96.1.0"))
_POD: Final = int(IPv4Address("10.200.0.0"))
_PORT: Final = 80
_POD_PORT: Final = 8080
_TIMEOUT: Final = 10800


@dataclass(frozen=True)
class Services:
    """Columns of Services of ten endpoints each.

    Attributes
    ----------
    vips, groups, ports
        A row for each Service.
    offsets
        Whose endpoints are whose.
    ips, slots, endpoint_ports, timeouts, groups_of_endpoints
        A row for each endpoint.
    """

    vips: NDArray[np.uint32]
    groups: NDArray[np.uint32]
    ports: NDArray[np.uint16]
    offsets: NDArray[np.uint64]
    ips: NDArray[np.uint32]
    slots: NDArray[np.uint32]
    endpoint_ports: NDArray[np.uint16]
    timeouts: NDArray[np.uint16]
    groups_of_endpoints: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.vips)

    def stamp_balance(self) -> Stamped:
        """ServiceLB's flow of each Service."""
        return BALANCE.stamp(vip=self.vips, port=self.ports, group=self.groups)

    def stamp_endpoints(self) -> Stamped:
        """EndpointDNAT's flow of each endpoint: learn, ct, NAT."""
        return TCP.endpoint.stamp(
            slot=self.slots,
            group=self.groups_of_endpoints,
            timeout=self.timeouts,
            cookie=LEARNED_COOKIE,
            ip=self.ips,
            endpoint_port=self.endpoint_ports,
        )

    def stamp_groups(self) -> Stamped:
        """The group of each Service."""
        return TCP.group.stamp_groups(
            self.offsets,
            group=self.groups,
            slot=self.slots,
            ip=self.ips,
            endpoint_port=self.endpoint_ports,
        )

    def messages(self) -> tuple[bytes, NDArray[np.uint64]]:
        """Each Service's group and flow, and where they end."""
        rows = np.arange(len(self), dtype=np.uint32)
        return gather([(self.stamp_groups(), rows), (self.stamp_balance(), rows)], len(self))


@functools.cache
def services(n: int) -> Services:
    """Columns of 'n' Services."""
    rows = np.arange(n, dtype=np.uint32)
    ends = np.arange(n * BUCKETS, dtype=np.uint32)
    groups = GROUP_FIRST + rows
    return Services(
        vips=_VIP + rows,
        groups=groups,
        ports=np.full(n, _PORT, np.uint16),
        offsets=np.arange(n + 1, dtype=np.uint64) * BUCKETS,
        ips=_POD + ends,
        slots=ends % BUCKETS + 1,
        endpoint_ports=np.full(n * BUCKETS, _POD_PORT, np.uint16),
        timeouts=np.full(n * BUCKETS, _TIMEOUT, np.uint16),
        groups_of_endpoints=np.repeat(groups, BUCKETS),
    )


def texts(numbers: NDArray[np.uint32]) -> list[str]:
    """IPv4 addresses as Python programs have them."""
    return [str(IPv4Address(int(number))) for number in numbers]
