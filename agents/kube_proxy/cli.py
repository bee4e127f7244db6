"""The command line of nsx-kube-proxy."""

from __future__ import annotations

import socket
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
import yaml

from nsxdp_agents.common import memory
from nsxdp_agents.common.cli import (
    PROCESS,
    SWITCH,
    CaCertOption,
    CertificateOption,
    LogFormatOption,
    LogLevelOption,
    NcpIniOption,
    OpenflowOption,
    OvsdbOption,
    PrivateKeyOption,
    RealtimePriorityOption,
    die,
    version_option,
)
from nsxdp_agents.common.options import Configured, OptionsError
from nsxdp_agents.kube_proxy.config import read_options, written
from nsxdp_agents.kube_proxy.flags import given, plain_switches, with_kube_proxys_flags
from nsxdp_agents.kube_proxy.inspect import cli as inspect
from nsxdp_agents.kube_proxy.options import HEALTHZ, METRICS, Options

__all__ = ["main"]

_NAME = "nsx-kube-proxy"

app = typer.Typer(
    name=_NAME,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_DEFAULTS = Options()
_SOURCE = "Where Services come from"


_die = partial(die, _NAME)


@app.callback(invoke_without_command=True)
@with_kube_proxys_flags
def run(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Configuration file (KubeProxyConfiguration). Flags override it. When it changes, "
            "the process ends, to be started again.",
        ),
    ] = None,
    ncp_ini: NcpIniOption = None,
    write_config_to: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write all that is configured to a configuration file, and end."
        ),
    ] = None,
    kubeconfig: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Follow the API server of this kubeconfig. Without a source: in-cluster.",
            rich_help_panel=_SOURCE,
        ),
    ] = None,
    manifests: Annotated[
        str | None,
        typer.Option(
            metavar="DIRECTORY",
            help="Follow the YAML and JSON manifests of this directory: no cluster is needed.",
            rich_help_panel=_SOURCE,
        ),
    ] = None,
    node_name: Annotated[
        str | None,
        typer.Option(
            "--node-name",
            "--hostname-override",
            metavar="NAME",
            help="This node, as its Node object is named.",
            show_default="the host's name",
            rich_help_panel=_SOURCE,
        ),
    ] = None,
    service_proxy_name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Serve the Services with this label service.kubernetes.io/service-proxy-name, "
            "instead of those without the label.",
            rich_help_panel=_SOURCE,
        ),
    ] = None,
    ovsdb: OvsdbOption = None,
    bridge: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The bridge that the node's pods are on.",
            show_default=_DEFAULTS.bridge,
            rich_help_panel=SWITCH,
        ),
    ] = None,
    openflow: OpenflowOption = None,
    private_key: PrivateKeyOption = None,
    certificate: CertificateOption = None,
    ca_cert: CaCertOption = None,
    host_routes: Annotated[
        bool | None,
        typer.Option(
            "--host-routes/--no-host-routes",
            help="Give the node's own processes routes to Services through the bridge.",
            show_default="host-routes",
            rich_help_panel=SWITCH,
        ),
    ] = None,
    uplink_port: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The port on the bridge by which traffic from outside comes.",
            show_default="the one with external_ids:nsxdp-role=uplink; without one, traffic from "
            "outside comes through the node's kernel",
            rich_help_panel=SWITCH,
        ),
    ] = None,
    nodeport_addresses: Annotated[
        str | None,
        typer.Option(
            metavar="CIDRS",
            help="Serve node ports at the node's addresses in these prefixes, which have commas "
            "between them, and at all of a family that has no prefix; or at its primary addresses, "
            "by which Kubernetes knows it.",
            show_default="primary",
            rich_help_panel=SWITCH,
        ),
    ] = None,
    masquerade_all: Annotated[
        bool | None,
        typer.Option(
            "--masquerade-all/--no-masquerade-all",
            help="Let endpoints take the node for the client of every connection to a cluster IP.",
            show_default="no-masquerade-all",
            rich_help_panel=SWITCH,
        ),
    ] = None,
    sync_period: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Seconds between two comparisons of the switch with what it should have.",
            show_default=f"{_DEFAULTS.sync_period:g}",
            rich_help_panel=SWITCH,
        ),
    ] = None,
    healthz_bind_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="HOST:PORT of /healthz and /livez; empty: none.",
            show_default=HEALTHZ[4],
            rich_help_panel=PROCESS,
        ),
    ] = None,
    metrics_bind_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="HOST:PORT of /metrics; empty: none.",
            show_default=METRICS[4],
            rich_help_panel=PROCESS,
        ),
    ] = None,
    realtime_priority: RealtimePriorityOption = None,
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = None,
    cleanup: Annotated[
        bool,
        typer.Option(
            "--cleanup",
            help="Remove all that was put on the bridge, and end.",
            rich_help_panel=PROCESS,
        ),
    ] = False,
    init_only: Annotated[
        bool,
        typer.Option(
            "--init-only",
            help="Have connections tracked as configured, and end.",
            rich_help_panel=PROCESS,
        ),
    ] = False,
    version: Annotated[bool, version_option(_NAME)] = False,
) -> None:
    """Serve Kubernetes Services on an Open vSwitch bridge, in place of kube-proxy.

    Each Service port becomes a select group whose buckets translate a connection's first packet
    to an endpoint (conntrack NAT). The flows stay when the process ends, and go on working.

    In a pod of a cluster; without a cluster; and only to look:

    ```
    nsx-kube-proxy --node-name "$NODE_NAME"
    nsx-kube-proxy --manifests examples/manifests --bridge br0
    nsx-kube-proxy render examples/manifests
    ```
    """
    if context.invoked_subcommand is not None:
        return
    read = partial(configured_by, context.params)
    try:
        configured = read()
        if write_config_to is not None:
            _write(written(configured.options), write_config_to)
            return
    except OptionsError as error:
        _die(str(error))
    # Only now: the rest takes a while to be imported, and help should not.
    with memory.importing():
        from nsxdp_agents.common.config_file import until_changed
        from nsxdp_agents.common.logs import configure, warn_of
        from nsxdp_agents.common.start import StartError
        from nsxdp_agents.kube_proxy.start import run as serve

    options = configured.options
    configure(options.log_format, options.log_level)
    warn_of(configured.notes)
    files = [file for file in (config, ncp_ini) if file is not None]
    changed = partial(until_changed, files, read, configured) if files else None
    try:
        if cleanup or init_only:
            from nsxdp_agents.kube_proxy import app as process

            uvloop.run(process.cleanup(options) if cleanup else process.initialise(options))
        else:
            uvloop.run(serve(options, changed))
    except StartError as error:
        _die(str(error))


