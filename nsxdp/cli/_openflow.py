"""What the commands that talk to a bridge share: their arguments, and how flows look."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from nsxdp.cli._offline import Failure, errors
from nsxdp.unixctl import UnixctlError

_T = TypeVar("_T")

out = Console(soft_wrap=True, highlight=False)

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


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run something that talks to a switch, and print its errors."""
    with errors():
        try:
            return asyncio.run(work)
        except UnixctlError as error:
            raise Failure(str(error)) from None


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
