"""The core's buffers, errors and table names, for every Cython module over it."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "nsxdp.h" nogil:
    struct nsx_buf:
        uint8_t *data
        size_t size
        size_t allocated

    void nsx_buf_init(nsx_buf *)
    void nsx_buf_uninit(nsx_buf *)

    struct nsx_error:
        char message[256]
        size_t position
        const char *name

    ctypedef const char *const *nsx_tables


cdef class Tables:
    cdef const char *names[256]
    cdef readonly tuple by_number
    cdef dict _names(self)


# The C form of a Tables, or NULL for None.
cdef nsx_tables tables_pointer(Tables tables) noexcept

# Raise what an error of the core says.
cdef object raise_parse_error(nsx_error *error, str text)
cdef object raise_decode_error(nsx_error *error)
