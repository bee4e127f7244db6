"""OpenFlow 1.5 between ovs-ofctl's syntax and bytes: the core's codec for Python.

Text is parsed to messages, messages are printed as ``ovs-ofctl`` prints them, and streams of
messages are split and wrapped into bundles.  All of it is done in C; here are only arguments,
results and errors.

What reads text raises `ParseError`, and what reads bytes, `DecodeError`; both say where.  ``tables``
are names that a text has for tables, ``command`` is a number such as `FLOW_ADD`.
"""

from cpython.buffer cimport (
    PyBUF_SIMPLE,
    PyBuffer_FillInfo,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AsStringAndSize, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8

from nsxdp.openflow.errors import DecodeError, ParseError

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object, Py_ssize_t *) except NULL

cdef extern from "nsxdp.h" nogil:
    enum nsx_flow_command:
        pass
    enum nsx_group_command:
        pass
    enum nsx_meter_command:
        pass

    struct nsx_flow_view:
        uint64_t cookie
        uint64_t n_packets, n_bytes
        uint32_t duration_sec, duration_nsec
        uint16_t idle_timeout, hard_timeout, importance, flags, priority
        uint8_t table_id
        const uint8_t *match
        size_t match_len
        const uint8_t *instructions
        size_t instructions_len

    struct nsx_group_view:
        uint16_t command
        uint8_t type
        uint32_t group_id
        uint32_t command_bucket_id
        const uint8_t *buckets
        size_t buckets_len
        const uint8_t *properties
        size_t properties_len

    struct nsx_flow_row:
        pass

    int nsx_flow_parse(const void *, size_t, nsx_flow_command, nsx_tables, nsx_buf *, nsx_error *)
    int nsx_flows_parse(const void *, size_t, nsx_flow_command, nsx_tables, nsx_buf *, nsx_error *)
    int nsx_flow_mod_decode(const void *, size_t, nsx_flow_command *, nsx_flow_view *, nsx_error *)
    void nsx_flow_mod_view(const void *, size_t, nsx_flow_view *)
    int nsx_flow_mod_encode(const nsx_flow_view *, nsx_flow_command, uint32_t, nsx_buf *,
                            nsx_error *)
    int nsx_flow_mod_format(const void *, size_t, nsx_tables, bint, nsx_buf *, nsx_error *)
    int nsx_flow_stats_next(const void *, size_t, size_t *, nsx_flow_view *, nsx_error *)
    int nsx_flow_rows(const void *, size_t, uint64_t, nsx_buf *, nsx_error *)
    int nsx_flow_row_format(const void *, size_t, const nsx_flow_row *, nsx_tables, bint, bint,
                            nsx_buf *, nsx_error *)

    int nsx_group_parse(const void *, size_t, nsx_group_command, nsx_tables, nsx_buf *, nsx_error *)
    int nsx_group_mod_decode(const void *, size_t, nsx_group_view *, nsx_error *)
    void nsx_group_mod_view(const void *, size_t, nsx_group_view *)
    int nsx_group_mod_encode(const nsx_group_view *, uint32_t, nsx_buf *, nsx_error *)
    int nsx_group_mod_format(const void *, size_t, nsx_tables, nsx_buf *, nsx_error *)
    int nsx_group_desc_next(const void *, size_t, size_t *, nsx_group_view *, nsx_error *)

    int nsx_meter_parse(const void *, size_t, nsx_meter_command, nsx_buf *, nsx_error *)
    int nsx_meter_format(const void *, size_t, nsx_buf *, nsx_error *)
    int nsx_packet_out_parse(const void *, size_t, nsx_tables, nsx_buf *, nsx_error *)
    int nsx_packet_out_format(const void *, size_t, nsx_tables, nsx_buf *, nsx_error *)
    int nsx_packet_actions_parse(const void *, size_t, nsx_tables, nsx_buf *, nsx_error *)
    int nsx_match_text_parse(const void *, size_t, nsx_buf *, nsx_error *)
    int nsx_match_text_format(const void *, size_t, nsx_buf *, nsx_error *)
    int nsx_instructions_text_parse(const void *, size_t, nsx_tables, nsx_buf *, nsx_error *)
    int nsx_instructions_text_format(const void *, size_t, nsx_tables, nsx_buf *, nsx_error *)

    int nsx_message_format(const void *, size_t, nsx_tables, nsx_buf *, nsx_error *)
    int nsx_messages_format(const void *, size_t, nsx_tables, nsx_buf *, nsx_error *)
    void nsx_message_print(const void *, size_t, nsx_tables, nsx_buf *)
    int nsx_stream_split(const void *, size_t, size_t *, size_t *, nsx_error *)
    int nsx_bundle_wrap(const void *, size_t, uint32_t, uint16_t, uint32_t, nsx_buf *, nsx_error *)
    const char *nsx_error_name(uint16_t, uint16_t, uint32_t)

