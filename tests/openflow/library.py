"""The core's codec on bytes and strings, for the tests of this directory."""

from __future__ import annotations

import errno
from typing import Any
from weakref import WeakKeyDictionary


class CodecError(Exception):
    """What the core says is wrong, and where."""

    def __init__(self, code: int, message: str, position: int) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.position = position


class Codec:
    """The core's codec, on bytes and strings."""

    def __init__(self, ffi: Any, lib: Any) -> None:
        self.ffi = ffi
        self.lib = lib
        self._alive: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    def tables(self, names: dict[int, str]) -> Any:
        """An ``nsx_tables``; keep the returned value alive."""
        array = self.ffi.new("char *[256]")
        strings = [self.ffi.new("char[]", name.encode()) for name in names.values()]
        for number, string in zip(names, strings, strict=True):
            array[number] = string
        self._alive[array] = strings
        return array

    def call(self, function: Any, *arguments: Any) -> bytes:
        """Call a function whose last two parameters are a buffer and an error."""
        buf = self.ffi.new("struct nsx_buf *")
        error = self.ffi.new("struct nsx_error *")
        try:
            self.check(function(*arguments, buf, error), error)
            return bytes(self.ffi.buffer(buf.data, buf.size)) if buf.size else b""
        finally:
            self.lib.nsx_buf_uninit(buf)

    def check(self, code: int, error: Any) -> None:
        if code:
            message: bytes = self.ffi.string(error.message)
            raise CodecError(code, message.decode(errors="replace"), error.position)

    def flow(self, text: str | bytes, command: int = 0, tables: Any = None) -> bytes:
        """The flow_mod of 'text'."""
        encoded = text.encode() if isinstance(text, str) else text
        # Exactly as long as the text: a sanitizer sees every byte that is read too much.
        copy = self.ffi.new("char[]", len(encoded) or 1)
        self.ffi.memmove(copy, encoded, len(encoded))
        return self.call(
            self.lib.nsx_flow_parse, copy, len(encoded), command, tables or self.ffi.NULL
        )

    def decode_flow_mod(self, message: bytes) -> tuple[int, Any, Any]:
        """The command and the view of a flow_mod, and what keeps the view alive."""
        data = self.ffi.new("uint8_t[]", message)
        view = self.ffi.new("struct nsx_flow_view *")
        command = self.ffi.new("enum nsx_flow_command *")
        error = self.ffi.new("struct nsx_error *")
        code = self.lib.nsx_flow_mod_decode(data, len(message), command, view, error)
        self.check(code, error)
        return command[0], view, data

    def flow_views(self, reply: bytes) -> list[Any]:
        """The views of a flow description reply; each keeps the reply alive."""
        data = self.ffi.new("uint8_t[]", reply)
        offset = self.ffi.new("size_t *")
        error = self.ffi.new("struct nsx_error *")
        views = []
        while True:
            view = self.ffi.new("struct nsx_flow_view *")
            code = self.lib.nsx_flow_stats_next(data, len(reply), offset, view, error)
            if code == errno.ENOENT:
                return views
            self.check(code, error)
            self._alive[view] = data
            views.append(view)

    def format(self, view: Any, tables: Any = None, *, cookie: bool = True, stats: bool) -> str:
        """A flow's text."""
        return self.call(
            self.lib.nsx_flow_format, view, tables or self.ffi.NULL, cookie, stats
        ).decode()

    def text(self, flow_mod: bytes, tables: Any = None) -> str:
        """The text of the flow that 'flow_mod' adds, without statistics."""
        _, view, _data = self.decode_flow_mod(flow_mod)
        return self.format(view, tables, stats=False)
