"""Transactions (RFC 7047, 4.1.3 and 5.2): what to do, as operations, and what came of it.

Compiled, so that to write one costs little beside sending it.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize

from nsxdp.ovsdb.encode cimport (
    Encoder,
    nsx_buf,
    nsx_buf_init,
    nsx_buf_put,
    nsx_buf_uninit,
    put,
    put_text,
)

from collections.abc import Mapping
from typing import Any, Literal, get_args

import msgspec

from nsxdp.ovsdb.condition import encode_where
from nsxdp.ovsdb.errors import ProtocolError, SchemaError, TransactionError, TryAgainError
from nsxdp.ovsdb.schema import BaseType, ColumnType
from nsxdp.ovsdb.store import Row, Store, Table

__all__ = ["Insert", "Mutation", "Mutator", "Operation", "Results", "Transaction"]

Mutator = Literal["+=", "-=", "*=", "/=", "%=", "insert", "delete"]
Mutation = tuple[str, Mutator, Any]

cdef frozenset _MUTATORS = frozenset(get_args(Mutator))

# Errors that say nothing against the transaction itself: a ``wait`` found another state than it
# wanted, or a cluster was without a leader.
cdef frozenset _TRY_AGAIN = frozenset(("timed out", "not leader", "cluster error"))


cdef class Operation:
    """One operation; `Results` gives what came of it."""

    cdef Py_ssize_t index

    def read(self, result):
        """What came of it, from the server's answer."""
        return None


cdef class _Count(Operation):
    def read(self, result):
        return int(result["count"])


cdef class _Select(Operation):
    cdef object table

    def read(self, result):
        rows = []
        for row in result["rows"]:
            columns = msgspec.json.encode({name: row[name] for name in self.table.position})
            _, uuid = row["_uuid"]
            rows.append(self.table.parse(uuid, columns))
        return rows


cdef class Insert(Operation):
    """A row that will be; other operations of its transaction may refer to it.

    Attributes
    ----------
    uuid_name
        What they call it (RFC 7047, 5.1, ``<named-uuid>``).
    """

    @property
    def uuid_name(self):
        return f"row{self.index}"

    def read(self, result):
        _, uuid = result["uuid"]
        return uuid


cdef class Results:
    """What came of a transaction's operations: ``results[operation]``.

    A UUID for an insertion; the number of rows for update, mutate and delete; rows for select.
    """

    cdef list results

    def __getitem__(self, Operation operation):
        if operation.index >= len(self.results):
            raise IndexError("the operation is of another transaction")
        result = self.results[operation.index]
        try:
            return operation.read(result)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ProtocolError(f"transact: {result!r} is no result of its operation") from error


