"""Markdown that is good to read as it is, too: short lines, few marks."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator

__all__ = ["WIDTH", "WRITTEN", "code", "escaped", "item", "slug", "wrapped"]

WIDTH = 100

WRITTEN = "<!-- Written by: make docs -->"
"""What a page that is written from the code begins with, under its heading."""


def wrapped(text: str, indent: str = "") -> str:
    """A paragraph; further lines are indented."""
    return textwrap.fill(
        " ".join(text.split()),
        WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def item(term: str, text: str, depth: int = 0) -> str:
    """An item of a list, about a term."""
    indent = "  " * depth
    return textwrap.indent(wrapped(f"- {term}: {text}" if text else f"- {term}", "  "), indent)


def code(lines: Iterable[str], language: str = "") -> Iterator[str]:
    """A block of code: fenced where its language is known, so that a forge colours it."""
    if language:
        yield from (f"```{language}", *lines, "```")
    else:
        yield from (f"    {line}" if line else "" for line in lines)


def escaped(text: str) -> str:
    """A text whose stars and angle brackets are meant as they are, but for *stress*."""
    pieces = re.split(r"((?<!\w)\*\w[\w ]*\*(?!\w))", text)
    pieces[::2] = [re.sub(r"[*<]", r"\\\g<0>", piece) for piece in pieces[::2]]
    return "".join(pieces)


def slug(heading: str) -> str:
    """A heading's anchor, as forges make it."""
    kept = (c for c in heading.lower() if c.isalnum() or c in " -_")
    return "".join(kept).replace(" ", "-")
