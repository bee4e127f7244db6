from typing import Any

from nsxdp.ovsdb.schema import ColumnType

class Encoder:
    def __init__(self, where: str, kind: ColumnType) -> None: ...
    def __call__(self, value: Any) -> Any: ...
