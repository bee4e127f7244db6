"""Which pages there are, and what writes each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from nsxdp import cli
from pages import api, forwarding, header, kube_proxy, node_agent, nsxdp, pipeline, policies
from pages.man import man
from pages.reference import PAGES as REFERENCE

__all__ = ["FOLDERS", "PAGES"]

FOLDERS: Final = ("docs/api", "docs/man")
"""Folders in which everything is written."""

_MANUALS: Final[dict[str, Callable[[], str]]] = {
    "nsxdp": nsxdp.manual,
    **{f"nsxdp-{group}": partial(nsxdp.group_manual, group) for group in cli.GROUPS},
    "nsx-kube-proxy": kube_proxy.manual,
    "nsx-node-agent": node_agent.manual,
}
"""The commands' pages."""


def _man(manual: Callable[[], str]) -> str:
    return man(manual())


PAGES: Final[dict[str, Callable[[], str]]] = {
    "docs/pipeline.md": pipeline.page,
    "docs/forwarding.md": forwarding.page,
    "docs/policies.md": policies.page,
    "docs/api/README.md": api.index,
    **{f"docs/api/{name}.md": partial(api.page, name) for name in REFERENCE},
    "docs/api/c.md": header.page,
    **{f"docs/{name}.md": manual for name, manual in _MANUALS.items()},
    **{f"docs/man/{name}.1": partial(_man, manual) for name, manual in _MANUALS.items()},
}
"""From a file to what gives its text."""
