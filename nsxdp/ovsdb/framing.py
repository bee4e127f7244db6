"""Where one JSON object ends and the next begins, in a stream that says nothing about it.

JSON-RPC over a stream has no lengths and no delimiters: an object ends where the depth of braces
outside of strings is back to zero.  numpy finds quotes and braces, so that nothing here walks over
bytes one by one, and each byte is looked at once however the stream is cut.
"""

from __future__ import annotations

import re

import numpy as np

from nsxdp.ovsdb.errors import ProtocolError

__all__ = ["MAX_MESSAGE", "Framer"]

MAX_MESSAGE = 256 << 20
"""Bytes of the largest message that is accepted unless said otherwise."""

_SPACE = b" \t\r\n"
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_QUOTE, _OPEN, _CLOSE = b'"{}'
_MIDDLE = (_OPEN + _CLOSE) // 2
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
        self._in_string = 0
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
        for end in self._ends(data):
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

    def _ends(self, data: bytes) -> list[int]:
        """Offsets in 'data' just after each object's last brace; remembers how 'data' ended."""
        if self._escaped or b"\\" in data:
            data = self._mask(data)
        octets = np.frombuffer(data, np.uint8)
        quotes = np.flatnonzero(octets == _QUOTE)
        braces = np.flatnonzero((octets == _OPEN) | (octets == _CLOSE))
        outside = (np.searchsorted(quotes, braces) & 1) == self._in_string
        braces = braces[outside]
        self._in_string = (self._in_string + len(quotes)) & 1
        if not len(braces):
            return []
        depth = np.cumsum(_MIDDLE - octets[braces].astype(np.int32)) + self._depth
        self._depth = int(depth[-1])
        ends: list[int] = (braces[depth == 0] + 1).tolist()
        return ends

    def _mask(self, data: bytes) -> bytes:
        """'data' with every escape in it, such as backslash and quote, made harmless."""
        if self._escaped:
            data = b"_" + data[1:]
        data = _ESCAPE.sub(b"__", data)
        self._escaped = data.endswith(b"\\")
        return data
