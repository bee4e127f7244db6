"""Where one JSON object ends and the next begins, in a stream that says nothing about it.

JSON-RPC over a stream has no lengths and no delimiters: an object ends where the depth of braces
outside of strings is back to zero.  Each byte is looked at once however the stream is cut.
"""

from nsxdp.ovsdb.errors import ProtocolError

__all__ = ["MAX_MESSAGE", "Framer"]

cdef extern from "stdbool.h":
    ctypedef bint c_bool "bool"

cdef extern from "nsxdp.h" nogil:
    struct nsx_json_scan:
        size_t depth
        c_bool in_string, escaped

    size_t nsx_json_scan_ "nsx_json_scan" (nsx_json_scan *, const void *, size_t, c_bool *)

MAX_MESSAGE = 256 << 20
"""Bytes of the largest message that is accepted unless said otherwise."""

cdef bytes _SPACE = b" \t\r\n"


cdef class Framer:
    """Cuts a byte stream into JSON objects.

    Parameters
    ----------
    max_message
        Bytes of the largest message that is accepted.
    """

    cdef readonly Py_ssize_t max_message
    cdef nsx_json_scan _scan
    cdef bytearray _begun

    def __init__(self, max_message=MAX_MESSAGE):
        self.max_message = max_message
        self._scan.depth = 0
        self._scan.in_string = self._scan.escaped = False
        self._begun = bytearray()

    @property
    def pending(self):
        """Bytes of the message that has begun and hasn't ended."""
        return len(self._begun)

    def feed(self, bytes data):
        """Take the next bytes of the stream; give the messages that they complete.

        Raises
        ------
        ProtocolError
            Something other than a JSON object, or a message of more than ``max_message`` bytes.
            The stream can't be used any further.
        """
        cdef list messages = []
        cdef const char *octets = data
        cdef Py_ssize_t start = 0, size = len(data)
        cdef size_t n
        cdef c_bool ended
        while start < size:
            n = nsx_json_scan_(&self._scan, octets + start, size - start, &ended)
            part = data[start:start + n] if <Py_ssize_t> n < size else data
            start += n
            if not self._begun:
                part = part.lstrip(_SPACE)
                if part and part[0] != c"{":
                    raise ProtocolError(
                        f"the peer doesn't speak JSON-RPC: a message begins with {part[:40]!r}"
                    )
            if len(self._begun) + len(part) > self.max_message:
                raise ProtocolError(
                    f"the peer sent a message of more than {self.max_message} bytes"
                )
            if not ended:
                self._begun += part
            elif self._begun:
                self._begun += part
                messages.append(self._begun)
                self._begun = bytearray()
            else:
                messages.append(part)
        return messages
