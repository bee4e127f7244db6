"""What other Cython modules see of values on their way to JSON."""

from libc.stdint cimport uint8_t


cdef extern from "nsxdp.h":
    struct nsx_buf:
        uint8_t *data
        size_t size

    void nsx_buf_init(nsx_buf *)
    void nsx_buf_uninit(nsx_buf *)
    void nsx_buf_put(nsx_buf *, const void *, size_t)


# Append JSON that is written already; a text as a JSON string.
cdef int put(nsx_buf *out, const char *text) except -1
cdef int put_text(nsx_buf *out, str text) except -1


cdef class Atom:
    cdef object base
    cdef int kind
    cdef bint bounded
    cdef int write(self, nsx_buf *out, value) except -1
    cdef int check_bounds(self, value) except -1


cdef class Encoder:
    cdef str where
    cdef Atom key, value
    cdef object minimum, maximum
    cdef int write(self, nsx_buf *out, value) except -1
    cdef int write_map(self, nsx_buf *out, pairs) except -1
    cdef int write_set(self, nsx_buf *out, members) except -1
    cdef int check_size(self, Py_ssize_t size) except -1
