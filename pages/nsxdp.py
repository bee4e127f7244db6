"""The manual pages of nsxdp, written from what the command knows of itself."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from importlib import import_module
from typing import Final

import typer

from nsxdp import cli
from nsxdp.cli._app import app
from pages import commands
from pages.markdown import WRITTEN, code, item, slug, wrapped

__all__ = ["all_commands", "group_manual", "manual"]

_REST: Final = """\
## Completion

Of commands, options and files, with the Tab key; in one shell as long as it lasts:

- bash: `eval "$(_NSXDP_COMPLETE=source_bash nsxdp)"`
- zsh: `eval "$(_NSXDP_COMPLETE=source_zsh nsxdp)"`, after `autoload -U compinit; compinit`
- fish: `_NSXDP_COMPLETE=source_fish nsxdp | source`

`nsxdp --install-completion` puts it into the shell's own configuration, for good.

## Environment

- `OVS_RUNDIR`: Where Open vSwitch's sockets are, instead of `/var/run/openvswitch`.
- `NSXDP_OVSDB`: The database server of `nsxdp ovsdb`, instead of `unix:db.sock`.
- `NO_COLOR`: If set, no colours.

## Files

- `/var/run/openvswitch/BRIDGE.mgmt`: Where a bridge listens for OpenFlow.
- `/var/run/openvswitch/db.sock`: Where ovsdb-server listens.
- `/var/run/openvswitch/ovs-vswitchd.PID.ctl`: Where `nsxdp trace` asks; from pod to pod also
  `nsx-node-agent.PID.ctl` and `nsx-kube-proxy.PID.ctl`.

## Exit status

0: done. 1: it could not be done; standard error has a line that says why and, of a wrong text, the
text with a caret under the word. 2: an option that it doesn't know, or, of diff-flows, a
difference. 130: ended by Ctrl-C.
"""


def manual() -> str:
    """The page of ``nsxdp``, in Markdown."""
    return "\n".join([*_head("nsxdp", app), *_overview(), *_flow_commands(), _REST, *_see()])


def group_manual(name: str) -> str:
    """The page of one of its groups of commands, such as ``nsxdp ovsdb``."""
    app = _group(name)
    lines = [*_head(f"nsxdp {name}", app)]
    lines += ["## Commands", ""]
    for command, function in commands.commands(app).items():
        lines += commands.section(f"nsxdp {name} {command}", function)
    return "\n".join([*lines, *_see(f"nsxdp {name}")])


def all_commands() -> dict[str, commands.Command]:
    """All commands, by name: ``nsxdp trace``, ``nsxdp ovsdb list``."""
    found = {}
    for name, (module, _) in cli.COMMANDS.items():
        app = import_module(f"nsxdp.cli.{module}").app
        found[f"nsxdp {name}"] = commands.commands(app)[name]
    for group in cli.GROUPS:
        for name, command in commands.commands(_group(group)).items():
            found[f"nsxdp {group} {name}"] = command
    return found


def _group(name: str) -> typer.Typer:
    app: typer.Typer = import_module(f"nsxdp.cli.{name}").app
    return app


def _head(name: str, app: typer.Typer) -> Iterator[str]:
    """What stands above the commands: what it is, how it is called, its own options."""
    first, _, rest = inspect.cleandoc(str(app.info.help)).partition("\n\n")
    yield from (f"# {name}", "", WRITTEN, "", first, "")
    yield from (*code(commands.synopsis(name, commands.callback(app), "COMMAND ...")), "")
    yield from commands.text(textwrap.dedent(rest))
    own = list(commands.options(commands.callback(app)))
    if any(own):
        yield from ("## Options", "", *own)


def _overview() -> Iterator[str]:
    yield from ("## Commands", "")
    for name, (_, what) in cli.COMMANDS.items():
        yield item(f"[`{name}`](#{slug(f'nsxdp {name}')})", what)
    for name, what in cli.GROUPS.items():
        yield item(f"[`{name}`](nsxdp-{name}.md)", what)
    yield ""


def _flow_commands() -> Iterator[str]:
    for name, command in all_commands().items():
        if name.removeprefix("nsxdp ") in cli.COMMANDS:
            yield from commands.section(name, command)


def _see(here: str = "nsxdp") -> Iterator[str]:
    """The pages beside this one, and the manual pages of Open vSwitch."""
    known = {"nsxdp": "nsxdp.md"} | {f"nsxdp {name}": f"nsxdp-{name}.md" for name in cli.GROUPS}
    known["nsx-kube-proxy"] = "nsx-kube-proxy.md"
    links = [f"[{name}]({page})" for name, page in known.items() if name != here]
    theirs = {
        "nsxdp": ["ovs-ofctl(8)", "ovs-fields(7)", "ovs-actions(7)"],
        "nsxdp ovsdb": ["ovs-vsctl(8)", "ovsdb-client(1)", "ovs-vswitchd.conf.db(5)"],
        "nsxdp lab": ["ip-netns(8)"],
    }
    yield from ("## See also", "", wrapped(", ".join([*links, *theirs[here]]) + "."), "")
