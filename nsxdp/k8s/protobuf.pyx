"""Kubernetes's protobuf -> typed objects.

An API server writes a long list so in a third of the time that it needs for JSON. What a message
holds is declared in `nsxdp.k8s.schemas`; here its bytes are read, every length checked. Fields that
aren't declared are skipped; where one that is there once comes again, the last counts.

Sources: protobuf.dev/programming-guides/encoding; the envelope: k8s.io/apimachinery, pkg/runtime,
generated.proto (Unknown).
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeUTF8

from datetime import UTC, datetime
from functools import lru_cache

__all__ = ["Field", "Message", "WireError", "is_protobuf", "unwrap"]

cdef extern from "Python.h":
    ctypedef struct PyListObject:
        PyObject **ob_item
    object PyObject_Vectorcall(object, PyObject **, size_t, PyObject *)

cdef bytes _MAGIC = b"k8s\x00"

cdef enum Wire:
    VARINT, FIXED64, LENGTH, GROUP, GROUP_END, FIXED32

cdef enum Kind:
    TEXT, TEXTS, TEXT_MAP, MESSAGE, MESSAGES, TIME, BOOLEAN, NUMBER, PORT

_KINDS = {
    "text": TEXT,
    "texts": TEXTS,
    "text map": TEXT_MAP,
    "message": MESSAGE,
    "messages": MESSAGES,
    "time": TIME,
    "boolean": BOOLEAN,
    "number": NUMBER,
    "port": PORT,
}

cdef struct Span:
    const uint8_t *at
    const uint8_t *end

# Bytes of a message that is compared with the one before: of conditions, or of a port.
cdef enum:
    SHORT = 24


class WireError(ValueError):
    """Bytes that are no such message.

    Attributes
    ----------
    path
        Where in the message: ``$.spec.ports``.
    """

    def __init__(self, text):
        super().__init__(text)
        self.path = "$"


def is_protobuf(bytes body not None):
    """Whether an API server's answer is protobuf, by its first bytes."""
    return body.startswith(_MAGIC)


def unwrap(bytes body not None):
    """The message in the envelope that an API server puts around what it says in protobuf: a view.

    Raises
    ------
    WireError
        There is no such envelope.
    """
    cdef Span span, message
    cdef uint64_t tag
    cdef Py_ssize_t start
    if not is_protobuf(body):
        raise WireError("it doesn't begin as Kubernetes's protobuf does")
    span.at = <const uint8_t *> PyBytes_AS_STRING(body) + len(_MAGIC)
    span.end = span.at + PyBytes_GET_SIZE(body) - len(_MAGIC)
    message.at = message.end = span.at
    while span.at < span.end:
        tag = _number(&span)
        if tag == (2 << 3 | LENGTH):
            message = _part(&span)
        else:
            _skip(&span, tag)
    start = message.at - <const uint8_t *> PyBytes_AS_STRING(body)
    return memoryview(body)[start:start + (message.end - message.at)]


cdef class Field:
    """A field of a message.

    Parameters
    ----------
    number
        Its number, below 64.
    kind
        ``text``, ``texts``, ``text map``, ``message``, ``messages``, ``time``, ``boolean``,
        ``number`` or ``port``: of these, *time* is read to RFC 3339, and a *port* is at most 65535.
    message
        What a *message* is, and what *messages* are.
    """

    cdef int number
    cdef Message message
    cdef Kind kind
    cdef Py_ssize_t index
    cdef str name

    def __init__(self, int number, str kind, Message message=None):
        self.number = number
        self.kind = _KINDS[kind]
        self.message = message


