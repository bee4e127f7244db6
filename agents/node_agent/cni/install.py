"""Puts the plugin and its configuration where the container runtime looks for them.

Files are replaced as a whole: a runtime that looks at just that moment sees the old one or the new.
The plugin comes first, for the configuration says that it is there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from nsxdp.logs import get_logger
from nsxdp_agents.common.files import replace
from nsxdp_agents.node_agent.cni.request import VERSIONS
from nsxdp_agents.node_agent.cni.runtime_config import CAPABILITIES

__all__ = ["CONFLIST", "PLUGIN", "InstallError", "conflist", "install"]

log = get_logger(__name__)

PLUGIN: Final = Path(__file__).with_name("nsx-cni")
"""The plugin that came with this agent: csrc/cni, compiled."""

CONFLIST: Final = "10-nsx.conflist"
"""The first one by name is what a runtime takes."""


_UNDERSTOOD: Final = "1.0.0"
"""The version for runtimes that don't know of a list of versions, as containerd before 2.0: they
take what they don't know yet, and fail at the answer."""


class InstallError(Exception):
    """Something can't be put there; one line."""


def conflist(socket: str, timeout: int | None = None) -> bytes:
    """The configuration that a runtime calls the plugin with."""
    ours: dict[str, object] = {
        "type": PLUGIN.name,
        "socket": socket,
        "capabilities": dict.fromkeys(CAPABILITIES, True),
    }
    if timeout is not None:
        ours["timeout"] = timeout
    said = {
        "cniVersion": _UNDERSTOOD,
        "cniVersions": list(VERSIONS),
        "name": "nsx",
        "plugins": [ours],
    }
    return msgspec.json.format(msgspec.json.encode(said), indent=2) + b"\n"


def install(binaries: Path, configurations: Path, socket: str, timeout: int | None = None) -> None:
    """Put both there; files that are right already aren't touched.

    Parameters
    ----------
    socket
        Where the plugin asks.
    timeout
        Seconds that it waits for an answer; None: as many as it does by itself.

    Raises
    ------
    InstallError
        One can't be.
    """
    try:
        _put(binaries / PLUGIN.name, PLUGIN.read_bytes(), 0o755)
        _put(configurations / CONFLIST, conflist(socket, timeout), 0o644)
    except OSError as error:
        raise InstallError(f"{error.filename}: {error.strerror}") from None


def _put(file: Path, content: bytes, mode: int) -> None:
    if file.is_file() and file.read_bytes() == content:
        return
    file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    replace(file, content, mode)
    log.info("installed", file=str(file))
