"""The tutorial, followed word by word: at a Python prompt, and in a shell."""

from __future__ import annotations

import ast
import asyncio
import builtins
import codeop
import contextlib
import doctest
import inspect
import io
import os
import re
import subprocess
import sys
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nsxdp.lab import tools

PAGE = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text()
PROMPT = "$ "
END = "=== end of the answer ==="


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def check(said: str, expected: str, what: str) -> None:
    """See that an answer is the expected one; in that, ``...`` stands for anything."""
    same = doctest.OutputChecker().check_output(expected, said, doctest.ELLIPSIS)
    assert same, f"{what}\nanswers\n{said}\ninstead of\n{expected}"


class Prompt:
    """What ``python -m asyncio`` does with lines that are pasted into it."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"asyncio": asyncio, "__builtins__": builtins}
        self.loop = asyncio.new_event_loop()
        self.compile = codeop.CommandCompiler()
        self.compile.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self.lines: list[str] = []

    def paste(self, text: str) -> str:
        """Give it some lines; what it prints."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            for line in text.splitlines():
                self.lines.append(line)
                code = self.compile("\n".join(self.lines), "<prompt>", "single")
                if code is not None:
                    self.lines.clear()
                    self.run(code)
        assert not self.lines, "a block that is not finished"
        return printed.getvalue()

    def run(self, code: types.CodeType) -> None:
        try:
            result = types.FunctionType(code, self.names)()
            if inspect.iscoroutine(result):
                self.loop.run_until_complete(result)
        except Exception as error:
            print("".join(traceback.format_exception_only(error)), end="")

    def close(self) -> None:
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
        vars(builtins).pop("_", None)


@pytest.fixture
def prompt() -> Iterator[Prompt]:
    tools.require()
    made = Prompt()
    yield made
    if "node" in made.names:
        made.names["node"].close()
    made.close()


def test_the_python_examples_answer_as_shown(prompt: Prompt) -> None:
    found = blocks("python")
    assert len(found) > 15
    for block in found:
        # Up to its answer, an example is what stands above it.
        for part in re.findall(r"((?:^(?!#>).*\n)+)((?:^#>.*\n)*)", block, re.MULTILINE):
            answer = re.sub(r"^#> ?", "", part[1], flags=re.MULTILINE)
            check(prompt.paste(part[0]), answer, part[0])


class Shell:
    """A shell into which commands are typed."""

    def __init__(self, directory: Path) -> None:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.process = subprocess.Popen(
            ["bash"],
            cwd=directory,
            env={**os.environ, "PATH": path, "SHELL": "/bin/bash", "COLUMNS": "200"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def type(self, command: str) -> str:
        """Run a command; what it prints."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command}\necho '{END}'\n")
        self.process.stdin.flush()
        lines = iter(self.process.stdout.readline, f"{END}\n")
        return "".join(self.alive(line) for line in lines)

    def alive(self, line: str) -> str:
        assert line, "the shell has ended"
        return line

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[None]:
    """The second terminal."""
    tools.require()
    with subprocess.Popen(
        [Path(sys.executable).with_name("nsxdp"), "lab", "up"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Ctrl-C" in line:
                break
        yield
        process.terminate()
        process.communicate()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    made = Shell(tmp_path)
    yield made
    made.close()


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Commands with their answers; what is typed up to Ctrl-D belongs to the command."""
    for text in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, answer = text.partition("\n")
        typed, end, rest = answer.partition("^D\n")
        if end:
            yield f"{command} <<'^D'\n{typed}^D", rest
        else:
            yield command, answer


@pytest.mark.usefixtures("lab")
def test_the_commands_answer_as_shown(shell: Shell) -> None:
    found = [pair for block in blocks("console") for pair in commands(block)]
    assert found.pop(0) == ("nsxdp lab up", "")
    assert len(found) > 10
    for command, answer in found:
        check(shell.type(command), answer, command)
