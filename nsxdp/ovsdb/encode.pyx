"""From values in Python to the JSON of OVSDB: compiled, as every value that is written goes here."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.string cimport memchr, strlen

from nsxdp.ovsdb.store cimport parse_uuid

import math
from collections.abc import Iterable, Mapping

import msgspec

from nsxdp.ovsdb.errors import SchemaError

cdef extern from "nsxdp.h":
    void nsx_json_put_string(nsx_buf *, const char *, size_t)

cdef enum:
    INTEGER
    REAL
    BOOLEAN
    STRING
    UUID

cdef dict _KINDS = {
    "integer": INTEGER,
    "real": REAL,
    "boolean": BOOLEAN,
    "string": STRING,
    "uuid": UUID,
}


cdef int put(nsx_buf *out, const char *text) except -1:
    nsx_buf_put(out, text, strlen(text))
    return 0


cdef int put_text(nsx_buf *out, str text) except -1:
    cdef Py_ssize_t size
    cdef const char *utf8
    try:
        utf8 = PyUnicode_AsUTF8AndSize(text, &size)
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} has half of a surrogate pair") from None
    if memchr(utf8, 0, size) is not NULL:
        raise ValueError(f"{text!r} has a null character, which OVSDB can't hold")
    nsx_json_put_string(out, utf8, size)
    return 0


cdef class Atom:
    """Writes one atom.

    Parameters
    ----------
    base
        A `BaseType`: what the atom may be.
    """

    def __init__(self, base):
        self.base = base
        self.kind = _KINDS[base.type]
        self.bounded = bool(base.enum) or base.minimum is not None or base.maximum is not None

    cdef int write(self, nsx_buf *out, value) except -1:
        if self.kind == STRING:
            if not isinstance(value, str):
                raise ValueError(f"{value!r} is no string")
            put_text(out, value)
        elif self.kind == UUID:
            _put_uuid(out, value)
        elif self.kind == BOOLEAN:
            if not isinstance(value, bool):
                raise ValueError(f"{value!r} is no boolean")
            put(out, b"true" if value else b"false")
        else:
            _put_number(out, value, self.kind == REAL)
        if self.bounded:
            self.check_bounds(value)
        return 0

    cdef int check_bounds(self, value) except -1:
        base = self.base
        if base.enum and value not in base.enum:
            allowed = ", ".join(sorted(map(str, base.enum)))
            raise ValueError(f"{value!r} is none of: {allowed}")
        if self.kind == BOOLEAN:
            return 0
        size = len(value) if self.kind == STRING else value
        what = " characters" if self.kind == STRING else ""
        if base.minimum is not None and size < base.minimum:
            raise ValueError(f"{value!r} is below the minimum of {base.minimum}{what}")
        if base.maximum is not None and size > base.maximum:
            raise ValueError(f"{value!r} is above the maximum of {base.maximum}{what}")
        return 0


cdef int _put_number(nsx_buf *out, value, bint real) except -1:
    if isinstance(value, bool) or not isinstance(value, (int, float) if real else int):
        raise ValueError(f"{value!r} is no {'real' if real else 'integer'}")
    if real:
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise ValueError(f"{value!r} has no JSON")
    elif not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{value!r} doesn't fit into 64 bits")
    return put(out, b"%a" % (value if real else int(value)))


cdef int _put_uuid(nsx_buf *out, value) except -1:
    cdef uint8_t octets[16]
    uuid = value if isinstance(value, str) else getattr(value, "uuid", None)
    if parse_uuid(uuid, octets):
        put(out, b'["uuid",')
        put_text(out, uuid)
    else:
        name = getattr(value, "uuid_name", None)
        if not isinstance(name, str):
            raise ValueError(f"{value!r} is no UUID")
        put(out, b'["named-uuid",')
        put_text(out, name)
    return put(out, b"]")


cdef class Encoder:
    """Writes a column's values.  Calling it gives a value's JSON, as what `json` reads; it raises
    SchemaError where the value doesn't fit.

    Parameters
    ----------
    where
        The column, as an error shall name it.
    kind
        The `ColumnType` of the values, which needn't be the column's own.
    """

    def __init__(self, where, kind):
        self.where = where
        self.key = Atom(kind.key)
        self.value = None if kind.value is None else Atom(kind.value)
        self.minimum = kind.min
        self.maximum = kind.max

    def __call__(self, value):
        cdef nsx_buf out
        nsx_buf_init(&out)
        try:
            self.write(&out, value)
            text = PyBytes_FromStringAndSize(<const char *> out.data, out.size)
        finally:
            nsx_buf_uninit(&out)
        return msgspec.json.decode(text)

    cdef int write(self, nsx_buf *out, value) except -1:
        try:
            if self.value is not None:
                self.write_map(out, value)
            elif self.maximum != 1:
                self.write_set(out, value)
            elif value is not None:
                self.key.write(out, value)
            else:
                self.check_size(0)
                put(out, b'["set",[]]')
        except ValueError as error:
            raise SchemaError(f"{self.where}: {error}") from None
        return 0

    cdef int write_map(self, nsx_buf *out, pairs) except -1:
        cdef bint first = True
        if type(pairs) is not dict and not isinstance(pairs, Mapping):
            raise ValueError(f"{pairs!r} is no map")
        self.check_size(len(pairs))
        put(out, b'["map",[')
        for key in pairs:
            put(out, b"[" if first else b",[")
            first = False
            self.key.write(out, key)
            put(out, b",")
            self.value.write(out, pairs[key])
            put(out, b"]")
        return put(out, b"]]")

    cdef int write_set(self, nsx_buf *out, members) except -1:
        cdef bint first = True
        if type(members) is list or type(members) is frozenset:
            pass
        elif isinstance(members, str) or not isinstance(members, Iterable):
            members = (members,)
        elif isinstance(members, Mapping):
            raise ValueError(f"{members!r} is no set")
        members = tuple(members)
        put(out, b'["set",[')
        for atom in members:
            if not first:
                put(out, b",")
            first = False
            self.key.write(out, atom)
        self.check_size(len(members))
        if len(members) > 1 and len(frozenset(members)) < len(members):
            twice = next(atom for n, atom in enumerate(members) if atom in members[:n])
            raise ValueError(f"{twice!r} stands twice in a set")
        return put(out, b"]]")

    cdef int check_size(self, Py_ssize_t size) except -1:
        if size < self.minimum:
            raise ValueError(f"needs at least {self.minimum} of {self.key.base.type}")
        if self.maximum is not None and size > self.maximum:
            raise ValueError(f"holds at most {self.maximum} of {self.key.base.type}, not {size}")
        return 0
