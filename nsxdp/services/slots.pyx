"""The numbers by which a switch knows endpoints, its buckets' ids: the same after every restart.

As with the numbers of Service ports (`nsxdp.pipeline.ids`), a number is a hash of what it stands
for, so that an agent that restarts touches nothing that is right.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

import numpy as np

from nsxdp.openflow.codec cimport nsx_error

__all__ = ["endpoint_columns", "endpoint_slots"]

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
    if addresses.shape[0] != n or width not in (4, 16) or not offsets.shape[0]:
        raise ValueError(
            f"{addresses.shape[0]} addresses of {width} bytes, {n} ports, {offsets.shape[0]} offsets"
        )
    if not n:
        return np.empty(0, np.uint32)
    return _slots(&addresses[0, 0], width, &ports[0], n, &offsets[0], offsets.shape[0] - 1)


cdef object _slots(const uint8_t *addresses, size_t width, const uint16_t *ports, size_t n,
                   const uint64_t *offsets, size_t n_groups):
    cdef nsx_error error
    slots = np.empty(n, np.uint32)
    cdef uint32_t[::1] view = slots
    if nsx_endpoint_slots(addresses, width, ports, n, offsets, n_groups, &view[0], &error):
        raise ValueError(error.message.decode("utf-8", "replace"))
    return slots


def endpoint_columns(Py_ssize_t width, list addresses not None, list ports not None):
    """The columns of some groups' endpoints, as templates take them.

    Parameters
    ----------
    width
        Bytes of an address: 4 or 16.
    addresses
        Of each group, its endpoints' addresses, one after the other in network byte order.
    ports
        Of each group, its endpoints' ports, one after the other in the machine's byte order.

    Returns
    -------
    offsets
        uint64, shape (groups + 1,): group i has the endpoints offsets[i] to offsets[i + 1].
    ips
        Numbers of four bytes, shape (n,); or addresses of 16, shape (n, 16).
    ports
        uint16, shape (n,).
    slots
        See `endpoint_slots`.

    Raises
    ------
    ValueError
        There aren't as many ports as addresses.
    """
    cdef Py_ssize_t i, n_groups = len(ports)
    cdef bytes packed = b"".join(addresses), packed_ports = b"".join(ports)
    cdef const uint8_t *octets = packed
    cdef const uint8_t *numbers = packed_ports
    cdef Py_ssize_t at, n = len(packed_ports) // 2
    cdef uint64_t end = 0
    cdef uint64_t[::1] ends
    cdef uint32_t[::1] words
    if width not in (4, 16) or len(packed) != n * width or len(addresses) != n_groups:
        raise ValueError(f"{len(packed)} bytes of addresses of {width} bytes, {n} ports")
    offsets = np.empty(n_groups + 1, np.uint64)
    ends = offsets
    ends[0] = 0
    for i in range(n_groups):
        if len(<bytes> ports[i]) * width != 2 * len(<bytes> addresses[i]):
            raise ValueError(f"group {i}: not a port for each address")
        end += len(<bytes> ports[i]) // 2
        ends[i + 1] = end
    if width == 16:
        ips = np.frombuffer(packed, np.uint8).reshape(n, 16)
    else:
        ips = np.empty(n, np.uint32)
        words = ips
        for at in range(n):
            words[at] = (<uint32_t> octets[4 * at] << 24 | octets[4 * at + 1] << 16
                         | octets[4 * at + 2] << 8 | octets[4 * at + 3])
    if not n:
        return offsets, ips, np.empty(0, np.uint16), np.empty(0, np.uint32)
    slots = _slots(octets, width, <const uint16_t *> numbers, n, &ends[0], n_groups)
    return offsets, ips, np.frombuffer(packed_ports, np.uint16), slots
