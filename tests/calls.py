"""What work costs, in calls of Python's and C's functions: the same on every machine."""

from __future__ import annotations

import gc
import sys
from types import FrameType

__all__ = ["Calls"]


class Calls:
    """Counts the calls of what is done in its context.

    Attributes
    ----------
    number
        How many there were.
    """

    def __init__(self) -> None:
        self.number = 0

    def __enter__(self) -> Calls:
        gc.disable()  # whose callbacks would be counted too
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        gc.enable()

    def _count(self, _frame: FrameType, event: str, _argument: object) -> None:
        self.number += event in ("call", "c_call")
