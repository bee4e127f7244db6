"""What other Cython modules see of stamped messages."""

from nsxdp.openflow.codec cimport nsx_buf


cdef class Stamped:
    cdef nsx_buf buf
    cdef readonly object ends
