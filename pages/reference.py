"""What is public in the library: read from its sources by griffe, and nothing is written here.

A module's public names are those of its ``__all__``, else those without an underscore. A package
that has an ``__all__`` shows them where they are defined; of the other modules it shows those that
`WHOLE` names.

Compiled modules have their types in a ``.pyi`` and their docstrings in the module itself.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any, Final

import griffe

from pages.root import ROOT

__all__ = ["PAGES", "Entry", "Module", "Page", "pages"]

PAGES: Final[dict[str, tuple[str, ...]]] = {
    "openflow": (
        "nsxdp.openflow",
        *("flow", "parts", "meter", "template", "desired"),
        *(
            "switch",
            "verbs",
            "stats",
            "changes",
            "monitor",
            "trace",
            "connection",
            "session",
            "commit",
        ),
        "errors",
    ),
    "openflow-messages": ("nsxdp.openflow", "messages", "record", "requests", "codec", "fake"),
    "ovsdb": (
        "nsxdp.ovsdb",
        *("client", "replica", "store", "feed", "transaction", "condition", "lock"),
        *("schema", "session", "errors", "text"),
    ),
    "switch": ("nsxdp.switch",),
    "bridge": ("nsxdp.bridge",),
    "writer": ("nsxdp.writer",),
    "backoff": ("nsxdp.backoff",),
    "logs": ("nsxdp.logs",),
    "transport": ("nsxdp.transport",),
    "unixctl": ("nsxdp.unixctl",),
    "conntrack": ("nsxdp.conntrack",),
    "flowrecords": ("nsxdp.flowrecords", "record", "tracker", "ipfix"),
    "netns": ("nsxdp.netns",),
    "rtnetlink": ("nsxdp.rtnetlink", "connection", "holdings", "news", "objects", "veth", "wire"),
    "k8s": (
        "nsxdp.k8s",
        *("objects", "policy_objects", "resources", "source", "reflector", "manifests", "client"),
        *("credentials", "events", "selectors", "defaults", "errors", "protobuf", "schemas"),
    ),
    "services": (
        "nsxdp.services",
        *("planner", "slices", "serviceports", "tracker", "merge", "endpoints", "plan"),
        *("slots", "compiler", "addresses", "model", "reject", "conntrack"),
    ),
    "policy": (
        "nsxdp.policy",
        *("planner", "rules", "selectors", "kinds", "groups", "live", "flows", "denied"),
    ),
    "tracing": (
        "nsxdp.tracing",
        *("way", "teller", "story", "names", "packet", "rulings", "tree", "output"),
    ),
    "pipeline": ("nsxdp.pipeline", "tables", "registers", "ids", "policy"),
    "lab": ("nsxdp.lab", "node", "ovs", "netns", "programs", "apiserver", "fixtures", "errors"),
}
"""Pages: a package, and the order of its modules. Those that aren't named follow on the first page
that the package has.
"""

WHOLE: Final = {
    *(f"nsxdp.openflow.{name}" for name in ("messages", "record", "requests", "codec", "fake")),
    "nsxdp.openflow.stats",
    *(f"nsxdp.openflow.{name}" for name in ("changes", "monitor", "trace", "template", "desired")),
    *(f"nsxdp.openflow.{name}" for name in ("switch", "verbs", "connection", "session")),
    *(f"nsxdp.ovsdb.{name}" for name in ("condition", "schema", "text")),
    "nsxdp.lab.fixtures",
}
"""Modules, and packages with theirs, of which all public names are for everybody, whatever their
package exports.
"""


@dataclass
class Entry:
    """A public name.

    Attributes
    ----------
    name
        As it is called on its page: ``Flow``, ``Flow.parse``.
    path
        From where it is imported: ``nsxdp.openflow.Flow``.
    object
        What griffe knows of it.
    members
        Of a class, its methods and properties.
    fields
        Of a class, what it holds.
    others
        Constants that stand directly above this one, whose docstring is of all of them.
    """

    name: str
    path: str
    object: griffe.Object
    members: list[Entry] = field(default_factory=list)
    fields: list[griffe.Attribute] = field(default_factory=list)
    others: list[Entry] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Its heading."""
        return ", ".join(entry.name for entry in (*self.others, self))

    @property
    def docstring(self) -> griffe.Docstring | None:
        """What is written about it; None: nothing."""
        return docstring(self.object)

    def walk(self) -> Iterator[Entry]:
        """It, and what belongs to it."""
        yield self
        for member in self.members:
            yield from member.walk()


@dataclass
class Module:
    """A module, or a package itself, with its public names."""

    object: griffe.Module
    entries: list[Entry]

    @property
    def path(self) -> str:
        """Such as ``nsxdp.openflow.flow``."""
        return str(self.object.path)


@dataclass
class Page:
    """A page: the modules that are on it; the first one gives it its name."""

    name: str
    modules: list[Module]

    def entries(self) -> Iterator[Entry]:
        """All public names."""
        for module in self.modules:
            for entry in module.entries:
                yield from entry.walk()


@cache
def pages() -> tuple[Page, ...]:
    """All pages."""
    whole = griffe.load(
        "nsxdp", search_paths=[ROOT], docstring_parser="numpy", allow_inspection=False
    )
    assert isinstance(whole, griffe.Module)
    seen: set[str] = set()
    found = []
    for name, (package_name, *order) in PAGES.items():
        package = whole[package_name.removeprefix("nsxdp.")]
        known = {module.path: module for module in _modules(package)}
        named = [f"{package_name}.{module}" for module in order]
        listed = [path for stem in named for path in known if _is_in(path, stem)]
        if package_name not in seen:
            elsewhere = [path for path in _claimed(package_name) if path not in listed]
            listed += [p for p in known if not any(_is_in(p, e) for e in [*elsewhere, *listed])]
            listed = [package_name, *(path for path in listed if path != package_name)]
            seen.add(package_name)
        modules = [Module(known[path], _entries(known[path], package)) for path in listed]
        found.append(Page(name, [m for m in modules if m.entries or m is modules[0]]))
    return tuple(found)


