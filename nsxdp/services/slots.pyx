"""The numbers by which a switch knows endpoints, its buckets' ids: the same after every restart.

As with the numbers of Service ports (`nsxdp.pipeline.ids`), a number is a hash of what it stands
for, so that an agent that restarts touches nothing that is right.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

import numpy as np

from nsxdp.openflow.codec cimport nsx_error

__all__ = ["endpoint_slots"]

cdef extern from "nsxdp.h" nogil:
    int nsx_endpoint_slots(const uint8_t *, size_t, const uint16_t *, size_t, const uint64_t *,
                           size_t, uint32_t *, nsx_error *)


def endpoint_slots(const uint8_t[:, ::1] addresses, const uint16_t[::1] ports,
                   const uint64_t[::1] offsets):
    """A bucket id for each endpoint, different from those of its group's other ones.

    Parameters
    ----------
    addresses
        Shape (n, 4) or (n, 16), in network byte order.
    ports
        Shape (n,).
    offsets
        Shape (groups + 1,): group i has the endpoints offsets[i] to offsets[i + 1].

    Returns
    -------
    Shape (n,), from 1 to 2**31 - 1. An endpoint's number only depends on its address and port,
    unless another endpoint of the group has the same hash.

    Raises
    ------
    ValueError
        The shapes are others, or the offsets don't ascend up to n.
    """
    cdef Py_ssize_t n = ports.shape[0]
    cdef size_t width = addresses.shape[1]
    cdef nsx_error error
    cdef uint32_t[::1] slots
    if addresses.shape[0] != n or width not in (4, 16) or not offsets.shape[0]:
        raise ValueError(
            f"{addresses.shape[0]} addresses of {width} bytes, {n} ports, {offsets.shape[0]} offsets"
        )
    made = np.empty(n, np.uint32)
    if n:
        slots = made
        if nsx_endpoint_slots(&addresses[0, 0], width, &ports[0], n, &offsets[0],
                              offsets.shape[0] - 1, &slots[0], &error):
            raise ValueError(error.message.decode("utf-8", "replace"))
    return made
