"""Open vSwitch's own test suite through ovs-ofctl and through the codec.

Its flows, groups and meters as text, and the messages that it has printed.

The texts stay where they are: ``NSXDP_OVS_TESTS`` names the ``tests`` directory of a source tree of
Open vSwitch. ``python tests/openflow/ovs_suite.py`` prints what differs.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from listening import Listener
from oracle import Oracle
from oracle import messages as shown_messages
from verdicts import flow_mods

from nsxdp.openflow import DecodeError, ParseError, codec

_QUOTED = re.compile(r'"([^"\n]*)"|\'([^\'\n]*)\'')
_PRINTED = re.compile(r"ovs-ofctl(?: -[^\s]+| '[^']*')* ofp-print ['\"]?([\\\n0-9a-fA-F .-]+)")
_COMMENT = re.compile(r"^\s*(dnl\b|#|//)")
_QUADRIGRAPHS = {"@<:@": "[", "@:>@": "]", "@S|@": "$", "@%:@": "#", "@&t@": ""}


def flow_texts(directory: Path) -> list[str]:
    """What may be a flow in the suite's files: each text once, in order."""
    return list(dict.fromkeys(_texts(directory, "action")))


def _texts(directory: Path, word: str) -> Iterator[str]:
    for path in sorted(directory.glob("*.at")):
        for line in path.read_text(errors="replace").replace("\\\n", "").splitlines():
            if word in line and not _COMMENT.match(line):
                yield from _candidates(line, word)


def _candidates(line: str, word: str) -> Iterator[str]:
    """The line itself and the strings in quotes on it, as m4 would leave them."""
    plain = _unquote(line)
    for text in [plain, *(a or b for a, b in _QUOTED.findall(plain))]:
        text = text.partition("#")[0].strip()
        if word in text and "=" in text and "$" not in text and text.isprintable():
            yield text
            # "AT_DATA([flows.txt], [flow" and the last line before "])".
            yield from (half.strip() for half in re.split(r"\], \[|\]\)", text) if word in half)


def _unquote(line: str) -> str:
    """Without m4's quotes: a pair of brackets goes where there are two."""
    text = line.replace("[[", "[").replace("]]", "]")
    for written, meant in _QUADRIGRAPHS.items():
        text = text.replace(written, meant)
    return text


def differences(oracle: Oracle, texts: list[str]) -> tuple[int, list[str]]:
    """How many of the flows 'texts' ovs-ofctl accepts, and what differs, a line each."""
    theirs = flow_mods(oracle, texts)
    return _compare(texts, theirs, codec.flow_parse, partial(_text_differences, oracle))


def _compare(
    texts: list[str],
    theirs: list[bytes | None],
    parse: Callable[[str], bytes],
    text_differences: Callable[[str, bytes], Iterator[str]],
) -> tuple[int, list[str]]:
    """How many of 'texts' ovs-ofctl sends 'theirs' for, and what differs from 'parse', a line each.

    'text_differences' are those of a text, whose bytes agree.
    """
    found = []
    for text, sent in zip(texts, theirs, strict=True):
        try:
            ours = parse(text)
        except ParseError as error:
            if sent is not None:
                found.append(f"rejected: {text}: {error}")
            continue
        if sent is None:
            found.append(f"accepted: {text}")
        elif ours != sent:
            found.append(f"bytes: {text}: {ours.hex()}, not {sent.hex()}")
        else:
            found.extend(text_differences(text, sent))
    return sum(sent is not None for sent in theirs), found


def _text_differences(oracle: Oracle, text: str, message: bytes) -> Iterator[str]:
    printed = oracle.print_flows([message])
    try:
        ours = codec.flow_format(message)
    except DecodeError as error:
        if printed:
            yield f"unreadable: {text}: {error}"
        return
    theirs = printed[0].partition("n_bytes=0, ")[2] if printed else "(unreadable)"
    if ours.partition("actions=")[2] != theirs.partition("actions=")[2] or not (
        ours.endswith(theirs.rpartition(", ")[2]) or theirs in ours
    ):
        yield f"text: {text}: {ours}, not {theirs}"


_METER_MOD = 29

