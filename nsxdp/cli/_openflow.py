"""What the OpenFlow commands share: texts from files, errors, and how flows look."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from nsxdp.openflow import codec
from nsxdp.openflow.errors import OpenFlowError, ParseError
from nsxdp.transport import RemoteError
from nsxdp.unixctl import UnixctlError

_T = TypeVar("_T")

out = Console(soft_wrap=True, highlight=False)
_err = Console(stderr=True, soft_wrap=True, highlight=False)

_LONGEST_NAME = 4096

COMMANDS = {
    "add": codec.FLOW_ADD,
    "modify": codec.FLOW_MODIFY,
    "modify_strict": codec.FLOW_MODIFY_STRICT,
    "delete": codec.FLOW_DELETE,
    "delete_strict": codec.FLOW_DELETE_STRICT,
}

Bridge = Annotated[
    str,
    typer.Argument(
        metavar="BRIDGE",
        help="A bridge's name (its socket is in $OVS_RUNDIR, or /var/run/openvswitch), "
        "or where it listens: unix:FILE, tcp:HOST:PORT.",
    ),
]
Filter = Annotated[
    str,
    typer.Argument(
        metavar="FLOW",
        help="Only flows that match at least this: table=1,ip,cookie=5/-1,out_port=2.",
    ),
]
Source = Annotated[
    list[str],
    typer.Argument(
        metavar="FLOWS",
        help="Flows in ovs-ofctl's syntax, or files with a flow a line, where # begins a comment; "
        "- is standard input.",
    ),
]
Hex = Annotated[bool, typer.Option("--hex", help="The messages' bytes: one a line.")]
Json = Annotated[bool, typer.Option("--json", help="JSON: one object a line.")]


class Failure(Exception):  # noqa: N818 - it ends the command, with this message
    """What a user did that can't be."""


@contextlib.contextmanager
def errors() -> Iterator[None]:
    """Print an error in one line, with the text that it is about and a caret under the word."""
    try:
        yield
    except (Failure, OpenFlowError, RemoteError, UnixctlError, ValueError) as error:
        fail(str(error).rstrip())
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def fail(message: str) -> NoReturn:
    """Say what is wrong, and end."""
    _err.print(Text(f"nsxdp: {message}", style="red"))
    raise typer.Exit(1)


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run something that talks to a switch, and print its errors."""
    with errors():
        return asyncio.run(work)


def lines(source: str) -> Iterator[tuple[str, str]]:
    """The texts that an argument stands for, each with where it is from.

    A file has one a line, with comments after '#'.
    """
    if not is_file(source):
        if source.count("/") and "=" not in source:
            raise Failure(f"{source}: no such file")
        yield "", source
        return
    name = "standard input" if source == "-" else source
    text = sys.stdin.read() if source == "-" else Path(source).read_text()
    for number, line in enumerate(text.splitlines(), 1):
        # A '#' begins a comment wherever it is.
        line = line.partition("#")[0].strip()
        if line:
            yield f"{name}:{number}: ", line


def is_file(source: str) -> bool:
    """Whether an argument is a file's name, or - for standard input."""
    return source == "-" or (len(source) < _LONGEST_NAME and Path(source).is_file())


def flow_mods(sources: list[str]) -> Iterator[bytes]:
    """The OFPT_FLOW_MODs of files and texts; a line may begin with ``delete`` or the like.

    Raises
    ------
    ParseError
    """
    for source in sources:
        for where, text in lines(source):
            word, _, rest = text.partition(" ")
            command = COMMANDS.get(word, codec.FLOW_ADD)
            with located(where):
                yield codec.flow_parse(rest if word in COMMANDS else text, command)


@contextlib.contextmanager
def located(where: str) -> Iterator[None]:
    """Say from where a wrong text is."""
    try:
        yield
    except ParseError as error:
        raise ParseError(f"{where}{error.reason}", error.text, error.position) from None


def show_messages(messages: list[bytes], *, as_hex: bool, as_json: bool) -> None:
    """Print messages as text, as bytes or as JSON."""
    for message in messages:
        if as_json:
            show_json({"bytes": message.hex(), "text": codec.message_format(message)})
        elif as_hex:
            print(message.hex())
        else:
            print(codec.message_format(message))


def show_json(value: dict[str, Any]) -> None:
    """Print one object on one line."""
    print(json.dumps(value), flush=True)


def coloured(line: str) -> Text:
    """A flow's or group's line, easy on the eyes."""
    text = Text(line)
    text.highlight_regex(r"\b(?:table|priority|cookie|group_id|type)=[^ ,]*", "cyan")
    text.highlight_regex(r"\b(?:n_packets|n_bytes)=[1-9]\d*", "yellow")
    text.highlight_regex(r"\b(?:duration|idle_age|n_packets|n_bytes)=0?[^ ,]*", "dim")
    text.highlight_regex(r"\bactions=.*", "green")
    text.highlight_regex(r"\b(?:drop)\b", "red")
    return text


def show_line(line: str) -> None:
    """Print a line, with colours on a terminal."""
    if out.is_terminal:
        out.print(coloured(line))
    else:
        print(line)
