"""What the machine needs of Debian's packages: some are installed, of others the files are taken.

The kernel would be of no use installed, and busybox-static replaces another package: they are
downloaded and unpacked, once, into the user's cache. Who wants a newer kernel deletes them there.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from nsxdp.lab import tools
from nsxdp.lab.build import cache_directory
from nsxdp.lab.errors import MissingTool

INSTALLED = {"qemu-system-x86_64": "qemu-system-x86", "depmod": "kmod"}
"""Program -> its package."""

KERNEL = "linux-image-amd64"
"""The package that depends on this Debian's newest kernel."""

_SECONDS = 600.0


def install() -> None:
    """Install the packages whose programs are not there."""
    missing = [
        package
        for program, package in INSTALLED.items()
        if not shutil.which(program, path=tools.SEARCH_PATH)
    ]
    if missing:
        print(f"machine: installing {' '.join(missing)}", flush=True)
        _update()
        _apt("apt-get", "install", "--yes", "--no-install-recommends", *missing)


def files() -> Path:
    """A directory with ``vmlinuz``, ``busybox`` and ``modules/VERSION`` of a Debian kernel."""
    directory = cache_directory() / "machine"
    if not directory.exists():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix="machine-") as temporary:
            made = _unpack(Path(temporary))
            try:
                made.rename(directory)
            except OSError:
                # Another process may have been first: that is as good.
                if not directory.exists():
                    raise
    return directory


def _unpack(work: Path) -> Path:
    _update()
    shown = _apt("apt-cache", "show", KERNEL)
    depends = re.search(r"^Depends: (linux-image-\S+)", shown, re.MULTILINE)
    if not depends:
        raise MissingTool(f"{KERNEL} names no kernel: apt-cache show {KERNEL}")
    print(f"machine: unpacking {depends[1]} into {cache_directory()}", flush=True)
    # Unsandboxed: apt's own user can't write here.
    download = ("apt-get", "download", "--option", "APT::Sandbox::User=root")
    _apt("env", f"--chdir={work}", *download, depends[1], "busybox-static")
    root = work / "root"
    for package in work.glob("*.deb"):
        tools.run(["dpkg-deb", "--extract", package, root], timeout=_SECONDS)
    (modules,) = (root / "lib" / "modules").iterdir()
    tools.run(["depmod", "--basedir", root, modules.name], timeout=_SECONDS)

    made = work / "made"
    made.mkdir()
    (root / "boot" / f"vmlinuz-{modules.name}").rename(made / "vmlinuz")
    (root / "bin" / "busybox").rename(made / "busybox")
    modules.parent.rename(made / "modules")
    return made


def _update() -> None:
    _apt("apt-get", "update")


def _apt(*command: str) -> str:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    return tools.run(command, env=environment, timeout=_SECONDS).stdout
