"""The reference: every public name has a docstring, and every docstring's example runs as shown."""

from __future__ import annotations

import doctest
import inspect
import re
from collections.abc import Iterator

import griffe
import pytest

from nsxdp.lab import tools
from pages import api, header
from pages.reference import docstring, pages

OPTIONS = doctest.ELLIPSIS | doctest.REPORT_NDIFF


def docstrings() -> Iterator[tuple[str, griffe.Docstring | None]]:
    """All docstrings of the reference, by the path of what they are about."""
    for page in pages():
        for module in page.modules:
            yield module.path, docstring(module.object)
        for entry in page.entries():
            yield entry.path, entry.docstring


def examples() -> dict[str, str]:
    """The docstrings that have examples."""
    return {
        path: inspect.cleandoc(text.value)
        for path, text in docstrings()
        if text is not None and ">>> " in text.value
    }


def test_every_public_name_has_a_docstring() -> None:
    assert [path for path, text in docstrings() if text is None] == []


def test_every_declaration_of_the_c_api_has_a_comment() -> None:
    assert [block.code for block in header.blocks() if not block.comment] == []


def test_the_c_api_is_whole() -> None:
    declared = set(re.findall(r"\bnsx_\w+(?=\()", header.HEADER.read_text()))
    shown = set(re.findall(r"\bnsx_\w+(?=\()", header.page()))
    assert declared == shown
    assert len(declared) > 20


def test_names_in_docstrings_are_those_of_something() -> None:
    assert api.unresolved() == []


@pytest.mark.parametrize("path", examples())
def test_an_example_of_a_docstring_runs_as_shown(path: str) -> None:
    tools.require()
    # An example imports what it uses: so it can be copied.
    test = doctest.DocTestParser().get_doctest(examples()[path], {}, path, None, None)
    told: list[str] = []
    doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=told.append)
    assert "".join(told) == ""


def test_there_are_examples() -> None:
    assert len(examples()) >= 30
