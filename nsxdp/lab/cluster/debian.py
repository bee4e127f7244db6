"""A layer with Debian packages in it, made by mmdebstrap: the lowest one of the lab's images.

Packages are unpacked and not configured, which needs no rights and seconds only: links that their
scripts would make are made here, and documentation is left out.
"""

import hashlib
import json
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from nsxdp.lab import tools
from nsxdp.lab.cluster.archive import Layer, only
from nsxdp.lab.errors import LabError

SUITE = "bookworm"

_SECONDS = 600.0
_FORMAT = 1
"""To be raised when the same packages become another layer."""

_LEFT_OUT = re.compile(
    r"usr/share/(doc|man|locale|info|lintian|bash-completion|perl|zoneinfo|i18n)/."
    r"|var/(lib/apt|lib/dpkg|cache/apt)/."
    r"|dev/."
    r"|usr/lib/(locale|[^/]+-linux-gnu/(perl|gconv))/."
)
_PROGRAM_FOLDERS = ("usr/bin", "bin", "usr/sbin", "sbin")


def debian_layer(
    folder: Path,
    name: str,
    packages: Sequence[str],
    links: Mapping[str, str],
    files: Mapping[str, str],
) -> Path:
    """Make a layer in `folder`, unless it is there; where it is.

    Parameters
    ----------
    packages
        Debian packages; what they depend on comes along. With ``busybox``, its applets become
        commands where no other package has them.
    links
        Commands to be found in ``/usr/bin``, and the program or path that each is.
    files
        Paths and texts.
    """
    asked = json.dumps(
        [_FORMAT, SUITE, sorted(packages), sorted(links.items()), sorted(files.items())]
    )
    version = hashlib.sha256(asked.encode()).hexdigest()[:12]
    path = folder / f"{name}-{version}.tar"
    if path.exists():
        return path
    raw = folder / f"{name}-{version}.raw.tar"
    try:
        tools.run(
            [
                *("mmdebstrap", "--quiet", "--variant=extract"),
                *(f"--include={','.join(packages)}", SUITE, raw),
            ],
            timeout=_SECONDS,
        )
        with tarfile.open(raw) as unpacked, Layer(path) as layer:
            _fill(layer, unpacked, links, files)
    finally:
        raw.unlink(missing_ok=True)
    return only(path, name)


def _fill(
    layer: Layer, unpacked: tarfile.TarFile, links: Mapping[str, str], files: Mapping[str, str]
) -> None:
    there: dict[str, tarfile.TarInfo] = {}
    for entry in unpacked:
        name = str(PurePosixPath(entry.name))
        if _LEFT_OUT.match(name) or entry.ischr() or entry.isblk():
            continue
        there[name] = entry
        layer.entry(entry, unpacked.extractfile(entry) if entry.isreg() else None)
    for name, text in files.items():
        layer.text(name, text)
    commands = {
        path.name for name in there if str((path := PurePosixPath(name)).parent) in _PROGRAM_FOLDERS
    }
    for command, target in links.items():
        if command not in commands:
            layer.link(f"usr/bin/{command}", _found(target, there))
            commands.add(command)
    if "busybox" in commands:
        for applet in _applets(unpacked, there):
            if applet not in commands:
                layer.link(f"usr/bin/{applet}", _found("busybox", there))


def _found(program: str, there: Mapping[str, object]) -> str:
    """Where the packages have a program, which may be told by its path."""
    for path in (program, *(f"{folder}/{program}" for folder in _PROGRAM_FOLDERS)):
        if path in there:
            return f"/{path}"
    raise LabError(f"no Debian package that was unpacked has {program}")


def _applets(unpacked: tarfile.TarFile, there: Mapping[str, tarfile.TarInfo]) -> Iterator[str]:
    """What busybox can do: it tells, and is the machine's own kind of program."""
    binary = unpacked.extractfile(there[_found("busybox", there).lstrip("/")])
    assert binary is not None
    with tempfile.TemporaryDirectory() as temporary:
        # It takes the name by which it is called for the applet that is asked for.
        program = Path(temporary) / "busybox"
        program.write_bytes(binary.read())
        program.chmod(0o755)
        yield from tools.run([program, "--list"]).stdout.split()