cdef class Transaction:
    """Operations that take place all together or not at all.

    Each method adds an operation, and gives it as a handle for `Results`.  All raise `SchemaError`
    for tables, columns and values that the database doesn't know.  Made by `Client.transaction`,
    sent by `Client.commit`; the operations are those of RFC 7047, 5.2.

    Attributes
    ----------
    schema
        The database's.
    operations
        Their JSON, in their order.
    patience
        Seconds that the operations may wait, all together; None: for ever.

    Examples
    --------
    >>> import asyncio
    >>> from nsxdp.lab import Node
    >>> from nsxdp.ovsdb import Client
    >>> async def main(remote):
    ...     async with Client(remote, "Open_vSwitch") as client:
    ...         txn = client.transaction()
    ...         bridges = txn.select("Bridge", [("name", "==", "br-int")], ["name", "fail_mode"])
    ...         changed = txn.mutate(
    ...             "Bridge",
    ...             [("name", "==", "br-int")],
    ...             [("other_config", "insert", {"mac-table-size": "4096"})],
    ...         )
    ...         results = await client.commit(txn)
    ...         print(results[bridges][0].fail_mode, results[changed])
    >>> with Node() as node:
    ...     asyncio.run(main(node.ovsdb))
    standalone 1
    """

    cdef readonly object schema
    cdef object tables
    cdef public object patience
    cdef nsx_buf text
    cdef size_t whole
    cdef Py_ssize_t count
    cdef set known

    def __cinit__(self):
        nsx_buf_init(&self.text)

    def __dealloc__(self):
        nsx_buf_uninit(&self.text)

    def __init__(self, schema):
        self.schema = schema
        self.tables = schema.tables
        self.patience = 0.0
        self.text.size = 0
        put(&self.text, b"[")
        self.put_value(schema.name)
        self.whole = self.text.size
        self.count = 0

    def __len__(self):
        return self.count

    @property
    def operations(self):
        return msgspec.json.decode(self.params())[1:]

    def insert(self, str table, row):
        """Insert a row; columns that ``row`` doesn't name get their defaults."""
        known = self.begin(b"insert", table)
        cdef Insert operation = Insert.__new__(Insert)
        self.put_row(b"row", known, row, False)
        put(&self.text, b',"uuid-name":"row')
        put(&self.text, b"%d" % self.count)
        put(&self.text, b'"')
        return self.end(operation)

    def update(self, str table, where, row):
        """Set columns of all rows that ``where`` chooses; gives how many there were."""
        known = self.begin(b"update", table)
        self.put_where(known, where)
        self.put_row(b"row", known, row, True)
        return self.end(_Count.__new__(_Count))

    def mutate(self, str table, where, mutations):
        """Change columns of all rows that ``where`` chooses, each from what it holds.

        Parameters
        ----------
        where
            A row, a row's UUID, or conditions that all must hold.
        mutations
            Column, mutator, value: ``("external_ids", "insert", {"owner": "me"})``.  Mutators are
            those of RFC 7047, 5.1: ``insert``, ``delete``, ``+=``, ``-=``, ``*=``, ``/=``, ``%=``.
        """
        cdef bint first = True
        known = self.begin(b"mutate", table)
        self.put_where(known, where)
        put(&self.text, b',"mutations":[')
        for name, mutator, value in mutations:
            if not first:
                put(&self.text, b",")
            first = False
            self.put_mutation(known, name, mutator, value)
        put(&self.text, b"]")
        return self.end(_Count.__new__(_Count))

    def delete(self, str table, where):
        """Delete all rows that ``where`` chooses; gives how many there were."""
        known = self.begin(b"delete", table)
        self.put_where(known, where)
        return self.end(_Count.__new__(_Count))

    def select(self, str table, where=(), columns=None):
        """Read rows; of all columns where ``columns`` is None."""
        known = self.begin(b"select", table)
        if columns is None:
            columns = [name for name in known.columns if not name.startswith("_")]
        cdef _Select operation = _Select.__new__(_Select)
        operation.table = Table(Store(), known, tuple(columns))
        self.put_where(known, where)
        self.put_member(b"columns", ["_uuid", *columns])
        return self.end(operation)

    def wait(self, str table, where, rows, *, columns, until="==", timeout=0.0):
        """Go on only when the rows that ``where`` chooses have, in ``columns``, the values of
        ``rows``; if they don't within ``timeout`` seconds, the commit raises `TryAgainError`.

        A ``timeout`` of None waits for ever, or until the commit is cancelled.  Only the first
        operations of a transaction can wait: the server undoes what came before, and begins anew.
        """
        cdef bint first = True
        known = self.begin(b"wait", table)
        if until not in ("==", "!="):
            raise SchemaError(f"{until!r} is nothing to wait for: it must be '==' or '!='")
        self.put_where(known, where)
        self.put_member(b"columns", [known.column(name).name for name in columns])
        self.put_member(b"until", until)
        put(&self.text, b',"rows":[')
        for row in rows:
            if not first:
                put(&self.text, b",")
            first = False
            self.put_columns(known, row, False)
        put(&self.text, b"]")
        if timeout is not None:
            self.put_member(b"timeout", round(timeout * 1000))
        if self.patience is not None:
            self.patience = None if timeout is None else self.patience + timeout
        return self.end(Operation.__new__(Operation))

    def verify(self, row, *columns):
        """Go on only when these columns of a row are still as we know them."""
        values = {name: row[name] for name in columns}
        return self.wait(row._table.name, row, [values], columns=columns)

    def read(self, row, str column):
        """The value of a column of a row of the replica, on which this transaction depends.

        It takes place only where the column still has that value.
        """
        if self.known is None:
            self.known = set()
        if (row.uuid, column) not in self.known:
            self.known.add((row.uuid, column))
            self.verify(row, column)
        return row[column]

    def commit(self, *, durable):
        """Have the answer wait until the transaction is on disk, where ``durable`` says so."""
        self.begin(b"commit")
        self.put_member(b"durable", durable)
        return self.end(Operation.__new__(Operation))

    def abort(self):
        """Have the server undo it all: the commit raises `TransactionError` with ``aborted``."""
        self.begin(b"abort")
        return self.end(Operation.__new__(Operation))

    def comment(self, str text):
        """Have the server log a text with the transaction."""
        self.begin(b"comment")
        self.put_member(b"comment", text)
        return self.end(Operation.__new__(Operation))

    def assert_lock(self, lock):
        """Go on only while we hold a lock; else the commit raises ``not owner``."""
        self.begin(b"assert")
        self.put_member(b"lock", lock if isinstance(lock, str) else lock.name)
        return self.end(Operation.__new__(Operation))

    def params(self):
        """The parameters of the ``transact`` request, as JSON."""
        self.text.size = self.whole
        put(&self.text, b"]")
        return msgspec.Raw(PyBytes_FromStringAndSize(<const char *> self.text.data, self.text.size))

    def results(self, answer):
        """Read the server's answer.

        Raises
        ------
        TransactionError
            An operation, or the commit, failed.
        ProtocolError
            It is no answer to this transaction.
        """
        cdef Py_ssize_t i
        if not isinstance(answer, list):
            raise ProtocolError(f"transact: {answer!r} is no list of results")
        cdef list results = answer
        for i in range(len(results)):
            if isinstance(results[i], dict) and "error" in <dict> results[i]:
                raise self.failed(i, results[i])
        if len(results) > self.count:
            results = results[:self.count]
        if len(results) < self.count or not all([isinstance(result, dict) for result in results]):
            raise ProtocolError("transact: not every operation has a result")
        cdef Results made = Results.__new__(Results)
        made.results = results
        return made

    cdef object failed(self, Py_ssize_t index, dict result):
        error = str(result["error"])
        operation = self.operations[index] if index < self.count else None
        kind = TryAgainError if error in _TRY_AGAIN else TransactionError
        return kind(error, str(result.get("details", "")), index, operation)

    # An operation is whole, and counts, where it comes to its end(): of one that raises an error
    # nothing is left as soon as the next one begins.

    cdef object begin(self, const char *op, str table=None):
        """The beginning of an operation; gives its table's schema."""
        known = None if table is None else self.tables.get(table) or self.schema.table(table)
        self.text.size = self.whole
        put(&self.text, b',{"op":"')
        put(&self.text, op)
        put(&self.text, b'"')
        if table is not None:
            put(&self.text, b',"table":')
            put_text(&self.text, table)
        return known

    cdef Operation end(self, Operation operation):
        """The end of an operation, for which ``operation`` will stand."""
        put(&self.text, b"}")
        self.whole = self.text.size
        operation.index = self.count
        self.count += 1
        return operation

    cdef int put_value(self, value) except -1:
        cdef bytes text = msgspec.json.encode(value)
        nsx_buf_put(&self.text, <const char *> text, len(text))
        return 0

    cdef int put_name(self, const char *name) except -1:
        put(&self.text, b',"')
        put(&self.text, name)
        return put(&self.text, b'":')

    cdef int put_member(self, const char *name, value) except -1:
        self.put_name(name)
        return self.put_value(value)

    cdef int put_where(self, table, where) except -1:
        if isinstance(where, Row):
            where = where.uuid
        if not isinstance(where, str):
            return self.put_member(b"where", encode_where(table, where))
        put(&self.text, b',"where":[["_uuid","==",')
        (<Encoder?> table.columns["_uuid"].encode).write(&self.text, where)
        return put(&self.text, b"]]")

    cdef int put_row(self, const char *name, table, row, bint change) except -1:
        self.put_name(name)
        return self.put_columns(table, row, change)

    cdef int put_columns(self, table, row, bint change) except -1:
        """The columns of a row; ``change``: of one that is there already."""
        cdef bint first = True
        put(&self.text, b"{")
        for name, value in row.items():
            column = _column(table, name)
            if name in ("_uuid", "_version"):
                raise SchemaError(f"{table.name}.{name}: can't be written: the server gives it")
            if change and not column.mutable:
                raise _immutable(table, name)
            if not first:
                put(&self.text, b",")
            first = False
            put_text(&self.text, name)
            put(&self.text, b":")
            (<Encoder?> column.encode).write(&self.text, value)
        return put(&self.text, b"}")

    cdef int put_mutation(self, table, str name, mutator, value) except -1:
        column = _column(table, name)
        if mutator not in _MUTATORS:
            raise SchemaError(f"{table.name}.{name}: {mutator!r} is no mutator of RFC 7047")
        if not column.mutable:
            raise _immutable(table, name)
        put(&self.text, b"[")
        put_text(&self.text, name)
        put(&self.text, b",")
        put_text(&self.text, mutator)
        put(&self.text, b",")
        _mutation_encoder(column, mutator, value).write(&self.text, value)
        return put(&self.text, b"]")


