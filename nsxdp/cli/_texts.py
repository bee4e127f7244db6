"""Commands that need no switch: what ovs-ofctl's texts and OpenFlow's bytes mean."""

from collections.abc import Callable
from typing import Annotated

import typer

from nsxdp.cli import _openflow as at
from nsxdp.openflow import codec
from nsxdp.openflow.messages import HEADER

app = typer.Typer(rich_markup_mode="markdown")


@app.command("parse-flows")
def parse_flows(sources: at.Source, as_hex: at.Hex = False, as_json: at.Json = False) -> None:
    """Check flows, and show the messages that add them.

    Nothing is sent anywhere. What is wrong is shown with a caret under the word. With --hex these
    are the bytes that ovs-ofctl sends with OpenFlow 1.5.

    ```
    nsxdp parse-flows "table=1,ip,nw_dst=10.0.0.1 actions=output:2"
    nsxdp parse-flows --hex flows.txt
    ```
    """
    with at.errors():
        at.show_messages(list(at.flow_mods(sources)), as_hex=as_hex, as_json=as_json)


@app.command("parse-group")
def parse_group(
    groups: Annotated[
        list[str],
        typer.Argument(
            metavar="GROUPS", help="Groups, or files with a group a line; - is standard input."
        ),
    ],
    as_hex: at.Hex = False,
    as_json: at.Json = False,
) -> None:
    """Check groups, and show the messages that add them.

    ```
    nsxdp parse-group "group_id=1,type=select,bucket=output:1,bucket=output:2"
    ```
    """
    _show_parsed(groups, codec.group_parse, as_hex=as_hex, as_json=as_json)


@app.command("parse-meter")
def parse_meter(
    meters: Annotated[
        list[str],
        typer.Argument(
            metavar="METERS", help="Meters, or files with a meter a line; - is standard input."
        ),
    ],
    as_hex: at.Hex = False,
    as_json: at.Json = False,
) -> None:
    """Check meters, and show the messages that add them.

    ```
    nsxdp parse-meter "meter=1,pktps,band=type=drop,rate=100"
    ```
    """
    _show_parsed(meters, codec.meter_parse, as_hex=as_hex, as_json=as_json)


def _show_parsed(
    sources: list[str], parse: Callable[[str], bytes], *, as_hex: bool, as_json: bool
) -> None:
    with at.errors():
        messages = []
        for source in sources:
            for where, text in at.lines(source):
                with at.located(where):
                    messages += split(parse(text))
        at.show_messages(messages, as_hex=as_hex, as_json=as_json)


@app.command("ofp-print")
def ofp_print(
    sources: Annotated[
        list[str], typer.Argument(metavar="HEX", help="Hexadecimal bytes, a file of them, or -.")
    ],
    as_hex: at.Hex = False,
    as_json: at.Json = False,
) -> None:
    """Show OpenFlow messages, given as hexadecimal bytes.

    Several messages may follow each other; spaces and line ends don't matter. They are shown as
    ovs-ofctl ofp-print shows them.

    ```
    nsxdp ofp-print 0600000800000001
    ```
    """
    with at.errors():
        for source in sources:
            text = source
            if not _is_hex(source) and at.is_file(source):
                text = "".join(line for _, line in at.lines(source))
            if not _is_hex(text):
                raise at.Failure(f"{source[:40]}: neither hexadecimal bytes nor a file")
            at.show_messages(split(_bytes(text)), as_hex=as_hex, as_json=as_json)


def split(messages: bytes) -> list[bytes]:
    """The messages of a stream; the last may be cut off."""
    found = []
    while messages:
        length = int.from_bytes(messages[2:4], "big") if len(messages) >= HEADER.size else 0
        length = max(length, HEADER.size)
        found.append(messages[:length])
        messages = messages[length:]
    return found


def _is_hex(text: str) -> bool:
    return not set(text) - set("0123456789abcdefABCDEF \n\r\t")


def _bytes(text: str) -> bytes:
    digits = "".join(text.split())
    if len(digits) % 2:
        raise at.Failure(f"an odd number of hexadecimal digits: {len(digits)}")
    return bytes.fromhex(digits)
