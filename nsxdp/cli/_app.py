"""The ``nsxdp`` command with its options and its help."""

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import nsxdp
from nsxdp.cli import COMMANDS, GROUPS


class _Later(TyperGroup):
    """Stands for a command until it is used."""

    def real(self) -> Any:
        """Import it."""
        name = str(self.name)
        module = import_module(f"nsxdp.cli.{COMMANDS[name][0] if name in COMMANDS else name}")
        found = typer.main.get_group(module.app)
        found.name = name
        return found.commands[name] if name in COMMANDS else found

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """As the command itself does."""
        return self.real().make_context(*arguments, **options)


class _Commands(TyperGroup):
    """Knows its commands without having imported them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order in which help shows them."""
        del ctx
        return [*COMMANDS, *GROUPS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or None."""
        del ctx
        if cmd_name in COMMANDS:
            return _Later(name=cmd_name, help=COMMANDS[cmd_name][1])
        return _Later(name=cmd_name, help=GROUPS[cmd_name]) if cmd_name in GROUPS else None


app = typer.Typer(
    name="nsxdp",
    cls=_Commands,
    help="""Kubernetes Services and pods on Open vSwitch.

    Flows, groups and packets of a bridge, in ovs-ofctl's syntax, with OpenFlow 1.5; rows of any
    OVSDB database; a lab to try both. In colours on a terminal; plain lines, or JSON, in a pipe.

    ```
    nsxdp parse-flows "table=1,ip,nw_dst=10.0.0.1 actions=output:2"
    nsxdp dump-flows br0
    nsxdp ovsdb list Bridge
    ```
    """,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nsxdp {nsxdp.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    del version  # its callback has seen to it
