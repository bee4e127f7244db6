"""How the commands show things: trees and tables, in colours on a terminal, plainly in a pipe."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.text import Text

__all__ = ["Branch", "counts", "out", "show_json", "show_line", "show_tree"]

out: Final = Console(soft_wrap=True, highlight=False)

_STYLES: Final = (
    (r"\b\d[\d,]* packets?\b(?:, \d[\d,]* bytes)?", "dim"),
    (r"\b[1-9][\d,]* packets?\b(?:, \d[\d,]* bytes)?", "yellow"),
    (r"\btable=\w+,.*", "dim"),
    (r"\bgroup \d+", "cyan"),
    (r"\b(?:refused|rejected|dropped|not on the switch|otherwise on the switch)\b", "red"),
    (r"\b(?:ready|delivered)\b", "green"),
)


@dataclass(slots=True)
class Branch:
    """A line of a tree, and what hangs on it."""

    text: str
    branches: list[Branch] = field(default_factory=list)

    def add(self, text: str) -> Branch:
        """Hang a line on it."""
        branch = Branch(text)
        self.branches.append(branch)
        return branch

    def lines(self) -> Iterator[str]:
        """The tree, drawn."""
        yield self.text
        for branch in self.branches:
            last = branch is self.branches[-1]
            first, *rest = branch.lines()
            yield ("└── " if last else "├── ") + first
            yield from (("    " if last else "│   ") + line for line in rest)


def counts(packets: int | None, bytes_: int | None = None) -> str:
    """Counts in words; None: the switch doesn't know."""
    if packets is None:
        return "packets unknown"
    text = f"{packets:,} packet{'' if packets == 1 else 's'}"
    return text if bytes_ is None else f"{text}, {bytes_:,} bytes"


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


def show_json(obj: dict[str, Any]) -> None:
    """Print an object, on a line of its own."""
    print(json.dumps(obj))
