from typing import Final

__all__ = ["MAX_MESSAGE", "Framer"]

MAX_MESSAGE: Final[int]

class Framer:
    max_message: int

    def __init__(self, max_message: int = ...) -> None: ...
    @property
    def pending(self) -> int: ...
    def feed(self, data: bytes) -> list[bytes | bytearray]: ...
