"""Templates: a flow or group in ovs-ofctl's syntax, stamped with columns of values.

The text is parsed once; ``stamp`` copies its bytes and writes values where the text has
``{name}``, for any number of rows in one call and without the GIL.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from cpython.buffer cimport (
    PyBUF_STRIDED_RO,
    PyBuffer_FillInfo,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_CheckExact,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from cpython.dict cimport PyDict_GetItem
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.ref cimport PyObject

import sys
from typing import NamedTuple

import numpy as np

from nsxdp.openflow.codec cimport (
    Tables,
    nsx_buf,
    nsx_buf_init,
    nsx_buf_uninit,
    nsx_error,
    nsx_tables,
    raise_parse_error,
    tables_pointer,
)

cdef extern from "stdbool.h":
    ctypedef bint c_bool "bool"

cdef extern from "nsxdp.h" nogil:
    struct nsx_template:
        pass

    struct nsx_column:
        const void *data
        size_t width
        ptrdiff_t stride

    struct nsx_batch:
        const void *msgs
        const uint64_t *ends
        const uint64_t *owners
        size_t n

    int nsx_template_new(const char *, size_t, nsx_tables, nsx_template **, nsx_error *)
    void nsx_template_free(nsx_template *)
    c_bool nsx_template_is_group(const nsx_template *)
    size_t nsx_template_n_holes(const nsx_template *)
    const char *nsx_template_hole(const nsx_template *, size_t, size_t *, size_t *, c_bool *)
    int nsx_template_stamp(const nsx_template *, size_t, const nsx_column *, nsx_buf *, uint64_t *,
                           nsx_error *)
    int nsx_template_stamp_groups(const nsx_template *, size_t, const uint64_t *,
                                  const nsx_column *, nsx_buf *, uint64_t *, nsx_error *)
    int nsx_gather(const nsx_batch *, size_t, size_t, nsx_buf *, uint64_t *, nsx_error *)


class Hole(NamedTuple):
    """A template's ``{name}``.

    Attributes
    ----------
    name
        What is between the braces, and so the column's name.
    n_bytes
        Bytes of the field; the narrowest one's if there are several.
    n_bits
        Bits that a value may use.
    in_bucket
        Whether a column has a row for each bucket, not for each message.
    """

    name: str
    n_bytes: int
    n_bits: int
    in_bucket: bool


cdef class Stamped:
    """Messages that a template stamped; its buffer is their bytes.

    ``len()`` counts rows, an index gives a row's bytes, ``bytes()`` gives all.  Made by
    `Template.stamp` and `Template.stamp_groups`.

    Attributes
    ----------
    ends
        uint64, shape (n,): where each flow's message, or each group's messages, end in the buffer.
    """

    def __cinit__(self):
        nsx_buf_init(&self.buf)

    def __dealloc__(self):
        nsx_buf_uninit(&self.buf)

    def __len__(self):
        return len(self.ends)

    def __getitem__(self, Py_ssize_t i):
        cdef Py_ssize_t n = len(self.ends)
        if i < 0:
            i += n
        if not 0 <= i < n:
            raise IndexError(f"row {i} of {n}")
        cdef Py_ssize_t start = self.ends[i - 1] if i else 0
        cdef Py_ssize_t end = self.ends[i]
        return PyBytes_FromStringAndSize(<const char *> self.buf.data + start, end - start)

    @property
    def nbytes(self):
        """How many bytes all messages have."""
        return self.buf.size

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.buf.data, <Py_ssize_t> self.buf.size, 1, flags)

    def __repr__(self):
        return f"<Stamped: {len(self)} rows, {self.nbytes} bytes>"


cdef struct hole_size:
    size_t n_bytes, n_bits
    c_bool in_bucket


cdef bint to_number(object value, const hole_size *hole, uint64_t *number) noexcept:
    """Take an int, or a field's bytes, that the hole can have; else `_prepare` sees to it."""
    cdef long long x
    cdef int overflow
    cdef const uint8_t *p
    if PyLong_CheckExact(value):
        x = PyLong_AsLongLongAndOverflow(value, &overflow)
        number[0] = <uint64_t> x
        return not overflow and x >= 0 and (hole.n_bits >= 64 or not x >> hole.n_bits)
    if PyBytes_CheckExact(value) and PyBytes_GET_SIZE(value) == <Py_ssize_t> hole.n_bytes <= 8:
        p = <const uint8_t *> PyBytes_AS_STRING(value)
        number[0] = 0
        for i in range(hole.n_bytes):
            number[0] = number[0] << 8 | p[i]
        return True
    return False


