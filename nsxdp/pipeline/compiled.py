"""What a compiler hands to the switch: each owner's messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsxdp.openflow import Stamped, gather

__all__ = ["Compiled", "Piece", "joined"]

Piece = tuple[Stamped, NDArray[np.unsignedinteger[Any]] | Sequence[int]]
"""Stamped messages, and for each of them the row of its owner."""


class Compiled:
    """The arguments of `DesiredSet.replace`: what some owners need from now on.

    Attributes
    ----------
    owners
        uint64, shape (n,).
    messages
        All messages, one owner's after the other's.
    ends
        uint64, shape (n,): where each owner's messages end.
    """

    __slots__ = ("ends", "messages", "owners")

    def __init__(self, owners: Sequence[int], pieces: Sequence[Piece]) -> None:
        """Order the messages of 'pieces' by owner; an owner without any needs nothing."""
        self.owners = np.array(owners, np.uint64)
        if len(owners) == 1:  # as after most changes: they are in order
            self.messages = b"".join([stamped for stamped, _ in pieces])
            self.ends = np.array([len(self.messages)], np.uint64)
            return
        self.messages, self.ends = gather(pieces, len(owners))


def joined(parts: Sequence[Compiled]) -> Compiled:
    """What the owners of all of 'parts' need, each of which is in one of them."""
    if len(parts) == 1:
        return parts[0]
    whole = Compiled((), ())
    whole.owners = np.concatenate([whole.owners, *(part.owners for part in parts)])
    whole.messages = b"".join([part.messages for part in parts])
    starts = np.cumsum([0, *(len(part.messages) for part in parts)]).astype(np.uint64)
    ends = (part.ends + start for part, start in zip(parts, starts, strict=False))
    whole.ends = np.concatenate([whole.ends, *ends])
    return whole