cdef object _column(table, str name):
    column = table.columns.get(name)
    return table.column(name) if column is None else column


cdef object _immutable(table, str name):
    return SchemaError(
        f"{table.name}.{name}: can't be changed once its row is there; insert another row instead"
    )


cdef Encoder _mutation_encoder(column, str mutator, value):
    """For the value that a mutator takes: fewer or more members than the column may be meant, and
    keys alone are enough to delete from a map.
    """
    declared = column.type
    if mutator in ("insert", "delete"):
        if declared.max == 1 and declared.is_scalar:
            raise SchemaError(
                f"{column.table}.{column.name}: {mutator!r} needs a set or a map; "
                "update it instead"
            )
        if mutator == "delete" and not isinstance(value, Mapping):
            return column.encode_keys
        return column.encode_members
    where = f"{column.table}.{column.name}"
    if declared.is_map or declared.key.type not in ("integer", "real"):
        raise SchemaError(f"{where}: {mutator!r} needs a column of numbers")
    if mutator == "%=" and declared.key.type == "real":
        raise SchemaError(f"{where}: '%=' needs a column of integers")
    if mutator in ("/=", "%=") and value == 0:
        raise SchemaError(f"{where}: division by zero")
    return column.encode_as(ColumnType(BaseType(declared.key.type)))
