"""From the JSON of rows, as msgspec reads it, to rows: what a first snapshot spends its time on."""

import msgspec

from nsxdp.ovsdb.errors import ProtocolError

cdef object _Raw = msgspec.Raw
cdef object _read = msgspec.json.Decoder().decode

cdef enum:
    NONE = -1
    INTEGER
    REAL
    BOOLEAN
    STRING
    UUID

cdef enum:
    REPLACE
    PATCH_SET
    PATCH_MAP

cdef dict _KINDS = {
    "integer": INTEGER,
    "real": REAL,
    "boolean": BOOLEAN,
    "string": STRING,
    "uuid": UUID,
}

cdef enum:
    MAX_NAMES = 4096


cdef object _atom(int kind, object text):
    if kind == STRING:
        if type(text) is str:
            return text
        raise ValueError(f"{text!r} is no string")
    if kind == UUID:
        if type(text) is list and len(<list>text) == 2:
            if (<list>text)[0] == "uuid" and type((<list>text)[1]) is str:
                return (<list>text)[1]
        raise ValueError(f"{text!r} is no UUID")
    if kind == INTEGER:
        if type(text) is int:
            return text
        raise ValueError(f"{text!r} is no integer")
    if kind == BOOLEAN:
        if type(text) is bool:
            return text
        raise ValueError(f"{text!r} is no boolean")
    if type(text) is float or type(text) is int:
        return float(text)
    raise ValueError(f"{text!r} is no real number")


cdef list _members(object text, str kind):
    """The members of ["set", [...]] or ["map", [...]]; None where 'text' isn't one."""
    if type(text) is not list or len(<list>text) != 2 or (<list>text)[0] != kind:
        return None
    members = (<list>text)[1]
    if type(members) is not list:
        raise ValueError(f"{text!r} is no {kind}")
    return <list>members


cdef class Decoder:
    """From the JSON of a column's value to the value; calling it raises ValueError.

    Parameters
    ----------
    key, value
        Names of atomic types; 'value' is None but for maps.
    many, optional
        Whether there may be more than one atom, and whether there may be none.
    """

    cdef readonly int key, value
    cdef readonly bint many, optional
    cdef dict _names

    def __init__(self, str key, value, bint many, bint optional):
        self.key = _KINDS[key]
        self.value = NONE if value is None else _KINDS[value]
        self.many = many
        self.optional = optional
        self._names = {}

    def __call__(self, text):
        return self.decode(text)

    cdef object decode(self, object text):
        if self.value != NONE:
            return self._map(text)
        if self.many:
            return self._set(text)
        if type(text) is not list:
            return _atom(self.key, text)
        cdef list members = _members(text, "set")
        if members is None:
            return _atom(self.key, text)
        if len(members) == 1:
            return _atom(self.key, members[0])
        if not members and self.optional:
            return None
        raise ValueError(f"{len(members)} members, where there can be only one")

    cdef object _set(self, object text):
        cdef list members = _members(text, "set")
        if members is None:
            return frozenset((_atom(self.key, text),))
        return frozenset([_atom(self.key, member) for member in members])

    cdef object _map(self, object text):
        cdef list members = _members(text, "map")
        cdef dict out = {}
        if members is None:
            raise ValueError(f"{text!r} is no map")
        for pair in members:
            if type(pair) is not list or len(<list>pair) != 2:
                raise ValueError(f"{pair!r} is no key with its value")
            key = self._name(_atom(self.key, (<list>pair)[0]))
            out[key] = _atom(self.value, (<list>pair)[1])
        return out

    cdef object _name(self, object key):
        """'key', as the object that other rows have too: most maps of a column have the same."""
        known = self._names.get(key)
        if known is not None:
            return known
        if len(self._names) < MAX_NAMES:
            self._names[key] = key
        return key


