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

# Test modules of this directory import what they share (library.py, oracle.py) by its plain name.
sys.path.append(str(Path(__file__).parent))

from library import Codec
from oracle import Oracle

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "codec"
TIMEOUT = 110


def _build() -> Path:
    """Compile the library, if it is older than its sources.

    ``NSXDP_CORE_LIBRARY`` names one that was compiled otherwise (with a sanitizer, say).
    """
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
