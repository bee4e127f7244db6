"""Addresses and prefixes: text as Kubernetes's users wrote it, bytes as packets carry it.

Kubernetes accepts what Go's parser accepted before Go 1.17: an octet of an IPv4 address may have
leading zeros, and is decimal all the same. Stored objects still have such addresses
(kubernetes/kubernetes#100895), so they must keep working and must be read as decimal: ``inet_aton``
would take them for octal.
"""

from enum import IntEnum
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

__all__ = ["Family", "format_address", "format_endpoint", "is_in", "parse_address", "parse_prefix"]

_MAPPED = bytes(10) + b"\xff\xff"


class Family(IntEnum):
    """An IP family. The value is the version number in the packet's header."""

    IPV4 = 4
    IPV6 = 6

    @property
    def label(self) -> str:
        """Kubernetes's word: ``IPv4``, ``IPv6``."""
        return "IPv4" if self is Family.IPV4 else "IPv6"

    @property
    def width(self) -> int:
        """Bytes of an address."""
        return 4 if self is Family.IPV4 else 16

    @classmethod
    def of(cls, packed: bytes) -> "Family":
        """The family of a packed address."""
        return _FAMILIES[len(packed)]


_FAMILIES = {family.width: family for family in Family}


def parse_address(text: str) -> bytes | None:
    """Parse 'text', an IPv4 or IPv6 address, as Kubernetes does.

    Returns
    -------
    bytes or None
        4 or 16 bytes, or None if this is no address. An IPv4 address in its IPv6-mapped form
        (``::ffff:192.0.2.1``) is an IPv4 address.

    Examples
    --------
    >>> from nsxdp.services.addresses import format_address, parse_address
    >>> format_address(parse_address("010.000.0.1"))
    '10.0.0.1'
    """
    try:
        return inet_pton(AF_INET, text)
    except OSError:
        pass
    except (UnicodeError, ValueError):
        return None
    if ":" not in text:
        return _parse_sloppy_ipv4(text)
    if "." in text:
        # The last 32 bits may be written as an IPv4 address, which may be a sloppy one too.
        head, _, tail = text.rpartition(":")
        embedded = _parse_sloppy_ipv4(tail)
        if embedded is None:
            return None
        text = f"{head}:{inet_ntop(AF_INET, embedded)}"
    try:
        packed = inet_pton(AF_INET6, text)
    except (OSError, UnicodeError, ValueError):
        return None
    return packed[12:] if packed.startswith(_MAPPED) else packed


def _parse_sloppy_ipv4(text: str) -> bytes | None:
    octets = text.split(".")
    if len(octets) != 4:
        return None
    values = []
    for octet in octets:
        # str.isdigit() alone lets other scripts' digits through; the bound keeps int() cheap.
        if not (octet.isascii() and octet.isdigit() and len(octet) <= 16):
            return None
        value = int(octet)
        if value > 255:
            return None
        values.append(value)
    return bytes(values)


def parse_prefix(text: str) -> tuple[bytes, int] | None:
    """Parse 'text' (``192.0.2.0/24``, blanks around it allowed), as Kubernetes does.

    Returns
    -------
    (bytes, int) or None
        The network's packed address, host bits cleared, and the prefix length; None if this is
        none.
    """
    address, slash, length_text = text.strip().partition("/")
    packed = parse_address(address)
    if packed is None or not slash:
        return None
    if not (length_text.isascii() and length_text.isdigit() and len(length_text) <= 3):
        return None
    length = int(length_text)
    bits = 8 * len(packed)
    if ":" in address and len(packed) == 4:
        length -= 96  # an IPv4-mapped prefix counts the 96 bits of the mapping
    if not 0 <= length <= bits:
        return None
    mask = ((1 << length) - 1) << (bits - length)
    return (int.from_bytes(packed) & mask).to_bytes(len(packed)), length


def is_in(packed: bytes, prefix: tuple[bytes, int]) -> bool:
    """Whether an address is in a prefix, as `parse_prefix` gives it."""
    network, length = prefix
    bits = 8 * len(network)
    if len(packed) != len(network):
        return False
    return int.from_bytes(packed) >> bits - length == int.from_bytes(network) >> bits - length


@lru_cache(maxsize=1024)
def format_address(packed: bytes) -> str:
    """The canonical text of a packed address (RFC 5952)."""
    return inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)


def format_endpoint(packed: bytes, port: int) -> str:
    """``10.0.0.1:80`` or ``[2001:db8::1]:80``."""
    text = format_address(packed)
    return f"{text}:{port}" if len(packed) == 4 else f"[{text}]:{port}"