cdef extern from "errno.h" nogil:
    int ENOENT


cdef class Tables:
    """Names of a bridge's tables, made once and given to whatever parses or prints.

    Parameters
    ----------
    names
        A mapping from name to number, or names in the order of the numbers (None: no name).

    Raises
    ------
    ValueError
        A number isn't a table's (0 to 254), is used twice, or a name can't be told from a number.
    """

    def __cinit__(self, names):
        cdef bytes encoded
        cdef list by_number = [None] * 256
        if hasattr(names, "items"):
            numbered = names.items()
        else:
            numbered = [(name, i) for i, name in enumerate(names) if name is not None]
        for name, number in numbered:
            if not 0 <= number <= 254:
                raise ValueError(f"table {name}: {number} isn't a number from 0 to 254")
            if by_number[number] is not None:
                raise ValueError(f"table {number} has two names: {by_number[number].decode()}, {name}")
            if not name or name[0].isdigit() or any(c in name for c in " ,=():[]{}\0"):
                raise ValueError(f"table {number}: {name!r} can't be a table's name")
            by_number[number] = name.encode()
        self.by_number = tuple(by_number)
        for number in range(256):
            self.names[number] = NULL
            if by_number[number] is not None:
                encoded = by_number[number]
                self.names[number] = encoded

    cdef dict _names(self):
        return {name.decode(): number for number, name in enumerate(self.by_number) if name}

    def __repr__(self):
        return f"Tables({self._names()!r})"

    def __reduce__(self):
        return Tables, (self._names(),)


cdef nsx_tables tables_pointer(Tables tables) noexcept:
    if tables is None:
        return NULL
    return <nsx_tables> tables.names


cdef object raise_parse_error(nsx_error *error, str text):
    raise ParseError(reason(error), text, characters(error, text))


cdef object raise_decode_error(nsx_error *error):
    raise DecodeError(reason(error), error.position,
                      "" if error.name is NULL else error.name.decode())


cdef str reason(nsx_error *error):
    return error.message.decode("utf-8", "replace")


cdef Py_ssize_t characters(nsx_error *error, str text) except -1:
    # The core counts bytes, Python's text has characters.
    return len(text.encode()[:error.position].decode("utf-8", "replace"))


# A call of the core: what it reads, what it gives, and what is wrong.  It begins with begin() or
# begin_text(), and ends with end(), which parsed(), made() and printed() do, too.

cdef struct call:
    Py_buffer input
    const void *p               # Where it is, and its size.
    size_t n
    nsx_buf out
    nsx_error error


cdef int begin(call *c, message) except -1:
    nsx_buf_init(&c.out)
    PyObject_GetBuffer(message, &c.input, PyBUF_SIMPLE)
    c.p, c.n = c.input.buf, c.input.len
    return 0


cdef int begin_text(call *c, str text) except -1:
    cdef Py_ssize_t n
    cdef const char *utf8 = PyUnicode_AsUTF8AndSize(text, &n)
    nsx_buf_init(&c.out)
    PyBuffer_FillInfo(&c.input, text, <void *> utf8, n, 1, PyBUF_SIMPLE)
    c.p, c.n = utf8, n
    return 0


cdef void end(call *c) noexcept:
    PyBuffer_Release(&c.input)
    nsx_buf_uninit(&c.out)


