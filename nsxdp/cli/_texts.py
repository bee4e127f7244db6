"""The commands of `nsxdp.cli._offline` with their options and their help."""

from typing import Annotated

import typer

from nsxdp.cli import _offline
from nsxdp.cli._openflow import Hex, Json, Source

app = typer.Typer(rich_markup_mode="markdown")


@app.command("parse-flows")
def parse_flows(sources: Source, as_hex: Hex = False, as_json: Json = False) -> None:
    """Check flows, and show the messages that add them.

    Nothing is sent anywhere. What is wrong is shown with a caret under the word. With --hex these
    are the bytes that ovs-ofctl sends with OpenFlow 1.5.

    ```
    nsxdp parse-flows "table=1,ip,nw_dst=10.0.0.1 actions=output:2"
    nsxdp parse-flows --hex flows.txt
    ```
    """
    _offline.parse_flows(sources, as_hex=as_hex, as_json=as_json)


@app.command("parse-group")
def parse_group(
    groups: Annotated[
        list[str],
        typer.Argument(
            metavar="GROUPS", help="Groups, or files with a group a line; - is standard input."
        ),
    ],
    as_hex: Hex = False,
    as_json: Json = False,
) -> None:
    """Check groups, and show the messages that add them.

    ```
    nsxdp parse-group "group_id=1,type=select,bucket=output:1,bucket=output:2"
    ```
    """
    _offline.parse_group(groups, as_hex=as_hex, as_json=as_json)


@app.command("parse-meter")
def parse_meter(
    meters: Annotated[
        list[str],
        typer.Argument(
            metavar="METERS", help="Meters, or files with a meter a line; - is standard input."
        ),
    ],
    as_hex: Hex = False,
    as_json: Json = False,
) -> None:
    """Check meters, and show the messages that add them.

    ```
    nsxdp parse-meter "meter=1,pktps,band=type=drop,rate=100"
    ```
    """
    _offline.parse_meter(meters, as_hex=as_hex, as_json=as_json)


@app.command("ofp-print")
def ofp_print(
    sources: Annotated[
        list[str], typer.Argument(metavar="HEX", help="Hexadecimal bytes, a file of them, or -.")
    ],
    as_hex: Hex = False,
    as_json: Json = False,
) -> None:
    """Show OpenFlow messages, given as hexadecimal bytes.

    Several messages may follow each other; spaces and line ends don't matter. They are shown as
    ovs-ofctl ofp-print shows them.

    ```
    nsxdp ofp-print 0600000800000001
    ```
    """
    _offline.ofp_print(sources, as_hex=as_hex, as_json=as_json)
