"""What the command lines of agents have in common.

Importing this takes no time: help must not wait.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Never

import typer

import nsxdp
from nsxdp_agents.common.options import OVSDB, REALTIME_PRIORITY, LogFormat, LogLevel

__all__ = [
    "PROCESS",
    "SWITCH",
    "CaCertOption",
    "CertificateOption",
    "LogFormatOption",
    "LogLevelOption",
    "NcpIniOption",
    "OpenflowOption",
    "OvsdbOption",
    "PrivateKeyOption",
    "RealtimePriorityOption",
    "die",
    "version_option",
]

SWITCH: Final = "The switch"
PROCESS: Final = "The process"
"""Panels of help."""

NcpIniOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A file of VMware's NCP (ncp.ini), beneath the configuration file: both that and "
        "flags override it. It is followed, too.",
    ),
]
OvsdbOption = Annotated[
    str | None,
    typer.Option(
        metavar="REMOTE",
        help="Open vSwitch's database: unix:FILE, tcp:HOST:PORT or ssl:HOST:PORT; all "
        "servers of a cluster, with commas between them.",
        show_default=OVSDB,
        rich_help_panel=SWITCH,
    ),
]
OpenflowOption = Annotated[
    str | None,
    typer.Option(
        metavar="REMOTE",
        help="Where the bridge listens for OpenFlow.",
        show_default="BRIDGE.mgmt beside the database's socket",
        rich_help_panel=SWITCH,
    ),
]
PrivateKeyOption = Annotated[
    str | None,
    typer.Option(
        "-p",
        "--private-key",
        metavar="FILE",
        help="Our key, in PEM, for ssl:.",
        rich_help_panel=SWITCH,
    ),
]
CertificateOption = Annotated[
    str | None,
    typer.Option(
        "-c",
        "--certificate",
        metavar="FILE",
        help="Our certificate, in PEM, for ssl:.",
        rich_help_panel=SWITCH,
    ),
]
CaCertOption = Annotated[
    str | None,
    typer.Option(
        "-C",
        "--ca-cert",
        metavar="FILE",
        help="The CA that signed the servers' certificates, for ssl:.",
        rich_help_panel=SWITCH,
    ),
]
RealtimePriorityOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="The process's real-time priority (sched(7)), 1 to 99: so that a change doesn't "
        "wait in line for a processor. 0: none. It needs CAP_SYS_NICE, and ends for a second "
        "where the process works for more than some 20 ms at a stretch.",
        show_default=str(REALTIME_PRIORITY),
        rich_help_panel=PROCESS,
    ),
]
LogFormatOption = Annotated[
    LogFormat | None,
    typer.Option(
        help="How lines of the log are written.",
        show_default="text",
        rich_help_panel=PROCESS,
    ),
]
LogLevelOption = Annotated[
    LogLevel | None,
    typer.Option(
        help="What is logged: this, and what is worse.",
        show_default="info",
        rich_help_panel=PROCESS,
    ),
]


def version_option(program: str) -> Any:
    """An option that shows the version and ends."""

    def show(value: bool) -> None:
        if value:
            typer.echo(f"{program} {nsxdp.__version__}")
            raise typer.Exit

    return typer.Option("--version", callback=show, is_eager=True, help="Show the version.")


def die(program: str, text: str, status: int = 1) -> Never:
    """Say what is wrong, each line with the program's name, and end with 'status'."""
    for line in text.splitlines():
        typer.echo(f"{program}: {line}", err=True)
    raise typer.Exit(status)
