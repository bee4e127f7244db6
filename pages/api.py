"""The reference's pages of docs/api: what `pages.reference` found, as Markdown."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, NamedTuple

import griffe

from pages import header
from pages.markdown import WIDTH, WRITTEN, code, escaped, item, slug, wrapped
from pages.records import default, is_record
from pages.records import fields as record_fields
from pages.reference import Entry, Module, Page, docstring, pages

__all__ = ["index", "page", "page_names", "unresolved"]

_LONGEST: Final = 25
"""Lines of a constant that are shown."""

_Kind = griffe.DocstringSectionKind

_SHOWN_BASES: Final = ("Protocol", "Enum", "IntEnum", "IntFlag", "Code", "Bits")
"""Bases that say what a class is for, where one doesn't make objects of it by its fields."""

_ASKED: Final = {
    _Kind.parameters: "Parameters",
    _Kind.other_parameters: "Other parameters",
    _Kind.attributes: "Attributes",
    _Kind.returns: "Returns",
    _Kind.yields: "Yields",
    _Kind.raises: "Raises",
}
"""Sections of a docstring that are lists, with their headings."""


def page_names() -> list[str]:
    """The pages, without their suffix."""
    return [page.name for page in pages()]


def index() -> str:
    """The page that leads to the others."""
    lines = ["# API reference", "", WRITTEN, ""]
    lines += [
        wrapped(
            "Written from the docstrings; the tests run their examples. To begin with, read the "
            "[tutorial](../tutorial.md). Names are those from which one imports."
        ),
        "",
    ]
    for page in pages():
        text = docstring(page.modules[0].object)
        summary = _inline(text.value.split("\n\n")[0], page.name) if text else ""
        lines.append(item(f"[{_title(page)}]({page.name}.md)", summary))
    lines.append(item("[nsxdp.h](c.md)", header.summary()))
    return "\n".join([*lines, ""])


def page(name: str) -> str:
    """One page."""
    (found,) = (page for page in pages() if page.name == name)
    lines = [f"# {_title(found)}", "", WRITTEN, ""]
    for module in found.modules:
        lines += _module(found, module)
    return "\n".join(lines).rstrip() + "\n"


def _title(page: Page) -> str:
    first = page.modules[0].path
    return first if page.name in first else f"{first} and others"


def _module(page: Page, module: Module) -> Iterator[str]:
    if module is not page.modules[0]:
        yield from (f"## {module.path}", "")
    yield from _text(docstring(module.object), page.name, "")
    if module is page.modules[0] and len(page.modules) > 1:
        yield from _contents(page)
    for entry in module.entries:
        yield from _entry(entry, page.name, "###")


def _contents(page: Page) -> Iterator[str]:
    for module in page.modules[1:]:
        names = [_link(e.title, _places()[e.object.path][0], page.name) for e in module.entries]
        yield item(_link(module.path, _places()[module.path][0], page.name), ", ".join(names))
    yield ""


def _entry(entry: Entry, page: str, level: str) -> Iterator[str]:
    yield from (f"{level} {entry.title}", "")
    signatures = [line for one in (*entry.others, entry) for line in _signature(one)]
    yield from (*code(signatures, "python"), "")
    yield from _bases(entry, page)
    yield from _text(entry.docstring, page, entry.name)
    fields = list(_fields(entry))
    for field in fields:
        yield item(f"`{_field(field)}`", _field_text(field, page, entry.name))
    if fields:
        yield ""
    for member in entry.members:
        yield from _entry(member, page, level + "#")


def _fields(entry: Entry) -> Iterator[griffe.Attribute]:
    """What a class holds and its docstring doesn't tell of; and of what its signature has, what
    there is more to say about.
    """
    told = _told(entry.docstring)
    thing = entry.object
    made = thing.members.get("__init__")
    given = {p.name for p in made.parameters} if isinstance(made, griffe.Function) else set()
    if isinstance(thing, griffe.Class) and (_is_struct(thing) or is_record(thing)):
        given = {field.name for field in entry.fields}
    for field in entry.fields:
        if field.name not in told and (field.docstring is not None or field.name not in given):
            yield field