def docstring(thing: griffe.Object) -> griffe.Docstring | None:
    """Its docstring, or, of a compiled or an overriding thing, that which Python knows for it."""
    if thing.docstring is not None:
        return thing.docstring
    text = _runtime_doc(thing)
    if not text:
        return None
    return griffe.Docstring(text, parent=thing, parser="numpy")


def _claimed(package: str) -> list[str]:
    """The modules of a package that pages name."""
    return [
        f"{package}.{module}"
        for first, *rest in PAGES.values()
        if first == package
        for module in rest
    ]


def _is_in(path: str, stem: str) -> bool:
    """Whether a module is the one of that name, or inside of it."""
    return path == stem or path.startswith(f"{stem}.")


def _modules(package: griffe.Module) -> Iterator[griffe.Module]:
    yield package
    for _, module in sorted(package.modules.items()):
        if isinstance(module, griffe.Module) and not module.name.startswith("_"):
            yield from _modules(module)


def _entries(module: griffe.Module, package: griffe.Module) -> list[Entry]:
    """The public names of a module; those that its package exports are known by that path."""
    exported = _homes(package)
    is_whole = not package.exports or any(_is_in(module.path, stem) for stem in WHOLE)
    # A package in the package says itself what its modules have.
    outer = module.parent
    home = module if module is package or outer is package or outer is None else outer
    found = []
    for name in _names(module):
        path = f"{module.path}.{name}"
        if path in exported:
            known = exported[path]
            found.append(_entry(known.rpartition(".")[2], known, module[name]))
        elif is_whole:
            found.append(_entry(name, f"{home.path}.{name}", module[name]))
    return _gathered(found)


def _gathered(entries: list[Entry]) -> list[Entry]:
    """Entries where constants that share a docstring are one."""
    found: list[Entry] = []
    waiting: list[Entry] = []
    for entry in entries:
        if waiting and not _follows(waiting[-1].object, entry.object):
            found += waiting
            waiting = []
        if entry.object.is_attribute and entry.docstring is None:
            waiting.append(entry)
            continue
        entry.others, waiting = waiting, []
        found.append(entry)
    return found + waiting


def _follows(first: griffe.Object, second: griffe.Object) -> bool:
    """Whether a constant's line is the next one's."""
    return second.is_attribute and second.lineno == (first.endlineno or 0) + 1


def _homes(package: griffe.Module) -> dict[str, str]:
    """From where names are defined to the package's own path for them."""
    found = {}
    for name in package.exports or ():
        member = package[str(name)]
        home = member.target_path if isinstance(member, griffe.Alias) else member.path
        found[str(home)] = f"{package.path}.{name}"
    return found


def _names(module: griffe.Module) -> list[str]:
    """The public names that a module defines, in the order of its text."""
    public = {str(name) for name in module.exports or ()}
    return [
        name
        for name, member in module.members.items()
        if not isinstance(member, griffe.Alias | griffe.Module)
        and (name in public if public else not name.startswith("_"))
    ]


def _entry(name: str, path: str, thing: Any) -> Entry:
    entry = Entry(name, path, thing)
    if not isinstance(thing, griffe.Class):
        return entry
    for key, member in thing.members.items():
        if key.startswith("_") or isinstance(member, griffe.Alias):
            continue
        if isinstance(member, griffe.Attribute) and "property" not in member.labels:
            if member.docstring or not (_is_inherited(thing, key) or _is_set(thing, member)):
                entry.fields.append(member)
        elif not _is_told(thing, key) and (member.docstring or not _is_inherited(thing, key)):
            entry.members.append(Entry(f"{name}.{key}", f"{path}.{key}", member))
    return entry


def _is_inherited(thing: griffe.Class, name: str) -> bool:
    """Whether a class only has its own way of what a class above it tells of."""
    return any(name in base.members for base in thing.mro())


def _is_set(thing: griffe.Class, member: griffe.Attribute) -> bool:
    """Whether only ``__init__`` sets it, and says nothing of it."""
    made = thing.members.get("__init__")
    start, end = (made.lineno, made.endlineno) if made is not None else (0, 0)
    return (start or 0) < (member.lineno or 0) <= (end or 0)


def _is_told(thing: griffe.Class, name: str) -> bool:
    """Whether the class's own docstring tells of it."""
    text = docstring(thing)
    return text is not None and any(
        name in item.name.split(", ")
        for section in text.parsed
        if section.kind is griffe.DocstringSectionKind.attributes
        for item in section.value
    )


def _runtime_doc(thing: griffe.Object) -> str:
    """What ``help()`` shows of it, without the signature that Cython writes above it."""
    if thing.is_attribute and "property" not in thing.labels:
        return ""
    value: Any = import_module(str(thing.module.path))
    if thing.is_module:
        return inspect.getdoc(value) or ""
    for part in thing.path.removeprefix(f"{thing.module.path}.").split("."):
        value = getattr(value, part, None)
    text = inspect.getdoc(value) or ""
    return re.sub(rf"\A{re.escape(thing.name)}(\(.*\))?\n+|\A\w+\.{thing.name}\(.*\n+", "", text)
