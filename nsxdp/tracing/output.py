"""How lines and trees are shown: in colours on a terminal, plainly in a pipe."""

from __future__ import annotations

import re
from typing import Final

from rich.console import Console
from rich.text import Text

from nsxdp.tracing.tree import Branch

__all__ = ["out", "show_line", "show_tree"]

out: Final = Console(soft_wrap=True, highlight=False)
"""Standard output."""

_STYLES: Final = (
    (r"\b\d[\d,]* packets?\b(?:, \d[\d,]* bytes)?", "dim"),
    (r"\b[1-9][\d,]* packets?\b(?:, \d[\d,]* bytes)?", "yellow"),
    (r"\btable=\w+,.*", "dim"),
    (r"\bgroup \d+", "cyan"),
    (r"\b(?:refused|rejected|dropped|not on the switch|otherwise on the switch)\b", "red"),
    (r"\b(?:ready|delivered)\b", "green"),
)


def show_line(line: str, style: str = "") -> None:
    """Print a line; on a terminal in colours."""
    if not out.is_terminal:
        print(line)
        return
    text = Text(line, style=style)
    if not style:
        for pattern, how in _STYLES:
            text.highlight_regex(pattern, how)
        if not re.match(r"[ │├└]", line):
            text.stylize("bold")
    out.print(text)


def show_tree(tree: Branch) -> None:
    """Print a tree."""
    for line in tree.lines():
        show_line(line)
