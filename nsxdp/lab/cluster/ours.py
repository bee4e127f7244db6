"""The image of nsxdp's agents: Python, Open vSwitch, and nsxdp as this process has it."""

import hashlib
import importlib.metadata
import json
import platform
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import nsxdp
from nsxdp.lab import tools
from nsxdp.lab.cluster.archive import Image, Layer, only
from nsxdp.lab.cluster.debian import SUITE, debian_layer
from nsxdp.lab.errors import LabError, MissingTool

NAME = f"docker.io/library/nsxdp:{nsxdp.__version__}"
"""As the manifests call it."""

_PACKAGES = ("nsxdp", "nsxdp_agents")
_PYTHON = (3, 11)
"""The Python of Debian's `SUITE`, for which the modules in C have to be compiled."""

_SITE = "usr/lib/python3/dist-packages"
_PIP_SECONDS = 600.0

_DEBIAN = (
    *("bash", "conntrack", "coreutils", "dash", "ethtool", "grep", "iproute2", "libc-bin"),
    *(
        "libstdc++6",
        "nftables",
        "openvswitch-common",
        "openvswitch-switch",
        "procps",
        "python3",
        "sed",
    ),
)
_LINKS = {"ovs-vswitchd": "usr/lib/openvswitch-switch/ovs-vswitchd"}
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}

_COMMAND = """\
#!/usr/bin/python3
import sys

from {module} import {function}

sys.exit({function}())
"""


def our_image(folder: Path) -> Image:
    """Make the image's layers in `folder`: what changes most often is the highest.

    Raises
    ------
    LabError
        This Python isn't the image's, or packages can't be had.
    """
    if sys.version_info[:2] != _PYTHON:
        raise MissingTool(
            f"the image has the Python of Debian {SUITE}, {'.'.join(map(str, _PYTHON))}; "
            f"this is {platform.python_version()}: make the environment with that one"
        )
    root = debian_layer(folder, "python", _DEBIAN, _LINKS, _FILES)
    return Image(
        [NAME],
        [root, _libraries(folder), _own_packages(folder)],
        {
            "Env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "PYTHONUNBUFFERED=1",
            ],
        },
    )


def _libraries(folder: Path) -> Path:
    """A layer with what the agents need of other projects, in the versions of this environment."""
    pins = sorted(
        f"{name}=={importlib.metadata.version(name)}" for name in _needed("nsxdp", {"agents"})
    )
    version = hashlib.sha256(json.dumps(pins).encode()).hexdigest()[:12]
    path = folder / f"libraries-{version}.tar"
    if path.exists():
        return path
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        target = Path(temporary) / "site"
        tools.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"),
                *("--disable-pip-version-check", "--root-user-action=ignore"),
                *(f"--target={target}", *pins),
            ],
            timeout=_PIP_SECONDS,
        )
        shutil.rmtree(target / "bin", ignore_errors=True)
        _compile(target)
        with Layer(path) as layer:
            layer.tree(_SITE, target)
    return only(path, "libraries")


def _needed(name: str, extras: set[str]) -> set[str]:
    """What a distribution needs, and what that needs: names of distributions."""
    from packaging.requirements import Requirement

    found: set[str] = set()
    waiting = [(name, frozenset(extras))]
    seen = set(waiting)
    while waiting:
        here, wanted = waiting.pop()
        for text in importlib.metadata.requires(here) or ():
            requirement = Requirement(text)
            marker = requirement.marker
            if marker and not any(marker.evaluate({"extra": e}) for e in (wanted or {""})):
                continue
            if requirement.name != name:
                found.add(requirement.name)
            further = (requirement.name, frozenset(requirement.extras))
            if further not in seen:
                seen.add(further)
                waiting.append(further)
    return found


def _own_packages(folder: Path) -> Path:
    """A layer with nsxdp itself, as it would be imported here, and its commands."""
    path = folder / "nsxdp-packages.tar"
    with tempfile.TemporaryDirectory(dir=folder) as temporary, Layer(path) as layer:
        for package in _PACKAGES:
            spec = find_spec(package)
            if spec is None or not spec.submodule_search_locations:
                raise LabError(f"{package} can't be imported: install nsxdp with its agents")
            shutil.copytree(
                next(iter(spec.submodule_search_locations)),
                Path(temporary) / package,
                ignore=shutil.ignore_patterns("__pycache__", "*.c", "*.pyx", "*.pxd", "*.pyi"),
            )
        _compile(Path(temporary))
        layer.tree(_SITE, Path(temporary))
        for name, where in sorted(_commands().items()):
            module, _, function = where.partition(":")
            text = _COMMAND.format(module=module, function=function)
            layer.text(f"usr/local/bin/{name}", text, 0o755)
    return path


def _commands() -> dict[str, str]:
    """The commands of nsxdp, and which function each is.

    Where nsxdp runs from its sources there may be more than one record of what it is: an older one
    beside the sources doesn't know what is new.
    """
    return {
        command.name: command.value
        for distribution in importlib.metadata.distributions(name="nsxdp")
        for command in distribution.entry_points
        if command.group == "console_scripts"
    }


def _compile(folder: Path) -> None:
    """Compile to bytecode that is valid whatever the time of its source."""
    how = ("--invalidation-mode", "unchecked-hash", "-s", str(folder))
    # -E: where the environment wants bytecode to be is not where the image has it.
    tools.run([sys.executable, "-E", "-m", "compileall", "-q", *how, folder], timeout=300)
