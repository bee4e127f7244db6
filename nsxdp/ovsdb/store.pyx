"""Tables of rows in the core: what a server's updates make of them, and rows as they were."""

cimport cython
from cpython.buffer cimport (
    PyBUF_SIMPLE,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc

import os
from types import MappingProxyType

from nsxdp.ovsdb.errors import ProtocolError, SchemaError

cdef extern from "stdbool.h":
    ctypedef bint c_bool "bool"

cdef extern from "nsxdp.h":
    struct nsx_buf:
        uint8_t *data
        size_t size

    void nsx_buf_init(nsx_buf *)
    void nsx_buf_uninit(nsx_buf *)

    struct nsx_error:
        char message[256]
        size_t position

    enum nsx_atom_type:
        NSX_ATOM_INTEGER
        NSX_ATOM_REAL
        NSX_ATOM_BOOLEAN
        NSX_ATOM_STRING
        NSX_ATOM_UUID
        NSX_ATOM_NONE

    enum nsx_ovsdb_updates:
        NSX_OVSDB_UPDATE
        NSX_OVSDB_UPDATE2

    struct nsx_ovsdb_column:
        const char *name
        nsx_atom_type key, value
        c_bool optional, many

    struct nsx_atom:
        int64_t integer
        double real
        c_bool boolean
        const char *string
        size_t string_len
        const uint8_t *uuid

    union nsx_ovsdb_cell:
        int64_t integer
        double real

    struct nsx_ovsdb:
        pass

    struct nsx_ovsdb_table:
        pass

    struct nsx_ovsdb_row:
        uint8_t uuid[16]
        nsx_ovsdb_cell *cells

    struct nsx_ovsdb_change:
        nsx_ovsdb_table *table
        nsx_ovsdb_row *before
        nsx_ovsdb_row *after

    struct nsx_ovsdb_changes:
        nsx_ovsdb_change *list
        size_t n, allocated

    struct nsx_atoms:
        pass

    size_t NSX_OVSDB_NOWHERE
    int NSX_UUID_LEN

    nsx_ovsdb *nsx_ovsdb_new(uint64_t seed)
    void nsx_ovsdb_free(nsx_ovsdb *)
    nsx_ovsdb_table *nsx_ovsdb_table_new(nsx_ovsdb *, const char *, const nsx_ovsdb_column *,
                                         size_t)
    void nsx_ovsdb_table_retire(nsx_ovsdb_table *)
    void nsx_ovsdb_changes_uninit(nsx_ovsdb_changes *)
    int nsx_ovsdb_apply(nsx_ovsdb *, nsx_ovsdb_updates, c_bool, const char *, size_t,
                        nsx_ovsdb_changes *, nsx_error *)
    int nsx_ovsdb_row_parse(nsx_ovsdb_table *, const uint8_t *, const char *, size_t,
                            nsx_ovsdb_row **, nsx_error *)
    size_t nsx_ovsdb_table_rows(const nsx_ovsdb_table *)
    size_t nsx_ovsdb_table_places(const nsx_ovsdb_table *)
    uint64_t nsx_ovsdb_table_version(const nsx_ovsdb_table *)
    const uint8_t *nsx_ovsdb_table_uuid(const nsx_ovsdb_table *, size_t)
    size_t nsx_ovsdb_table_find(const nsx_ovsdb_table *, const uint8_t *)
    const nsx_ovsdb_cell *nsx_ovsdb_table_cell(const nsx_ovsdb_table *, size_t, size_t)
    void nsx_ovsdb_table_numbers(const nsx_ovsdb_table *, size_t, const nsx_ovsdb_cell *,
                                 nsx_ovsdb_cell *)
    nsx_ovsdb_row *nsx_ovsdb_row_get(const nsx_ovsdb_table *, size_t)
    void nsx_ovsdb_row_free(nsx_ovsdb_table *, nsx_ovsdb_row *)
    c_bool nsx_ovsdb_row_equals(const nsx_ovsdb_table *, const nsx_ovsdb_row *,
                                const nsx_ovsdb_row *)
    void nsx_atoms_init(nsx_atoms *, const nsx_ovsdb_table *, size_t, const nsx_ovsdb_cell *)
    c_bool nsx_atoms_next(nsx_atoms *, nsx_atom_type *, nsx_atom *)
    size_t nsx_ovsdb_index_add(nsx_ovsdb_table *, size_t, const nsx_atom *)
    nsx_atom_type nsx_ovsdb_index_type(const nsx_ovsdb_table *, size_t)
    void nsx_ovsdb_index_find(const nsx_ovsdb_table *, size_t, const nsx_atom *, nsx_buf *)
    c_bool nsx_uuid_parse(const char *, size_t, uint8_t *)
    void nsx_uuid_format(const uint8_t *, char *)


cdef dict _TYPES = {
    "integer": NSX_ATOM_INTEGER,
    "real": NSX_ATOM_REAL,
    "boolean": NSX_ATOM_BOOLEAN,
    "string": NSX_ATOM_STRING,
    "uuid": NSX_ATOM_UUID,
}

cdef dict _ARRAYS = {"integer": "i8", "real": "f8", "boolean": "i8"}
"""What numpy calls numbers of a type, as the core writes them."""


cdef str _uuid_text(const uint8_t *uuid):
    cdef char text[36]
    nsx_uuid_format(uuid, text)
    return PyUnicode_DecodeUTF8(text, 36, NULL)


cdef bint parse_uuid(object text, uint8_t *uuid) except -1:
    """Whether 'text' is a UUID, which is written to 'uuid'."""
    cdef Py_ssize_t size
    cdef const char *chars
    if not isinstance(text, str) or not (<str> text).isascii():
        return False
    chars = PyUnicode_AsUTF8AndSize(text, &size)
    return nsx_uuid_parse(chars, size, uuid)


cdef object _from_atom(nsx_atom_type kind, const nsx_atom *atom):
    if kind == NSX_ATOM_STRING:
        return PyUnicode_DecodeUTF8(atom.string, atom.string_len, NULL)
    if kind == NSX_ATOM_UUID:
        return _uuid_text(atom.uuid)
    if kind == NSX_ATOM_INTEGER:
        return atom.integer
    if kind == NSX_ATOM_BOOLEAN:
        return bool(atom.boolean)
    return atom.real


cdef bint _to_atom(nsx_atom_type kind, object value, nsx_atom *atom, uint8_t *uuid) except -1:
    """Whether 'value' is of that type; 'atom' is it as long as 'value' and 'uuid' are there."""
    cdef Py_ssize_t size
    if kind == NSX_ATOM_STRING and type(value) is str:
        try:
            atom.string = PyUnicode_AsUTF8AndSize(value, &size)
        except UnicodeEncodeError:
            return False  # half of a surrogate pair, which no row has
        atom.string_len = size
        return True
    if kind == NSX_ATOM_UUID:
        atom.uuid = uuid
        return parse_uuid(value, uuid)
    if kind == NSX_ATOM_BOOLEAN and type(value) is bool:
        atom.boolean = value
        return True
    if kind == NSX_ATOM_REAL and type(value) in (int, float):
        atom.real = value
        return True
    if kind == NSX_ATOM_INTEGER and type(value) is int and -(1 << 63) <= value < 1 << 63:
        atom.integer = value
        return True
    return False


cdef object _refusal(nsx_error *error):
    return ProtocolError(error.message.decode("utf-8", "replace"))


@cython.no_gc
cdef class Store:
    """The tables of one database."""

    cdef nsx_ovsdb *db

    def __cinit__(self):
        # Servers choose UUIDs: they shall not be able to choose ones that collide.
        self.db = nsx_ovsdb_new(int.from_bytes(os.urandom(8), "little"))

    def __dealloc__(self):
        nsx_ovsdb_free(self.db)

    def apply(self, tables, updates, bint diffs, bint snapshot, bint report):
        """Take table updates, as the JSON of a server: all of them or, on an error, none.

        Parameters
        ----------
        tables
            The `Table`\\ s to which updates go.
        diffs
            They are ``<table-updates2>`` (ovsdb-server(7)), else RFC 7047's ``<table-updates>``.
        snapshot
            There are no other rows than those in them.
        report
            Whether what changed is asked for.

        Returns
        -------
        A list of (table's name, UUID, row before or None, row after or None); empty where nobody
        asked for it.

        Raises
        ------
        ProtocolError
            They are no updates, or of rows that aren't there.
        """
        cdef nsx_ovsdb_changes changes
        cdef nsx_error error
        cdef Py_buffer view
        cdef nsx_ovsdb_updates kind = NSX_OVSDB_UPDATE2 if diffs else NSX_OVSDB_UPDATE
        cdef int failed
        changes.list = NULL
        changes.n = changes.allocated = 0
        PyObject_GetBuffer(updates, &view, PyBUF_SIMPLE)
        try:
            failed = nsx_ovsdb_apply(self.db, kind, snapshot, <const char *> view.buf, view.len,
                                     &changes if report else NULL, &error)
        finally:
            PyBuffer_Release(&view)
        if failed:
            raise _refusal(&error)
        return _reported(tables, &changes) if report else []


cdef list _reported(object tables, nsx_ovsdb_changes *changes):
    cdef dict known = {<uintptr_t> (<Table> table).table: table for table in tables}
    cdef list reported = []
    cdef nsx_ovsdb_change *change
    cdef Table table
    cdef size_t i
    try:
        for i in range(changes.n):
            change = &changes.list[i]
            table = known[<uintptr_t> change.table]
            before, change.before = _row(table, change.before), NULL
            after, change.after = _row(table, change.after), NULL
            reported.append((table.name, (after or before).uuid, before, after))
    finally:
        nsx_ovsdb_changes_uninit(changes)
    return reported


@cython.no_gc
cdef class Table:
    """The replicated rows of one table.

    Parameters
    ----------
    store
        Where they are kept.
    schema
        The table's.
    names
        Of the columns that its rows have here.
    indexes
        What `by` can look up, as in `Watch`.

    Attributes
    ----------
    name
        The table's name.
    columns
        The columns, as the schema has them.
    """

    cdef Store store
    cdef nsx_ovsdb_table *table
    cdef readonly str name
    cdef readonly tuple columns
    cdef readonly dict position
    cdef dict _indexes

    def __cinit__(self, Store store, schema, names, indexes=()):
        self.store = store
        self.name = schema.name
        self.columns = tuple([schema.column(name) for name in names])
        self.position = {name: place for place, name in enumerate(names)}
        self._make([name.encode() for name in names])
        try:
            self._indexes = {spec: self._index(spec) for spec in indexes}
        except SchemaError:
            self.retire()
            raise

    cdef int _make(self, list names) except -1:
        cdef size_t n = len(self.columns)
        cdef nsx_ovsdb_column *columns
        columns = <nsx_ovsdb_column *> malloc((n + 1) * sizeof(nsx_ovsdb_column))
        if columns is NULL:
            raise MemoryError
        try:
            for place, column in enumerate(self.columns):
                kind = column.type
                columns[<size_t> place].name = PyBytes_AS_STRING(names[place])
                columns[<size_t> place].key = _TYPES[kind.key.type]
                columns[<size_t> place].value = (
                    NSX_ATOM_NONE if kind.value is None else _TYPES[kind.value.type]
                )
                columns[<size_t> place].optional = kind.min == 0
                columns[<size_t> place].many = kind.max != 1
            self.table = nsx_ovsdb_table_new(self.store.db, self.name.encode(), columns, n)
        finally:
            free(columns)
        return 0

    cdef object _index(self, str spec):
        cdef nsx_atom atom
        cdef uint8_t uuid[16]
        name, colon, key = spec.partition(":")
        if name not in self.position:
            raise SchemaError(f"index {spec}: column {self.name}.{name} isn't monitored")
        place = self.position[name]
        kind = self.columns[place].type
        if not colon:
            return nsx_ovsdb_index_add(self.table, place, NULL)
        if not kind.is_map:
            raise SchemaError(f"index {spec}: column {self.name}.{name} is no map")
        if kind.key.type == "integer":
            key = int(key) if key.lstrip("-").isdecimal() else key
        if not _to_atom(_TYPES[kind.key.type], key, &atom, uuid):
            raise SchemaError(f"index {spec}: {key!r} is no {kind.key.type}")
        return nsx_ovsdb_index_add(self.table, place, &atom)

    def retire(self):
        """Take no more updates, and forget the rows; those that somebody has stay as they are."""
        nsx_ovsdb_table_retire(self.table)

    def like(self, Table other):
        """Whether rows of one mean the same in the other."""
        return self.name == other.name and self.columns == other.columns

    @property
    def rows(self):
        """All rows."""
        return Rows(self)

    @property
    def uuids(self):
        """The UUIDs of all rows, in the order of `rows` and `column`."""
        cdef const uint8_t *uuid
        cdef list uuids = []
        cdef size_t place
        for place in range(nsx_ovsdb_table_places(self.table)):
            uuid = nsx_ovsdb_table_uuid(self.table, place)
            if uuid is not NULL:
                uuids.append(_uuid_text(uuid))
        return uuids

    cdef Py_ssize_t _place(self, str name) except -1:
        position = self.position.get(name)
        if position is None:
            raise SchemaError(f"column {self.name}.{name} isn't monitored")
        return position

    def column(self, str name):
        """The values of one column, in the order of `rows`.

        Raises
        ------
        SchemaError
            The column isn't monitored.
        """
        cdef size_t column = self._place(name)
        cdef const nsx_ovsdb_cell *cell
        cdef list values = []
        cdef size_t place
        for place in range(nsx_ovsdb_table_places(self.table)):
            if nsx_ovsdb_table_uuid(self.table, place) is not NULL:
                cell = nsx_ovsdb_table_cell(self.table, place, column)
                values.append(self._value(column, cell))
        return values

    def array(self, str name, missing=0):
        """A column of numbers as a numpy array: int64, float64 or bool, in the order of `rows`.

        ``missing`` stands for the values that an optional column doesn't have.

        Raises
        ------
        SchemaError
            The column isn't monitored, or isn't one of numbers.
        """
        import numpy as np

        cdef size_t column = self._place(name)
        kind = self.columns[column].type
        dtype = _ARRAYS.get(kind.key.type)
        if dtype is None or not (kind.is_scalar or kind.is_optional):
            raise SchemaError(f"column {self.name}.{name} is none of numbers")
        cdef Py_buffer view
        cdef nsx_ovsdb_cell absent
        if dtype == "f8":
            absent.real = missing
        else:
            absent.integer = missing
        numbers = np.empty(len(self), dtype)
        PyObject_GetBuffer(numbers, &view, PyBUF_WRITABLE)
        try:
            nsx_ovsdb_table_numbers(self.table, column, &absent, <nsx_ovsdb_cell *> view.buf)
        finally:
            PyBuffer_Release(&view)
        return numbers.astype(bool) if kind.key.type == "boolean" else numbers

    def get(self, str uuid):
        """The row of that UUID."""
        cdef uint8_t octets[16]
        cdef size_t place
        if not parse_uuid(uuid, octets):
            return None
        place = nsx_ovsdb_table_find(self.table, octets)
        return None if place == NSX_OVSDB_NOWHERE else self._at(place)

    cdef Row _at(self, size_t place):
        return _row(self, nsx_ovsdb_row_get(self.table, place))

    def by(self, str index, value):
        """The rows that an index has under a value.

        ``index`` is one that `Watch` declared.  A column that holds a set is found by each of its
        members, so ``by("ports", uuid)`` gives the bridges that have that port.

        Raises
        ------
        SchemaError
            No such index was declared.
        """
        cdef nsx_atom atom
        cdef uint8_t uuid[16]
        cdef nsx_buf places
        cdef size_t number, i
        declared = self._indexes.get(index)
        if declared is None:
            has = ", ".join(self._indexes) or "none"
            raise SchemaError(f"table {self.name} has no index {index} (it has: {has})")
        number = declared
        if not _to_atom(nsx_ovsdb_index_type(self.table, number), value, &atom, uuid):
            return []
        nsx_buf_init(&places)
        nsx_ovsdb_index_find(self.table, number, &atom, &places)
        try:
            return [
                self._at((<size_t *> places.data)[i])
                for i in range(places.size // sizeof(size_t))
            ]
        finally:
            nsx_buf_uninit(&places)

    def one(self, str index, value):
        """As `by`, where there is at most one; if there are several, the first."""
        found = self.by(index, value)
        return found[0] if found else None

    def __len__(self):
        return nsx_ovsdb_table_rows(self.table)

    def __contains__(self, uuid):
        cdef uint8_t octets[16]
        return bool(
            parse_uuid(uuid, octets)
            and nsx_ovsdb_table_find(self.table, octets) != NSX_OVSDB_NOWHERE
        )

    def __iter__(self):
        cdef uint64_t version = nsx_ovsdb_table_version(self.table)
        cdef size_t place
        for place in range(nsx_ovsdb_table_places(self.table)):
            if nsx_ovsdb_table_uuid(self.table, place) is not NULL:
                yield self._at(place)
                if nsx_ovsdb_table_version(self.table) != version:
                    raise RuntimeError(f"rows of table {self.name} came or went meanwhile")

    def parse(self, str uuid, columns):
        """A row that the table needn't have, from the JSON of its columns.

        Raises
        ------
        ProtocolError
            It is none.
        """
        cdef uint8_t octets[16]
        cdef nsx_ovsdb_row *row
        cdef nsx_error error
        cdef Py_buffer view
        cdef int failed
        if not parse_uuid(uuid, octets):
            raise ProtocolError(f"{self.name}: {uuid!r} is no UUID")
        PyObject_GetBuffer(columns, &view, PyBUF_SIMPLE)
        try:
            failed = nsx_ovsdb_row_parse(self.table, octets, <const char *> view.buf, view.len,
                                         &row, &error)
        finally:
            PyBuffer_Release(&view)
        if failed:
            raise _refusal(&error)
        return _row(self, row)

    cdef object _value(self, size_t column, const nsx_ovsdb_cell *cell):
        cdef nsx_atoms atoms
        cdef nsx_atom_type kind, value_kind
        cdef nsx_atom atom, value
        cdef dict pairs
        declared = self.columns[column].type
        nsx_atoms_init(&atoms, self.table, column, cell)
        if declared.value is not None:
            pairs = {}
            while nsx_atoms_next(&atoms, &kind, &atom):
                nsx_atoms_next(&atoms, &value_kind, &value)
                pairs[_from_atom(kind, &atom)] = _from_atom(value_kind, &value)
            return MappingProxyType(pairs)
        if declared.max != 1:
            members = []
            while nsx_atoms_next(&atoms, &kind, &atom):
                members.append(_from_atom(kind, &atom))
            return frozenset(members)
        return _from_atom(kind, &atom) if nsx_atoms_next(&atoms, &kind, &atom) else None


class Rows:
    """All rows of a table, to be iterated over."""

    __slots__ = ("_table",)

    def __init__(self, table):
        self._table = table

    def __len__(self):
        return len(self._table)

    def __iter__(self):
        return iter(self._table)

    def __contains__(self, row):
        return isinstance(row, Row) and self._table.get(row.uuid) == row


cdef Row _row(Table table, nsx_ovsdb_row *row):
    """A row, which is Python's from now on; None for NULL."""
    if row is NULL:
        return None
    cdef Row made = Row.__new__(Row)
    made.table = table
    made.row = row
    return made


@cython.no_gc
@cython.final
cdef class Row:
    """One row as it was at one time: it never changes.

    Columns are attributes (``row.external_ids``) and items (``row["external_ids"]``).  Two rows are
    equal when they are the same row with the same values.  Which types values have says
    `nsxdp.ovsdb.schema`.

    Attributes
    ----------
    uuid
        Its identity.
    """

    cdef Table table
    cdef nsx_ovsdb_row *row

    def __dealloc__(self):
        if self.row is not NULL:
            nsx_ovsdb_row_free(self.table.table, self.row)

    @property
    def uuid(self):
        return _uuid_text(self.row.uuid)

    @property
    def _table(self):
        """The table that it is of; an underscore, as no column's name begins with one."""
        return self.table

    def __getattr__(self, str name):
        position = self.table.position.get(name)
        if position is None:
            raise AttributeError(f"column {self.table.name}.{name} isn't monitored")
        return self.table._value(position, &self.row.cells[<size_t> position])

    def __getitem__(self, str name):
        position = self.table.position.get(name)
        if position is None:
            raise KeyError(f"column {self.table.name}.{name} isn't monitored")
        return self.table._value(position, &self.row.cells[<size_t> position])

    def _asdict(self):
        """Columns and their values; named as in `collections.namedtuple`, to not hide a column."""
        return {name: self[name] for name in self.table.position}

    def __eq__(self, other):
        cdef Row that
        if not isinstance(other, Row):
            return NotImplemented
        that = other
        if that.table is self.table:
            return nsx_ovsdb_row_equals(self.table.table, self.row, that.row)
        return (
            self.uuid == that.uuid
            and self.table.like(that.table)
            and self._asdict() == that._asdict()
        )

    def __hash__(self):
        return hash(self.uuid)

    def __repr__(self):
        columns = ", ".join([
            f"{name}={dict(value) if isinstance(value, MappingProxyType) else value!r}"
            for name, value in self._asdict().items()
        ])
        return f"{self.table.name}({self.uuid}: {columns})"
