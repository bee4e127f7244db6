"""Commands that need no switch: what ovs-ofctl's texts and OpenFlow's bytes mean.

To import Typer and rich takes as long as to parse ten thousand flows and print them. So they aren't
imported here, and where these commands have no options, nowhere.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from nsxdp.openflow import codec
from nsxdp.openflow.errors import DecodeError, OpenFlowError, ParseError

_LONGEST_NAME = 4096
_HEADER_SIZE = 8


def parse_flows(sources: Sequence[str], *, as_hex: bool = False, as_json: bool = False) -> None:
    """Check flows, and show the messages that add them."""
    with errors():
        show_messages(flow_mods(sources), as_hex=as_hex, as_json=as_json)


def parse_group(sources: Sequence[str], *, as_hex: bool = False, as_json: bool = False) -> None:
    """Check groups, and show the messages that add them."""
    _show_parsed(sources, codec.group_parse, as_hex=as_hex, as_json=as_json)


def parse_meter(sources: Sequence[str], *, as_hex: bool = False, as_json: bool = False) -> None:
    """Check meters, and show the messages that add them."""
    _show_parsed(sources, codec.meter_parse, as_hex=as_hex, as_json=as_json)


def ofp_print(sources: Sequence[str], *, as_hex: bool = False, as_json: bool = False) -> None:
    """Show OpenFlow messages, given as hexadecimal bytes."""
    with errors():
        for source in sources:
            text = source
            if not _is_hex(source) and is_file(source):
                text = "".join(line for _, line in lines(source))
            if not _is_hex(text):
                raise Failure(f"{source[:40]}: neither hexadecimal bytes nor a file")
            show_messages(_bytes(text), as_hex=as_hex, as_json=as_json)


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "parse-flows": parse_flows,
    "parse-group": parse_group,
    "parse-meter": parse_meter,
    "ofp-print": ofp_print,
}


class Failure(Exception):  # noqa: N818 - it ends the command, with this message
    """What a user did that can't be."""


@contextlib.contextmanager
def errors() -> Iterator[None]:
    """Print an error in one line, with the text that it is about and a caret under the word."""
    try:
        yield
    except (Failure, OpenFlowError, ValueError) as error:
        fail(str(error).rstrip())
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def fail(message: str) -> NoReturn:
    """Say what is wrong, and end."""
    if sys.stderr.isatty():
        from rich.console import Console

        console = Console(stderr=True, soft_wrap=True, highlight=False)
        console.print(f"nsxdp: {message}", style="red", markup=False)
    else:
        print(f"nsxdp: {message}", file=sys.stderr)
    raise SystemExit(1)


def is_file(source: str) -> bool:
    """Whether an argument is a file's name, or - for standard input."""
    return source == "-" or (len(source) < _LONGEST_NAME and os.path.isfile(source))  # noqa: PTH113


def flow_mods(sources: Sequence[str]) -> bytes:
    """The OFPT_FLOW_MODs of files and texts; a line may begin with ``delete`` or the like.

    Raises
    ------
    ParseError
    """
    return b"".join(map(_flow_mods, sources))


def _flow_mods(source: str) -> bytes:
    text = _read(source) if _names_file(source) else source
    try:
        return codec.flows_parse(text)
    except ParseError as error:
        where = f"{_name(source)}:{error.line}: " if text is not source else ""
        raise ParseError(where + error.reason, error.text, error.position) from None


def lines(source: str) -> Iterator[tuple[str, str]]:
    """The texts that an argument stands for, each with where it is from.

    A file has one a line, with comments after '#'.
    """
    if not _names_file(source):
        yield "", source
        return
    for number, line in enumerate(_read(source).splitlines(), 1):
        # A '#' begins a comment wherever it is.
        line = line.partition("#")[0].strip()
        if line:
            yield f"{_name(source)}:{number}: ", line


def _names_file(source: str) -> bool:
    if is_file(source):
        return True
    if source.count("/") and "=" not in source:
        raise Failure(f"{source}: no such file")
    return False


def _name(source: str) -> str:
    return "standard input" if source == "-" else source


def _read(source: str) -> str:
    if source == "-":
        return sys.stdin.read()
    with open(source) as file:  # noqa: PTH123 - pathlib's import takes as long as the parsing
        return file.read()


def _show_parsed(
    sources: Sequence[str], parse: Callable[[str], bytes], *, as_hex: bool, as_json: bool
) -> None:
    with errors():
        messages = b""
        for source in sources:
            for where, text in lines(source):
                try:
                    messages += parse(text)
                except ParseError as error:
                    raise ParseError(where + error.reason, error.text, error.position) from None
        show_messages(messages, as_hex=as_hex, as_json=as_json)


def show_messages(messages: bytes, *, as_hex: bool, as_json: bool) -> None:
    """Print messages as text, as bytes or as JSON."""
    if not as_hex and not as_json:
        with contextlib.suppress(DecodeError):  # of one of them: those before it are shown
            print(codec.messages_format(messages), end="")
            return
    for message in split(messages):
        if as_json:
            show_json({"bytes": message.hex(), "text": codec.message_format(message)})
        elif as_hex:
            print(message.hex())
        else:
            print(codec.message_format(message))


def show_json(value: dict[str, Any]) -> None:
    """Print one object on one line."""
    import json

    print(json.dumps(value), flush=True)


def split(messages: bytes) -> Iterator[bytes]:
    """The messages of a stream; the last may be cut off."""
    at = 0
    while at < len(messages):
        length = int.from_bytes(messages[at + 2 : at + 4], "big")
        whole = at + _HEADER_SIZE <= len(messages) and length >= _HEADER_SIZE
        end = at + (length if whole else _HEADER_SIZE)
        yield messages[at:end]
        at = end


def _is_hex(text: str) -> bool:
    return not set(text) - set("0123456789abcdefABCDEF \n\r\t")


def _bytes(text: str) -> bytes:
    digits = "".join(text.split())
    if len(digits) % 2:
        raise Failure(f"an odd number of hexadecimal digits: {len(digits)}")
    return bytes.fromhex(digits)
