"""``nsx-ovs``: the command of the container that Open vSwitch runs in."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from nsxdp_agents.common.datapath import Datapath
from nsxdp_agents.common.logs import configure
from nsxdp_agents.common.options import REALTIME_PRIORITY
from nsxdp_agents.ovs.switch import Options, SwitchError
from nsxdp_agents.ovs.switch import run as run_switch

__all__ = ["app", "main"]

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)


@app.command()
def run(
    bridge: Annotated[
        str, typer.Option(metavar="NAME", envvar="NSX_OVS_BRIDGE", help="The bridge of the pods.")
    ] = "br-int",
    datapath: Annotated[
        Datapath,
        typer.Option(
            envvar="NSX_OVS_DATAPATH",
            help="Of a bridge that is made: the kernel's (system), Open vSwitch's own (netdev), or "
            "the kernel's where it has one.",
        ),
    ] = "auto",
    database: Annotated[
        Path, typer.Option(metavar="FILE", help="Open vSwitch's configuration.")
    ] = Path("/etc/openvswitch/conf.db"),
    run_directory: Annotated[
        Path, typer.Option(metavar="DIRECTORY", help="Where the sockets are.")
    ] = Path("/var/run/openvswitch"),
    node_name: Annotated[
        str, typer.Option(metavar="NAME", envvar="NODE_NAME", help="This node's name.")
    ] = "",
    realtime_priority: Annotated[
        int,
        typer.Option(
            metavar="N",
            envvar="NSX_OVS_REALTIME_PRIORITY",
            min=0,
            max=99,
            help="The daemons' real-time priority (sched(7)), 1 to 99: so that a pod's port and "
            "flows don't wait in line for a processor. 0: none. A daemon that works without a "
            "pause is without one for a second.",
        ),
    ] = REALTIME_PRIORITY,
) -> None:
    """Run Open vSwitch, with a bridge for the node's pods, until SIGTERM.

    The bridge is made if it isn't there, and stays in the database. A daemon that ends by itself is
    started again.
    """
    configure("text", "info")
    options = Options(bridge, datapath, database, run_directory, node_name, realtime_priority)
    try:
        asyncio.run(run_switch(options))
    except (SwitchError, OSError) as error:
        typer.echo(f"nsx-ovs: {error}", err=True)
        raise typer.Exit(1) from None


def main() -> None:
    """Run the command."""
    app(prog_name="nsx-ovs")
