"""What the targets start from: the texts and messages of the project's own tests and pipeline.

Any string in them that is a flow, a group, actions or a template is a seed as such, and as the
message that it gives. So a new test brings its seeds along.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import json
import random
import re
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from fuzz.found import FOUND
from nsxdp.openflow import codec
from nsxdp.openflow.errors import DecodeError, ParseError
from nsxdp.openflow.template import Template

ROOT = Path(__file__).parents[1]
LONGEST = 2000
"""Bytes of a seed: longer ones only slow the fuzzer down."""

HEADER = struct.Struct("!BBHI")
VERSION = 6
FLOW_MOD, GROUP_MOD, MULTIPART_REPLY = 14, 15, 19
FLOW_DESC, GROUP_DESC = 1, 7
NICIRA = 0x2320


@cache
def strings() -> frozenset[str]:
    """All strings of the tests and of the pipeline that may be texts."""
    found = set()
    for path in [*ROOT.glob("tests/*/*.py"), *ROOT.glob("nsxdp/pipeline/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for text in (node.value.strip(), *node.value.splitlines()):
                    if len(text) <= LONGEST and text.isascii() and "\0" not in text:
                        found |= {text, text.removesuffix(",")}
    return frozenset(found | set(_module("vocabulary").walk(random.Random(1))))


def _module(name: str) -> Any:
    """A module that the tests of OpenFlow share."""
    directory = str(ROOT / "tests" / "openflow")
    sys.path.insert(0, directory)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(directory)


def _parsed(parse: Callable[[str], bytes]) -> dict[str, bytes]:
    """The strings that 'parse' takes, and what it gives."""
    found = {}
    for text in sorted(strings()):
        with suppress(ParseError, ValueError):
            found[text] = parse(text)
    return found


@cache
def flows() -> dict[str, bytes]:
    """Flows: their texts and messages."""
    return {
        text: message
        for text, message in _parsed(codec.flow_parse).items()
        if "actions=" in text or len(message) > 56
    }


@cache
def groups() -> dict[str, bytes]:
    """Groups: their texts and messages."""
    return _parsed(codec.group_parse)


def message(kind: int, body: bytes) -> bytes:
    return HEADER.pack(VERSION, kind, HEADER.size + len(body), 1) + body


def _flow_desc(flow: bytes) -> bytes:
    """The OFPMP_FLOW_DESC reply with the flow of a flow_mod."""
    match = -(-struct.unpack_from("!H", flow, 50)[0] // 8) * 8
    rest = flow[48 : 48 + match] + struct.pack("!HH4x", 0, 4) + flow[48 + match :]
    body = struct.pack("!HxxBx", 24 + len(rest), flow[24]) + flow[30:32] + flow[26:30]
    body += flow[44:48] + flow[8:16] + rest
    return message(MULTIPART_REPLY, struct.pack("!HH4x", FLOW_DESC, 0) + body)


def _group_desc(group: bytes) -> bytes:
    """The OFPMP_GROUP_DESC reply with the group of a group_mod."""
    body = struct.pack("!H", len(group) - 8) + group[10:11] + b"\0" + group[12:18] + bytes(6)
    return message(MULTIPART_REPLY, struct.pack("!HH4x", GROUP_DESC, 0) + body + group[24:])


def kinds() -> Iterator[bytes]:
    """The shortest message of each kind of messages.def, and one with zeros after that."""
    table = (ROOT / "csrc" / "messages.def").read_text()
    for match in re.finditer(r"^NSX_(\w+)\(([^)]*)\)", table, re.MULTILINE):
        words = [word.strip() for word in match[2].split(",")]
        if not words[0].isdigit():
            continue
        numbers = [int(word) for word in words if word.isdigit()]
        kind, body = numbers[0], numbers[-2]
        if match[1] == "MESSAGE":
            head = b""
        elif match[1] == "MULTIPART":
            head = struct.pack("!HH4x", numbers[1], 0)
        elif match[1] == "EXPERIMENTER":
            kind, head = 4, struct.pack("!II", NICIRA, kind)
        else:
            head = struct.pack("!HH4xII", 0xFFFF, 0, NICIRA, numbers[1])
        for more in (0, 8, 64):
            yield message(kind, head + bytes(body + more))


@cache
def golden() -> frozenset[bytes]:
    """A message of each kind, and those that the tests have made by hand."""
    return frozenset([*kinds(), *_module("golden").messages()])


def _messages() -> Iterator[bytes]:
    yield from golden()
    for flow in flows().values():
        yield from (flow, _flow_desc(flow))
    for group in groups().values():
        yield from (group, _group_desc(group))


def _flow_bytes() -> Iterator[bytes]:
    for flow in flows().values():
        yield from (flow, _flow_desc(flow))


def _group_bytes() -> Iterator[bytes]:
    for group in groups().values():
        yield from (group, _group_desc(group))


def _matches() -> Iterator[bytes]:
    yield from _parsed(codec.match_parse).values()
    for flow in flows().values():
        yield flow[48 : 48 + -(-struct.unpack_from("!H", flow, 50)[0] // 8) * 8]


def _actions() -> Iterator[bytes]:
    for text in flows():
        with suppress(ParseError):
            actions = codec.packet_actions_parse(text.partition("actions=")[2])
            yield from (bytes([context]) + actions for context in range(6))
    for flow in flows().values():
        match = -(-struct.unpack_from("!H", flow, 50)[0] // 8) * 8
        yield b"\6" + flow[48 + match :]


def _flow_texts() -> Iterator[bytes]:
    for text in flows():
        yield b"\0" + text.encode()
        yield b"\3" + text.partition("actions=")[0].encode()


def _files() -> Iterator[bytes]:
    """Some flows a file, some of them with a command or a comment."""
    commands = ("", "add ", "modify,", "modify_strict\t", "# ")
    texts = sorted(flows())
    for i in range(0, len(texts), 5):
        lines = [f"{command}{text}" for command, text in zip(commands, texts[i:], strict=False)]
        match = texts[i].partition("actions=")[0]
        file = "\n".join([*lines, f"delete {match}", f"delete_strict {match} # {match}", ""])
        yield from (bytes([command]) + file.encode() for command in (0, 8))


def _group_texts() -> Iterator[bytes]:
    for text in groups():
        yield from (bytes([command]) + text.encode() for command in (0, 3))


def _actions_texts() -> Iterator[bytes]:
    for text in strings() | {text.partition("actions=")[2] for text in flows()}:
        with suppress(ParseError):
            codec.packet_actions_parse(text)
            yield text.encode()


def _templates() -> Iterator[bytes]:
    values = bytes(range(1, 200))
    for text in sorted(strings()):
        if "{" in text:
            with suppress(ParseError, ValueError):
                Template(text)
                yield text.encode() + b"\0\3\1\2\1" + values
                yield text.encode() + b"\0\1\3" + bytes(200)


def _meter_texts() -> Iterator[bytes]:
    for text in _parsed(codec.meter_parse):
        yield from (bytes([command]) + text.encode() for command in range(3))


def _meters() -> Iterator[bytes]:
    for text in _parsed(codec.meter_parse):
        yield from (codec.meter_parse(text, command) for command in range(2))


def _match_texts() -> Iterator[bytes]:
    for text in _parsed(codec.match_parse):
        yield text.encode()
    for match in _matches():
        with suppress(DecodeError):
            yield codec.match_format(match).encode()


def _instructions_texts() -> Iterator[bytes]:
    for text in flows():
        yield text.partition("actions=")[2].encode()


def _gathered() -> Iterator[bytes]:
    """Programs for gathering: owners, batches, and for each its pieces and their bytes."""
    for owners in range(7):
        for batches in range(5):
            pieces = bytes(32 * (piece % 8) + piece % (owners + 1) for piece in range(owners))
            yield bytes([owners, batches]) + (bytes([len(pieces)]) + pieces + bytes(9)) * batches


def _packet_outs() -> Iterator[bytes]:
    for text, message in _parsed(codec.packet_out_parse).items():
        yield from (text.encode(), message)
    for text in sorted(flows())[::10]:
        actions = text.partition("actions=")[2]
        with suppress(ParseError):
            text = f"in_port=1,packet={bytes(14).hex()},actions={actions}"
            yield from (text.encode(), codec.packet_out_parse(text))


def _streams() -> Iterator[bytes]:
    messages = sorted(kinds())
    for i in range(0, len(messages), 7):
        yield b"".join(messages[i : i + 7])
        yield b"".join(messages[i : i + 7])[:-1]


def _programs() -> Iterator[bytes]:
    """Programs for the desired set: nothing but numbers."""
    for i in range(64):
        seed = hashlib.sha512(bytes([i])).digest()
        yield seed
        yield bytes(byte & 0x3F for byte in seed * 4)
    for reply in [*_flow_bytes(), *_group_bytes()]:
        if len(reply) < 256:
            yield b"\2\0\4\6\6" + b"\1" + bytes([len(reply)]) + reply + b"\0"


_UUIDS = [f"00000000-0000-0000-0000-{n:012x}" for n in range(6)]

_VALUES: dict[str, list[object]] = {
    "name": ["", "a", "\N{SNOWMAN}\n", ["set", ["b"]]],
    "integer": [0, -5, 1 << 40],
    "real": [1.5, -2e10, 7],
    "optional": [True, ["set", []]],
    "strings": [["set", ["b", "a"]], "c", ["set", []]],
    "map": [["map", [["k", "v"], ["l", ""]]], ["map", [["k", "w"]]], ["map", []]],
    "ref": [["uuid", _UUIDS[1]], ["set", []]],
    "refs": [["set", [["uuid", uuid] for uuid in _UUIDS[3:0:-1]]], ["uuid", _UUIDS[1]]],
    "named": [["map", [[2, ["uuid", _UUIDS[0]]], [-1, ["uuid", _UUIDS[4]]]]]],
}


def _table_updates() -> Iterator[bytes]:
    """Updates of the target's table, a line each, of which the first letter tells the kind."""

    def line(verb: str, rows: object) -> bytes:
        return verb.encode() + json.dumps({"T": rows}, ensure_ascii=False).encode()

    first = {name: values[0] for name, values in _VALUES.items()}
    for uuid in _UUIDS[:2]:
        for name, values in _VALUES.items():
            for value in values:
                insert = line("@", {uuid: {"insert": first}})
                modify = line("@", {uuid: {"modify": {name: value}}})
                delete = line("@", {uuid: {"delete": None}})
                snapshot = line("B", {_UUIDS[5]: {"initial": {name: value}}})
                old = line("A", {uuid: {"old": {name: value}, "new": first}})
                yield b"\n".join([insert, modify, modify, delete])
                yield b"\n".join([snapshot, old, snapshot])


