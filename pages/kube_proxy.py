"""The manual page of nsx-kube-proxy, written from what the program knows of itself."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from typing import Final

from nsxdp.k8s.resources import service_proxy_wants
from nsxdp_agents.kube_proxy.cli import render, run
from nsxdp_agents.kube_proxy.config import API_VERSION, KIND
from nsxdp_agents.kube_proxy.flags import parameter_name
from nsxdp_agents.kube_proxy.inspect.cli import COMMANDS
from nsxdp_agents.kube_proxy.metrics import Metrics
from nsxdp_agents.kube_proxy.ncp_options import OPTIONS as NCP_INI
from nsxdp_agents.kube_proxy.settings import SETTINGS
from pages import commands, ncp_ini
from pages.markdown import WRITTEN, code, item

__all__ = ["manual"]


def _keys() -> dict[str, str]:
    """From what the command line calls something to where the configuration file has it."""
    places: dict[str, list[str]] = {}
    for setting in SETTINGS:
        if setting.path:
            name = parameter_name(setting) if setting.flag else setting.option
            places.setdefault(name, []).append(f"`{setting.path}`")
    return {name: f"In the file: {', '.join(paths)}." for name, paths in places.items()}


def manual() -> str:
    """The page, in Markdown."""
    rendering = commands.section("nsx-kube-proxy render", render, "##")
    looking = [line for name, command in _LOOKING.items()
               for line in commands.section(name, command, "##")]  # fmt: skip
    parts = [*_head(), *_options(), *rendering, _ABOUT_LOOKING, *looking, *_rest()]
    return "\n".join(parts) + "\n"


_LOOKING: Final = {f"nsx-kube-proxy {command.__name__}": command for command in COMMANDS}

_ABOUT_LOOKING: Final = """\
## Looking at a running proxy

`explain`, `trace`, `diff` and `top` are for people on the node. They run beside the proxy, with the
same options and configuration files, which may stand before or after the command's name; in its
pod, say: `kubectl exec POD -- nsx-kube-proxy --config FILE diff`. They read the same Services,
compile them as the proxy does, and ask the switch over a connection of their own; they change
nothing, and the proxy needn't run. As plain text in a pipe, in colours on a terminal, with `--json`
an object a line. Where they can't look, the exit status is 2, and standard error says why.

`trace` names policies and other nodes, too, if nsx-node-agent runs beside; `nsxdp trace` follows a
packet from pod to pod, also to another node, and needs no configuration.

A running proxy answers `ovs-appctl -t nsx-kube-proxy COMMAND`, where Open vSwitch runs beside it:

- `service/find NAMESPACE/NAME[:PORT] [any|tcp|udp|sctp [4|6]]`: where a Service is served, in JSON
- `service/whose COOKIE`: the Service that a flow is of, in JSON
- `version`, `list-commands`

