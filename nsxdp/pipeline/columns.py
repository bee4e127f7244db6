"""Addresses as the columns that templates take."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

import numpy as np
from numpy.typing import NDArray

from nsxdp.pipeline.service import Family

__all__ = ["Address", "family_of", "ips", "mac", "macs", "packed_ips"]

Address = IPv4Address | IPv6Address
"""Of either family."""


def family_of(address: Address) -> Family:
    """The IP version of an address."""
    return 4 if isinstance(address, IPv4Address) else 6


def mac(text: str) -> bytes:
    """A MAC address with its colons, as one value for all rows."""
    return bytes.fromhex(text.replace(":", ""))


def macs(texts: Iterable[str]) -> NDArray[np.uint8]:
    """MAC addresses, each with its colons; shape (n, 6)."""
    packed = b"".join(map(mac, texts))
    return np.frombuffer(packed, np.uint8).reshape(-1, 6)


def ips(addresses: Iterable[Address]) -> NDArray[np.uint32] | NDArray[np.uint8]:
    """Addresses of one family, and at least one: as `packed_ips`."""
    listed = list(addresses)
    return packed_ips(family_of(listed[0]), b"".join(address.packed for address in listed))


def packed_ips(family: int, packed: bytes) -> NDArray[np.uint32] | NDArray[np.uint8]:
    """Addresses of one family, one after the other as packets have them.

    Shape (n,), numbers, of IPv4 ones; (n, 16), bytes, of IPv6 ones.
    """
    if family == 4:
        return np.frombuffer(packed, ">u4").astype(np.uint32)
    return np.frombuffer(packed, np.uint8).reshape(-1, 16)