_GROUP = re.compile(r"\bgroup_id=.*\bbucket|\bgroup_id=.*\btype=|\btype=.*\bgroup_id=")
_METER = re.compile(r"\bmeter=.*\bbands?=")


def group_texts(directory: Path) -> list[str]:
    """What may be a group in the suite's files: each text once, in order."""
    return [text for text in dict.fromkeys(_texts(directory, "group_id")) if _GROUP.search(text)]


def meter_texts(directory: Path) -> list[str]:
    """What may be a meter in the suite's files: each text once, in order."""
    return [text for text in dict.fromkeys(_texts(directory, "meter=")) if _METER.search(text)]


def group_differences(oracle: Oracle, texts: list[str]) -> tuple[int, list[str]]:
    """How many of the groups 'texts' ovs-ofctl accepts, and what differs, a line each."""

    def sent(text: str) -> bytes | None:
        done = oracle.run("-mmmmm", "parse-group", text, check=False)
        return b"".join(shown_messages(done.stdout)) if done.returncode == 0 else None

    form = partial(_form_differences, oracle, codec.group_format)
    return _compare(texts, list(map(sent, texts)), codec.group_parse, form)


def meter_differences(oracle: Oracle, texts: list[str]) -> tuple[int, list[str]]:
    """How many of the meters 'texts' ovs-ofctl accepts, and what differs, a line each."""
    with tempfile.TemporaryDirectory() as directory:
        listener = Listener(Path(directory) / "switch")
        theirs = [listener.sent(_METER_MOD, "add-meter", text) for text in texts]
    form = partial(_form_differences, oracle, codec.meter_format)
    return _compare(texts, theirs, codec.meter_parse, form)


def _form_differences(
    oracle: Oracle, form: Callable[[bytes], str], text: str, message: bytes
) -> Iterator[str]:
    printed = oracle.print(message).strip()
    try:
        shown = form(message)
    except DecodeError as error:
        if "decode error" not in printed:
            yield f"unreadable: {text}: {error}"
        return
    if not printed.endswith(shown):
        yield f"text: {text}: {shown}, not {printed}"


def messages(directory: Path) -> list[bytes]:
    """The messages that the suite has ofp-print print, those of older versions as OpenFlow 1.5's.

    Hellos, errors and echoes of older versions are there as they are, too.
    """
    found = []
    for path in sorted(directory.glob("*.at")):
        for text in _PRINTED.findall(path.read_text(errors="replace")):
            digits = re.sub(r"[^0-9a-fA-F]", "", text)
            message = bytes.fromhex(digits[: len(digits) // 2 * 2])
            if len(message) >= 8 and 1 <= message[0] <= 6:
                found.append(b"\x06" + message[1:])
                if message[1] <= 3:
                    found.append(message)
    return list(dict.fromkeys(found))


def message_differences(oracle: Oracle, texts: list[bytes]) -> list[str]:
    """The messages that ovs-ofctl prints otherwise."""
    found = []
    for message in texts:
        theirs = oracle.print(message).rstrip(" \n")
        ours = codec.message_print(message)
        if ours != theirs:
            found.append(f"printed: {message.hex()}:\n{ours}\nnot\n{theirs}")
    return found


def main() -> int:
    """Compare, and print what differs and how much agrees."""
    directory = os.environ.get("NSXDP_OVS_TESTS")
    if not directory or not Path(directory).is_dir():
        print("NSXDP_OVS_TESTS has to name the tests directory of Open vSwitch's source")
        return 2
    suite, oracle = Path(directory), Oracle()
    bad = 0
    for what, texts, compare in (
        ("flows", flow_texts(suite), differences),
        ("groups", group_texts(suite), group_differences),
        ("meters", meter_texts(suite), meter_differences),
    ):
        n, found = compare(oracle, texts)
        bad += len(found)
        print(*found, sep="\n")
        print(f"{len(texts)} texts of {what}, {n} of which ovs-ofctl accepts: {len(found)} differ")
    printed = messages(suite)
    found = message_differences(oracle, printed)
    bad += len(found)
    print(*found, sep="\n")
    print(f"{len(printed)} messages: {len(found)} differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
