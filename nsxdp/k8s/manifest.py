"""One file of manifests -> typed objects, or errors with file, line and path.

YAML (several documents, anchors) or JSON, each document an object or a List of objects. Kinds
that nobody asked for are passed over: Deployments and Pods may stand in the same file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from msgspec import Struct

from nsxdp.k8s.decode import key_of, to_object
from nsxdp.k8s.defaults import problems, with_defaults
from nsxdp.k8s.errors import ObjectError
from nsxdp.k8s.objects import Object
from nsxdp.k8s.resources import Resource
from nsxdp.logs import get_logger

__all__ = ["MAX_DEPTH", "MAX_ERRORS", "MAX_FILE", "SUFFIXES", "File", "Found", "read"]

log = get_logger(__name__)

SUFFIXES: Final = (".yaml", ".yml", ".json")
"""Files with other names are not looked at."""

MAX_FILE: Final = 64 << 20
"""The longest file that is read, in bytes."""

MAX_DEPTH: Final = 200
"""Levels of mappings and lists in a file. The deepest object of the API has about twenty."""

MAX_ERRORS: Final = 10
"""Errors that are told of one file; who has made more has made the same one again."""

_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


class Found(Struct, frozen=True):
    """An object and where it stands: ``web.yaml:12``."""

    resource: Resource
    obj: Object
    origin: str


class File(Struct, frozen=True):
    """What a file gives. With `errors`, `objects` are not to be used: not even the good ones."""

    objects: list[Found]
    errors: list[ObjectError]


class _Loader(yaml.CSafeLoader):
    """YAML as kubectl reads it: no timestamps, no base 60; a key may stand only once in a map.

    The C composer calls itself for each level without a limit, and would run out of stack (a
    crash, not an exception): so levels are counted where it calls back.
    """

    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self._depth = 0

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:  # noqa: ARG002
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(
                None, None, "nested too deeply", getattr(current_node, "start_mark", None)
            )

    def ascend_resolver(self) -> None:
        self._depth -= 1

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} stands here twice", key.start_mark
                    )
                seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag.rpartition(":")[2] in ("null", "bool", "merge")
    ]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$"),
    list("-+0123456789."),
)


class _Document(Struct, frozen=True):
    """One object of a file, untyped, and the way to its lines."""

    value: Any
    file: str
    node: yaml.Node | None
    text: bytes = b""
    prefix: str = ""

    def origin(self, path: str = "$") -> str:
        """``file:line`` of a path in the object, as near as it can be told."""
        # JSON is read without positions; now that they are needed, read it as YAML.
        node = self.node if self.node is not None else _compose(self.text)
        if node is None:
            return self.file
        return f"{self.file}:{_line(node, self.prefix + path.removeprefix('$'))}"


@lru_cache(maxsize=1)
def _compose(text: bytes) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError:
        return None


def _line(node: yaml.Node, path: str) -> int:
    """The line (from 1) of `path`, or of the innermost part of it that is there."""
    line: int = node.start_mark.line
    for name, index in _STEP.findall(path):
        children = node.value
        if index and isinstance(node, yaml.SequenceNode) and int(index) < len(children):
            node = children[int(index)]
            line = node.start_mark.line
        elif name and isinstance(node, yaml.MappingNode):
            for key, value in children:
                if key.value == name:
                    node = value
                    line = key.start_mark.line
                    break
            else:
                break
        else:
            break
    return line + 1


def read(path: Path, resources: Mapping[str, Resource]) -> File:
    """Read the objects of the kinds in `resources` from a file."""
    name = path.name
    objects: list[Found] = []
    errors: list[ObjectError] = []
    seen: dict[tuple[str, str], str] = {}
    try:
        for document in _documents(path):
            got = _object(document, resources)
            if isinstance(got, Found):
                kind, key = got.resource.kind, got.obj.key
                first = seen.setdefault((kind, key), got.origin)
                if len(seen) > len(objects):
                    objects.append(got)
                    continue
                got = [_error(document, kind, key, "$.metadata.name", f"stands already at {first}")]
            errors += got
            if len(errors) >= MAX_ERRORS:
                break
    except OSError as error:
        errors.append(ObjectError("", "", "$", error.strerror or str(error), name))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark is not None else ""
        text = " ".join(filter(None, (error.context, error.problem))) or "not YAML"
        errors.append(ObjectError("", "", "$", f"not YAML: {text}", name + line))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        errors.append(ObjectError("", "", "$", f"not YAML: {text}", name))
    except RecursionError:
        errors.append(ObjectError("", "", "$", "nested too deeply", name))
    finally:
        _compose.cache_clear()
    return File(objects, errors[:MAX_ERRORS])


def _documents(path: Path) -> Iterator[_Document]:
    """The objects of a file; Lists are taken apart."""
    if path.stat().st_size > MAX_FILE:
        raise OSError(f"larger than {MAX_FILE} bytes")
    text = path.read_bytes()
    if path.suffix == ".json":
        try:
            value = msgspec.json.decode(text)
        except msgspec.DecodeError:
            pass  # as YAML it gives an error with its line (or is several documents)
        else:
            yield from _items(_Document(value, path.name, None, text))
            return
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            yield from _items(_Document(loader.construct_document(node), path.name, node))
    finally:
        loader.dispose()


def _items(document: _Document) -> Iterator[_Document]:
    value = document.value
    if value is None:
        return
    if isinstance(value, dict) and isinstance(items := value.get("items"), list):
        kind = value.get("kind")
        if isinstance(kind, str) and kind.endswith("List"):
            # The items of a typed list (ServiceList) need not repeat what they are.
            inherit = {"kind": kind.removesuffix("List"), "apiVersion": value.get("apiVersion")}
            for i, item in enumerate(items):
                if isinstance(item, dict) and kind != "List":
                    item = {**inherit, **item}
                yield msgspec.structs.replace(document, value=item, prefix=f".items[{i}]")
            return
    yield document


def _error(document: _Document, kind: str, key: str, path: str, message: str) -> ObjectError:
    return ObjectError(kind, key, path, message, document.origin(path))


def _object(document: _Document, resources: Mapping[str, Resource]) -> Found | list[ObjectError]:
    """The object of a document; nothing (no error) for a kind that isn't asked for."""
    value = document.value
    if not isinstance(value, dict):
        got = type(value).__name__
        return [_error(document, "", "", "$", f"a manifest must be a mapping, this is a {got}")]
    kind = value.get("kind")
    if not isinstance(kind, str) or not kind:
        return [_error(document, "", key_of(value), "$.kind", "says of no kind what this is")]
    resource = resources.get(kind)
    version = value.get("apiVersion")
    if resource is None:
        log.debug("a manifest of a kind that plays no role here", kind=kind, key=key_of(value))
        return []
    if version != resource.api_version:
        message = f"is {version!r}, must be {resource.api_version!r}"
        return [_error(document, kind, key_of(value), "$.apiVersion", message)]
    obj = to_object(resource, value)
    if isinstance(obj, ObjectError):
        return [_error(document, kind, obj.key, obj.path, obj.message)]
    obj = with_defaults(resource, obj)
    found = problems(resource, obj)
    if found:
        return [_error(document, kind, obj.key, path, message) for path, message in found]
    where = document.file if document.node is None else document.origin("$.metadata.name")
    return Found(resource, obj, where)
