"""Container images without a registry: one archive, in the format of ``docker save``.

containerd imports it. A layer is a tar file, known by its digest; images that share a layer share
the file. What is put in has no time of its own, so that the same content is the same layer.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_CREATED = "2026-01-01T00:00:00Z"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Layer:
    """A layer that is being written to `path`; it is there when the ``with`` has ended well."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._part = path.with_suffix(".part")
        self._tar = tarfile.open(self._part, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def __enter__(self) -> "Layer":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._tar.close()
        if kind is None:
            self._part.rename(self.path)
        else:
            self._part.unlink()

    def directory(self, name: str, mode: int = 0o755) -> None:
        """Add a directory."""
        entry = tarfile.TarInfo(name)
        entry.type = tarfile.DIRTYPE
        entry.mode = mode
        self._tar.addfile(entry)

    def text(self, name: str, text: str, mode: int = 0o644) -> None:
        """Add a file with this text."""
        data = text.encode()
        self._add(name, len(data), io.BytesIO(data), mode)

    def file(self, name: str, source: Path, mode: int | None = None) -> None:
        """Add a file of this machine, with its own mode if not given another one."""
        status = source.stat()
        with source.open("rb") as data:
            self._add(name, status.st_size, data, status.st_mode & 0o777 if mode is None else mode)

    def link(self, name: str, target: str) -> None:
        """Add a symbolic link."""
        entry = tarfile.TarInfo(name)
        entry.type = tarfile.SYMTYPE
        entry.linkname = target
        entry.mode = 0o777
        self._tar.addfile(entry)

    def tree(self, name: str, source: Path) -> None:
        """Add what is in a directory of this machine."""
        for path in sorted(source.rglob("*")):
            inside = f"{name}/{path.relative_to(source)}"
            if path.is_symlink():
                self.link(inside, str(path.readlink()))
            elif path.is_dir():
                self.directory(inside)
            else:
                self.file(inside, path)

    def entry(self, entry: tarfile.TarInfo, data: IO[bytes] | None) -> None:
        """Add an entry of another tar file."""
        self._tar.addfile(entry, data)

    def _add(self, name: str, size: int, data: IO[bytes], mode: int) -> None:
        entry = tarfile.TarInfo(name)
        entry.size = size
        entry.mode = mode
        self._tar.addfile(entry, data)


def only(path: Path, name: str) -> Path:
    """Of the layers ``name-*.tar`` beside `path`, keep this one alone."""
    for other in path.parent.glob(f"{name}-*.tar"):
        if other != path:
            other.unlink()
    return path


@dataclass(frozen=True)
class Image:
    """An image: its names, its layers from the lowest up, and its configuration.

    The configuration has Docker's words: ``Entrypoint``, ``Cmd``, ``Env``, ``User``.
    """

    names: Sequence[str]
    layers: Sequence[Path]
    configuration: Mapping[str, object]


def write_archive(path: Path, images: Iterable[Image], machine: str) -> None:
    """Write an archive of images for a machine such as ``x86_64``."""
    part = path.with_suffix(".part")
    digests: dict[Path, str] = {}
    manifest = []
    with tarfile.open(part, "w") as archive:

        def add(name: str, data: bytes) -> None:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))

        for image in images:
            for layer in image.layers:
                if layer not in digests:
                    digests[layer] = _digest(layer)
                    archive.add(layer, arcname=_layer_name(digests[layer]))
            configuration = json.dumps(
                {
                    "architecture": _ARCHITECTURES[machine],
                    "os": "linux",
                    "created": _CREATED,
                    "config": image.configuration,
                    "rootfs": {
                        "type": "layers",
                        "diff_ids": [f"sha256:{digests[layer]}" for layer in image.layers],
                    },
                },
                sort_keys=True,
            ).encode()
            name = f"{hashlib.sha256(configuration).hexdigest()}.json"
            add(name, configuration)
            manifest.append(
                {
                    "Config": name,
                    "RepoTags": list(image.names),
                    "Layers": [_layer_name(digests[layer]) for layer in image.layers],
                }
            )
        add("manifest.json", json.dumps(manifest).encode())
    part.rename(path)


def _layer_name(digest: str) -> str:
    return f"{digest}/layer.tar"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
