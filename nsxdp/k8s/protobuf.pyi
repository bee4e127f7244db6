import builtins
from typing import Generic, Literal, TypeVar

from msgspec import Struct
from typing_extensions import Buffer

__all__ = ["Field", "Message", "WireError", "is_protobuf", "unwrap"]

_S = TypeVar("_S", bound=Struct)

class WireError(ValueError):
    path: str
    def __init__(self, text: str) -> None: ...

def is_protobuf(body: bytes) -> bool: ...
def unwrap(body: bytes) -> memoryview: ...

class Field:
    def __init__(
        self,
        number: int,
        kind: Literal[
            "text",
            "texts",
            "text map",
            "message",
            "messages",
            "time",
            "boolean",
            "number",
            "port",
        ],
        message: Message[Struct] | None = None,
    ) -> None: ...

class Message(Generic[_S]):
    @property
    def type(self) -> builtins.type[_S]: ...
    def __init__(self, type: builtins.type[_S], /, **fields: Field) -> None: ...
    def read(self, data: Buffer) -> _S: ...
    def read_list(
        self, data: Buffer, start: int = 0, limit: int = -1
    ) -> tuple[list[_S], list[tuple[bytes, WireError]], int]: ...
