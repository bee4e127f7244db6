from libc.stdint cimport uint8_t

cdef bint parse_uuid(object text, uint8_t *uuid) except -1