cdef bytes output(call *c):
    return PyBytes_FromStringAndSize(<char *> c.out.data, <Py_ssize_t> c.out.size)


cdef bytes parsed(call *c, int retval, str text):
    """What the core made of a text."""
    try:
        if retval:
            raise_parse_error(&c.error, text)
        return output(c)
    finally:
        end(c)


cdef bytes made(call *c, int retval):
    """What the core made of bytes."""
    try:
        if retval:
            raise_decode_error(&c.error)
        return output(c)
    finally:
        end(c)


cdef str printed(call *c, int retval):
    """How the core prints bytes."""
    try:
        if retval:
            raise_decode_error(&c.error)
        return PyUnicode_DecodeUTF8(<char *> c.out.data, <Py_ssize_t> c.out.size, "replace")
    finally:
        end(c)


# Flows.

FLOW_ADD = 0
FLOW_MODIFY = 1
FLOW_MODIFY_STRICT = 2
FLOW_DELETE = 3
FLOW_DELETE_STRICT = 4


def flow_parse(str text not None, int command=0, Tables tables=None):
    """Make the OFPT_FLOW_MOD of a flow in ovs-ofctl's syntax."""
    cdef call c
    begin_text(&c, text)
    return parsed(&c, nsx_flow_parse(c.p, c.n, <nsx_flow_command> command, tables_pointer(tables),
                                     &c.out, &c.error), text)


def flows_parse(str text not None, int command=0, Tables tables=None):
    """Make the OFPT_FLOW_MODs of a file's text: a flow a line, with comments after ``#``.

    A line may begin with a command: ``add``, ``modify``, ``delete_strict`` and the like.

    Raises
    ------
    ParseError
        Its text is the line.
    """
    cdef call c
    cdef nsx_tables names = tables_pointer(tables)
    cdef int retval
    begin_text(&c, text)
    with nogil:
        retval = nsx_flows_parse(c.p, c.n, <nsx_flow_command> command, names, &c.out, &c.error)
    if not retval:
        return made(&c, retval)
    end(&c)
    position = characters(&c.error, text)
    start = text.rfind("\n", 0, position) + 1
    line = text[start:].partition("\n")[0]
    raise ParseError(reason(&c.error), line, position - start, text.count("\n", 0, position) + 1)


cdef tuple flow_tuple(const nsx_flow_view *flow):
    return (
        flow.table_id,
        flow.priority,
        (<const char *> flow.match)[:flow.match_len],
        (<const char *> flow.instructions)[:flow.instructions_len],
        flow.cookie,
        flow.idle_timeout,
        flow.hard_timeout,
        flow.importance,
        flow.flags,
    )


def flow_parse_fields(str text not None, Tables tables=None):
    """The fields of a flow in ovs-ofctl's syntax; it may be one that a switch would refuse."""
    cdef call c
    cdef nsx_flow_view flow
    begin_text(&c, text)
    try:
        if nsx_flow_parse(c.p, c.n, <nsx_flow_command> 0, tables_pointer(tables), &c.out, &c.error):
            raise_parse_error(&c.error, text)
        nsx_flow_mod_view(c.out.data, c.out.size, &flow)
        return flow_tuple(&flow)
    finally:
        end(&c)


def flow_mod_decode(message not None):
    """Read an OFPT_FLOW_MOD: its command and its flow's fields."""
    cdef call c
    cdef nsx_flow_command command
    cdef nsx_flow_view flow
    begin(&c, message)
    try:
        if nsx_flow_mod_decode(c.p, c.n, &command, &flow, &c.error):
            raise_decode_error(&c.error)
        return <int> command, flow_tuple(&flow)
    finally:
        end(&c)