def configured_by(parameters: dict[str, Any]) -> Configured[Options]:
    """What these parameters of `run`, and the files that they name, configure.

    Raises
    ------
    OptionsError
        As of `read_options`.
    """
    ours, kube_proxys = given(parameters)
    flags = {name: value for name, value in ours.items() if name in Options.__struct_fields__}
    if flags["nodeport_addresses"] is not None:
        cidrs = tuple(filter(None, flags["nodeport_addresses"].split(",")))
        flags["nodeport_addresses"] = cidrs or None
    config, ncp_ini = (
        Path(parameters[name]) if parameters[name] else None for name in ("config", "ncp_ini")
    )
    return read_options(config, flags, kube_proxys, ncp_ini)


@app.command()
def render(
    manifests: Annotated[Path, typer.Argument(help="A directory of manifests, or one file.")],
    node_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Render for this node.", show_default="the host's name"),
    ] = None,
    names: Annotated[
        bool | None,
        typer.Option(
            "--names/--no-names",
            help="Tables by name, or by number as ovs-ofctl add-flows needs them.",
            show_default="names on a terminal",
        ),
    ] = None,
) -> None:
    """Print the groups and flows for some manifests in ovs-ofctl's syntax. Touches no switch.

    ```
    nsx-kube-proxy render examples/manifests
    ```
    """
    from nsxdp.k8s.errors import KubernetesError
    from nsxdp.pipeline.tables import TABLES
    from nsxdp_agents.common.logs import configure
    from nsxdp_agents.kube_proxy.render import RenderError
    from nsxdp_agents.kube_proxy.render import render as lines

    # Standard output is for flows alone: what reads them knows no log.
    configure("text", "warning")
    with_names = sys.stdout.isatty() if names is None else names
    try:
        node = node_name or socket.gethostname().lower()
        for line in lines(manifests, node, TABLES if with_names else None):
            typer.echo(line)
    except (KubernetesError, RenderError) as error:
        _die(str(error))


for _command in inspect.COMMANDS:
    app.command(cls=inspect.SharedOptions)(_command)


def _write(content: dict[str, Any], file: Path) -> None:
    try:
        file.write_text(yaml.safe_dump(content, sort_keys=False))
    except OSError as error:
        _die(f"--write-config-to {file}: {error.strerror}")


def main() -> None:
    """The console script."""
    app(plain_switches(sys.argv[1:], run))
