"""Networks of rules: prefixes, and what is left of one without others."""

from __future__ import annotations

from collections.abc import Iterable

from nsxdp.k8s.defaults import parse_ip

__all__ = ["Network", "parse_network", "without"]

Network = tuple[bytes, int]
"""A prefix: its address, packed, without host bits, and how many bits it has."""


def parse_network(text: str) -> Network | None:
    r"""A prefix as the API has it; None: it is none.

    Examples
    --------
    >>> from nsxdp.policy.networks import parse_network
    >>> parse_network("10.1.2.3/16"), parse_network("10.0.0.0")
    ((b'\n\x01\x00\x00', 16), None)
    """
    address, slash, length_text = text.strip().partition("/")
    ip = parse_ip(address)
    if ip is None or not slash or not (length_text.isascii() and length_text.isdigit()):
        return None
    length = int(length_text[:4])
    if length > ip.max_prefixlen:
        return None
    return _network(int.from_bytes(ip.packed), length, ip.max_prefixlen)


def without(network: Network, others: Iterable[Network]) -> list[Network]:
    r"""What is left of 'network' without 'others': as few prefixes as that can be made of.

    Those that aren't in it, and those that are of another family, take nothing away.

    Examples
    --------
    >>> from nsxdp.policy.networks import parse_network, without
    >>> without(parse_network("10.0.0.0/30"), [parse_network("10.0.0.1/32")])
    [(b'\n\x00\x00\x00', 32), (b'\n\x00\x00\x02', 31)]
    """
    left = [network]
    for other in sorted(set(others), key=lambda other: other[1]):
        left = [piece for whole in left for piece in _cut(whole, other)]
    return sorted(left)


def _cut(network: Network, other: Network) -> list[Network]:
    """'network' without 'other': from the outside in, the halves that 'other' isn't in."""
    width = 8 * len(network[0])
    if len(network[0]) != len(other[0]):
        return [network]
    length, at = network[1], int.from_bytes(other[0])
    shared = min(length, other[1])
    if shared and (int.from_bytes(network[0]) ^ at) >> width - shared:
        return [network]
    return [
        _network(at ^ 1 << width - bits, bits, width) for bits in range(length + 1, other[1] + 1)
    ]


def _network(address: int, length: int, width: int) -> Network:
    return (address >> width - length << width - length).to_bytes(width // 8), length
