"""At which of its addresses a node serves node ports (KP-36)."""

from collections.abc import Iterable

from nsxdp.services.addresses import Family, is_in, parse_prefix

__all__ = ["contains_loopback", "node_port_addresses"]

_LOOPBACK = (bytes([127, 0, 0, 0]), 8)


def node_port_addresses(
    cidrs: Iterable[str], addresses: Iterable[bytes], family: Family
) -> frozenset[bytes]:
    """Those of the node's ``addresses`` of a family that ``cidrs`` select; without any: all.

    Addresses are packed.

    Examples
    --------
    >>> from nsxdp.services.addresses import Family
    >>> from nsxdp.services.nodeports import node_port_addresses
    >>> own = [bytes([192, 0, 2, 7]), bytes([10, 0, 0, 7])]
    >>> [tuple(ip) for ip in node_port_addresses(["10.0.0.0/8"], own, Family.IPV4)]
    [(10, 0, 0, 7)]
    """
    prefixes = [prefix for prefix in map(parse_prefix, cidrs) if prefix]
    prefixes = [prefix for prefix in prefixes if len(prefix[0]) == family.width]
    own = frozenset(address for address in addresses if len(address) == family.width)
    if not prefixes:
        return own
    return frozenset(a for a in own if any(is_in(a, prefix) for prefix in prefixes))


def contains_loopback(cidrs: Iterable[str]) -> bool:
    """Whether ``cidrs`` select any of 127.0.0.0/8; without any, they do.

    Examples
    --------
    >>> from nsxdp.services.nodeports import contains_loopback
    >>> contains_loopback(["192.0.2.0/24"]), contains_loopback(["64.0.0.0/2"])
    (False, True)
    """
    prefixes = [prefix for prefix in map(parse_prefix, cidrs) if prefix]
    if not prefixes:
        return True
    loopback, _ = _LOOPBACK
    return any(is_in(loopback, prefix) or is_in(prefix[0], _LOOPBACK) for prefix in prefixes)