# Signatures.


def _signature(entry: Entry) -> list[str]:
    thing: Any = entry.object
    if isinstance(thing, griffe.Class):
        return _class_signature(entry, thing)
    if isinstance(thing, griffe.Attribute):
        if "property" in thing.labels:
            return [f"{entry.name}: {thing.annotation}"]
        return _constant(entry, thing)
    prefix = "".join(f"{label} " for label in ("async", "classmethod") if label in thing.labels)
    name = entry.path if "." not in entry.name else entry.name
    shown = thing.overloads or [thing]
    return [line for one in shown for line in _call(prefix + name, one, _result(one))]


def _class_signature(entry: Entry, thing: griffe.Class) -> list[str]:
    bases = [str(base) for base in thing.bases]
    if any(base.split("[")[0] in _SHOWN_BASES for base in bases):
        return [f"class {entry.path}({', '.join(bases)})"]
    if _is_built_by_others(entry):
        return [f"class {entry.path}"]
    if is_record(thing):
        placed, named = (list(map(_field, some)) for some in record_fields(thing))
        return _lines(f"class {entry.path}", [*placed, *(["*"] if named else []), *named], "")
    if _is_struct(thing):
        return _lines(f"class {entry.path}", [_field(field) for field in entry.fields], "")
    made = next((c for c in (thing, *_mro(thing)) if "__init__" in c.members), None)
    if made is None:
        return [f"class {entry.path}"]
    return _call(f"class {entry.path}", made["__init__"], "")


def _bases(entry: Entry, page: str) -> Iterator[str]:
    """The classes of the reference that a class is one of."""
    bases = entry.object.bases if isinstance(entry.object, griffe.Class) else []
    paths = [base.canonical_path for base in bases if isinstance(base, griffe.Expr)]
    links = [
        _link(f"`{path.rpartition('.')[2]}`", _places()[path][0], page)
        for path in paths
        if path in _places()
    ]
    if links:
        yield from (f"A kind of {' and '.join(links)}.", "")


def _is_struct(thing: griffe.Class) -> bool:
    """Whether its fields are what one makes it from, without a function that says so."""
    return any(str(base).split("[")[0] in ("NamedTuple", "Struct") for base in thing.bases)


def _mro(thing: griffe.Class) -> list[griffe.Class]:
    return [base for base in thing.mro() if isinstance(base, griffe.Class)]


def _is_built_by_others(entry: Entry) -> bool:
    """Whether nobody calls the class, for its docstring says who makes it."""
    text = entry.docstring
    return text is not None and bool(re.search(r"\bMade by `", text.value))


def _result(function: griffe.Function) -> str:
    return f" -> {function.returns}" if function.returns is not None else ""


def _call(name: str, function: griffe.Function, result: str) -> list[str]:
    """How something is called: on one line, or a line for each parameter."""
    return _lines(name, [_parameter(p) for p in _with_marks(function.parameters)], result)


def _lines(name: str, given: list[str], result: str) -> list[str]:
    line = f"{name}({', '.join(given)}){result}"
    if len(line) <= WIDTH:
        return [line]
    return [f"{name}(", *(f"    {one}," for one in given), f"){result}"]


def _with_marks(parameters: griffe.Parameters) -> list[griffe.Parameter | str]:
    """Parameters without self; a star before those that only have names.

    griffe takes a class variable without a type for a field.
    """
    kinds = griffe.ParameterKind
    shown: list[griffe.Parameter | str] = []
    starred = False
    for parameter in parameters:
        if parameter.name in ("self", "cls") or str(parameter.annotation) == "ClassVar":
            continue
        starred = starred or parameter.kind is kinds.var_positional
        if parameter.kind is kinds.keyword_only and not starred:
            shown.append("*")
            starred = True
        shown.append(parameter)
    return shown


