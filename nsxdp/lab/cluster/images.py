"""The images that a cluster's pods are made of: those that the e2e suite asks for, and ours.

They have the names and versions by which the suite knows them, which it says itself, and are made
of Debian's packages and of Kubernetes's own sources.
"""

import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from nsxdp.lab import build, tools
from nsxdp.lab.cluster.archive import Image, Layer, write_archive
from nsxdp.lab.cluster.debian import debian_layer
from nsxdp.lab.cluster.ours import our_image

COREDNS_IMAGE = "docker.io/nsxdp-lab/coredns:1"

_REGRESSION = "regression-issue-74839"
"""A server that a client's proxy of Services may answer for by mistake."""

_REGISTRY = "registry.k8s.io"
_SUITE_IMAGES = f"{_REGISTRY}/e2e-test-images"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_TOOLS = (
    *("bash", "bind9-dnsutils", "busybox", "ca-certificates", "conntrack", "coreutils", "curl"),
    *("dash", "grep", "iperf", "iproute2", "iptables", "iputils-ping", "libc-bin"),
    *("netcat-openbsd", "nftables", "nginx-light", "procps", "sed", "util-linux", "wget"),
)
"""What the suite runs in its images."""

_TOOL_LINKS = {"nc": "nc.openbsd"} | dict.fromkeys(
    ("iptables", "ip6tables", "iptables-save", "ip6tables-save"), "xtables-nft-multi"
)
_TOOL_FILES = {
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/sh\n"
        "user-defined-in-image:x:1000:1000::/:/bin/sh\n"
        "www-data:x:33:33::/:/bin/sh\n"
        "nobody:x:65534:65534:nobody:/:/bin/false\n"
    ),
    "etc/group": (
        "root:x:0:\n"
        "user-defined-in-image:x:1000:\n"
        "www-data:x:33:\n"
        "group-defined-in-image:x:50000:user-defined-in-image\n"
        "nogroup:x:65534:\n"
    ),
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    # As the wget of the suite's own images, which is busybox's: for a place that doesn't answer
    # Debian's has twenty tries, four minutes.
    "etc/wgetrc": "tries = 1\n",
}
_NGINX = "user root;\nevents {}\nhttp { server { listen 80; root /usr/share/nginx/html; } }\n"


class Images(NamedTuple):
    """Archives to be imported, and the image that holds a pod's namespaces."""

    archives: list[Path]
    pause: str


def ensure_images(folder: Path, console: Console) -> Images:
    """Make the archives in `folder`, of layers that are made where they aren't there yet.

    Raises
    ------
    LabError
        A program can't be built, or a package not be had.
    """
    tools.require("mmdebstrap", "gcc")
    folder.mkdir(parents=True, exist_ok=True)
    source = build.kubernetes_source()
    table = (source / "test/utils/image/manifest.go").read_text()
    recipe = _Suite(folder, source, versions(table), console)
    suite, ours = folder / "suite.tar", folder / "nsxdp.tar"
    theirs = recipe.images()
    with console.status("image of nsxdp: Debian's packages, libraries, and nsxdp"):
        own = our_image(folder)
    with console.status("images: writing the archives"):
        write_archive(suite, theirs, platform.machine())
        write_archive(ours, [own], platform.machine())
    return Images([suite, ours], recipe.name("Pause"))


class Version(NamedTuple):
    """What the suite's table of images says of one."""

    image: str
    version: str


def versions(table: str) -> dict[str, Version]:
    """The images of the suite by their identifiers, from ``manifest.go``."""
    entry = r'configs\[(\w+)\]\s*=\s*Config\{[\w.]+, "([^"]+)", "([^"]+)"\}'
    return {found[0]: Version(found[1], found[2]) for found in re.findall(entry, table)}


