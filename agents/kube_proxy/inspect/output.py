"""How the commands show counts and objects."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["counts", "show_json"]


def counts(packets: int | None, bytes_: int | None = None) -> str:
    """Counts in words; None: the switch doesn't know."""
    if packets is None:
        return "packets unknown"
    text = f"{packets:,} packet{'' if packets == 1 else 's'}"
    return text if bytes_ is None else f"{text}, {bytes_:,} bytes"


def show_json(obj: dict[str, Any]) -> None:
    """Print an object, on a line of its own."""
    print(json.dumps(obj))
