"""The manual page of nsx-kube-proxy, written from what the program knows of itself.

python -m nsxdp_agents.kube_proxy.document > docs/nsx-kube-proxy.md
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal, NamedTuple, get_args, get_origin, get_type_hints

import msgspec
from typer.models import ArgumentInfo, OptionInfo

from nsxdp.k8s.resources import service_proxy_wants
from nsxdp_agents.kube_proxy.cli import render, run
from nsxdp_agents.kube_proxy.metrics import Metrics
from nsxdp_agents.kube_proxy.options import API_VERSION, KIND, Options

__all__ = ["CONFIGURATION_KEYS", "manual"]

CONFIGURATION_KEYS: Final[Mapping[str, str]] = {
    "node_name": "hostnameOverride",
    "kubeconfig": "clientConnection.kubeconfig",
    "healthz_bind_address": "healthzBindAddress",
    "metrics_bind_address": "metricsBindAddress",
    **{
        field.name: "nsxdp." + re.sub("_(.)", lambda m: m[1].upper(), field.name)
        for field in msgspec.structs.fields(Options)
        if field.name
        not in {"node_name", "kubeconfig", "healthz_bind_address", "metrics_bind_address"}
    },
}
"""From an option's name to where the configuration file has it."""

_WIDTH: Final = 100


def manual() -> str:
    """The page, in Markdown."""
    return "\n".join([*_head(), *_options(), *_render(), *_rest()]) + "\n"


class _Parameter(NamedTuple):
    """A parameter of a command, as its annotation tells."""

    name: str
    info: OptionInfo | ArgumentInfo
    choices: tuple[str, ...]


def _parameters(command: Callable[..., None]) -> Iterator[_Parameter]:
    for name, hint in get_type_hints(command, include_extras=True).items():
        for info in getattr(hint, "__metadata__", ()):
            if isinstance(info, OptionInfo | ArgumentInfo):
                literals = [
                    get_args(part) for part in get_args(hint.__origin__) if _is_literal(part)
                ]
                yield _Parameter(name, info, literals[0] if literals else ())


def _is_literal(hint: object) -> bool:
    return get_origin(hint) is Literal


def _head() -> Iterator[str]:
    first, _, rest = inspect.cleandoc(run.__doc__ or "").partition("\n\n")
    yield "# nsx-kube-proxy"
    yield ""
    yield "<!-- Written by: python -m nsxdp_agents.kube_proxy.document -->"
    yield ""
    yield first
    yield ""
    yield "    nsx-kube-proxy [OPTIONS]"
    yield "    nsx-kube-proxy render [OPTIONS] MANIFESTS"
    yield ""
    yield rest
    yield ""


def _options() -> Iterator[str]:
    panels: dict[str, list[str]] = {}
    for parameter in _parameters(run):
        panel = getattr(parameter.info, "rich_help_panel", None) or "General"
        panels.setdefault(panel, []).append(_entry(parameter, CONFIGURATION_KEYS))
    yield "## Options"
    yield ""
    for panel, lines in panels.items():
        yield f"### {panel}"
        yield ""
        yield from lines
        yield ""


def _entry(parameter: _Parameter, keys: Mapping[str, str]) -> str:
    name, info, choices = parameter
    if isinstance(info, ArgumentInfo):
        return _wrapped(f"- `{name.upper()}`: {info.help or ''}")
    flag = "--" + name.replace("_", "-")
    # Within Annotated, typer takes the first flag's name for a default, until it knows better.
    first = (info.default,) if isinstance(info.default, str) else ()
    declared = (*first, *(info.param_decls or ())) or (flag,)
    flags = [part for names in declared for part in names.split("/")]
    text = info.help or ""
    if choices:
        text = f"{text} One of {', '.join(choices)}."
    if isinstance(info.show_default, str):
        text = f"{text} Default: {info.show_default}."
    if key := keys.get(name):
        text = f"{text} In the file: `{key}`."
    names = ", ".join(f"`{flag}`" for flag in flags)
    return _wrapped(f"- {names}: {text}" if text else f"- {names}")


def _render() -> Iterator[str]:
    yield "## nsx-kube-proxy render"
    yield ""
    yield _wrapped(inspect.cleandoc(render.__doc__ or ""), "")
    yield ""
    for parameter in _parameters(render):
        yield _entry(parameter, {})
    yield ""


def _rest() -> Iterator[str]:
    yield textwrap.dedent(f"""\
        ## Configuration file

        kube-proxy's own file is understood, as far as its fields mean something here. An unknown
        field is an error. A flag overrides the file.

        ```yaml
        apiVersion: {API_VERSION}
        kind: {KIND}
        hostnameOverride: node-1
        clientConnection:
          kubeconfig: /etc/kubernetes/proxy.conf
        healthzBindAddress: 0.0.0.0:10256
        metricsBindAddress: 127.0.0.1:10249
        nsxdp:
          ovsdb: unix:/var/run/openvswitch/db.sock
          bridge: br-int
          syncPeriod: 30
        ```

        ## Permissions

        On the API server, to list and watch:
        """)
    for want in service_proxy_wants("NODE", service_cidrs=True):
        resource = want.resource
        yield f"- `{resource.plural}` of {resource.group or 'the core group'}"
    yield textwrap.dedent("""
        On the machine: to connect to Open vSwitch's sockets, which belong to root unless they were
        given away, and, for routes, CAP_NET_ADMIN in the node's network namespace.

        ## Health

        `/healthz` and `/livez` answer 200 or 503, with kube-proxy's JSON body. Both fail while a
        change has waited for the switch for more than two sync periods; `/healthz` also fails on
        a node that is about to be removed, so that load balancers stop sending to it.

        ## Metrics

        `/metrics`, for Prometheus. Those that kube-proxy has too have kube-proxy's names.
        """)
    for family in Metrics().registry.collect():
        if family.name.startswith("kubeproxy_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield _wrapped(f"- `{name}` ({family.type}): {family.documentation}.")
    yield textwrap.dedent("""
        ## Signals and exit status

        SIGTERM and SIGINT end the process. What it put on the switch stays there, and goes on
        working; `--cleanup` removes it.

        0: ended by a signal, or done. 1: it can't start; standard error has one line that says why
        and what to do. 2: a flag that it doesn't know.""")


def _wrapped(text: str, indent: str = "  ") -> str:
    return textwrap.fill(
        " ".join(text.split()),
        _WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


if __name__ == "__main__":
    print(manual(), end="")
