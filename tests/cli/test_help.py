"""What ``nsxdp`` says of itself: help with examples that work, completion, manual pages."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from nsxdp import cli
from nsxdp.cli._app import app
from nsxdp.lab import Node, tools
from pages import nsxdp as manuals
from pages.commands import examples
from pages.written import PAGES

COMMANDS = manuals.all_commands()
EXAMPLES = [(name, line) for name, command in COMMANDS.items() for line in examples(command)]

ENDLESS = ("nsxdp monitor", "nsxdp ovsdb monitor", "nsxdp ovsdb lock", "nsxdp lab")
"""They run until somebody ends them, or are for two terminals: other tests have them."""

ELSEWHERE = "nsxdp trace default/"
"""From pod to pod: tests/node_agent/test_trace.py has that."""

DIFFERENT = 2
"""The exit status of diff-flows where there is a difference."""


def invoke(line: str, **environment: str) -> tuple[int, str]:
    """Run a command up to where its output goes; its exit status, and what it prints."""
    words = shlex.split(re.split(r" [|>] ", line)[0])
    done = CliRunner().invoke(app, words[1:], env={"COLUMNS": "200", "TERM": "dumb", **environment})
    return done.exit_code, done.output


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches_with_an_example(name: str) -> None:
    status, text = invoke(f"{name} --help")
    shown = [line for line in examples(COMMANDS[name]) if line.startswith(name)]
    assert status == 0
    assert shown
    assert all(line in text for line in shown)


@pytest.mark.parametrize("group", [*cli.GROUPS, ""])
def test_help_of_groups_lists_their_commands(group: str) -> None:
    status, text = invoke(f"nsxdp {group} --help")
    prefix = f"nsxdp {group} " if group else "nsxdp "
    names = [name.removeprefix(prefix) for name in COMMANDS if name.startswith(prefix)]
    assert status == 0
    assert all(name.split()[0] in text for name in names)


def test_the_list_of_commands_says_what_they_say() -> None:
    said = {name: what for name, (_, what) in cli.COMMANDS.items()}
    own = {name: first_line(COMMANDS[f"nsxdp {name}"].__doc__) for name in said}
    assert said == own
    for name, what in cli.GROUPS.items():
        status, text = invoke(f"nsxdp {name} --help")
        assert status == 0
        assert what in text


def first_line(docstring: str | None) -> str:
    return " ".join((docstring or "").split("\n\n")[0].split())


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the examples' file and their switch are."""
    tools.require()
    here = Path.cwd()
    path = tmp_path_factory.mktemp("examples")
    (path / "flows.txt").write_text("table=1,tcp actions=drop\nactions=NORMAL\n")
    os.chdir(path)
    with Node(bridge="br0") as node:
        node.add_pod("eth0")
        (path / "run").symlink_to(node.ovs.directory)
        yield path
    os.chdir(here)


@pytest.mark.parametrize(("name", "line"), EXAMPLES, ids=[line for _, line in EXAMPLES])
def test_an_example_works(name: str, line: str, directory: Path) -> None:
    if name.startswith(ENDLESS) or line.startswith(ELSEWHERE):
        # Its options are read all the same, before help is shown.
        line = line.replace(name, f"{name} --help", 1)
    status, text = invoke(line, OVS_RUNDIR=str(directory / "run"))
    assert status in ((0, DIFFERENT) if name == "nsxdp diff-flows" else (0,)), text


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/man/")])
def test_a_manual_page_is_well_formed(page: str, tmp_path: Path) -> None:
    path = tmp_path / Path(page).name
    path.write_text(PAGES[page]())
    shown = subprocess.run(
        ["man", "--warnings", "--local-file", path],
        env={**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stderr == ""
    headings = re.findall(r"^\S.*$", shown.stdout, re.MULTILINE)
    assert headings[1:4] == ["NAME", "SYNOPSIS", "DESCRIPTION"]
    name = path.stem.replace("nsxdp-", "nsxdp.")
    assert re.search(rf"^ +{name} +- +\w", shown.stdout, re.MULTILINE)


# Completion, by the lines that the manual page tells to type.


def line_for(shell: str) -> str:
    (line,) = re.findall(rf"^- {shell}: `(.*?)`", manuals.manual(), re.MULTILINE)
    return str(line)


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "TERM": "dumb", "HISTFILE": ""}


@pytest.mark.parametrize(
    ("shell", "before"),
    [("bash --norc --noprofile", ""), ("zsh -f", "autoload -U compinit; compinit -u;")],
    ids=["bash", "zsh"],
)
@pytest.mark.parametrize(
    ("typed", "completed"),
    [("nsxdp tra", "nsxdp trace"), ("nsxdp ovsdb li", "nsxdp ovsdb list")],
)
def test_a_tab_completes(shell: str, before: str, typed: str, completed: str) -> None:
    arguments = [*shell.split(), "-i"]
    tools.program(arguments[0])
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe(arguments[0], arguments, environment())
    said = ""
    os.write(terminal, f"{before}{line_for(arguments[0])}; echo 'ready'\n".encode())
    while "ready\r" not in said:
        said += os.read(terminal, 4096).decode()
    os.write(terminal, f"{typed}\t".encode())
    said = ""
    while completed not in said:
        said += os.read(terminal, 4096).decode().replace("\a", "")
    os.close(terminal)
    os.waitpid(child, 0)


def test_fish_completes() -> None:
    script = f"{line_for('fish')}; complete -C 'nsxdp tra'; complete -C 'nsxdp ovsdb li'"
    done = subprocess.run(
        [tools.program("fish"), "--no-config", "-c", script],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [
        "trace",
        "list",
        "list-dbs",
    ]


def test_completion_knows_no_more_than_it_needs() -> None:
    """It is waited for at each Tab: the library must not be imported for it."""
    script = "import sys; from nsxdp import cli; print([m for m in sys.modules if 'numpy' in m])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert isinstance(app, typer.Typer)
