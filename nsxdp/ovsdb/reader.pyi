from collections.abc import Callable
from typing import Any

from nsxdp.ovsdb.row import Layout, Row
from nsxdp.ovsdb.schema import Uuid

class Decoder:
    many: bool
    optional: bool
    def __init__(self, key: str, value: str | None, many: bool, optional: bool) -> None: ...
    def __call__(self, text: Any) -> Any: ...

class RowReader:
    def __init__(
        self, layout: Layout, make: Callable[[Layout, Uuid, tuple[Any, ...]], Row]
    ) -> None: ...
    def stage(
        self, rows: dict[Uuid, Row], updates: Any, diffs: bool, snapshot: bool
    ) -> list[tuple[Uuid, Row | None, Row | None]]: ...

def scan(
    data: bytes, depth: int, in_string: bool, escaped: bool
) -> tuple[list[int], int, bool, bool]: ...
