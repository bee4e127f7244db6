"""One message from a template, for comparing it with what its text gives."""

from __future__ import annotations

import ipaddress
import sys
from typing import Any


def column(value: int | str, n_bytes: int) -> bytes:
    """One row of a column: a number in the machine's order, or bytes in the network's."""
    if isinstance(value, str):
        if value.startswith("0x"):
            value = int(value, 16)
        elif value.count(":") == 5:
            return bytes.fromhex(value.replace(":", ""))
        else:
            value = int(ipaddress.ip_address(value))
    return value.to_bytes(n_bytes, sys.byteorder if n_bytes in (1, 2, 4, 8) else "big")


def stamp(codec: Any, text: str, values: dict[str, int | str]) -> bytes:
    """The message that the template 'text', of a flow or a group with one bucket, stamps."""
    ffi, lib = codec.ffi, codec.lib
    error = ffi.new("struct nsx_error *")
    template = ffi.new("struct nsx_template **")
    encoded = text.encode()
    codec.check(lib.nsx_template_new(encoded, len(encoded), ffi.NULL, template, error), error)
    template = ffi.gc(template[0], lib.nsx_template_free)

    n = lib.nsx_template_n_holes(template)
    columns = ffi.new("struct nsx_column[]", n)
    keep = []
    for i in range(n):
        n_bytes, n_bits = ffi.new("size_t *"), ffi.new("size_t *")
        in_bucket = ffi.new("bool *")
        name = lib.nsx_template_hole(template, i, n_bytes, n_bits, in_bucket)
        row = column(values[ffi.string(name).decode()], n_bytes[0])
        keep.append(ffi.new("uint8_t[]", row))
        columns[i].data, columns[i].width = keep[-1], n_bytes[0]
    if lib.nsx_template_is_group(template):
        offsets = ffi.new("uint64_t[]", [0, 1])
        return stamped(codec, lib.nsx_template_stamp_groups, template, 1, offsets, columns)
    return stamped(codec, lib.nsx_template_stamp, template, 1, columns)


def stamped(codec: Any, function: Any, *arguments: Any) -> bytes:
    """What a stamping function appends: its last parameters are a buffer, ends and an error."""
    buf = codec.ffi.new("struct nsx_buf *")
    error = codec.ffi.new("struct nsx_error *")
    try:
        codec.check(function(*arguments, buf, codec.ffi.NULL, error), error)
        return bytes(codec.ffi.buffer(buf.data, buf.size))
    finally:
        codec.lib.nsx_buf_uninit(buf)
