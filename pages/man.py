"""Manual pages for man(1): the Markdown of a command's page, as roff (man(7)).

The page's heading and its first paragraph become NAME, the first block of code SYNOPSIS, and what
stands before the next heading DESCRIPTION.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

import nsxdp

__all__ = ["man"]

_FONTS = {"code_inline": "B", "strong": "B", "em": "I"}


def man(page: str) -> str:
    """A manual page of section 1.

    Parameters
    ----------
    page
        Markdown: headings, paragraphs, lists, blocks of code, links, marks for code and stress.
    """
    return "\n".join(_Page(MarkdownIt("commonmark").parse(page)).lines) + "\n"


class _Page:
    """Goes through a page's tokens, once."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.lines: list[str] = []
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._name = ""
        self._part = "NAME"
        while self._at < len(tokens):
            token = tokens[self._at]
            handle: Callable[[Token], None] | None = getattr(self, f"_{token.type}", None)
            if handle is not None:
                handle(token)
            self._at += 1

    def _heading_open(self, token: Token) -> None:
        text = self._inline()
        if token.tag == "h1":
            self._name = text
            title = text.replace(" ", "-").replace("\\-", "-").upper()
            self.lines += [f'.TH "{title}" 1 "" "nsxdp {nsxdp.__version__}"']
            self.lines += [".nh", ".ad l", ".SH NAME"]
            return
        self._part = ""
        self.lines.append(f".SH {text.upper()}" if token.tag == "h2" else f".SS {text}")

    def _paragraph_open(self, _: Token) -> None:
        text = self._inline()
        if self._part == "NAME":
            self.lines.append(f"{self._name} \\- {text.rstrip('.')}")
            self._part = "SYNOPSIS"
            return
        if self._part == "DESCRIPTION":
            self.lines.append(".SH DESCRIPTION")
            self._part = ""
        if not self._depth:
            self.lines.append(".PP")
        self.lines.append(text)

    def _code_block(self, token: Token) -> None:
        if self._part == "SYNOPSIS":
            self.lines.append(".SH SYNOPSIS")
            self._part = "DESCRIPTION"
        else:
            self.lines.append(".PP")
        text = [_line(_escaped(line)) for line in token.content.rstrip("\n").split("\n")]
        self.lines += [".RS 4", ".nf", *text, ".fi", ".RE"]

    _fence = _code_block

    def _list_item_open(self, _: Token) -> None:
        """An item whose paragraph is ``TERM: TEXT`` becomes a tagged paragraph."""
        self._at += 2  # the paragraph's beginning, then its text
        term, colon, text = self._text(self._tokens[self._at]).partition(": ")
        if colon:
            self.lines += [".TP", _line(term), _line(text)]
        else:
            self.lines += [".IP \\(bu 2", _line(term)]

    def _bullet_list_open(self, _: Token) -> None:
        self._depth += 1

    def _bullet_list_close(self, _: Token) -> None:
        self._depth -= 1

    def _inline(self) -> str:
        """The text of the block that begins here."""
        self._at += 1
        return _line(self._text(self._tokens[self._at]))

    def _text(self, token: Token) -> str:
        return "".join(_pieces(token.children or ()))


def _pieces(tokens: Sequence[Token]) -> Iterator[str]:
    for token in tokens:
        kind = token.type.removesuffix("_open").removesuffix("_close")
        if token.type == "text":
            yield _escaped(token.content)
        elif token.type in ("softbreak", "hardbreak"):
            yield " "
        elif token.type == "code_inline":
            yield f"\\fB{_escaped(token.content)}\\fR"
        elif kind in _FONTS:
            yield f"\\f{_FONTS[kind]}" if token.nesting > 0 else "\\fR"


def _escaped(text: str) -> str:
    """Text whose backslashes and hyphens are meant as they are."""
    return text.replace("\\", "\\e").replace("-", "\\-")


def _line(text: str) -> str:
    """A line that is no request, whatever it begins with."""
    return f"\\&{text}" if text.startswith((".", "'")) else text