def flow_mod_encode(tuple fields not None, int command=0, uint32_t xid=0):
    """Make the OFPT_FLOW_MOD that does ``command`` with a flow's fields.

    Raises
    ------
    ValueError, OverflowError
        It is longer than a message can be; a number is too large for its field.
    """
    cdef nsx_flow_view flow
    cdef nsx_buf buf
    cdef nsx_error error
    cdef char *start
    cdef Py_ssize_t n
    (flow.table_id, flow.priority, match, instructions, flow.cookie, flow.idle_timeout,
     flow.hard_timeout, flow.importance, flow.flags) = fields
    PyBytes_AsStringAndSize(match, &start, &n)
    flow.match = <const uint8_t *> start
    flow.match_len = n
    PyBytes_AsStringAndSize(instructions, &start, &n)
    flow.instructions = <const uint8_t *> start
    flow.instructions_len = n
    nsx_buf_init(&buf)
    return encoded(nsx_flow_mod_encode(&flow, <nsx_flow_command> command, xid, &buf, &error),
                   &buf, &error)


cdef bytes encoded(int retval, nsx_buf *buf, nsx_error *error):
    try:
        if retval:
            raise ValueError(reason(error))
        return PyBytes_FromStringAndSize(<char *> buf.data, <Py_ssize_t> buf.size)
    finally:
        nsx_buf_uninit(buf)


def flow_descs(reply not None):
    """Read an OFPMP_FLOW_DESC reply: for each flow its fields and its statistics."""
    cdef call c
    cdef nsx_flow_view flow
    cdef size_t offset = 0
    cdef int retval
    cdef list flows = []
    begin(&c, reply)
    try:
        while True:
            retval = nsx_flow_stats_next(c.p, c.n, &offset, &flow, &c.error)
            if retval == ENOENT:
                return flows
            if retval:
                raise_decode_error(&c.error)
            flows.append((
                flow_tuple(&flow),
                (flow.n_packets, flow.n_bytes, flow.duration_sec + flow.duration_nsec * 1e-9),
            ))
    finally:
        end(&c)


def flow_format(message not None, Tables tables=None, bint cookie=False):
    """Print an OFPT_FLOW_MOD's flow as ``ovs-ofctl dump-flows --no-stats`` does."""
    cdef call c
    begin(&c, message)
    return printed(&c, nsx_flow_mod_format(c.p, c.n, tables_pointer(tables), cookie, &c.out,
                                           &c.error))


FLOW_ROW_SIZE = sizeof(nsx_flow_row)


def flow_rows(reply not None, uint64_t origin):
    """Read an OFPMP_FLOW_DESC reply: a ``struct nsx_flow_row`` for each flow."""
    cdef call c
    cdef int retval
    begin(&c, reply)
    with nogil:
        retval = nsx_flow_rows(c.p, c.n, origin, &c.out, &c.error)
    return made(&c, retval)


def flow_row_format(replies not None, const uint8_t[::1] row not None, Tables tables=None,
                    bint cookie=True, bint stats=True):
    """Print a ``struct nsx_flow_row`` of some replies as ``ovs-ofctl dump-flows`` does."""
    cdef call c
    if row.shape[0] != FLOW_ROW_SIZE:
        raise ValueError(f"a row of {row.shape[0]} bytes")
    begin(&c, replies)
    return printed(&c, nsx_flow_row_format(c.p, c.n, <const nsx_flow_row *> &row[0],
                                           tables_pointer(tables), cookie, stats, &c.out, &c.error))


# Groups.

GROUP_ADD = 0
GROUP_MODIFY = 1
GROUP_DELETE = 2
GROUP_INSERT_BUCKET = 3
GROUP_REMOVE_BUCKET = 5
GROUP_ADD_OR_MOD = 0x8000


def group_parse(str text not None, int command=0, Tables tables=None):
    """Make the OFPT_GROUP_MODs of a group in ovs-ofctl's syntax: more than one if it is long."""
    cdef call c
    begin_text(&c, text)
    return parsed(&c, nsx_group_parse(c.p, c.n, <nsx_group_command> command, tables_pointer(tables),
                                      &c.out, &c.error), text)


cdef tuple group_tuple(const nsx_group_view *group):
    return (
        group.group_id,
        group.type,
        (<const char *> group.buckets)[:group.buckets_len],
        (<const char *> group.properties)[:group.properties_len],
    )