SEEDS: dict[str, Callable[[], Iterator[bytes]]] = {
    "actions": _actions,
    "actions_text": _actions_texts,
    "desired": _programs,
    "flow": _flow_bytes,
    "flow_text": _flow_texts,
    "flows_text": _files,
    "gather": _gathered,
    "group": _group_bytes,
    "group_text": _group_texts,
    "instructions_text": _instructions_texts,
    "match": _matches,
    "match_text": _match_texts,
    "message": _messages,
    "meter": _meters,
    "meter_text": _meter_texts,
    "ovsdb": _table_updates,
    "packet_out": _packet_outs,
    "stream": _streams,
    "template": _templates,
}


def seeds(target: str) -> list[bytes]:
    """What 'target' starts from, with what it once found."""
    return [*FOUND.get(target, []), *{seed for seed in SEEDS[target]() if len(seed) <= LONGEST}]


def write_seeds(target: str, directory: Path) -> int:
    """Write the seeds of 'target' to 'directory', a file each; return how many there are."""
    directory.mkdir(parents=True, exist_ok=True)
    for seed in (found := seeds(target)):
        (directory / hashlib.sha1(seed).hexdigest()).write_bytes(seed)
    return len(found)


def write_dictionary(path: Path) -> None:
    """Write the words of the core's sources, as libFuzzer reads them."""
    words = set()
    for source in [*ROOT.glob("csrc/*.c"), *ROOT.glob("csrc/*.def")]:
        words |= set(re.findall(r'"([\w+./:-]{2,32}?)[=:,(]?"', source.read_text()))
    for mark in ("=", ",", ":", "->", "[]", "[0..3]", "(", ")", "{x}", "0x", "/", "actions=", "::"):
        words.add(mark)
    path.write_text("".join(f'"{word}"\n' for word in sorted(words)))