def _parameter(parameter: griffe.Parameter | str) -> str:
    if isinstance(parameter, str):
        return parameter
    stars = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}
    star = stars.get(parameter.kind, "") if parameter.kind else ""
    text = f"{star}{parameter.name}"
    if parameter.annotation is not None:
        text += f": {parameter.annotation}"
    if parameter.default is not None and not star:
        equals = " = " if parameter.annotation is not None else "="
        text += f"{equals}{parameter.default}"
    return text


def _field(field: griffe.Attribute) -> str:
    return f"{field.name}{_typed(field)}{_valued(field)}"


def _typed(attribute: griffe.Attribute) -> str:
    annotation = str(attribute.annotation or "")
    annotation = re.sub(r"^(?:Final|ClassVar)(?:\[(.*)\])?$", r"\1", annotation)
    return f": {annotation}" if annotation else ""


def _valued(attribute: griffe.Attribute) -> str:
    value = default(attribute)
    if not value or "\n" in value or len(value) > WIDTH // 2 or value.startswith("field("):
        return ""
    return f" = {value}"


def _constant(entry: Entry, thing: griffe.Attribute) -> list[str]:
    """A constant with its value, as it stands in its module where it has several lines."""
    lines = textwrap.dedent(thing.source).splitlines() if thing.lines else []
    if 1 < len(lines) <= _LONGEST:
        first = re.sub(rf"^{thing.name}(: Final(\[.*\])?)? =", f"{entry.path} =", lines[0])
        return [first, *lines[1:]]
    return [f"{entry.path}{_typed(thing)}{_valued(thing)}"]


# Docstrings.


def _told(text: griffe.Docstring | None) -> set[str]:
    """The attributes of which a class's docstring tells."""
    sections = text.parsed if text is not None else []
    return {
        name
        for section in sections
        if section.kind is _Kind.attributes
        for attribute in section.value
        for name in attribute.name.split(", ")
    }


def _text(text: griffe.Docstring | None, page: str, scope: str) -> Iterator[str]:
    for section in text.parsed if text is not None else ():
        if section.kind is _Kind.text:
            yield from _prose(section.value, page, scope)
        elif section.kind is _Kind.examples:
            yield from _examples(section.value, page, scope)
        else:
            yield from (f"{_ASKED[section.kind]}:", "")
            for one in section.value:
                term = _term(section.kind, one, page)
                yield item(term, _inline(one.description, page, scope))
            yield ""


def _term(kind: griffe.DocstringSectionKind, one: Any, page: str) -> str:
    """What a list in a docstring speaks of."""
    if kind is _Kind.raises:
        names = str(one.annotation).strip("()").split(", ")
        return ", ".join(_name(f"`{name}`", page, "") for name in names)
    # A type is shown in the signature already.
    return f"`{getattr(one, 'name', '') or one.annotation}`"


def _prose(text: str, page: str, scope: str) -> Iterator[str]:
    """Paragraphs, lists, tables and blocks of code, of reStructuredText as numpydoc has it."""
    for block in _blocks(text):
        if block.startswith(("    ", "===")):
            yield from ("```text", *textwrap.dedent(block).splitlines(), "```")
        elif block.startswith(("* ", "- ")):
            items = re.split(r"\n(?=[*-] )", block)
            yield from (wrapped(f"- {_inline(one[2:], page, scope)}", "  ") for one in items)
        else:
            yield wrapped(re.sub(r"::$", ":", _inline(block, page, scope)))
        yield ""


def _blocks(text: str) -> Iterator[str]:
    """What blank lines separate; a block of code is one whatever is in it."""
    parts = text.strip("\n").split("\n\n")
    while parts:
        block = parts.pop(0)
        while block.startswith("    ") and parts and parts[0].startswith("    "):
            block += "\n\n" + parts.pop(0)
        if block.strip() and block != "::":
            yield block


