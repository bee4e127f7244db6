"""The desired set: what each owner needs on one switch, and the messages that make it so."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_FromStringAndSize

from threading import Lock
from typing import NamedTuple

import numpy as np

from nsxdp.openflow.codec cimport (
    nsx_buf,
    nsx_buf_init,
    nsx_buf_uninit,
    nsx_error,
    raise_decode_error,
)

cdef extern from "stdbool.h":
    ctypedef bint c_bool "bool"

cdef extern from "nsxdp.h" nogil:
    struct nsx_desired:
        pass

    struct nsx_changes:
        uint64_t messages
        uint64_t flows_added, flows_changed, flows_deleted
        uint64_t groups_added, groups_changed, groups_deleted
        uint64_t buckets_inserted, buckets_removed

    struct nsx_diff:
        uint64_t flows_missing, flows_changed, flows_extra, flows_right
        uint64_t groups_missing, groups_changed, groups_extra, groups_right
        uint64_t flows_old

    struct nsx_flow_row:
        pass

    struct nsx_desired_size:
        uint64_t owners, flows, groups, buckets, bytes

    nsx_desired *nsx_desired_new(uint16_t, uint32_t, uint32_t)
    void nsx_desired_free(nsx_desired *)
    int nsx_desired_replace(nsx_desired *, size_t, const uint64_t *, const void *, size_t,
                            const uint64_t *, nsx_buf *, nsx_changes *, nsx_error *)
    void nsx_desired_begin(nsx_desired *, c_bool, const uint16_t *, size_t)
    int nsx_desired_installed(nsx_desired *, const void *, size_t, nsx_error *)
    int nsx_desired_diff(nsx_desired *, c_bool, nsx_buf *, nsx_diff *, nsx_changes *, nsx_error *)
    void nsx_desired_dump(const nsx_desired *, nsx_buf *)
    int nsx_desired_owners(const nsx_desired *, const void *, size_t, const nsx_flow_row *,
                           size_t, uint64_t *, nsx_error *)
    void nsx_desired_size_ "nsx_desired_size" (const nsx_desired *, nsx_desired_size *)


cdef class Delta:
    """Messages that bring a switch from one state to another; its buffer is their bytes.

    ``bytes()`` gives them for `Connection.commit`; it is false where nothing has to be sent.  Made
    by `DesiredSet.replace` and `DesiredSet.diff`.

    Attributes
    ----------
    messages
        How many there are.
    flows_added, flows_changed, flows_deleted, groups_added, groups_changed, groups_deleted
        What they do. A group that changes is counted once, however it is sent.
    buckets_inserted, buckets_removed
        Buckets of groups of which only some buckets are sent.
    """

    cdef nsx_buf buf
    cdef nsx_changes changes

    def __cinit__(self):
        nsx_buf_init(&self.buf)

    def __dealloc__(self):
        nsx_buf_uninit(&self.buf)

    def __bool__(self):
        return self.buf.size > 0

    @property
    def messages(self):
        return self.changes.messages

    @property
    def flows_added(self):
        return self.changes.flows_added

    @property
    def flows_changed(self):
        return self.changes.flows_changed

    @property
    def flows_deleted(self):
        return self.changes.flows_deleted

    @property
    def groups_added(self):
        return self.changes.groups_added

    @property
    def groups_changed(self):
        return self.changes.groups_changed

    @property
    def groups_deleted(self):
        return self.changes.groups_deleted

    @property
    def buckets_inserted(self):
        return self.changes.buckets_inserted

    @property
    def buckets_removed(self):
        return self.changes.buckets_removed

    @property
    def nbytes(self):
        """How many bytes all messages have."""
        return self.buf.size

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.buf.data, <Py_ssize_t> self.buf.size, 1, flags)

    def __repr__(self):
        names = ("flows_added", "flows_changed", "flows_deleted", "groups_added",
                 "groups_changed", "groups_deleted", "buckets_inserted", "buckets_removed")
        counts = [f"{name}={getattr(self, name)}" for name in names if getattr(self, name)]
        return f"<Delta: {', '.join([f'messages={self.messages}', *counts])}>"


class Diff(NamedTuple):
    """How what is installed differs from what is desired: numbers of flows and groups.

    Attributes
    ----------
    flows_missing, groups_missing
        Those that are desired and not there.
    flows_changed, groups_changed
        Those that are there otherwise than is desired.
    flows_extra, groups_extra
        Those that are there and not desired; other owners' are not counted.
    flows_right, groups_right
        Those that are as is desired.
    flows_old
        Those that are there and another version's.
    """

    flows_missing: int
    flows_changed: int
    flows_extra: int
    flows_right: int
    groups_missing: int
    groups_changed: int
    groups_extra: int
    groups_right: int
    flows_old: int = 0

    @property
    def is_empty(self):
        """Whether all is as desired."""
        return not (self.flows_missing or self.flows_changed or self.flows_extra
                    or self.groups_missing or self.groups_changed or self.groups_extra)


class Size(NamedTuple):
    """What a desired set holds.

    Attributes
    ----------
    owners, flows, groups
        How many there are.
    buckets
        Of all groups, and of those that stand in line for one.
    bytes
        Memory, without what the allocator adds.
    """

    owners: int
    flows: int
    groups: int
    buckets: int
    bytes: int


cdef class DesiredSet:
    """What each owner needs on one switch.

    An owner is a number that the caller chose. A flow (table, priority, match) or group that two
    owners need belongs to the first until it lets go.

    Any number of threads may use one set; they wait for each other.

    Parameters
    ----------
    prefix
        The 16 most significant bits of the cookies of the set's flows; the others are a hash of
        the flow's content. Flows with other prefixes are somebody else's.
    first_group, last_group
        The ids of the set's groups. Groups with other ids are somebody else's.

    Attributes
    ----------
    prefix, first_group, last_group
        As they were given.

    Examples
    --------
    >>> from nsxdp.openflow import DesiredSet, Template
    >>> template = Template("table=1,tcp,tp_dst={port},actions=output:{out}")
    >>> desired = DesiredSet(0x6E01, 0x4000_0000, 0x7FFF_FFFF)
    >>> flows = template.stamp(port=[80, 443], out=1)
    >>> desired.replace([42], flows, [flows.nbytes])
    <Delta: messages=2, flows_added=2>
    >>> flows = template.stamp(port=[80, 8443], out=1)
    >>> desired.replace([42], flows, [flows.nbytes])
    <Delta: messages=2, flows_added=1, flows_deleted=1>
    """

    cdef nsx_desired *desired
    cdef object lock
    cdef readonly uint16_t prefix
    cdef readonly uint32_t first_group
    cdef readonly uint32_t last_group

    def __cinit__(self, uint16_t prefix, uint32_t first_group, uint32_t last_group):
        self.lock = Lock()
        self.prefix = prefix
        self.first_group = first_group
        self.last_group = last_group
        self.desired = nsx_desired_new(prefix, first_group, last_group)

    def __dealloc__(self):
        nsx_desired_free(self.desired)

    def replace(self, owners, const uint8_t[::1] messages not None, ends):
        """Make each owner need exactly its piece of the messages, and nothing else.

        The cost is proportional to these owners' flows and groups, not to the set.

        Parameters
        ----------
        owners : shape (n,)
            Numbers from 0 to 2**64 - 1.
        messages
            flow_mods (add) and group_mods (add or add_or_mod, with the insert_buckets that
            continue them), one owner's after the other's. Cookies are overwritten.
        ends : shape (n,)
            Where each owner's piece ends. An empty one: it needs nothing any more.

        Returns
        -------
        Delta
            What turns what these owners needed into that, in an order that is valid at every step.

        Raises
        ------
        DecodeError
            The messages are not such; nothing was changed.
        """
        owners = np.ascontiguousarray(owners, np.uint64)
        ends = np.ascontiguousarray(ends, np.uint64)
        if owners.ndim != 1 or owners.shape != ends.shape:
            raise ValueError(f"owners of shape {owners.shape}, ends of shape {ends.shape}")
        cdef const uint64_t[::1] owners_view = owners
        cdef const uint64_t[::1] ends_view = ends
        cdef size_t n = owners_view.shape[0], size = messages.shape[0]
        cdef const uint64_t *owners_data = &owners_view[0] if n else NULL
        cdef const uint64_t *ends_data = &ends_view[0] if n else NULL
        cdef const void *data = &messages[0] if size else NULL
        cdef Delta delta = Delta()
        cdef nsx_error error
        cdef int retval
        with self.lock:
            with nogil:
                retval = nsx_desired_replace(self.desired, n, owners_data, data, size, ends_data,
                                             &delta.buf, &delta.changes, &error)
        if retval:
            raise_decode_error(&error)
        return delta

    def begin(self, old_prefixes=(), *, bint verify=False):
        """Begin to compare with what a switch has: show all of it, then `diff`.

        Deltas that `replace` gives in between need not be sent: the diff has them.

        Parameters
        ----------
        old_prefixes
            Flows whose cookies begin with one of these 16-bit numbers are another version's:
            where they aren't what is desired now, they are replaced or deleted.
        verify
            Compare flows' instructions and timeouts too, not only their cookies.
        """
        cdef const uint16_t[::1] view = np.array(list(old_prefixes), np.uint16)
        cdef const uint16_t *data = &view[0] if view.shape[0] else NULL
        with self.lock:
            nsx_desired_begin(self.desired, verify, data, view.shape[0])

    def installed(self, const uint8_t[::1] reply not None):
        """Show what the switch has: one OFPMP_FLOW_DESC or OFPMP_GROUP_DESC reply.

        Raises
        ------
        DecodeError
            It is no such reply, or there was no `begin`.
        """
        cdef size_t size = reply.shape[0]
        cdef const void *data = &reply[0] if size else NULL
        cdef nsx_error error
        cdef int retval
        with self.lock:
            with nogil:
                retval = nsx_desired_installed(self.desired, data, size, &error)
        if retval:
            raise_decode_error(&error)

    def diff(self, *, bint keep_old=False):
        """End what `begin` began.

        Parameters
        ----------
        keep_old
            Let another version's flows stay for now in tables in which nothing is desired: packets
            that are in connection tracking when a bridge is taken over resume there.

        Returns
        -------
        tuple of Delta and Diff
            The messages that turn what was shown into what is desired, and what they are for.

        Raises
        ------
        DecodeError
            There was no `begin`.
        """
        cdef Delta delta = Delta()
        cdef nsx_diff diff
        cdef nsx_error error
        cdef int retval
        with self.lock:
            with nogil:
                retval = nsx_desired_diff(self.desired, keep_old, &delta.buf, &diff, &delta.changes, &error)
        if retval:
            raise_decode_error(&error)
        return delta, Diff(
            diff.flows_missing, diff.flows_changed, diff.flows_extra, diff.flows_right,
            diff.groups_missing, diff.groups_changed, diff.groups_extra, diff.groups_right,
            diff.flows_old,
        )

    def dump(self):
        """All that is desired, as messages in an order that can be sent."""
        cdef nsx_buf buf
        nsx_buf_init(&buf)
        try:
            with self.lock:
                with nogil:
                    nsx_desired_dump(self.desired, &buf)
            return PyBytes_FromStringAndSize(<const char *> buf.data, <Py_ssize_t> buf.size)
        finally:
            nsx_buf_uninit(&buf)

    def owners(self, rows not None, const uint8_t[::1] data not None):
        """Who needs the flows at some flows' tables, priorities and matches.

        Parameters
        ----------
        rows : shape (n,)
            Of dtype `nsxdp.openflow.stats.FLOW_ROW`.
        data
            What their matches are in: both as a `FlowTable` has them.

        Returns
        -------
        owners : shape (n,)
            uint64; all ones where nobody needs such a flow.

        Raises
        ------
        DecodeError
            A row's match is not in the data.
        """
        cdef const uint8_t[::1] rows_view = np.ascontiguousarray(rows).view(np.uint8)
        cdef size_t n = len(rows), size = data.shape[0]
        found = np.empty(n, np.uint64)
        cdef uint64_t[::1] owners_view = found
        cdef const void *data_at = &data[0] if size else NULL
        cdef const void *rows_at = &rows_view[0] if n else NULL
        cdef uint64_t *owners_at = &owners_view[0] if n else NULL
        cdef nsx_error error
        cdef int retval
        with self.lock:
            with nogil:
                retval = nsx_desired_owners(self.desired, data_at, size,
                                            <const nsx_flow_row *> rows_at, n, owners_at, &error)
        if retval:
            raise_decode_error(&error)
        return found

    @property
    def size(self):
        """How much the set holds: a `Size`."""
        cdef nsx_desired_size size
        with self.lock:
            nsx_desired_size_(self.desired, &size)
        return Size(size.owners, size.flows, size.groups, size.buckets, size.bytes)

    def __repr__(self):
        size = self.size
        return (f"<DesiredSet {self.prefix:#06x}: {size.owners} owners, {size.flows} flows, "
                f"{size.groups} groups>")
