"""Networks of rules: prefixes, and what is left of one without others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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


def without(network: Network, others: Iterable[Network]) -> Iterator[Network]:
    r"""What is left of 'network' without 'others': as few prefixes as that can be made of, sorted.

    Those that aren't in it, and those that are of another family, take nothing away.

    Examples
    --------
    >>> from nsxdp.policy.networks import parse_network, without
    >>> [*without(parse_network("10.0.0.0/30"), [parse_network("10.0.0.1/32")])]
    [(b'\n\x00\x00\x00', 32), (b'\n\x00\x00\x02', 31)]
    """
    width = 8 * len(network[0])
    at, end = _range(network)
    for first, last in sorted(_range(one) for one in others if len(one[0]) == len(network[0])):
        # One that is in another begins before that one ends, and takes nothing more away.
        yield from _prefixes(at, min(first, end), width)
        at = max(at, last)
    yield from _prefixes(at, end, width)


def _range(network: Network) -> tuple[int, int]:
    """A prefix's first address, and the one after its last."""
    address, length = network
    first = int.from_bytes(address)
    return first, first + (1 << 8 * len(address) - length)


def _prefixes(first: int, end: int, width: int) -> Iterator[Network]:
    """The addresses from 'first' to before 'end', in as few prefixes as they can be made of."""
    while first < end:
        # The largest prefix that begins here, and ends in the range.
        bits = min(
            (first & -first).bit_length() if first else width + 1, (end - first).bit_length()
        )
        yield _network(first, width - bits + 1, width)
        first += 1 << bits - 1


def _network(address: int, length: int, width: int) -> Network:
    return (address >> width - length << width - length).to_bytes(width // 8), length
