"""The core's C API, called through cffi in a library with AddressSanitizer and UBSan.

A sanitized library needs its runtime to be loaded before Python itself. So the tests of this
directory run in a child pytest, one for each file, with that runtime preloaded, and what it
reports is reported here: ``pytest tests/core`` and ``pytest`` need nothing special.
"""

from __future__ import annotations

import builtins
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cffi
import pytest

from instrument.core import SOURCES, Build, build_directory, declarations

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FLAGS = [
    "-O1",
    "-g",
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fPIC",
]
REPORTS = "NSXDP_CORE_REPORTS"
"""In the child's environment: the file that its reports go to."""

_ALLOCATED = "__sanitizer_get_current_allocated_bytes"

TIMEOUT = 110
"""Seconds for one file's tests."""


# The library.


def build_library(*, weak_hash: bool = False) -> Path:
    """Build what changed of the sanitized library and return its path.

    ``weak_hash``: one whose desired set has a hash so weak that nearly all keys collide.
    """
    build = Build(build_directory("sanitize"), FLAGS)
    if not weak_hash:
        return build.library()
    with build.locked() as pool:
        objects = build.objects(pool)
        for i, source in enumerate(SOURCES):
            if source.stem.startswith("desired"):
                weak = build.directory / "weak" / f"{source.stem}.o"
                objects[i] = build.make(weak, [source], "-c", "-DNSX_HASH_WEAK")
        return build.make(build.directory / "libnsxdp-weak.so", objects, "-shared")


class Core:
    """The library: ``core.ffi``, ``core.lib``, and what every test of it needs."""

    def __init__(self, library: Path) -> None:
        self.ffi: Any = cffi.FFI()
        self.ffi.cdef(declarations())
        self.lib: Any = self.ffi.dlopen(str(library))
        self._runtime = cffi.FFI()
        self._runtime.cdef(f"size_t {_ALLOCATED}(void);")
        self._allocated: Any = getattr(self._runtime.dlopen(None), _ALLOCATED)

    def buf(self) -> Any:
        """A new, empty buffer, which is freed with its last reference."""
        buf = self.ffi.new("struct nsx_buf *")
        self.lib.nsx_buf_init(buf)
        return self.ffi.gc(buf, self.lib.nsx_buf_uninit)

    def error(self) -> Any:
        """A new error."""
        return self.ffi.new("struct nsx_error *")

    def bytes(self, buf: Any) -> builtins.bytes:
        """What is in 'buf'."""
        return bytes(self.ffi.buffer(buf.data, buf.size)) if buf.size else b""

    def message(self, error: Any) -> str:
        """What 'error' says."""
        text: builtins.bytes = self.ffi.string(error.message)
        return text.decode()

    def exact(self, data: builtins.bytes) -> Any:
        """A copy of 'data' with not one readable byte after it."""
        return self.ffi.from_buffer(data) if not data else self.ffi.new("uint8_t[]", data)

    def leaks(self, work: Callable[[], object], times: int = 500) -> bool:
        """Whether each call of 'work' leaves more memory allocated than there was before."""
        for _ in range(20):
            work()
        gc.collect()
        before = self._allocated()
        for _ in range(times):
            work()
        gc.collect()
        after = self._allocated()
        grown: bool = after - before > 8 * times
        return grown

    def flow(self, text: str, command: int = 0) -> builtins.bytes:
        """The flow_mod of 'text'."""
        return self._parse(self.lib.nsx_flow_parse, text, command)

    def group(self, text: str, command: int = 0x8000) -> builtins.bytes:
        """The group_mod of 'text'."""
        return self._parse(self.lib.nsx_group_parse, text, command)

    def _parse(self, function: Any, text: str, command: int) -> builtins.bytes:
        buf, error = self.buf(), self.error()
        encoded = text.encode()
        retval = function(encoded, len(encoded), command, self.ffi.NULL, buf, error)
        assert retval == 0, self.message(error)
        return self.bytes(buf)


@pytest.fixture(scope="session")
def core() -> Core:
    return Core(build_library())


@pytest.fixture(scope="session")
def weak_core() -> Core:
    return Core(build_library(weak_hash=True))


# The child.


class _Reporter:
    """In the child: writes its reports down."""

    def __init__(self, config: pytest.Config, path: str) -> None:
        self._config = config
        self._file = Path(path).open("a")  # noqa: SIM115

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._file.write(json.dumps(data) + "\n")
        self._file.flush()

    def pytest_unconfigure(self) -> None:
        self._file.close()


def pytest_configure(config: pytest.Config) -> None:
    path = os.environ.get(REPORTS)
    if path:
        os.environ.pop("LD_PRELOAD", None)
        config.pluginmanager.register(_Reporter(config, path))


def _runtime() -> str:
    paths = []
    for name in ("libasan.so", "libubsan.so"):
        command = ["gcc", f"-print-file-name={name}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT)
        paths.append(str(Path(done.stdout.strip()).resolve()))
    return ":".join(paths)


def _run_child(nodeids: list[str]) -> tuple[list[dict[str, Any]], str]:
    """Run the tests in a child, and return its reports and what it said otherwise."""
    with tempfile.TemporaryDirectory() as directory:
        reports, log = Path(directory, "reports"), Path(directory, "log")
        reports.touch()
        environment = {
            **os.environ,
            REPORTS: str(reports),
            "LD_PRELOAD": _runtime(),
            "PYTHONMALLOC": "malloc",
            "ASAN_OPTIONS": f"detect_leaks=0:log_path={log}",
            "UBSAN_OPTIONS": f"print_stacktrace=1:log_path={log}",
        }
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *nodeids]
        with Path(directory, "output").open("w+b") as output:
            try:
                code = subprocess.run(
                    command,
                    env=environment,
                    cwd=ROOT,
                    timeout=TIMEOUT,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    check=False,
                ).returncode
                said = f"exit code {code}\n"
            except subprocess.TimeoutExpired:
                said = f"no end after {TIMEOUT} s\n"
        for file in [Path(directory, "output"), *Path(directory).glob("log.*")]:
            said += file.read_text(errors="replace")
        return [json.loads(line) for line in reports.read_text().splitlines()], said


class _Children:
    """In the parent: what the children reported."""

    def __init__(self) -> None:
        self._reports: dict[str, list[pytest.TestReport]] = {}

    def reports(self, item: pytest.Item) -> list[pytest.TestReport]:
        """The reports about 'item'; runs it, with what comes after it in its file, if need be."""
        if item.nodeid not in self._reports:
            same = [other for other in item.session.items if other.path == item.path]
            self._run(same[same.index(item) :])
        return self._reports[item.nodeid]

    def _run(self, items: list[pytest.Item]) -> None:
        config = items[0].config
        reports, said = _run_child([item.nodeid for item in items])
        for data in reports:
            report = config.hook.pytest_report_from_serializable(config=config, data=data)
            self._reports.setdefault(report.nodeid, []).append(report)
        for item in items:
            found = self._reports.setdefault(item.nodeid, [])
            if not any(report.when == "teardown" for report in found):
                # It ended its process; those after it run in another.
                text = f"the test ended its process: {said}"
                failed = pytest.TestReport(item.nodeid, item.location, {}, "failed", text, "call")
                found.append(failed)
                return


_children = _Children()


def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    if REPORTS in os.environ or HERE not in item.path.parents:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _children.reports(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
