"""From values in Python to the JSON of OVSDB: compiled, as every value that is written goes here."""

from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_FindChar
from libc.stdint cimport uint8_t

from nsxdp.ovsdb.store cimport parse_uuid

import math
from collections.abc import Iterable, Mapping

from nsxdp.ovsdb.errors import SchemaError

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


class NamedUuid:
    """A row that the same transaction inserts, where a UUID is asked for."""

    __slots__ = ()

    uuid_name: str


cdef class Atom:
    """The JSON of one atom.

    Parameters
    ----------
    base
        A `BaseType`: what the atom may be.
    """

    cdef object base
    cdef int kind
    cdef bint bounded

    def __init__(self, base):
        self.base = base
        self.kind = _KINDS[base.type]
        self.bounded = bool(base.enum) or base.minimum is not None or base.maximum is not None

    cdef object encode(self, object value):
        if self.kind == STRING:
            if not isinstance(value, str):
                raise ValueError(f"{value!r} is no string")
            _check_text(value)
        elif self.kind == UUID:
            return _uuid(value)
        elif self.kind == BOOLEAN:
            if not isinstance(value, bool):
                raise ValueError(f"{value!r} is no boolean")
        else:
            _check_number(value, self.kind == REAL)
        if self.bounded:
            self.check_bounds(value)
        return value

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


cdef int _check_text(str value) except -1:
    cdef Py_ssize_t size
    if PyUnicode_FindChar(value, 0, 0, len(value), 1) >= 0:
        raise ValueError(f"{value!r} has a null character, which OVSDB can't hold")
    try:
        PyUnicode_AsUTF8AndSize(value, &size)
    except UnicodeEncodeError:
        raise ValueError(f"{value!r} has half of a surrogate pair") from None
    return 0


cdef int _check_number(value, bint real) except -1:
    if isinstance(value, bool) or not isinstance(value, (int, float) if real else int):
        raise ValueError(f"{value!r} is no {'real' if real else 'integer'}")
    if real:
        if not math.isfinite(value):
            raise ValueError(f"{value!r} has no JSON")
    elif not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{value!r} doesn't fit into 64 bits")
    return 0


cdef object _uuid(value):
    cdef uint8_t octets[16]
    if isinstance(value, NamedUuid):
        return ["named-uuid", value.uuid_name]
    uuid = value if isinstance(value, str) else getattr(value, "uuid", None)
    if not parse_uuid(uuid, octets):
        raise ValueError(f"{value!r} is no UUID")
    return ["uuid", uuid]


cdef class Encoder:
    """The JSON of a column's values; calling it raises SchemaError where one doesn't fit.

    Parameters
    ----------
    where
        The column, as an error shall name it.
    kind
        The `ColumnType` of the values, which needn't be the column's own.
    """

    cdef str where
    cdef Atom key, value
    cdef object minimum, maximum
    cdef str what

    def __init__(self, where, kind):
        self.where = where
        self.key = Atom(kind.key)
        self.value = None if kind.value is None else Atom(kind.value)
        self.minimum = kind.min
        self.maximum = kind.max
        self.what = kind.key.type

    def __call__(self, value):
        try:
            return self.encode(value)
        except ValueError as error:
            raise SchemaError(f"{self.where}: {error}") from None

    cdef object encode(self, value):
        if self.value is not None:
            return self.map(value)
        if self.maximum != 1:
            return self.set(value)
        if value is not None:
            return self.key.encode(value)
        self.check_size(0)
        return ["set", []]

    cdef list map(self, pairs):
        if type(pairs) is not dict and not isinstance(pairs, Mapping):
            raise ValueError(f"{pairs!r} is no map")
        self.check_size(len(pairs))
        encoded = [[self.key.encode(key), self.value.encode(pairs[key])] for key in pairs]
        return ["map", encoded]

    cdef list set(self, members):
        if type(members) is list or type(members) is frozenset:
            pass
        elif isinstance(members, str) or not isinstance(members, Iterable):
            members = (members,)
        elif isinstance(members, Mapping):
            raise ValueError(f"{members!r} is no set")
        members = tuple(members)
        atoms = [self.key.encode(atom) for atom in members]
        self.check_size(len(atoms))
        if len(members) > 1 and len(frozenset(members)) < len(members):
            twice = next(atom for n, atom in enumerate(members) if atom in members[:n])
            raise ValueError(f"{twice!r} stands twice in a set")
        return ["set", atoms]

    cdef int check_size(self, Py_ssize_t size) except -1:
        if size < self.minimum:
            raise ValueError(f"needs at least {self.minimum} of {self.what}")
        if self.maximum is not None and size > self.maximum:
            raise ValueError(f"holds at most {self.maximum} of {self.what}, not {size}")
        return 0
