"""The union of the endpoints that slices have for one Service port (KP-7)."""

from collections.abc import Sequence
from sys import byteorder

import numpy as np
from numpy.typing import NDArray

from nsxdp.services.addresses import Family
from nsxdp.services.model import TERMINATING, Endpoints
from nsxdp.services.slices import Slice

__all__ = ["join"]


def join(family: Family, pieces: Sequence[tuple[Slice, int]], zone: str) -> Endpoints:
    """All endpoints of 'pieces', as seen from the zone 'zone'.

    A piece is a slice with the number that the Service port has there. An endpoint that moves from
    one slice to another is in both for a while, and a new pod may have the address of one that is
    still terminating. Of endpoints with the same address and port, one that isn't terminating
    counts before one that is, then a ready one, a serving one, a local one: a rule that gives the
    same answer whichever slice came first.
    """
    if len(pieces) == 1 and pieces[0][0].unique:
        piece, port = pieces[0]
        packed_flags = _flags(piece, zone)
        packed_ports = port.to_bytes(2, byteorder) * len(packed_flags)
        return Endpoints(family, piece.addresses, packed_ports, packed_flags)
    if not pieces:
        return Endpoints(family)
    flat = np.frombuffer(b"".join([piece.addresses for piece, _ in pieces]), np.uint8)
    addresses = flat.reshape(-1, family.width)
    counts = [len(piece.flags) for piece, _ in pieces]
    ports = np.repeat(np.array([port for _, port in pieces], np.uint16), counts)
    flags = np.frombuffer(b"".join([_flags(piece, zone) for piece, _ in pieces]), np.uint8)
    rows = _best_rows(addresses, ports, flags)
    return Endpoints(
        family, addresses[rows].tobytes(), ports[rows].tobytes(), flags[rows].tobytes()
    )


def _flags(piece: Slice, zone: str) -> bytes:
    mask = piece.zones.get(zone) if piece.zones is not None else None
    if mask is None:
        return piece.flags
    both = int.from_bytes(piece.flags) | int.from_bytes(mask)
    return both.to_bytes(len(mask))


def _best_rows(
    addresses: NDArray[np.uint8], ports: NDArray[np.uint16], flags: NDArray[np.uint8]
) -> NDArray[np.intp]:
    """The row of the best endpoint of each address and port, in their order."""
    # Smaller is better: the four conditions in the order of their weight, then, for a choice that
    # depends on nothing else, the hints.
    conditions = (flags & 0x0F) ^ TERMINATING
    rank = 0xFF - ((conditions << 4) | (flags >> 4))
    words = addresses.view(">u4").astype(np.uint64)
    if words.shape[1] == 1:
        key = (words[:, 0] << np.uint64(16)) | ports
        order = np.argsort((key << np.uint64(8)) | rank, kind="stable")
        keys = key[order, np.newaxis]
    else:
        high = (words[:, 0] << np.uint64(32)) | words[:, 1]
        low = (words[:, 2] << np.uint64(32)) | words[:, 3]
        order = np.lexsort((rank, ports, low, high))
        keys = np.column_stack((high, low, ports))[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    return order[first]
