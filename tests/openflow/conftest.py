"""The C core as a plain shared library, called through cffi, and ovs-ofctl beside it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cffi
import pytest

# Test modules of this directory import what they share (library.py, oracle.py) by its plain name.
sys.path.append(str(Path(__file__).parent))

from library import Codec
from oracle import Oracle

from instrument.core import Build, build_directory, declarations

FLAGS = ["-O2", "-g", "-fPIC"]


@pytest.fixture(scope="session")
def ffi() -> Any:
    ffi = cffi.FFI()
    ffi.cdef(declarations())
    return ffi


@pytest.fixture(scope="session")
def lib(ffi: Any) -> Any:
    return ffi.dlopen(str(Build(build_directory("codec"), FLAGS).library()))


@pytest.fixture(scope="session")
def codec(ffi: Any, lib: Any) -> Codec:
    return Codec(ffi, lib)


@pytest.fixture(scope="session")
def oracle() -> Oracle:
    return Oracle()