cdef class RowReader:
    """From updates of rows to rows.

    Parameters
    ----------
    layout
        A `Layout`, of whose rows the updates are.
    make
        Makes a row of a layout, a UUID and values.
    """

    cdef str _table
    cdef object _layout, _make
    cdef dict _position
    cdef list _decoders
    cdef tuple _defaults

    def __init__(self, layout, make):
        self._table = layout.table
        self._layout = layout
        self._make = make
        self._position = layout.position
        self._decoders = [column.decode for column in layout.columns]
        self._defaults = layout.defaults

    def stage(self, dict rows, object updates, bint diffs, bint snapshot):
        """What a table's updates do to 'rows', as (uuid, old, new); nothing is changed.

        Raises
        ------
        ProtocolError
            They are no updates, or of rows that aren't there.
        """
        if type(updates) is not dict:
            raise ProtocolError(f"updates of table {self._table} are no object")
        cdef list staged = []
        cdef object old, new, base
        for uuid, update in (<dict>updates).items():
            old = rows.get(uuid)
            base = None if snapshot else old
            if type(update) is _Raw:
                update = self._unpack(uuid, update)
            new = self._diff(uuid, base, update) if diffs else self._whole(uuid, base, update)
            if old is None or new is None or old._values != new._values:
                staged.append((uuid, old, new))
        return staged

    cdef object _unpack(self, object uuid, object raw):
        try:
            return _read(raw)
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"{self._table}: row {uuid}: {error}") from error

    cdef object _diff(self, object uuid, object old, object update):
        """The row that <row-update2> makes of 'old'."""
        if type(update) is dict and len(<dict>update) == 1:
            for kind, content in (<dict>update).items():
                if kind == "initial" or kind == "insert":
                    return self._row(uuid, self._defaults, content, False)
                if old is None:
                    raise ProtocolError(
                        f"{self._table}: {kind} of row {uuid}, which isn't there"
                    )
                if kind == "delete":
                    return None
                if kind == "modify":
                    return self._row(uuid, old._values, content, True)
        raise ProtocolError(f"{self._table}: row {uuid}: not an update of a row")

    cdef object _whole(self, object uuid, object old, object update):
        """The row that RFC 7047's <row-update> makes of 'old'; its "old" member isn't needed."""
        if type(update) is dict:
            if "new" in update:
                base = self._defaults if old is None else old._values
                return self._row(uuid, base, update["new"], False)
            if "old" in update:
                if old is None:
                    raise ProtocolError(
                        f"{self._table}: delete of row {uuid}, which isn't there"
                    )
                return None
        raise ProtocolError(f"{self._table}: row {uuid}: not an update of a row")

    cdef object _row(self, object uuid, tuple base, object content, bint patch):
        cdef list values = list(base)
        cdef Decoder decoder
        cdef Py_ssize_t place
        if type(content) is not dict:
            raise ProtocolError(f"{self._table}: row {uuid}: its columns are no object")
        for name, text in (<dict>content).items():
            position = self._position.get(name)
            if position is None:
                raise ProtocolError(f"an update of {self._table}.{name}, which isn't monitored")
            place = position
            decoder = <Decoder>self._decoders[place]
            try:
                value = decoder.decode(text)
            except ValueError as error:
                raise ProtocolError(f"{self._table}.{name} of row {uuid}: {error}") from error
            if patch and decoder.many:
                # A difference: those that are in one of the two.
                if decoder.value == NONE:
                    value = values[place] ^ value
                else:
                    value = _patched(<dict>values[place], <dict>value)
            values[place] = value
        return self._make(self._layout, uuid, tuple(values))


cdef dict _patched(dict old, dict difference):
    cdef dict new = old.copy()
    for key, value in difference.items():
        if key in new and new[key] == value:
            del new[key]
        else:
            new[key] = value
    return new


def scan(bytes data, Py_ssize_t depth, bint in_string, bint escaped):
    """Where objects end in a piece of a stream of JSON, and how the piece itself ends.

    Parameters
    ----------
    depth, in_string, escaped
        How the piece before ended: in so many braces, in a string, after a backslash in it.
    """
    cdef list ends = []
    cdef const unsigned char *octets = data
    cdef Py_ssize_t place, size = len(data)
    cdef unsigned char octet
    for place in range(size):
        octet = octets[place]
        if in_string:
            if escaped:
                escaped = False
            elif octet == c'\\':
                escaped = True
            elif octet == c'"':
                in_string = False
        elif octet == c'"':
            in_string = True
        elif octet == c'{':
            depth += 1
        elif octet == c'}':
            depth -= 1
            if depth == 0:
                ends.append(place + 1)
    return ends, depth, in_string, escaped