cdef class _Columns:
    """The columns of one call, as the core reads them."""

    cdef nsx_column *columns
    cdef uint64_t *numbers          # Of those with one for all rows.
    cdef Py_buffer *views
    cdef Py_ssize_t n_views

    def __cinit__(self, Py_ssize_t n):
        self.columns = <nsx_column *> PyMem_Calloc(n + 1, sizeof(nsx_column))
        self.numbers = <uint64_t *> PyMem_Calloc(n + 1, sizeof(uint64_t))
        self.views = <Py_buffer *> PyMem_Calloc(n + 1, sizeof(Py_buffer))
        if not self.columns or not self.numbers or not self.views:
            raise MemoryError

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.n_views):
            PyBuffer_Release(&self.views[i])
        PyMem_Free(self.columns)
        PyMem_Free(self.numbers)
        PyMem_Free(self.views)

    cdef Py_ssize_t add(self, Py_ssize_t i, const hole_size *hole, object value, tuple holes) except -2:
        """Take a hole's value; returns its rows, or -1 for one that is the same in all rows."""
        cdef nsx_column *column = &self.columns[i]
        cdef Py_buffer *view = &self.views[self.n_views]
        if to_number(value, hole, &self.numbers[i]):
            column.data = &self.numbers[i]
            column.width = sizeof(uint64_t)
            column.stride = 0
            return -1
        if isinstance(value, (list, tuple)):
            value = _numbers(hole, value)
        value = _prepare(holes[i], value)
        PyObject_GetBuffer(value, view, PyBUF_STRIDED_RO)
        self.n_views += 1
        column.data = view.buf
        if isinstance(value, bytes):
            column.width = view.len
            column.stride = 0
            return -1
        column.stride = view.strides[0]
        column.width = view.itemsize if view.ndim == 1 else view.shape[1]
        if view.shape[0] <= 1:
            # A stride of 0 means one value for all rows, which one row has, too.
            column.stride = column.width
        return view.shape[0]


cdef object _numbers(const hole_size *hole, object values):
    """Some values as an array, if they are numbers or bytes for the hole; else as they are."""
    cdef Py_ssize_t i, n = len(values)
    cdef uint64_t[::1] numbers
    if n and hole.n_bytes > 8 and isinstance(values[0], bytes):
        if {len(value) for value in values} != {hole.n_bytes}:
            return values
        return np.frombuffer(b"".join(values), np.uint8).reshape(n, hole.n_bytes)
    array = np.empty(n, np.uint64)
    numbers = array
    for i in range(n):
        if not to_number(values[i], hole, &numbers[i]):
            return values
    return array


def _prepare(hole, value):
    """A hole's value as an array that the core can read, or, if it is one for all, as bytes."""
    if isinstance(value, np.ndarray) and value.ndim:
        return _prepare_array(hole, value)
    if isinstance(value, (list, tuple)):
        return _prepare_array(hole, np.array(value))
    if isinstance(value, (bytes, bytearray)):
        if len(value) != hole.n_bytes:
            raise ValueError(f"hole {hole.name}: {len(value)} bytes for a field of {hole.n_bytes}")
        if hole.n_bytes in (1, 2, 4, 8):
            value = int.from_bytes(value, "big").to_bytes(hole.n_bytes, _BYTE_ORDER)
        return bytes(value)
    try:
        number = value.__index__()
    except AttributeError:
        raise TypeError(
            f"hole {hole.name}: a {type(value).__name__} is no number, bytes or array"
        ) from None
    if number < 0 or number.bit_length() > hole.n_bits:
        raise ValueError(f"hole {hole.name}: {number} is no number of {hole.n_bits} bits")
    if number.bit_length() > 64:
        return number.to_bytes(hole.n_bytes, "big")
    return number.to_bytes(8, _BYTE_ORDER)


