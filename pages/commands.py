"""What a command tells of itself, as Markdown: its arguments, its options, its docstring.

A block of code in a docstring is examples, a line each.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo, OptionInfo

from pages.markdown import WIDTH, code, item, wrapped

__all__ = ["Command", "Parameter", "callback", "commands", "examples", "section", "text"]

Command = Callable[..., Any]

_NUMBERS: Final = {int: "N", float: "SECONDS"}
"""What stands for a number where an option doesn't say."""


class Parameter(NamedTuple):
    """A parameter of a command, as its annotation tells."""

    name: str
    info: OptionInfo | ArgumentInfo
    type: Any
    default: Any

    @property
    def flags(self) -> tuple[str, ...]:
        """All names of an option, such as ``-n`` and ``--count``."""
        # Within Annotated, typer takes the first flag's name for a default, until it knows better.
        first = (self.info.default,) if isinstance(self.info.default, str) else ()
        declared = (*first, *(self.info.param_decls or ())) or (f"--{self._words}",)
        return tuple(part for names in declared for part in names.split("/"))

    @property
    def is_switch(self) -> bool:
        """Whether it is an option without a value."""
        return self.type is bool

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that it may be; none: any."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    @property
    def value(self) -> str:
        """What stands for its value: ``BRIDGE``."""
        if self.info.metavar:
            return self.info.metavar
        if self.choices:
            return "|".join(self.choices)
        return _NUMBERS.get(self.type) or self._words.strip("-").upper()

    @property
    def synopsis(self) -> str:
        """As it stands in the line that shows how the command is called."""
        if isinstance(self.info, ArgumentInfo):
            named = self.value + ("..." if get_origin(self.type) is list else "")
            return named if self.default is inspect.Parameter.empty else f"[{named}]"
        if self.is_switch:
            shown = self.flags if self.default is None else self.flags[-1:]
            return f"[{'|'.join(shown)}]"
        return f"[{max(self.flags, key=len)} {self.value}]"

    @property
    def entry(self) -> tuple[str, str]:
        """Its name as documents show it, and what it is for."""
        info = self.info
        said = [info.help or ""]
        if default := self._default:
            said.append(f"Default: {default}.")
        if isinstance(info, ArgumentInfo):
            return f"`{self.value}`", " ".join(filter(None, said))
        value = "" if self.is_switch else f" {self.value}"
        names = ", ".join(f"`{flag}`" for flag in self.flags[:-1])
        last = f"`{self.flags[-1]}{value}`"
        return f"{names}, {last}" if names else last, " ".join(filter(None, said))

    @property
    def _default(self) -> str:
        """What it is where nothing is given, in words; empty: nothing worth to be told."""
        if isinstance(self.info.show_default, str):
            return self.info.show_default
        if self.is_switch or not isinstance(self.default, str | int | float):
            return ""
        if self.info.envvar:
            return f"${self.info.envvar}, else {self.default}"
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    @property
    def _words(self) -> str:
        return self.name.replace("_", "-")


def parameters(command: Command) -> Iterator[Parameter]:
    """The parameters of a command that its caller gives, in their order."""
    signature = inspect.signature(command).parameters
    for name, hint in get_type_hints(command, include_extras=True).items():
        for info in getattr(hint, "__metadata__", ()):
            if isinstance(info, OptionInfo | ArgumentInfo) and not info.hidden:
                yield Parameter(name, info, _plain(hint.__origin__), signature[name].default)


def _plain(hint: Any) -> Any:
    """A type without None."""
    parts = [part for part in get_args(hint) if part is not type(None)]
    return parts[0] if type(None) in get_args(hint) else hint


def commands(app: typer.Typer) -> dict[str, Command]:
    """The commands of an app, by name; a group's own, and then those in it."""
    found = {}
    for info in app.registered_commands:
        assert info.callback is not None
        found[info.name or info.callback.__name__] = info.callback
    for group in app.registered_groups:
        assert group.typer_instance is not None
        found[str(group.name)] = callback(group.typer_instance)
        for name, command in commands(group.typer_instance).items():
            found[f"{group.name} {name}"] = command
    return found


def callback(app: typer.Typer) -> Command:
    """What an app's own options belong to."""
    found = app.registered_callback.callback if app.registered_callback else None
    return found or (lambda: None)


def synopsis(name: str, command: Command, rest: str = "") -> list[str]:
    """How a command is called; further lines are indented."""
    given = list(parameters(command))
    options = [p.synopsis for p in given if isinstance(p.info, OptionInfo)]
    arguments = [p.synopsis for p in given if isinstance(p.info, ArgumentInfo)]
    lines = [name]
    for word in filter(None, [*options, *arguments, rest]):
        if len(lines[-1]) + len(word) >= WIDTH - 4:
            lines.append(" " * len(name))
        lines[-1] += f" {word}"
    return lines


def text(docstring: str) -> Iterator[str]:
    """A docstring's Markdown, its paragraphs as long as lines are here."""
    for paragraph in inspect.cleandoc(docstring).split("\n\n"):
        if paragraph.startswith("```"):
            yield from code(paragraph.splitlines()[1:-1])
        else:
            yield wrapped(paragraph)
        yield ""


def examples(command: Command) -> list[str]:
    """The examples of a command's docstring."""
    blocks = re.findall(r"^```$(.*?)^```$", inspect.cleandoc(command.__doc__ or ""), re.M | re.S)
    return [line for block in blocks for line in block.strip().splitlines()]


def options(
    command: Command, notes: Mapping[str, str] | None = None, level: str = "##"
) -> Iterator[str]:
    """Arguments and options as lists, with a heading for each panel of the command's help."""
    panels: dict[str, list[str]] = {}
    for parameter in parameters(command):
        panel = getattr(parameter.info, "rich_help_panel", None) or ""
        term, said = parameter.entry
        note = (notes or {}).get(parameter.name, "")
        panels.setdefault(panel, []).append(item(term, f"{said} {note}".strip()))
    for panel, lines in panels.items():
        if len(panels) > 1:
            yield from (f"{level} {panel or 'General'}", "")
        yield from (*lines, "")


def section(name: str, command: Command, level: str = "###") -> Iterator[str]:
    """A command's section."""
    yield from (f"{level} {name}", "")
    yield from (*code(synopsis(name, command)), "")
    yield from text(command.__doc__ or "")
    yield from options(command)
