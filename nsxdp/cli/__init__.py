"""The ``nsxdp`` command. Each module here is one of its commands: a `typer.Typer` ``app``."""

import sys
from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated

import typer

import nsxdp

app = typer.Typer(
    name="nsxdp",
    help="Kubernetes Services and pods on Open vSwitch.",
    no_args_is_help=True,
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


for _module in sorted(found.name for found in iter_modules(__path__)):
    if not _module.startswith("_"):
        app.add_typer(import_module(f"{__name__}.{_module}").app, name=_module)


def main() -> None:
    """Run the command."""
    sys.exit(app())
