"""Files that are replaced as a whole, so that nobody ever finds half of one."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["replace", "replaced"]


def replace(file: Path, content: bytes, mode: int = 0o600) -> None:
    """Have 'content' be all of 'file', on the disk when this returns.

    Raises
    ------
    OSError
        It can't be; the file is as it was.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from nsxdp_agents.common.files import replace
    >>> with TemporaryDirectory() as directory:
    ...     file = Path(directory, "state")
    ...     replace(file, b"first")
    ...     replace(file, b"then")
    ...     print(file.read_bytes(), oct(file.stat().st_mode & 0o777))
    b'then' 0o600
    """
    os.close(replaced(file, content, mode))


def replaced(file: Path, content: bytes, mode: int = 0o600) -> int:
    """Likewise; and the file, open for more at its end."""
    fresh = file.with_name(f".{file.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
    opened = os.open(fresh, flags, mode)
    try:
        os.fchmod(opened, mode)  # whatever the umask takes away, or an older one has
        with os.fdopen(os.dup(opened), "wb") as writer:
            writer.write(content)
        os.fsync(opened)
        fresh.replace(file)
        _sync_directory(file.parent)
    except BaseException:
        os.close(opened)
        with suppress(OSError):  # on a full disk it would take what others need
            fresh.unlink()
        raise
    return opened


def _sync_directory(directory: Path) -> None:
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
