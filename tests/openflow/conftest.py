"""The C core as a plain shared library, called through cffi, and ovs-ofctl beside it."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cffi
import pytest

# Test modules of this directory import what they share (oracle.py) by its plain name.
sys.path.append(str(Path(__file__).parent))

from oracle import Oracle

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "codec"
TIMEOUT = 110


def _build() -> Path:
    """Compile the library, if it is older than its sources. ``NSXDP_CORE_LIBRARY`` names one
    that was compiled otherwise (with a sanitizer, say)."""
    if path := os.environ.get("NSXDP_CORE_LIBRARY"):
        return Path(path)
    library = BUILD / "libnsxdp.so"
    sources = sorted(ROOT.glob("csrc/*.c"))
    files = [
        *sources,
        *ROOT.glob("csrc/*.h"),
        *ROOT.glob("csrc/*.def"),
        *ROOT.glob("csrc/include/*"),
    ]
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        newest = max(file.stat().st_mtime for file in files)
        if not library.exists() or library.stat().st_mtime < newest:
            new = BUILD / f"new-{os.getpid()}.so"
            command = ["gcc", "-std=c11", "-O2", "-g", "-shared", "-fPIC"]
            command += ["-Icsrc/include", "-Icsrc", "-o", str(new), *map(str, sources)]
            subprocess.run(command, check=True, cwd=ROOT, timeout=TIMEOUT)
            new.rename(library)
    return library


def _declarations() -> str:
    header = (ROOT / "csrc/include/nsxdp.h").read_text()
    command = ["gcc", "-E", "-P", "-U__GNUC__", "-"]
    done = subprocess.run(
        command,
        input=re.sub(r"^#include.*$", "", header, flags=re.MULTILINE),
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT,
    )
    return done.stdout


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

    def tables(self, names: dict[int, str]) -> Any:
        """An ``nsx_tables``; keep the returned value alive."""
        array = self.ffi.new("char *[256]")
        self._names = [self.ffi.new("char[]", name.encode()) for name in names.values()]
        for number, name in zip(names, self._names, strict=True):
            array[number] = name
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
            if code == 2:  # ENOENT
                return views
            self.check(code, error)
            views.append(self.ffi.gc(view, lambda _, data=data: None))

    def format(self, view: Any, tables: Any = None, *, cookie: bool = True, stats: bool) -> str:
        """A flow's text."""
        return self.call(
            self.lib.nsx_flow_format, view, tables or self.ffi.NULL, cookie, stats
        ).decode()

    def text(self, flow_mod: bytes, tables: Any = None) -> str:
        """The text of the flow that 'flow_mod' adds, without statistics."""
        _, view, _data = self.decode_flow_mod(flow_mod)
        return self.format(view, tables, stats=False)


@pytest.fixture(scope="session")
def ffi() -> Any:
    ffi = cffi.FFI()
    ffi.cdef(_declarations())
    return ffi


@pytest.fixture(scope="session")
def lib(ffi: Any) -> Any:
    return ffi.dlopen(str(_build()))


@pytest.fixture(scope="session")
def codec(ffi: Any, lib: Any) -> Codec:
    return Codec(ffi, lib)


@pytest.fixture(scope="session")
def oracle() -> Oracle:
    return Oracle()