cdef class Message:
    """A kind of message, and the type that its objects have.

    Parameters
    ----------
    type
        A msgspec.Struct that is frozen, and all of whose fields have defaults. Short messages that
        are the same one after the other become one object.
    fields
        Those of its attributes that a message can hold.

    Attributes
    ----------
    type
        As given.
    """

    cdef readonly object type
    cdef tuple _defaults
    cdef list _fields
    cdef uint8_t _last[SHORT]
    cdef ptrdiff_t _last_size
    cdef object _last_object

    def __init__(self, type, /, **fields):
        cdef Field field
        names = type.__struct_fields__
        self.type = type
        self._defaults = type.__struct_defaults__
        self._fields = [None] * 64
        self._last_size = -1
        for name, field in fields.items():
            field.index = names.index(name)
            field.name = type.__struct_encode_fields__[field.index]
            self._fields[field.number] = field

    def read(self, const uint8_t[::1] data not None):
        """The object that these bytes are.

        Raises
        ------
        WireError
            They aren't such a message.
        """
        return self._read(_span(data))

    def read_list(self, const uint8_t[::1] data not None, Py_ssize_t start=0, Py_ssize_t limit=-1):
        """Objects of the list that these bytes are: (objects, what can't be read, where the next is).

        What can't be read: each the bytes of an object, and the WireError for them.

        Parameters
        ----------
        start
            Where in the bytes to begin.
        limit
            So many objects at most; negative: all.

        Raises
        ------
        WireError
            They aren't a list at all.
        """
        cdef Span span = _span(data), inner
        cdef const uint8_t *begin = span.at
        cdef uint64_t tag
        cdef list objects = [], errors = []
        if not 0 <= start <= span.end - span.at:
            raise ValueError(f"{start} is not within {span.end - span.at} bytes")
        span.at += start
        while span.at < span.end and limit:
            tag = _number(&span)
            if tag != (2 << 3 | LENGTH):
                _skip(&span, tag)
                continue
            inner = _part(&span)
            limit -= 1
            try:
                objects.append(self._read(inner))
            except WireError as error:
                errors.append((inner.at[:inner.end - inner.at], error))
        return objects, errors, span.at - begin

    cdef object _read(self, Span span):
        cdef ptrdiff_t size = span.end - span.at
        if size > SHORT:
            return self._read_anew(span)
        if size != self._last_size or memcmp(self._last, span.at, size):
            self._last_object = self._read_anew(span)
            memcpy(self._last, span.at, size)
            self._last_size = size
        return self._last_object

    cdef object _read_anew(self, Span span):
        cdef list values = list(self._defaults)
        cdef uint64_t tag, lists = 0
        cdef Field field
        cdef Py_ssize_t i, n_fields = len(self._fields)
        while span.at < span.end:
            tag = _number(&span)
            field = None
            if tag >> 3 < <uint64_t> n_fields:
                field = self._fields[<Py_ssize_t> (tag >> 3)]
            if field is None:
                _skip(&span, tag)
                continue
            i = field.index
            try:
                if tag & 7 != (LENGTH if field.kind <= TIME else VARINT):
                    raise WireError(f"a field of wire type {tag & 7}")
                if field.kind == TEXT:
                    values[i] = _text(_part(&span))
                elif field.kind == MESSAGE:
                    values[i] = field.message._read(_part(&span))
                elif field.kind == BOOLEAN:
                    values[i] = _number(&span) != 0
                elif field.kind == NUMBER:
                    values[i] = <int64_t> _number(&span)
                elif field.kind == PORT:
                    values[i] = _port(_number(&span))
                elif field.kind == TIME:
                    values[i] = _time(_part(&span))
                else:
                    if not lists >> i & 1:
                        lists |= <uint64_t> 1 << i
                        values[i] = {} if field.kind == TEXT_MAP else []
                    if field.kind == TEXTS:
                        (<list> values[i]).append(_text(_part(&span)))
                    elif field.kind == MESSAGES:
                        (<list> values[i]).append(field.message._read(_part(&span)))
                    else:
                        _entry(_part(&span), values[i])
            except WireError as error:
                error.path = f"$.{field.name}{error.path[1:]}"
                raise
        i = 0
        while lists:
            if lists & 1 and type(values[i]) is list:
                values[i] = tuple(<list> values[i])
            lists >>= 1
            i += 1
        return PyObject_Vectorcall(
            self.type, (<PyListObject *> <PyObject *> values).ob_item, len(values), NULL
        )


cdef Span _span(const uint8_t[::1] data):
    cdef Span span
    span.at = &data[0] if data.shape[0] else NULL
    span.end = span.at + data.shape[0]
    return span


cdef uint64_t _number(Span *span) except? 0:
    """The next number: seven bits a byte, the lowest first."""
    cdef uint64_t number = 0
    cdef int shift = 0
    cdef uint8_t octet
    while shift < 64:
        if span.at == span.end:
            raise WireError("the message is cut off within a number")
        octet = span.at[0]
        span.at += 1
        number |= <uint64_t> (octet & 0x7F) << shift
        if octet < 0x80:
            return number
        shift += 7
    raise WireError("a number of more than 64 bits")


cdef Span _part(Span *span) except *:
    """The next bytes that their length stands before."""
    cdef uint64_t size = _number(span)
    cdef Span part
    if size > <uint64_t> (span.end - span.at):
        raise WireError(f"{size} bytes are said to follow, there are {span.end - span.at}")
    part.at = span.at
    part.end = span.at = span.at + size
    return part


cdef int _skip(Span *span, uint64_t tag) except -1:
    """Go on behind a field that nobody asked for."""
    cdef uint64_t wire = tag & 7
    cdef ptrdiff_t size
    if wire == VARINT:
        _number(span)
    elif wire == LENGTH:
        _part(span)
    elif wire == FIXED64 or wire == FIXED32:
        size = 8 if wire == FIXED64 else 4
        if span.end - span.at < size:
            raise WireError("the message is cut off within a field")
        span.at += size
    else:
        raise WireError(f"a field of wire type {wire}")
    return 0


cdef str _text(Span span):
    try:
        return PyUnicode_DecodeUTF8(<const char *> span.at, span.end - span.at, NULL)
    except UnicodeDecodeError as error:
        raise WireError(f"text that isn't UTF-8: {error.reason}") from None


cdef object _port(uint64_t number):
    if number > 65535:
        raise WireError(f"{<int64_t> number} is no port number")
    return number


cdef int _entry(Span span, dict into) except -1:
    """An entry of a map of texts."""
    cdef str key = "", value = ""
    cdef uint64_t tag
    while span.at < span.end:
        tag = _number(&span)
        if tag == (1 << 3 | LENGTH):
            key = _text(_part(&span))
        elif tag == (2 << 3 | LENGTH):
            value = _text(_part(&span))
        else:
            _skip(&span, tag)
    into[key] = value
    return 0


cdef object _time(Span span):
    """A time, of which the API's JSON has the seconds."""
    cdef uint64_t tag
    cdef int64_t seconds = 0
    while span.at < span.end:
        tag = _number(&span)
        if tag == (1 << 3 | VARINT):
            seconds = <int64_t> _number(&span)
        else:
            _skip(&span, tag)
    return _rfc3339(seconds)


@lru_cache(4096)
def _rfc3339(seconds):
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (OverflowError, ValueError, OSError):
        raise WireError(f"{seconds} seconds are no time") from None