@dataclass(frozen=True)
class _Suite:
    """How the images of the suite are made."""

    folder: Path
    source: Path
    versions: dict[str, Version]
    console: Console

    def images(self) -> list[Image]:
        """All of them, in layers."""
        agnhost, coredns, regression = (
            build.ensure(name, self.console) for name in ("agnhost", "coredns", _REGRESSION)
        )
        with self.console.status("images of the e2e suite: unpacking Debian's packages"):
            root = debian_layer(self.folder, "tools", _TOOLS, _TOOL_LINKS, _TOOL_FILES)

        def agnhost_files(layer: Layer) -> None:
            layer.file("agnhost", agnhost)
            layer.link("agnhost-2", "agnhost")
            layer.file("coredns", coredns)
            layer.directory("uploads", 0o777)
            for name in ("localhost.crt", "localhost.key"):
                layer.file(name, self.source / "test/images/agnhost/porter" / name, 0o644)

        def busybox_files(layer: Layer) -> None:
            layer.directory("usr/local/bin")
            for applet in ("sh", "ls", "cat", "echo", "sleep", "wget", "nslookup", "ping", "nc"):
                layer.link(f"usr/local/bin/{applet}", "/bin/busybox")

        def nginx_files(layer: Layer) -> None:
            for name in ("var/log/nginx", "var/lib/nginx"):
                layer.directory(name)
            layer.text("etc/nginx/nginx.conf", _NGINX)
            layer.text("usr/share/nginx/html/index.html", "<h1>Welcome to nginx!</h1>\n")

        def pause_files(layer: Layer) -> None:
            layer.file("pause", self._pause())

        def coredns_files(layer: Layer) -> None:
            layer.file("coredns", coredns)

        def regression_files(layer: Layer) -> None:
            layer.file(_REGRESSION, regression)

        env = {"Env": [_PATH]}
        return [
            Image(
                [self.name("Agnhost"), self.name("AgnhostPrev")],
                [root, self._layer("agnhost", agnhost_files)],
                env | {"Entrypoint": ["/agnhost"], "Cmd": ["pause"]},
            ),
            Image(
                [self.name("Pause")],
                [self._layer("pause", pause_files)],
                env | {"Entrypoint": ["/pause"], "User": "65535:65535"},
            ),
            Image(
                [self.name("BusyBox")],
                [root, self._layer("busybox", busybox_files)],
                env | {"Cmd": ["sh"]},
            ),
            Image([self.name("GlibcDnsTesting")], [root], env | {"Cmd": ["/bin/bash"]}),
            Image([self.name("DistrolessIptables")], [root], env | {"Cmd": ["/bin/sh"]}),
            Image(
                [self.name("Nginx"), self.name("NginxNew")],
                [root, self._layer("nginx", nginx_files)],
                env | {"Cmd": ["nginx", "-g", "daemon off;"]},
            ),
            Image(
                [self.name("RegressionIssue74839")],
                [self._layer(_REGRESSION, regression_files)],
                env | {"Entrypoint": [f"/{_REGRESSION}"]},
            ),
            Image(
                [COREDNS_IMAGE],
                [self._layer("coredns", coredns_files)],
                env | {"Entrypoint": ["/coredns"]},
            ),
        ]

    def name(self, identifier: str) -> str:
        """The full name of an image by which the suite knows it."""
        image, version = self.versions[identifier]
        registry = {"Pause": _REGISTRY, "DistrolessIptables": f"{_REGISTRY}/build-image"}
        return f"{registry.get(identifier, _SUITE_IMAGES)}/{image}:{version}"

    def _layer(self, name: str, fill: Callable[[Layer], None]) -> Path:
        path = self.folder / f"{name}.tar"
        with Layer(path) as layer:
            fill(layer)
        return path

    def _pause(self) -> Path:
        """The program that does nothing, so that a pod's namespaces stay."""
        program = self.folder / "pause"
        source = self.source / "build/pause/linux/pause.c"
        tools.run(["gcc", "-Os", "-static", "-s", "-o", program, source])
        return program
