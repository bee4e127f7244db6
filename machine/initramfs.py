"""What the machine starts with, in memory: busybox, the modules to reach its root, and the task."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
"""Those without which there is no root; it loads all others from there, by itself."""

_REGULAR = stat.S_IFREG | 0o755
_DIRECTORY = stat.S_IFDIR | 0o755


def archive(busybox: Path, boot: Path, modules: Path, task: str) -> bytes:
    """An archive that the kernel unpacks and starts.

    'boot' is the program that is started, 'modules' the folder of the kernel's modules, 'task' a
    shell script that 'boot' and those after it read.
    """
    loaded = list(_in_order(modules))
    members = [
        ("bin", _DIRECTORY, b""),
        ("bin/busybox", _REGULAR, busybox.read_bytes()),
        ("init", _REGULAR, boot.read_bytes()),
        ("task", _REGULAR, task.encode()),
        ("modules.order", _REGULAR, "".join(f"/{path.name}\n" for path in loaded).encode()),
        *((path.name, _REGULAR, path.read_bytes()) for path in loaded),
    ]
    entries = [_entry(*member) for member in members]
    return b"".join([*entries, _entry("TRAILER!!!", 0, b"")])


def _in_order(modules: Path) -> Iterator[Path]:
    """The modules' files, each after those that it depends on (modules.dep(5))."""
    dependencies = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, needed = line.partition(":")
        dependencies[_name(path)] = [path, *needed.split()]
    seen = set()
    for module in MODULES:
        for path in reversed(dependencies[module]):
            if path not in seen:
                seen.add(path)
                yield modules / path


def _name(path: str) -> str:
    return Path(path).name.partition(".")[0]


def _entry(name: str, mode: int, content: bytes) -> bytes:
    """A file as cpio's "new ASCII format" has it: a header of hexadecimal numbers, all padded."""
    path = name.encode() + b"\0"
    # Inode, mode, owner, group, links, time; size; two pairs of devices; name's size; check.
    numbers = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers)
    return _padded(header + path) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
