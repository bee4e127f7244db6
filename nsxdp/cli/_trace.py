"""The command that tells what would become of a packet: on a bridge, or from pod to pod."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.text import Text

from nsxdp.bridge import BridgeError
from nsxdp.cli import _openflow as at
from nsxdp.cli._offline import Failure, show_json
from nsxdp.openflow import Switch, Trace
from nsxdp.openflow.switch import run_directory
from nsxdp.ovsdb import OvsdbError
from nsxdp.tracing.output import show_tree
from nsxdp.tracing.packet import SOURCE_PORT, PacketError
from nsxdp.tracing.story import Story
from nsxdp.tracing.way import Question, follow_way, is_destination, open_station

app = typer.Typer(rich_markup_mode="markdown")

_PODS = "From pod to pod"
"""The panel of help with the options that are of no use with a bridge and a flow."""


@app.command(context_settings={"ignore_unknown_options": True})
def trace(
    source: Annotated[
        str,
        typer.Argument(
            metavar="BRIDGE|POD",
            help="A bridge's name, or where it listens; or who sends: a pod NAMESPACE/NAME, or its "
            "address.",
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="FLOW|DESTINATION",
            help="The packet as a flow, in_port=1,tcp,nw_dst=10.0.0.1; or for whom it is: "
            "NAMESPACE/POD:PORT, svc/NAMESPACE/NAME:PORT, or ADDRESS:PORT.",
        ),
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARG", help="More for ofproto/trace: --ct-next trk,est"),
    ] = None,
    protocol: Annotated[
        Literal["tcp", "udp", "sctp"] | None,
        typer.Option(
            help="Of the packet.",
            show_default="the Service port's, else tcp",
            rich_help_panel=_PODS,
        ),
    ] = None,
    ip_version: Annotated[
        int | None,
        typer.Option(
            min=4,
            max=6,
            help="4 or 6, of pods that have both.",
            show_default="the first",
            rich_help_panel=_PODS,
        ),
    ] = None,
    source_port: Annotated[
        int,
        typer.Option(
            metavar="PORT", min=1, max=65535, help="The client's port.", rich_help_panel=_PODS
        ),
    ] = SOURCE_PORT,
    endpoint: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS:PORT",
            help="Choose this endpoint of a Service, where chance does it.",
            rich_help_panel=_PODS,
        ),
    ] = "",
    bridge: Annotated[
        str, typer.Option(metavar="NAME", help="The pods' bridge.", rich_help_panel=_PODS)
    ] = "br-int",
    directories: Annotated[
        list[Path] | None,
        typer.Option(
            "--run-dir",
            metavar="DIRECTORY",
            help="Where Open vSwitch and the agents of a node have their sockets; once for each "
            "node that can be asked.",
            show_default="$OVS_RUNDIR, or /var/run/openvswitch",
            rich_help_panel=_PODS,
        ),
    ] = None,
    tables: Annotated[
        bool,
        typer.Option("--tables", help="What happens in each table, too.", rich_help_panel=_PODS),
    ] = False,
    as_json: at.Json = False,
) -> None:
    """Show what would become of a packet: the tables that it meets, and where it goes.

    With a bridge and a flow, it is what ovs-appctl ofproto/trace answers, in colours; with --json,
    an object for each table. After a recirculation through connection tracking, a packet is taken
    for the first of its connection, unless ARG says otherwise.

    With a pod and a destination, it is told in words: which Service and endpoint, which rule of
    policies lets the packet out and in, or doesn't, to which node it goes and how, and out of which
    port; with --json, an object for each node. The names are those that the agents on the node
    know, nsx-node-agent and nsx-kube-proxy. Where the packet goes to a node that can't be asked
    here, the same command there tells the rest.

    No packet is sent.

    ```
    nsxdp trace br0 in_port=1,tcp,nw_dst=10.0.0.1,tp_dst=80
    nsxdp trace br0 in_port=1,tcp,nw_dst=10.0.0.1,tp_dst=80 --ct-next trk,est
    nsxdp trace default/client default/web:8080
    nsxdp trace default/client svc/default/web:80 --tables
    nsxdp trace default/client 192.0.2.7:53 --protocol udp
    ```
    """
    if not is_destination(target):
        _show(at.run(_of_flow(source, target, arguments or [])), as_json=as_json)
        return
    if arguments:
        raise typer.BadParameter(f"{arguments[0]}: only ofproto/trace takes more, with a flow")
    question = Question(
        source, target, protocol.upper() if protocol else None, ip_version, source_port, endpoint
    )
    for story in at.run(_of_pod(question, directories or [run_directory()], bridge)):
        if as_json:
            show_json(story.json())
        else:
            show_tree(story.tree() if tables else story.summary())


async def _of_flow(bridge: str, flow: str, arguments: list[str]) -> Trace:
    return await Switch(bridge).trace(flow, *arguments)


async def _of_pod(question: Question, directories: list[Path], bridge: str) -> list[Story]:
    try:
        async with AsyncExitStack() as stack:
            stations = [
                await stack.enter_async_context(open_station(directory, bridge))
                for directory in directories
            ]
            return await follow_way(stations, question)
    except (BridgeError, OvsdbError, PacketError) as error:
        raise Failure(str(error)) from None


def _show(traced: Trace, *, as_json: bool) -> None:
    if as_json:
        for step in traced.steps:
            names = ("depth", "table", "match", "priority", "cookie", "actions")
            show_json({name: getattr(step, name) for name in names})
        show_json({"datapath_actions": traced.datapath_actions})
    elif not at.out.is_terminal:
        print(str(traced).rstrip())
    else:
        for line in str(traced).splitlines():
            text = Text(line)
            text.highlight_regex(r"^ *\w[\w-]*\. .*", "bold cyan")
            text.highlight_regex(r"(?:Datapath actions|Final flow|Megaflow): .*", "bold")
            text.highlight_regex(r"\bdrop\b|>>>>.*<<<<", "red")
            at.out.print(text)