def _prepare_array(hole, array):
    if array.dtype.kind not in "ui":
        raise TypeError(f"hole {hole.name}: an array of {array.dtype} has no unsigned numbers")
    if array.ndim == 1:
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        if array.dtype.kind == "i" and array.size and array.min() < 0:
            row = int((array < 0).argmax())
            raise ValueError(f"hole {hole.name}, row {row}: {array[row]} is negative")
        return array
    if array.ndim == 2 and array.itemsize == 1 and array.shape[1] == hole.n_bytes:
        if hole.n_bytes in (1, 2, 4, 8):
            octets = np.ascontiguousarray(array)
            return octets.view(f">u{hole.n_bytes}")[:, 0].astype(f"=u{hole.n_bytes}")
        return array if array.strides[1] == 1 else np.ascontiguousarray(array)
    raise ValueError(
        f"hole {hole.name}: an array of {array.dtype} with shape {array.shape}; "
        f"it takes (n,) numbers or (n, {hole.n_bytes}) uint8"
    )


_BYTE_ORDER = sys.byteorder


cdef class Template:
    """A flow or group in ovs-ofctl's syntax, with holes: ``{name}`` where columns' values go.

    Columns are numpy arrays, or one value for all rows. IPv4 addresses are uint32 numbers, ports
    uint16; MAC addresses (n, 6) uint8 or uint64; IPv6 addresses (n, 16) uint8. Any width of
    number will do; what does not fit its field is an error.

    Parameters
    ----------
    text
        A group's starts with ``group_id=`` and has exactly one bucket, which is repeated.
    tables
        The names that the text uses for tables.

    Attributes
    ----------
    text, tables
        What the template was made of.
    holes
        The text's holes, each once, in the order of their first use.
    is_group
        Whether it stamps groups.

    Raises
    ------
    ParseError
        The text is no flow or group, or a hole is where none can be; says where.

    Examples
    --------
    >>> import numpy as np
    >>> from nsxdp.openflow import Flow, Template
    >>> template = Template("table=1,tcp,nw_dst={vip},tp_dst={port},actions=group:{group}")
    >>> [hole.name for hole in template.holes]
    ['vip', 'port', 'group']
    >>> vips = np.array([0x0A600001, 0x0A600002], np.uint32)
    >>> flows = template.stamp(vip=vips, port=80, group=[7, 8])
    >>> print(Flow.decode(flows[1]))
    table=1, tcp,nw_dst=10.96.0.2,tp_dst=80 actions=group:8
    """

    cdef nsx_template *template
    cdef readonly str text
    cdef readonly Tables tables
    cdef readonly tuple holes
    cdef readonly bint is_group
    cdef tuple names
    cdef hole_size *sizes

    def __cinit__(self, str text not None, Tables tables=None):
        cdef bytes encoded = text.encode()
        cdef nsx_error error
        cdef size_t i, n
        cdef hole_size *size
        cdef list holes = []
        self.text = text
        self.tables = tables
        if nsx_template_new(encoded, len(encoded), tables_pointer(tables), &self.template, &error):
            raise_parse_error(&error, text)
        self.is_group = nsx_template_is_group(self.template)
        n = nsx_template_n_holes(self.template)
        self.sizes = <hole_size *> PyMem_Calloc(n + 1, sizeof(hole_size))
        if not self.sizes:
            raise MemoryError
        for i in range(n):
            size = &self.sizes[i]
            name = nsx_template_hole(self.template, i, &size.n_bytes, &size.n_bits, &size.in_bucket)
            holes.append(Hole(name.decode(), size.n_bytes, size.n_bits, bool(size.in_bucket)))
        self.holes = tuple(holes)
        self.names = tuple([hole.name for hole in holes])

    def __dealloc__(self):
        nsx_template_free(self.template)
        PyMem_Free(self.sizes)

    def __repr__(self):
        return f"Template({self.text!r})"

    def __reduce__(self):
        return Template, (self.text, self.tables)

    cdef _Columns bind(self, dict columns, Py_ssize_t *n_rows, Py_ssize_t *n_buckets):
        """Take a call's columns.

        'n_rows' and 'n_buckets' are what the columns must have, or -1 if they decide; then they
        are set, or stay -1 if all columns have the same value for all rows.
        """
        cdef Py_ssize_t i, n, n_holes = len(self.names)
        cdef Py_ssize_t *wanted
        cdef PyObject *value
        cdef _Columns bound = _Columns(n_holes)
        if len(columns) != n_holes:
            self._refuse(columns)
        for i in range(n_holes):
            value = PyDict_GetItem(columns, self.names[i])
            if value is NULL:
                self._refuse(columns)
            n = bound.add(i, &self.sizes[i], <object> value, self.holes)
            wanted = n_buckets if self.sizes[i].in_bucket else n_rows
            if n >= 0 and wanted[0] >= 0 and n != wanted[0]:
                raise ValueError(
                    f"hole {self.names[i]}: {n} rows, but there are {wanted[0]} "
                    f"{'buckets' if wanted == n_buckets else 'messages'}"
                )
            if n >= 0:
                wanted[0] = n
        return bound

    cdef _refuse(self, dict columns):
        missing = [hole.name for hole in self.holes if hole.name not in columns]
        unknown = [name for name in columns if name not in self.names]
        said = []
        if missing:
            said.append(f"no values for {', '.join(missing)}")
        if unknown:
            said.append(f"no holes {', '.join(unknown)}")
        raise TypeError(f"{'; '.join(said)}: the holes of {self.text!r} are "
                        f"{', '.join(hole.name for hole in self.holes) or 'none'}")

    def make(self, **values):
        """Make one message, of one value for each hole: a number, or the field's bytes.

        A group's bucket is repeated for each item of the sequences that the holes in it have; a
        group that doesn't fit into one message is several, as `stamp_groups` makes them.

        Raises
        ------
        TypeError, ValueError
            As `stamp`.

        Examples
        --------
        >>> from nsxdp.openflow import Flow, Template
        >>> template = Template("table=1,tcp,nw_dst={vip},tp_dst={port},actions=group:{group}")
        >>> print(Flow.decode(template.make(vip=0x0A600001, port=80, group=7)))
        table=1, tcp,nw_dst=10.96.0.1,tp_dst=80 actions=group:7
        """
        cdef Py_ssize_t n = -1, n_buckets = -1
        cdef _Columns bound = self.bind(values, &n, &n_buckets)
        cdef uint64_t offsets[2]
        cdef nsx_buf buf
        cdef nsx_error error
        cdef int retval
        if n >= 0:
            raise ValueError(f"one message of {n} rows: stamp() takes columns")
        offsets[0], offsets[1] = 0, n_buckets if n_buckets >= 0 else 1
        nsx_buf_init(&buf)
        try:
            if self.is_group:
                retval = nsx_template_stamp_groups(self.template, 1, offsets, bound.columns, &buf,
                                                   NULL, &error)
            else:
                retval = nsx_template_stamp(self.template, 1, bound.columns, &buf, NULL, &error)
            if retval:
                raise ValueError(error.message.decode("utf-8", "replace"))
            return PyBytes_FromStringAndSize(<const char *> buf.data, <Py_ssize_t> buf.size)
        finally:
            nsx_buf_uninit(&buf)

    def stamp(self, **columns):
        """Stamp a flow for each row of the columns; one, if none of them has rows.

        Each message is the OFPT_FLOW_MOD that adds the flow, with xid 0.

        Parameters
        ----------
        columns
            A column for each hole, by its name.

        Raises
        ------
        TypeError, ValueError
            A column is missing, unknown or of a wrong shape, or a value does not fit its field:
            the text names the hole, and the row.
        """
        if self.is_group:
            raise TypeError(f"a group's template stamps groups: {self.text!r}")
        cdef Py_ssize_t n = -1, unused = -1
        cdef _Columns bound = self.bind(columns, &n, &unused)
        if n < 0:
            n = 1
        cdef Stamped stamped = Stamped()
        ends = np.empty(n, np.uint64)
        cdef uint64_t[::1] ends_view = ends
        cdef uint64_t *ends_data = &ends_view[0] if n else NULL
        cdef nsx_error error
        cdef int retval
        with nogil:
            retval = nsx_template_stamp(self.template, n, bound.columns, &stamped.buf, ends_data,
                                        &error)
        if retval:
            raise ValueError(error.message.decode("utf-8", "replace"))
        stamped.ends = ends
        return stamped

    def stamp_groups(self, offsets, **columns):
        """Stamp groups; the i-th has the bucket rows ``offsets[i]`` to ``offsets[i + 1]``.

        Each group is the OFPT_GROUP_MOD that adds it or takes its place (ADD_OR_MOD); one that is
        too long for a message is followed by INSERT_BUCKETs.

        Parameters
        ----------
        offsets : shape (n + 1,)
            From 0, rising, to the number of bucket rows: n groups.
        columns
            A column for each hole, by its name: of a hole in the bucket with a row for each
            bucket, of another one with a row for each group.

        Raises
        ------
        TypeError, ValueError
            As `stamp`; and for offsets that do not begin with 0, fall, or do not end with the
            number of bucket rows.

        Examples
        --------
        >>> from nsxdp.openflow import Group, Template
        >>> template = Template("group_id={group},type=select,bucket=actions=output:{port}")
        >>> groups = template.stamp_groups([0, 2, 3], group=[7, 8], port=[1, 2, 1])
        >>> for messages in groups:
        ...     print(Group.decode(messages))
        group_id=7,type=select,bucket=bucket_id:0,actions=output:1,bucket=bucket_id:1,actions=output:2
        group_id=8,type=select,bucket=bucket_id:0,actions=output:1
        """
        if not self.is_group:
            raise TypeError(f"a flow's template stamps flows: {self.text!r}")
        offsets = np.ascontiguousarray(offsets, np.uint64)
        if offsets.ndim != 1:
            raise ValueError("offsets: must be (n + 1,) numbers, the first of which is 0")
        cdef const uint64_t[::1] offsets_view = offsets
        cdef Py_ssize_t i, n = offsets_view.shape[0] - 1, n_groups = n
        if n < 0 or offsets_view[0] != 0:
            raise ValueError("offsets: must be (n + 1,) numbers, the first of which is 0")
        for i in range(n):
            if offsets_view[i] > offsets_view[n]:
                raise ValueError("offsets: must rise, and end with the number of bucket rows")
        if offsets_view[n] > 0xffffffff:
            raise ValueError("offsets: must rise, and end with the number of bucket rows")
        cdef Py_ssize_t n_buckets = <Py_ssize_t> offsets_view[n]
        cdef _Columns bound = self.bind(columns, &n_groups, &n_buckets)
        cdef Stamped stamped = Stamped()
        ends = np.empty(n, np.uint64)
        cdef uint64_t[::1] ends_view = ends
        cdef uint64_t *ends_data = &ends_view[0] if n else NULL
        cdef nsx_error error
        cdef int retval
        with nogil:
            retval = nsx_template_stamp_groups(self.template, n, &offsets_view[0], bound.columns,
                                               &stamped.buf, ends_data, &error)
        if retval:
            raise ValueError(error.message.decode("utf-8", "replace"))
        stamped.ends = ends
        return stamped


