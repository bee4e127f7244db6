"""An EndpointSlice, held as a few byte strings.

A hundred thousand endpoints are a hundred thousand rows here, not a hundred thousand objects: the
object of the API isn't kept.
"""

from collections.abc import Callable
from socket import AF_INET, AF_INET6, inet_pton
from sys import intern
from typing import Final, TypeVar, cast

from msgspec import Struct

from nsxdp.k8s import objects as k8s
from nsxdp.services.addresses import Family, parse_address
from nsxdp.services.model import (
    HINTED_NODE,
    HINTED_ZONE,
    LOCAL,
    NODE_HINTS,
    PROTOCOL_NUMBERS,
    READY,
    SERVING,
    TERMINATING,
    ZONE_HINTS,
)

__all__ = ["FAMILIES", "Slice", "compact"]

FAMILIES: Final = {"IPv4": Family.IPV4, "IPv6": Family.IPV6}
"""addressType of the slices that have endpoints for us -> family. FQDN is not ours (KP-5)."""

_TRI: Final = (None, False, True)

_CONDITIONS: Final = {
    (ready, serving, terminating): (
        (READY if ready is not False else 0)
        | (SERVING if serving is not False else 0)
        | (TERMINATING if terminating else 0)
    )
    for ready in _TRI
    for serving in _TRI
    for terminating in _TRI
}
"""(ready, serving, terminating) -> flags; unsaid: ready, serving, not terminating (KP-9)."""


class Slice(Struct, frozen=True, gc=False):
    """What an EndpointSlice says. Equal slices say the same, whatever the order they say it in.

    Attributes
    ----------
    service
        Key of the Service, ``namespace/name``.
    ports
        (name, protocol, number) of each usable port, sorted.
    addresses, flags
        A row of packed address, a byte of flags for each endpoint, sorted; without `HINTED_ZONE`.
    zones
        Zone -> a byte for each endpoint: `HINTED_ZONE` where a hint names that zone, else 0. None
        if no endpoint has hints for zones.
    unique
        Whether no address is there twice.
    """

    service: str
    family: Family
    ports: tuple[tuple[str, str, int], ...]
    addresses: bytes
    flags: bytes
    zones: dict[str, bytes] | None
    unique: bool


_Value = TypeVar("_Value")

_shared: dict[object, object] = {}
_MAX_SHARED: Final = 4096


def _share(value: _Value) -> _Value:
    """A value that is equal to 'value', once: thousands of slices have the same ports and flags."""
    if len(_shared) < _MAX_SHARED:
        return cast(_Value, _shared.setdefault(value, value))
    return cast(_Value, _shared.get(value, value))


def compact(
    source: k8s.EndpointSlice, service: str, node_name: str, problem: Callable[[str], None]
) -> Slice:
    """Read 'source', a slice of the Service 'service' (its key), as seen from the node 'node_name'.

    Endpoints without a usable address and ports without a name or number are left out, and
    'problem' is told why. Only an endpoint's first address counts (KP-6): all of its addresses lead
    to the same pod.
    """
    family = FAMILIES[source.address_type]
    address_family = AF_INET if family is Family.IPV4 else AF_INET6
    addresses: list[bytes] = []
    flags = bytearray()
    zones: list[list[str]] = []
    has_zones = False
    conditions = None
    usual = 0
    for endpoint in source.endpoints or ():
        if not endpoint.addresses:
            continue
        text = endpoint.addresses[0]
        try:
            packed = inet_pton(address_family, text)
        except (OSError, ValueError):
            sloppy = parse_address(text)
            if sloppy is None or len(sloppy) != family.width:
                problem(f"EndpointSlice {source.key}: {text!r} is no {family.label} address")
                continue
            packed = sloppy
        if endpoint.conditions is not conditions:  # the same, most times: then they are one object
            conditions = endpoint.conditions
            usual = _CONDITIONS[conditions.ready, conditions.serving, conditions.terminating]
        flag = usual
        if endpoint.node_name == node_name and node_name:
            flag |= LOCAL
        hints = endpoint.hints
        if hints is not None:
            if hints.for_nodes:
                flag |= NODE_HINTS
                if any(hint.name == node_name for hint in hints.for_nodes):
                    flag |= HINTED_NODE
            if hints.for_zones:
                flag |= ZONE_HINTS
                has_zones = True
                zones.extend([[]] * (len(addresses) - len(zones)))
                zones.append([hint.name for hint in hints.for_zones])
        addresses.append(packed)
        flags.append(flag)

    count = len(addresses)
    masks: dict[str, bytes] | None = None
    if has_zones:
        zones.extend([[]] * (count - len(zones)))
        rows = sorted(zip(addresses, flags, zones, strict=True))
        addresses = [row[0] for row in rows]
        flags = bytearray([row[1] for row in rows])
        masks = _zone_masks([row[2] for row in rows])
    elif count and flags.count(flags[0]) == count:
        addresses.sort()
    else:
        pairs = sorted(zip(addresses, flags, strict=True))
        addresses = [pair[0] for pair in pairs]
        flags = bytearray([pair[1] for pair in pairs])
    return Slice(
        service,
        family,
        _share(_usable_ports(source, problem)),
        b"".join(addresses),
        _share(bytes(flags)),
        masks,
        len(set(addresses)) == count,
    )


def _zone_masks(rows: list[list[str]]) -> dict[str, bytes]:
    masks: dict[str, bytearray] = {}
    for row, zones in enumerate(rows):
        for zone in zones:
            if zone not in masks:
                masks[zone] = bytearray(len(rows))
            masks[zone][row] = HINTED_ZONE
    return {intern(zone): bytes(masks[zone]) for zone in sorted(masks)}


def _usable_ports(
    source: k8s.EndpointSlice, problem: Callable[[str], None]
) -> tuple[tuple[str, str, int], ...]:
    ports = []
    for port in source.ports or ():
        protocol = port.protocol or "TCP"
        if port.name is None or not port.port or protocol not in PROTOCOL_NUMBERS:
            problem(
                f"EndpointSlice {source.key}: a port needs a name, a number and a known protocol, "
                f"not {port.name!r}, {port.port!r}, {protocol!r}"
            )
            continue
        ports.append((intern(port.name), intern(protocol), port.port))
    return tuple(sorted(set(ports))) if len(ports) > 1 else tuple(ports)
