"""The C API's page: csrc/include/nsxdp.h as Markdown.

The header's own layout is what is read: blocks with blank lines between, each a comment and what it
is about; a block that is one short comment alone begins a section.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from pages.markdown import WRITTEN, code, escaped, wrapped
from pages.root import ROOT

__all__ = ["HEADER", "Block", "blocks", "page", "summary"]

HEADER = ROOT / "csrc/include/nsxdp.h"

_BLOCK = re.compile(r"\A(?:/\* ?(?P<comment>.*?)\*/\n?)?(?P<code>.*)\Z", re.DOTALL)


class Block(NamedTuple):
    """A comment, and what it is about; without that, it is a section's heading."""

    comment: str
    code: str


def blocks() -> list[Block]:
    """What the header declares, in its order; without what only a compiler needs."""
    _, _, text = HEADER.read_text().partition("#endif\n\n/* Memory and errors. */")
    text = "/* Memory and errors. */" + text.partition("#ifdef __cplusplus")[0]
    found = []
    for part in re.split(r"\n\n+", text.strip()):
        match = _BLOCK.match(part)
        assert match is not None
        comment = re.sub(r"\n \*? ?", "\n", match["comment"] or "").strip()
        found.append(Block(comment, _without_attribute(match["code"].strip())))
    return found


def summary() -> str:
    """What the header is, in a line."""
    return "The core in C, without Python in it: for C and for whatever calls C."


def page() -> str:
    """The page."""
    lines = ["# nsxdp.h", "", WRITTEN, ""]
    lines += _prose(re.sub(r"\n \* ?", "\n", HEADER.read_text().split("*/")[0].strip("/* ")))
    for block in blocks():
        if not block.code:
            title, _, rest = block.comment.partition(":" if ":" in block.comment else ".")
            lines += [f"## {title}", ""]
            lines += _prose(rest.strip()[:1].upper() + rest.strip()[1:]) if rest.strip() else []
            continue
        lines += [*code(block.code.splitlines(), "c"), ""]
        lines += _prose(block.comment)
    return "\n".join(lines).rstrip() + "\n"


def _without_attribute(text: str) -> str:
    """Declarations without NSX_API; their further lines stand under the first argument still."""
    if "NSX_API " not in text:
        return text
    return re.sub(r"^(?:NSX_API | {8}(?= {8}))", "", text, flags=re.MULTILINE)


def _prose(comment: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", comment):
        if not paragraph.strip():
            continue
        if re.match(r"\s*- ", paragraph):
            for point in re.split(r"\n\s*(?=- )", paragraph.strip()):
                yield wrapped(_marked(point), "  ")
        else:
            yield wrapped(_marked(paragraph))
        yield ""


def _marked(text: str) -> str:
    """'names' and functions() as code."""
    pieces = re.split(r"(?<!\w)'([^'\n]+)'(?!\w)|\b(nsx_\w+\(\))", text)
    # Three at a time: text, a name, a function, of which one is None.
    named = [f"`{one or other}`" for one, other in zip(pieces[1::3], pieces[2::3], strict=True)]
    texts = [escaped(piece) for piece in pieces[::3]]
    return "".join(part for pair in zip(texts, [*named, ""], strict=True) for part in pair)