def gather(pieces, Py_ssize_t n_owners):
    """Order stamped messages by owner.

    Parameters
    ----------
    pieces
        Pairs of a `Stamped` and, for each of its rows, the number of its owner: shape (n,),
        0 to ``n_owners - 1``, in any order.
    n_owners
        The number of owners.

    Returns
    -------
    messages : bytes
        Each owner's messages after those of the owner before; one owner's are in the order of the
        pieces and of their rows.
    ends : uint64, shape (n_owners,)
        Where each owner's end.

    Raises
    ------
    ValueError
        An owner that does not exist, or not one owner for each row.
    """
    cdef Py_ssize_t i, n = len(pieces)
    cdef nsx_batch *batches = <nsx_batch *> calloc(n + 1, sizeof(nsx_batch))
    cdef Stamped stamped
    cdef const uint64_t[::1] view
    cdef list alive = []
    cdef nsx_buf buf
    cdef nsx_error error
    cdef uint64_t[::1] ends_view
    cdef uint64_t *ends_data
    cdef int retval
    if not batches:
        raise MemoryError
    nsx_buf_init(&buf)
    try:
        for i in range(n):
            stamped, owners = pieces[i]
            owners = np.ascontiguousarray(owners, np.uint64)
            if owners.shape != (len(stamped.ends),):
                raise ValueError(
                    f"piece {i}: {len(stamped.ends)} rows, but owners of shape {owners.shape}"
                )
            batches[i].msgs = stamped.buf.data
            batches[i].n = len(owners)
            if batches[i].n:
                view = stamped.ends
                batches[i].ends = &view[0]
                view = owners
                batches[i].owners = &view[0]
            alive.append((stamped, owners))
        ends = np.empty(n_owners, np.uint64)
        ends_view = ends
        ends_data = &ends_view[0] if n_owners else NULL
        with nogil:
            retval = nsx_gather(batches, n, n_owners, &buf, ends_data, &error)
        if retval:
            raise ValueError(error.message.decode("utf-8", "replace"))
        return PyBytes_FromStringAndSize(<const char *> buf.data, <Py_ssize_t> buf.size), ends
    finally:
        free(batches)
        nsx_buf_uninit(&buf)