def group_parse_fields(str text not None, Tables tables=None):
    """The fields of a group in ovs-ofctl's syntax, however long it is."""
    cdef call c
    cdef nsx_group_view group
    cdef const uint8_t *p
    cdef size_t length, left
    cdef list parts = []
    begin_text(&c, text)
    try:
        if nsx_group_parse(c.p, c.n, <nsx_group_command> 0, tables_pointer(tables), &c.out,
                           &c.error):
            raise_parse_error(&c.error, text)
        p = c.out.data
        left = c.out.size
        while left:
            length = <size_t> p[2] << 8 | p[3]
            nsx_group_mod_view(p, length, &group)
            parts.append(group_tuple(&group))
            p += length
            left -= length
    finally:
        end(&c)
    return join_groups(parts)


cdef tuple join_groups(list parts):
    """A group of those of its messages."""
    if len(parts) == 1:
        return parts[0]
    group_id, kind, _, properties = parts[0]
    return group_id, kind, b"".join([part[2] for part in parts]), properties


def group_mod_decode(message not None):
    """Read an OFPT_GROUP_MOD: its command, its command's bucket, and its group's fields."""
    cdef call c
    cdef nsx_group_view group
    begin(&c, message)
    try:
        if nsx_group_mod_decode(c.p, c.n, &group, &c.error):
            raise_decode_error(&c.error)
        return group.command, group.command_bucket_id, group_tuple(&group)
    finally:
        end(&c)


def group_mod_encode(tuple fields not None, uint16_t command=0, uint32_t xid=0):
    """Make the OFPT_GROUP_MOD that does ``command`` with a group's fields.

    Raises
    ------
    ValueError, OverflowError
        It is longer than a message can be; a number is too large for its field.
    """
    cdef nsx_group_view group
    cdef nsx_buf buf
    cdef nsx_error error
    cdef char *start
    cdef Py_ssize_t n
    group.command = command
    group.command_bucket_id = 0xffffffff
    group.group_id, group.type, buckets, properties = fields
    PyBytes_AsStringAndSize(buckets, &start, &n)
    group.buckets = <const uint8_t *> start
    group.buckets_len = n
    PyBytes_AsStringAndSize(properties, &start, &n)
    group.properties = <const uint8_t *> start
    group.properties_len = n
    nsx_buf_init(&buf)
    return encoded(nsx_group_mod_encode(&group, xid, &buf, &error), &buf, &error)


def group_descs(reply not None):
    """Read an OFPMP_GROUP_DESC reply: each group's fields."""
    cdef call c
    cdef nsx_group_view group
    cdef size_t offset = 0
    cdef int retval
    cdef list groups = []
    begin(&c, reply)
    try:
        while True:
            retval = nsx_group_desc_next(c.p, c.n, &offset, &group, &c.error)
            if retval == ENOENT:
                return groups
            if retval:
                raise_decode_error(&c.error)
            groups.append(group_tuple(&group))
    finally:
        end(&c)


def group_format(message not None, Tables tables=None):
    """Print an OFPT_GROUP_MOD's group as ``ovs-ofctl dump-groups`` does."""
    cdef call c
    begin(&c, message)
    return printed(&c, nsx_group_mod_format(c.p, c.n, tables_pointer(tables), &c.out, &c.error))


# Meters, packet-outs, and the parts of flows.

METER_ADD = 0
METER_MODIFY = 1
METER_DELETE = 2


def meter_parse(str text not None, int command=0):
    """Make the OFPT_METER_MOD of a meter in ovs-ofctl's syntax."""
    cdef call c
    begin_text(&c, text)
    return parsed(&c, nsx_meter_parse(c.p, c.n, <nsx_meter_command> command, &c.out, &c.error),
                                      text)


def meter_format(message not None):
    """Print an OFPT_METER_MOD's meter as ``ovs-ofctl dump-meters`` does."""
    cdef call c
    begin(&c, message)
    return printed(&c, nsx_meter_format(c.p, c.n, &c.out, &c.error))


def packet_out_parse(str text not None, Tables tables=None):
    """Make the OFPT_PACKET_OUT of a packet-out in ovs-ofctl's syntax."""
    cdef call c
    begin_text(&c, text)
    return parsed(&c, nsx_packet_out_parse(c.p, c.n, tables_pointer(tables), &c.out, &c.error),
                                           text)


