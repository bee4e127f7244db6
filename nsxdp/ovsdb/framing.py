"""Where one JSON object ends and the next begins, in a stream that says nothing about it.

JSON-RPC over a stream has no lengths and no delimiters: an object ends where the depth of braces
outside of strings is back to zero.  Each byte is looked at once however the stream is cut.
"""

from __future__ import annotations

from nsxdp.ovsdb.errors import ProtocolError
from nsxdp.ovsdb.reader import scan

__all__ = ["MAX_MESSAGE", "Framer"]

MAX_MESSAGE = 256 << 20
"""Bytes of the largest message that is accepted unless said otherwise."""

_SPACE = b" \t\r\n"
_OPEN = ord("{")
_SHOWN = 40


class Framer:
    """Cuts a byte stream into JSON objects.

    Parameters
    ----------
    max_message
        Bytes of the largest message that is accepted.
    """

    __slots__ = ("_chunks", "_depth", "_escaped", "_in_string", "_size", "max_message")

    def __init__(self, max_message: int = MAX_MESSAGE) -> None:
        self.max_message = max_message
        self._chunks: list[bytes] = []
        self._size = 0
        self._depth = 0
        self._in_string = False
        self._escaped = False

    @property
    def pending(self) -> int:
        """Bytes of the message that has begun and hasn't ended."""
        return self._size

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes of the stream; give the messages that they complete.

        Raises
        ------
        ProtocolError
            Something other than a JSON object, or a message of more than ``max_message`` bytes.
            The stream can't be used any further.
        """
        messages = []
        start = 0
        ends, self._depth, self._in_string, self._escaped = scan(
            data, self._depth, self._in_string, self._escaped
        )
        for end in ends:
            self._keep(data[start:end])
            messages.append(b"".join(self._chunks))
            self._chunks.clear()
            self._size = 0
            start = end
        self._keep(data[start:] if start else data)
        return messages

    def _keep(self, part: bytes) -> None:
        if not self._size:
            part = part.lstrip(_SPACE)
            if part and part[0] != _OPEN:
                raise ProtocolError(
                    f"the peer doesn't speak JSON-RPC: a message begins with {part[:_SHOWN]!r}"
                )
        if not part:
            return
        self._size += len(part)
        if self._size > self.max_message:
            raise ProtocolError(f"the peer sent a message of more than {self.max_message} bytes")
        self._chunks.append(part)
