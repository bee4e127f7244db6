"""OpenFlow 1.5 between ovs-ofctl's syntax and bytes: the core's codec for Python.

Text is parsed to messages, messages are printed as ``ovs-ofctl`` prints them, and streams of
messages are split and wrapped into bundles.  All of it is done in C; here are only arguments,
results and errors.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize

from nsxdp.openflow.errors import DecodeError, ParseError

cdef extern from "nsxdp.h" nogil:
    enum nsx_flow_command:
        pass
    enum nsx_group_command:
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

    int nsx_flow_parse(const char *, size_t, nsx_flow_command, nsx_tables, nsx_buf *, nsx_error *)
    int nsx_flow_mod_decode(const void *, size_t, nsx_flow_command *, nsx_flow_view *, nsx_error *)
    int nsx_flow_stats_next(const void *, size_t, size_t *, nsx_flow_view *, nsx_error *)
    int nsx_flow_format(const nsx_flow_view *, nsx_tables, bint, bint, nsx_buf *, nsx_error *)

    struct nsx_flow_row:
        pass

    int nsx_flow_rows(const void *, size_t, uint64_t, nsx_buf *, nsx_error *)
    int nsx_flow_row_format(const void *, size_t, const nsx_flow_row *, nsx_tables, bint, bint,
                            nsx_buf *, nsx_error *)

    int nsx_group_parse(const char *, size_t, nsx_group_command, nsx_tables, nsx_buf *, nsx_error *)
    int nsx_group_mod_decode(const void *, size_t, nsx_group_view *, nsx_error *)
    int nsx_group_desc_next(const void *, size_t, size_t *, nsx_group_view *, nsx_error *)
    int nsx_group_format(const nsx_group_view *, nsx_tables, nsx_buf *, nsx_error *)

    enum nsx_meter_command:
        pass
    int nsx_meter_parse(const char *, size_t, nsx_meter_command, nsx_buf *, nsx_error *)
    int nsx_meter_format(const void *, size_t, nsx_buf *, nsx_error *)
    int nsx_packet_out_parse(const char *, size_t, nsx_tables, nsx_buf *, nsx_error *)
    int nsx_packet_out_format(const void *, size_t, nsx_tables, nsx_buf *, nsx_error *)
    int nsx_match_text_parse(const char *, size_t, nsx_buf *, nsx_error *)
    int nsx_match_text_format(const void *, size_t, nsx_buf *, nsx_error *)
    int nsx_instructions_text_parse(const char *, size_t, nsx_tables, nsx_buf *, nsx_error *)
    int nsx_instructions_text_format(const void *, size_t, nsx_tables, nsx_buf *, nsx_error *)

    int nsx_message_format(const void *, size_t, nsx_tables, nsx_buf *, nsx_error *)
    int nsx_stream_split(const void *, size_t, size_t *, size_t *, nsx_error *)
    int nsx_bundle_wrap(const void *, size_t, uint32_t, uint16_t, uint32_t, nsx_buf *, nsx_error *)
    int nsx_packet_actions_parse(const char *, size_t, nsx_tables, nsx_buf *, nsx_error *)
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


cdef object raise_parse_error(nsx_error *error, bytes text):
    # The core counts bytes, Python's text has characters.
    position = len(text[:error.position].decode("utf-8", "replace"))
    raise ParseError(
        error.message.decode("utf-8", "replace"), text.decode("utf-8", "replace"), position
    )


cdef object raise_decode_error(nsx_error *error):
    raise DecodeError(error.message.decode("utf-8", "replace"), error.position)


cdef bytes take(nsx_buf *buf):
    """Move what is in 'buf' to Python."""
    try:
        return PyBytes_FromStringAndSize(<char *> buf.data, <Py_ssize_t> buf.size)
    finally:
        nsx_buf_uninit(buf)


cdef str take_text(nsx_buf *buf):
    return take(buf).decode("utf-8", "replace")


# Flows.

FLOW_ADD = 0
FLOW_MODIFY = 1
FLOW_MODIFY_STRICT = 2
FLOW_DELETE = 3
FLOW_DELETE_STRICT = 4


def flow_parse(str text not None, int command=0, Tables tables=None):
    """Make the OFPT_FLOW_MOD of a flow in ovs-ofctl's syntax.

    Raises
    ------
    ParseError
    """
    cdef bytes encoded = text.encode()
    cdef nsx_buf buf
    cdef nsx_error error
    nsx_buf_init(&buf)
    if nsx_flow_parse(encoded, len(encoded), <nsx_flow_command> command, tables_pointer(tables),
                      &buf, &error):
        nsx_buf_uninit(&buf)
        raise_parse_error(&error, encoded)
    return take(&buf)


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


def flow_mod_decode(const uint8_t[::1] message not None):
    """Read an OFPT_FLOW_MOD: its command and its flow's fields.

    Raises
    ------
    DecodeError
    """
    cdef nsx_flow_command command
    cdef nsx_flow_view flow
    cdef nsx_error error
    if nsx_flow_mod_decode(start(message), message.shape[0], &command, &flow, &error):
        raise_decode_error(&error)
    return <int> command, flow_tuple(&flow)


def flow_descs(const uint8_t[::1] reply not None):
    """Read an OFPMP_FLOW_DESC reply: for each flow its fields and its statistics.

    Raises
    ------
    DecodeError
    """
    cdef nsx_flow_view flow
    cdef nsx_error error
    cdef size_t offset = 0
    cdef int retval
    cdef list flows = []
    while True:
        retval = nsx_flow_stats_next(start(reply), reply.shape[0], &offset, &flow, &error)
        if retval == ENOENT:
            return flows
        if retval:
            raise_decode_error(&error)
        flows.append((
            flow_tuple(&flow),
            (flow.n_packets, flow.n_bytes, flow.duration_sec + flow.duration_nsec * 1e-9),
        ))


def flow_format(const uint8_t[::1] message not None, Tables tables=None, bint cookie=False):
    """Print an OFPT_FLOW_MOD's flow as ``ovs-ofctl dump-flows --no-stats`` does.

    Raises
    ------
    DecodeError
    """
    cdef nsx_flow_command command
    cdef nsx_flow_view flow
    cdef nsx_buf buf
    cdef nsx_error error
    nsx_buf_init(&buf)
    if (nsx_flow_mod_decode(start(message), message.shape[0], &command, &flow, &error)
            or nsx_flow_format(&flow, tables_pointer(tables), cookie, False, &buf, &error)):
        nsx_buf_uninit(&buf)
        raise_decode_error(&error)
    return take_text(&buf)


FLOW_ROW_SIZE = sizeof(nsx_flow_row)


def flow_rows(const uint8_t[::1] reply not None, uint64_t origin):
    """Read an OFPMP_FLOW_DESC reply: a ``struct nsx_flow_row`` for each flow.

    Raises
    ------
    DecodeError
    """
    cdef nsx_buf buf
    cdef nsx_error error
    cdef const void *data = start(reply)
    cdef size_t size = reply.shape[0]
    cdef int retval
    nsx_buf_init(&buf)
    with nogil:
        retval = nsx_flow_rows(data, size, origin, &buf, &error)
    if retval:
        nsx_buf_uninit(&buf)
        raise_decode_error(&error)
    return take(&buf)


def flow_row_format(const uint8_t[::1] replies not None, const uint8_t[::1] row not None,
                    Tables tables=None, bint cookie=True, bint stats=True):
    """Print a ``struct nsx_flow_row`` of some replies as ``ovs-ofctl dump-flows`` does.

    Raises
    ------
    DecodeError
    """
    cdef nsx_buf buf
    cdef nsx_error error
    if row.shape[0] != FLOW_ROW_SIZE:
        raise ValueError(f"a row of {row.shape[0]} bytes")
    nsx_buf_init(&buf)
    if nsx_flow_row_format(start(replies), replies.shape[0], <const nsx_flow_row *> start(row),
                           tables_pointer(tables), cookie, stats, &buf, &error):
        nsx_buf_uninit(&buf)
        raise_decode_error(&error)
    return take_text(&buf)


# Groups.

GROUP_ADD = 0
GROUP_MODIFY = 1
GROUP_DELETE = 2
GROUP_INSERT_BUCKET = 3
GROUP_REMOVE_BUCKET = 5
GROUP_ADD_OR_MOD = 0x8000


def group_parse(str text not None, int command=0, Tables tables=None):
    """Make the OFPT_GROUP_MODs of a group in ovs-ofctl's syntax: more than one if it is long.

    Raises
    ------
    ParseError
    """
    cdef bytes encoded = text.encode()
    cdef nsx_buf buf
    cdef nsx_error error
    nsx_buf_init(&buf)
    if nsx_group_parse(encoded, len(encoded), <nsx_group_command> command, tables_pointer(tables),
                       &buf, &error):
        nsx_buf_uninit(&buf)
        raise_parse_error(&error, encoded)
    return take(&buf)


cdef tuple group_tuple(const nsx_group_view *group):
    return (
        group.group_id,
        group.type,
        (<const char *> group.buckets)[:group.buckets_len],
        (<const char *> group.properties)[:group.properties_len],
    )


def group_mod_decode(const uint8_t[::1] message not None):
    """Read an OFPT_GROUP_MOD: its command, its command's bucket, and its group's fields.

    Raises
    ------
    DecodeError
    """
    cdef nsx_group_view group
    cdef nsx_error error
    if nsx_group_mod_decode(start(message), message.shape[0], &group, &error):
        raise_decode_error(&error)
    return group.command, group.command_bucket_id, group_tuple(&group)


def group_descs(const uint8_t[::1] reply not None):
    """Read an OFPMP_GROUP_DESC reply: each group's fields.

    Raises
    ------
    DecodeError
    """
    cdef nsx_group_view group
    cdef nsx_error error
    cdef size_t offset = 0
    cdef int retval
    cdef list groups = []
    while True:
        retval = nsx_group_desc_next(start(reply), reply.shape[0], &offset, &group, &error)
        if retval == ENOENT:
            return groups
        if retval:
            raise_decode_error(&error)
        groups.append(group_tuple(&group))


def group_format(const uint8_t[::1] message not None, Tables tables=None):
    """Print an OFPT_GROUP_MOD's group as ``ovs-ofctl dump-groups`` does.

    Raises
    ------
    DecodeError
    """
    cdef nsx_group_view group
    cdef nsx_buf buf
    cdef nsx_error error
    nsx_buf_init(&buf)
    if (nsx_group_mod_decode(start(message), message.shape[0], &group, &error)
            or nsx_group_format(&group, tables_pointer(tables), &buf, &error)):
        nsx_buf_uninit(&buf)
        raise_decode_error(&error)
    return take_text(&buf)


# Meters, packet-outs, and the parts of flows.

METER_ADD = 0
METER_MODIFY = 1
METER_DELETE = 2


def meter_parse(str text not None, int command=0):
    """Make the OFPT_METER_MOD of a meter in ovs-ofctl's syntax.

    Raises
    ------
    ParseError
    """
    cdef bytes encoded = text.encode()
    cdef nsx_buf buf
    cdef nsx_error error
    nsx_buf_init(&buf)
    if nsx_meter_parse(encoded, len(encoded), <nsx_meter_command> command, &buf, &error):
        nsx_buf_uninit(&buf)
        raise_parse_error(&error, encoded)
    return take(&buf)


def meter_format(const uint8_t[::1] message not None):
    """Print an OFPT_METER_MOD's meter as ``ovs-ofctl dump-meters`` does.

    Raises
    ------
    DecodeError
    """
    cdef nsx_buf buf
    cdef nsx_error error
    nsx_buf_init(&buf)
    if nsx_meter_format(start(message), message.shape[0], &buf, &error):
        nsx_buf_uninit(&buf)
        raise_decode_error(&error)
    return take_text(&buf)


def packet_out_parse(str text not None, Tables tables=None):
    """Make the OFPT_PACKET_OUT of a packet-out in ovs-ofctl's syntax.

    Raises
    ------
    ParseError
    """
    cdef bytes encoded = text.encode()
    cdef nsx_buf buf
    cdef nsx_error error
    nsx_buf_init(&buf)
    if nsx_packet_out_parse(encoded, len(encoded), tables_pointer(tables), &buf, &error):
        nsx_buf_uninit(&buf)
        raise_parse_error(&error, encoded)
    return take(&buf)


def packet_out_format(const uint8_t[::1] message not None, Tables tables=None):
    """Print an OFPT_PACKET_OUT in the syntax of ``ovs-ofctl packet-out``.

    Raises
    ------
    DecodeError
    """
    cdef nsx_buf buf
    cdef nsx_error error
    nsx_buf_init(&buf)
    if nsx_packet_out_format(start(message), message.shape[0], tables_pointer(tables), &buf,
                             &error):
        nsx_buf_uninit(&buf)
        raise_decode_error(&error)
    return take_text(&buf)


def match_parse(str text not None):
    """Make the ``struct ofp_match`` of a match in ovs-ofctl's syntax.

    Raises
    ------
    ParseError
    """
    cdef bytes encoded = text.encode()
    cdef nsx_buf buf
    cdef nsx_error error
    nsx_buf_init(&buf)
    if nsx_match_text_parse(encoded, len(encoded), &buf, &error):
        nsx_buf_uninit(&buf)
        raise_parse_error(&error, encoded)
    return take(&buf)


def match_format(const uint8_t[::1] match not None):
    """Print a ``struct ofp_match`` as a flow dump does.

    Raises
    ------
    DecodeError
    """
    cdef nsx_buf buf
    cdef nsx_error error
    nsx_buf_init(&buf)
    if nsx_match_text_format(start(match), match.shape[0], &buf, &error):
        nsx_buf_uninit(&buf)
        raise_decode_error(&error)
    return take_text(&buf)


def instructions_parse(str text not None, Tables tables=None):
    """Make the instructions of what may follow ``actions=`` in a flow.

    Raises
    ------
    ParseError
    """
    cdef bytes encoded = text.encode()
    cdef nsx_buf buf
    cdef nsx_error error
    nsx_buf_init(&buf)
    if nsx_instructions_text_parse(encoded, len(encoded), tables_pointer(tables), &buf, &error):
        nsx_buf_uninit(&buf)
        raise_parse_error(&error, encoded)
    return take(&buf)


def instructions_format(const uint8_t[::1] instructions not None, Tables tables=None):
    """Print instructions as a flow dump does after ``actions=``.

    Raises
    ------
    DecodeError
    """
    cdef nsx_buf buf
    cdef nsx_error error
    nsx_buf_init(&buf)
    if nsx_instructions_text_format(start(instructions), instructions.shape[0],
                                    tables_pointer(tables), &buf, &error):
        nsx_buf_uninit(&buf)
        raise_decode_error(&error)
    return take_text(&buf)


# Messages.

cdef const void *start(const uint8_t[::1] view) noexcept:
    return &view[0] if view.shape[0] else NULL


def message_format(const uint8_t[::1] message not None, Tables tables=None):
    """Print a message as ``ovs-ofctl ofp-print`` does, without the line of a packet in it.

    Raises
    ------
    DecodeError
        It isn't one whole message.
    """
    cdef nsx_buf buf
    cdef nsx_error error
    nsx_buf_init(&buf)
    if nsx_message_format(start(message), message.shape[0], tables_pointer(tables), &buf, &error):
        nsx_buf_uninit(&buf)
        raise_decode_error(&error)
    return take_text(&buf)


def split(const uint8_t[::1] stream not None):
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
    cdef size_t n, used
    cdef nsx_error error
    cdef const void *data = start(stream)
    cdef size_t size = stream.shape[0]
    cdef int retval
    with nogil:
        retval = nsx_stream_split(data, size, &n, &used, &error)
    if retval:
        raise_decode_error(&error)
    return n, used


def bundle_wrap(const uint8_t[::1] messages not None, uint32_t bundle_id, uint16_t flags,
                uint32_t xid):
    """Put each of some messages into an OFPT_BUNDLE_ADD_MESSAGE; the i-th has 'xid + i'.

    Raises
    ------
    DecodeError
        These aren't whole messages, or one is too long for a bundle.
    """
    cdef nsx_buf buf
    cdef nsx_error error
    cdef const void *data = start(messages)
    cdef size_t size = messages.shape[0]
    cdef int retval
    nsx_buf_init(&buf)
    with nogil:
        retval = nsx_bundle_wrap(data, size, bundle_id, flags, xid, &buf, &error)
    if retval:
        nsx_buf_uninit(&buf)
        raise_decode_error(&error)
    return take(&buf)


def packet_actions_parse(str text not None, Tables tables=None):
    """The bytes of the actions of a packet-out.

    Raises
    ------
    ParseError
    """
    cdef bytes encoded = text.encode()
    cdef nsx_buf buf
    cdef nsx_error error
    nsx_buf_init(&buf)
    if nsx_packet_actions_parse(encoded, len(encoded), tables_pointer(tables), &buf, &error):
        nsx_buf_uninit(&buf)
        raise_parse_error(&error, encoded)
    return take(&buf)


def error_name(uint16_t type, uint16_t code, uint32_t experimenter=0):
    """Open vSwitch's name of an error, or None."""
    cdef const char *name = nsx_error_name(type, code, experimenter)
    return None if name is NULL else name.decode()
