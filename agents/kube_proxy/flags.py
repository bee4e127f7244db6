"""kube-proxy's flags on our command line: those of the settings that it hasn't by itself."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final, get_type_hints

import typer

from nsxdp_agents.kube_proxy.settings import BY_FLAG, Setting
from nsxdp_agents.kube_proxy.values import (
    COUNT,
    DURATION,
    GATES,
    NUMBER,
    SCORE,
    SWITCH,
    VERBOSITY,
    Kind,
)

__all__ = ["given", "parameter_name", "plain_switches", "with_kube_proxys_flags"]

_PANEL: Final = "As kube-proxy has it"
"""The heading that these flags have in help."""

_METAVARS: Final[dict[Kind, str]] = {
    COUNT: "N",
    SCORE: "N",
    VERBOSITY: "N",
    NUMBER: "N",
    DURATION: "DURATION",
    GATES: "GATES",
}
_SHORT: Final = {"--v": "-v"}


def with_kube_proxys_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Let 'command' have these flags, too; it finds what was given by `given`.

    Those that mean nothing here are taken, but aren't shown in help.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters = [
        parameter.replace(annotation=hints[name])
        for name, parameter in inspect.signature(command).parameters.items()
    ]
    own = {parameter.name for parameter in parameters}
    parameters += [_parameter(setting) for setting in BY_FLAG.values()]

    @functools.wraps(command)
    def run(**arguments: Any) -> None:
        command(**{name: value for name, value in arguments.items() if name in own})

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def given(
    parameters: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, str | bool | None]]:
    """Of all that a command line's 'parameters' have: ours by name, these by kube-proxy's flags."""
    theirs = {parameter_name(setting): flag for flag, setting in BY_FLAG.items()}
    return (
        {name: value for name, value in parameters.items() if name not in theirs},
        {flag: parameters[name] for name, flag in theirs.items()},
    )


def plain_switches(arguments: Iterable[str], command: Callable[..., None]) -> list[str]:
    """A command line on which switches are as typer knows them.

    kube-proxy takes ``--masquerade-all=true`` and ``=false``, typer ``--masquerade-all`` and
    ``--no-masquerade-all``.
    """
    switches = {
        f"--{name.replace('_', '-')}": hint is not bool  # one that may also be unsaid has a --no-
        for name, hint in get_type_hints(command).items()
        if hint in (bool, bool | None)
    }
    plain = []
    for argument in arguments:
        flag, equals, text = argument.partition("=")
        if not equals or flag not in switches:
            plain.append(argument)
            continue
        try:
            on = SWITCH.parse(text)
        except ValueError:
            plain.append(argument)  # typer says what is wrong
            continue
        if on:
            plain.append(flag)
        elif switches[flag]:
            plain.append(f"--no-{flag[2:]}")
    return plain


def parameter_name(setting: Setting) -> str:
    """What the command calls the setting's flag."""
    return setting.flag.lstrip("-").replace("-", "_")


def _parameter(setting: Setting) -> inspect.Parameter:
    switch = setting.kind is SWITCH
    names = [f"{setting.flag}/--no-{setting.flag[2:]}"] if switch else [setting.flag]
    if setting.flag in _SHORT:
        names.append(_SHORT[setting.flag])
    option = typer.Option(
        *names,
        metavar=None if switch else _METAVARS.get(setting.kind, "TEXT"),
        help=setting.help,
        hidden=not setting.option,
        rich_help_panel=_PANEL,
    )
    return inspect.Parameter(
        parameter_name(setting),
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[(bool if switch else str) | None, option],
    )