def packet_out_format(message not None, Tables tables=None):
    """Print an OFPT_PACKET_OUT in the syntax of ``ovs-ofctl packet-out``."""
    cdef call c
    begin(&c, message)
    return printed(&c, nsx_packet_out_format(c.p, c.n, tables_pointer(tables), &c.out, &c.error))


def packet_actions_parse(str text not None, Tables tables=None):
    """The bytes of the actions of a packet-out."""
    cdef call c
    begin_text(&c, text)
    return parsed(&c, nsx_packet_actions_parse(c.p, c.n, tables_pointer(tables), &c.out, &c.error),
                                               text)


def match_parse(str text not None):
    """Make the ``struct ofp_match`` of a match in ovs-ofctl's syntax."""
    cdef call c
    begin_text(&c, text)
    return parsed(&c, nsx_match_text_parse(c.p, c.n, &c.out, &c.error), text)


def match_format(match not None):
    """Print a ``struct ofp_match`` as a flow dump does."""
    cdef call c
    begin(&c, match)
    return printed(&c, nsx_match_text_format(c.p, c.n, &c.out, &c.error))


def instructions_parse(str text not None, Tables tables=None):
    """Make the instructions of what may follow ``actions=`` in a flow."""
    cdef call c
    begin_text(&c, text)
    return parsed(&c, nsx_instructions_text_parse(c.p, c.n, tables_pointer(tables), &c.out,
                                                  &c.error), text)


def instructions_format(instructions not None, Tables tables=None):
    """Print instructions as a flow dump does after ``actions=``."""
    cdef call c
    begin(&c, instructions)
    return printed(&c, nsx_instructions_text_format(c.p, c.n, tables_pointer(tables), &c.out,
                                                    &c.error))


# Messages.

def message_format(message not None, Tables tables=None):
    """Print a message as ``ovs-ofctl ofp-print`` does, without the line of a packet in it.

    Raises
    ------
    DecodeError
        It isn't one whole message.
    """
    cdef call c
    begin(&c, message)
    return printed(&c, nsx_message_format(c.p, c.n, tables_pointer(tables), &c.out, &c.error))


def messages_format(stream not None, Tables tables=None):
    """Print each message of a stream likewise, and a line's end after it."""
    cdef call c
    begin(&c, stream)
    return printed(&c, nsx_messages_format(c.p, c.n, tables_pointer(tables), &c.out, &c.error))


def message_print(message not None, Tables tables=None):
    """Print any bytes as ``ovs-ofctl ofp-print`` does, without the line of a packet in it.

    What can't be read is printed with the name of its error, and as bytes.
    """
    cdef call c
    begin(&c, message)
    nsx_message_print(c.p, c.n, tables_pointer(tables), &c.out)
    return printed(&c, 0)


def split(stream not None):
    """Count the whole messages at the front of a stream.

    Returns
    -------
    tuple of int
        How many there are, and the bytes that they take.

    Raises
    ------
    DecodeError
        A header that no message can have.
    """
    cdef call c
    cdef size_t n, used
    cdef int retval
    begin(&c, stream)
    try:
        with nogil:
            retval = nsx_stream_split(c.p, c.n, &n, &used, &c.error)
        if retval:
            raise_decode_error(&c.error)
        return n, used
    finally:
        end(&c)


def bundle_wrap(messages not None, uint32_t bundle_id, uint16_t flags, uint32_t xid):
    """Put each of some messages into an OFPT_BUNDLE_ADD_MESSAGE; the i-th has 'xid + i'.

    Raises
    ------
    DecodeError
        These aren't whole messages, or one is too long for a bundle.
    """
    cdef call c
    cdef int retval
    begin(&c, messages)
    with nogil:
        retval = nsx_bundle_wrap(c.p, c.n, bundle_id, flags, xid, &c.out, &c.error)
    return made(&c, retval)


def error_name(uint16_t type, uint16_t code, uint32_t experimenter=0):
    """Open vSwitch's name of an error, or None."""
    cdef const char *name = nsx_error_name(type, code, experimenter)
    return None if name is NULL else name.decode()