Where it runs in a container, ovs-appctl must, too, or be given its socket:
`-t /var/run/openvswitch/nsx-kube-proxy.1.ctl`. Its process has another number on the node.
"""


def _head() -> Iterator[str]:
    first, _, rest = inspect.cleandoc(run.__doc__ or "").partition("\n\n")
    yield from ("# nsx-kube-proxy", "", WRITTEN, "")
    yield from (first, "")
    yield from code(
        [
            "nsx-kube-proxy [OPTIONS]",
            *commands.synopsis("nsx-kube-proxy render", render),
            *(line for item in _LOOKING.items() for line in commands.synopsis(*item)),
        ]
    )
    yield ""
    yield from commands.text(rest)


def _options() -> Iterator[str]:
    yield from ("## Options", "")
    yield from commands.options(run, _keys(), "###")


def _meaningless() -> Iterator[str]:
    """What kube-proxy can be told and means nothing here, by the reason why."""
    yield from ("### What means nothing here", "")
    reasons: dict[str, list[str]] = {}
    for setting in SETTINGS:
        if not setting.option:
            reasons.setdefault(setting.help, []).append(f"`{setting.path or setting.flag}`")
    for reason, paths in reasons.items():
        yield item(", ".join(paths), f"{reason}.")
    yield ""


def _rest() -> Iterator[str]:
    yield textwrap.dedent(f"""\
        ## Configuration file

        kube-proxy's own file can be used as it is, and so can kube-proxy's flags; a flag overrides
        the file. What means nothing here is a warning in the log that says why; a field or a flag
        that kube-proxy hasn't either is an error. In the file, empty text, 0 and null say nothing,
        as in kube-proxy's, and neither do kube-proxy's defaults, which it writes into each file
        that it makes itself. Of its modes' sections (`iptables`, `ipvs`, `nftables`) the one of its
        `mode` counts; without a mode, all do.

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

        When the file's meaning changes, the process ends with status 1, so that whoever started it
        starts it again; Services go on working meanwhile. A file that can't be used any more is an
        error in the log, and nothing else. `/configz`, where the metrics are, shows all that is
        configured.

        The file alone has the files that the API server is spoken to with, if not those of a
        kubeconfig or of a pod: `nsxdp.apiCaFile`, and `nsxdp.apiTokenFile` or `nsxdp.apiCertFile`
        and `nsxdp.apiKeyFile`. They go with its URL, `nsxdp.apiServer`, which is also `--master`.
        """)
    yield from _meaningless()
    yield from ncp_ini.section(NCP_INI)
    yield textwrap.dedent("""\
        ## Connection tracking

        With the kernel's datapath, these are sysctls of the kernel, and what isn't configured is
        set as kube-proxy sets it: 32,768 connections for each processor, but at least 131,072 and
        at most 1,048,576; TCP connections for 24 hours, and for one hour once one end has closed.
        With the userspace datapath, Open vSwitch's own connection tracking is told, and only what
        is configured: a limit of connections that holds for all zones, and in its database a
        timeout policy for our two zones. It has no timeout of its own for connections that one end
        has closed. The kernel's timeouts are set there, too: it tracks the node's own connections.

        That policy is there in any case, and is restored with the next comparison: connections that
        both ends have closed are remembered for 66 seconds, for longer than Linux remembers them as
        a server. So no masqueraded client gets a port that the server still takes for another's. In
        return an endpoint has ports for about 970 masqueraded connections a second, if that many
        come for more than a minute.

        ## Permissions

        On the API server, to list and watch:
        """)
    for want in service_proxy_wants("NODE", service_cidrs=True):
        resource = want.resource
        yield f"- `{resource.plural}` of {resource.group or 'the core group'}"
    yield textwrap.dedent("""
        And to create and patch `events` of events.k8s.io; without that, nothing but the Events is
        missing.

        On the machine: to connect to Open vSwitch's sockets, which belong to root unless they were
        given away; for routes, CAP_NET_ADMIN in the node's network namespace; with the kernel's
        datapath, to write to /proc/sys/net/netfilter, unless that is as it shall be already;
        CAP_SYS_RESOURCE, to be killed late when memory is short; and CAP_SYS_NICE, to get a
        processor at once when a change comes. That is a real-time priority, the lowest one, and
        ends where the process works for longer than it takes to bring some changes to the switch:
        for a second it then gets processors as any other. `--realtime-priority 0` does without.

        ## Health

        `/healthz` and `/livez` answer 200 or 503, with kube-proxy's JSON body. Both fail while a
        change has waited for the switch for more than two sync periods; `/healthz` also fails on
        a node that is about to be removed, so that load balancers stop sending to it, and on one
        that the API server doesn't know: its name may be mistaken.

        Where the metrics are, `/metrics/slis` has what came of these checks (`sync` and `node`),
        `/statusz` tells since when the process runs and which version it is, `/flagz` and
        `/configz` what it is configured to, `/proxyMode` says `openvswitch`, and with `--profiling`
        `/debug/pprof` has `goroutine`, `heap` and `profile`.

        ## Events

        `kubectl get events` shows them; the same one again within the hour counts up, and no more
        than a few are sent each second.

        - `Starting`, of the Node: the process has started.
        - `FailedToStartProxierHealthcheck`, `FailedToStartMetricServer`, of the Node: an address of
          `/healthz` or `/metrics` can't be bound.
        - `FailedToStartServiceHealthcheck`, of a Service: the same of its health check node port.
        - `CannotBeUsed`, of a Service or an EndpointSlice: something in it can't be; the rest is.
        - `SwitchRefused`, of a Service or the Node: Open vSwitch refused a flow or group that it
          needs.

        ## Metrics

        `/metrics`, for Prometheus. Those that kube-proxy has too have kube-proxy's names and
        labels.
        """)
    for family in Metrics().registry.collect():
        if family.name.startswith(("kubeproxy_", "rest_client_")):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield item(f"`{name}` ({family.type})", f"{family.documentation}.")
    yield textwrap.dedent("""
        ## Completion

        Of commands, options and Services' names, with the Tab key; in one shell as long as it
        lasts:

        - bash: `eval "$(_NSX_KUBE_PROXY_COMPLETE=source_bash nsx-kube-proxy)"`
        - zsh: `eval "$(_NSX_KUBE_PROXY_COMPLETE=source_zsh nsx-kube-proxy)"`, after
          `autoload -U compinit; compinit`
        - fish: `_NSX_KUBE_PROXY_COMPLETE=source_fish nsx-kube-proxy | source`

        ## Signals and exit status

        SIGTERM and SIGINT end the process. What it put on the switch stays there, and goes on
        working; `--cleanup` removes it.

        0: ended by a signal, or done. 1: it can't start, or the configuration was changed; standard
        error has one line that says why and what to do. 2: a flag that it doesn't know. Of `diff`:
        0 if the switch has what it should have, 1 if not; of all commands that look, 2 if they
        can't.""")
