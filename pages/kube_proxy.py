"""The manual page of nsx-kube-proxy, written from what the program knows of itself."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from nsxdp.k8s.resources import service_proxy_wants
from nsxdp_agents.kube_proxy.cli import render, run
from nsxdp_agents.kube_proxy.metrics import Metrics
from nsxdp_agents.kube_proxy.options import API_VERSION, KIND, Options
from pages import commands
from pages.markdown import WRITTEN, code, item

__all__ = ["CONFIGURATION_KEYS", "manual"]

CONFIGURATION_KEYS: Final[Mapping[str, str]] = {
    field.name: "nsxdp." + re.sub("_(.)", lambda m: m[1].upper(), field.name)
    for field in msgspec.structs.fields(Options)
} | {
    "node_name": "hostnameOverride",
    "kubeconfig": "clientConnection.kubeconfig",
    "healthz_bind_address": "healthzBindAddress",
    "metrics_bind_address": "metricsBindAddress",
    "nodeport_addresses": "nodePortAddresses",
    "masquerade_all": "nftables.masqueradeAll",
}
"""From an option's name to where the configuration file has it."""


def manual() -> str:
    """The page, in Markdown."""
    rendering = commands.section("nsx-kube-proxy render", render, "##")
    return "\n".join([*_head(), *_options(), *rendering, *_rest()]) + "\n"


def _head() -> Iterator[str]:
    first, _, rest = inspect.cleandoc(run.__doc__ or "").partition("\n\n")
    yield from ("# nsx-kube-proxy", "", WRITTEN, "")
    yield from (first, "")
    yield from code(
        ["nsx-kube-proxy [OPTIONS]", *commands.synopsis("nsx-kube-proxy render", render)]
    )
    yield ""
    yield from commands.text(rest)


def _options() -> Iterator[str]:
    keys = {name: f"In the file: `{key}`." for name, key in CONFIGURATION_KEYS.items()}
    yield from ("## Options", "")
    yield from commands.options(run, keys, "###")


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
            yield item(f"`{name}` ({family.type})", f"{family.documentation}.")
    yield textwrap.dedent("""
        ## Signals and exit status

        SIGTERM and SIGINT end the process. What it put on the switch stays there, and goes on
        working; `--cleanup` removes it.

        0: ended by a signal, or done. 1: it can't start; standard error has one line that says why
        and what to do. 2: a flag that it doesn't know.""")