def _examples(
    parts: list[tuple[griffe.DocstringSectionKind, str]], page: str, scope: str
) -> Iterator[str]:
    for kind, value in parts:
        if kind is _Kind.text:
            yield from _prose(value, page, scope)
        else:
            yield from (*code(value.splitlines(), "python"), "")


def _field_text(field: griffe.Attribute, page: str, scope: str) -> str:
    return _inline(field.docstring.value, page, scope) if field.docstring else ""


def _inline(text: str, page: str, scope: str = "") -> str:
    """A text with its names as code, and as links where they are in the reference."""
    text = " ".join(text.split())
    text = re.sub(r":\w+:`([^`]+)`", r"`\1`", text)
    text = re.sub(r"(?<![\w`])'([a-z_]\w*)'(?![\w`])", r"``\1``", text)  # a parameter, as in C
    pieces = re.split(r"(``.+?``|`[^`]+`)", text)
    return "".join(
        _name(piece, page, scope) if piece.startswith("`") else escaped(piece) for piece in pieces
    )


def _name(marked: str, page: str, scope: str) -> str:
    if marked.startswith("``"):
        return f"`{marked.strip('`')}`"
    name = marked.strip("`")
    place = _place(name, page, scope)
    if place is None:
        return marked
    return _link(marked, place, page)


def _link(text: str, place: _Place, page: str) -> str:
    """A link from a page to a place."""
    target = f"#{place.anchor}" if place.page == page else f"{place.page}.md#{place.anchor}"
    return f"[{text}]({target})"


class _Place(NamedTuple):
    """Where something is written about."""

    page: str
    anchor: str


@cache
def _places() -> dict[str, list[_Place]]:
    """From names, short and full, to where they are."""
    found: dict[str, list[_Place]] = {}
    for page in pages():
        used: Counter[str] = Counter()
        for module in page.modules:
            title = _title(page) if module is page.modules[0] else module.path
            found.setdefault(module.path, []).append(_Place(page.name, _anchor(title, used)))
            for entry in (e for top in module.entries for e in top.walk()):
                place = _Place(page.name, _anchor(entry.title, used))
                for name in _names(entry):
                    found.setdefault(name, []).append(place)
    return found


def _anchor(heading: str, used: Counter[str]) -> str:
    """A heading's anchor; of equal ones, forges number the second and further ones."""
    anchor = slug(heading)
    used[anchor] += 1
    return anchor if used[anchor] == 1 else f"{anchor}-{used[anchor] - 1}"


def _names(entry: Entry) -> set[str]:
    """The names, short and full, by which docstrings speak of an entry and of what it holds."""
    found = set()
    for one in (*entry.others, entry):
        found |= {one.name, one.path, str(one.object.path), _short(one)}
    for field in entry.fields:
        found |= {f"{entry.name}.{field.name}", str(field.path)}
    return found


def _short(entry: Entry) -> str:
    """Its name as its own module has it."""
    return str(entry.object.path).removeprefix(f"{entry.object.module.path}.")


def _place(name: str, page: str, scope: str) -> _Place | None:
    """What a name means that stands in the docstring of ``scope``: the nearest of that name."""
    owner = scope.split(".")[0]
    for candidate in (f"{owner}.{name}", name):
        known = _places().get(candidate, [])
        near = [place for place in known if place.page.split("-")[0] == page.split("-")[0]]
        if len(near or known) == 1:
            return (near or known)[0]
    return None


def unresolved() -> list[str]:
    """Full names in docstrings that the reference doesn't have."""
    wrong = []
    for page in pages():
        things = [(entry.path, entry.docstring) for entry in page.entries()]
        things += [(module.path, docstring(module.object)) for module in page.modules]
        for path, text in things:
            names = re.findall(r"(?<!`)`(nsxdp\.[\w.]+)`(?!`)", text.value if text else "")
            wrong += [f"{path}: {name}" for name in names if _place(name, page.name, "") is None]
    return wrong
