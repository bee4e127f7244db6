"""The command line of nsx-node-agent."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

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
from nsxdp_agents.common.datapath import Datapath
from nsxdp_agents.common.options import Configured, OptionsError
from nsxdp_agents.node_agent.options import (
    Encapsulation,
    Forwarding,
    Options,
    read_options,
)

__all__ = ["main"]

_NAME = "nsx-node-agent"

app = typer.Typer(
    name=_NAME,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_DEFAULTS = Options()
_NODE = "The node"
_RUNTIME = "The container runtime"
_RECORDS = "Records of connections"


_die = partial(die, _NAME)


@app.command()
def run(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Configuration file (NodeAgentConfiguration). Flags override it. When it changes, "
            "the process ends, to be started again.",
        ),
    ] = None,
    ncp_ini: NcpIniOption = None,
    kubeconfig: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Ask the API server of this kubeconfig for the Node. Without a source: "
            "in-cluster.",
            rich_help_panel=_NODE,
        ),
    ] = None,
    manifests: Annotated[
        str | None,
        typer.Option(
            metavar="DIRECTORY",
            help="Look for the Node in the manifests of this directory: no cluster is needed.",
            rich_help_panel=_NODE,
        ),
    ] = None,
    node_name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="This node, as its Node object is named.",
            show_default="the host's name",
            rich_help_panel=_NODE,
        ),
    ] = None,
    pod_cidrs: Annotated[
        str | None,
        typer.Option(
            "--pod-cidr",
            metavar="CIDR[,CIDR]",
            help="The networks of the node's pods, at most one of each family. Nobody is asked "
            "then.",
            show_default="the Node's podCIDRs",
            rich_help_panel=_NODE,
        ),
    ] = None,
    ovsdb: OvsdbOption = None,
    bridge: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The bridge for the node's pods. One that isn't there is made.",
            show_default=_DEFAULTS.bridge,
            rich_help_panel=SWITCH,
        ),
    ] = None,
    datapath: Annotated[
        Datapath | None,
        typer.Option(
            help="Of a bridge that is made: the kernel's datapath (system), Open vSwitch's own in "
            "userspace (netdev), or the kernel's where it has one.",
            show_default=_DEFAULTS.datapath,
            rich_help_panel=SWITCH,
        ),
    ] = None,
    forwarding: Annotated[
        Forwarding | None,
        typer.Option(
            help="Who switches and routes for pods: the bridge and the node's kernel (standalone), "
            "or a platform (nsx), which has a VLAN for each pod on the uplink.",
            show_default=_DEFAULTS.forwarding,
            rich_help_panel=SWITCH,
        ),
    ] = None,
    uplink_port: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --forwarding nsx: the interface that leads to the platform's trunk. One "
            "that isn't on the bridge is put there.",
            show_default="the bridge's port with external_ids:nsxdp-role=uplink, else the one "
            "with the OpenFlow number 1",
            rich_help_panel=SWITCH,
        ),
    ] = None,
    node_uplink: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Put the interface that has the node's own addresses on a bridge, whose own port "
            "gets its addresses and routes. Without it, it has them again.",
            rich_help_panel=SWITCH,
        ),
    ] = None,
    node_bridge: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The bridge for --node-uplink. One that isn't there is made.",
            show_default=_DEFAULTS.node_bridge,
            rich_help_panel=SWITCH,
        ),
    ] = None,
    config_retry_timeout: Annotated[
        int | None,
        typer.Option(
            metavar="SECONDS",
            help="With --forwarding nsx: how long a pod that is added waits for its network on the "
            "platform.",
            show_default=str(_DEFAULTS.config_retry_timeout),
            rich_help_panel=SWITCH,
        ),
    ] = None,
    encapsulation: Annotated[
        Encapsulation | None,
        typer.Option(
            help="How pods of other nodes are reached: by routes to their nodes, which are in one "
            "network then, or in tunnels. All nodes have the same.",
            show_default=_DEFAULTS.encapsulation,
            rich_help_panel=SWITCH,
        ),
    ] = None,
    mtu: Annotated[
        int | None,
        typer.Option(
            metavar="BYTES",
            help="MTU of pods' interfaces, and of the bridge's own.",
            show_default="that of the node's interface with its InternalIP, less what tunnels need",
            rich_help_panel=SWITCH,
        ),
    ] = None,
    openflow: OpenflowOption = None,
    private_key: PrivateKeyOption = None,
    certificate: CertificateOption = None,
    ca_cert: CaCertOption = None,
    cni_socket: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="The socket on which nsx-cni asks.",
            show_default=_DEFAULTS.cni_socket,
            rich_help_panel=_RUNTIME,
        ),
    ] = None,
    install_cni: Annotated[
        str | None,
        typer.Option(
            metavar="DIRECTORY",
            help="Put nsx-cni into this directory of the runtime's, such as /opt/cni/bin, and its "
            "configuration into --cni-conf-dir, as soon as pods can be served.",
            rich_help_panel=_RUNTIME,
        ),
    ] = None,
    cni_conf_dir: Annotated[
        str | None,
        typer.Option(
            metavar="DIRECTORY",
            help="Where the runtime looks for CNI configurations.",
            show_default=_DEFAULTS.cni_conf_dir,
            rich_help_panel=_RUNTIME,
        ),
    ] = None,
    state_dir: Annotated[
        str | None,
        typer.Option(
            metavar="DIRECTORY",
            help="Where it is kept which pod has which address.",
            show_default=_DEFAULTS.state_dir,
            rich_help_panel=PROCESS,
        ),
    ] = None,
    healthz_bind_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="HOST:PORT of /healthz and /livez; empty: none.",
            show_default=_DEFAULTS.healthz_bind_address,
            rich_help_panel=PROCESS,
        ),
    ] = None,
    metrics_bind_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="HOST:PORT of /metrics; empty: none.",
            show_default=_DEFAULTS.metrics_bind_address,
            rich_help_panel=PROCESS,
        ),
    ] = None,
    log_dropped_traffic: Annotated[
        bool | None,
        typer.Option(
            "--log-dropped-traffic/--no-log-dropped-traffic",
            help="Have the log tell of connections that policies deny, at most ten a second.",
            show_default="no",
            rich_help_panel=PROCESS,
        ),
    ] = None,
    flow_records: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Add a line of JSON to this file for each connection of pods that ended, goes on, "
            "or was denied; - is standard output.",
            show_default="none",
            rich_help_panel=_RECORDS,
        ),
    ] = None,
    ipfix_collector: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Send the same as IPFIX, by UDP.",
            show_default="none",
            rich_help_panel=_RECORDS,
        ),
    ] = None,
    flow_records_interval: Annotated[
        int | None,
        typer.Option(
            metavar="SECONDS",
            help="Between two looks at connections, 1 to 600.",
            show_default=str(_DEFAULTS.flow_records_interval),
            rich_help_panel=_RECORDS,
        ),
    ] = None,
    realtime_priority: RealtimePriorityOption = None,
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = None,
    init_only: Annotated[
        bool,
        typer.Option(
            "--init-only",
            help="Let the node route, as its pods need it, and end.",
            rich_help_panel=PROCESS,
        ),
    ] = False,
    version: Annotated[bool, version_option(_NAME)] = False,
) -> None:
    """Give the pods of this node their ports on an Open vSwitch bridge.

    A container runtime calls nsx-cni for each pod, and nsx-cni asks this agent: it gives the pod
    addresses of the node's podCIDRs, an interface, and a port on the bridge. Pods keep all that
    when the agent ends.

    In a pod of a cluster; and without a cluster:

    ```
    nsx-node-agent --node-name "$NODE_NAME" --install-cni /opt/cni/bin
    nsx-node-agent --pod-cidr 10.244.3.0/24,fd00:244:0:3::/64 --bridge br-int
    ```
    """
    if init_only:
        _initialise()
        return
    read = partial(configured_by, context.params)
    try:
        options, notes = configured = read()
    except OptionsError as error:
        _die(str(error))
    # Only now: the rest takes a while to be imported, and help should not.
    with memory.importing():
        from nsxdp_agents.common.config_file import until_changed
        from nsxdp_agents.common.logs import configure, warn_of
        from nsxdp_agents.common.start import StartError, until_ended
        from nsxdp_agents.node_agent.app import serve

    memory.before_load()
    configure(options.log_format, options.log_level)
    warn_of(notes)
    files = [file for file in (config, ncp_ini) if file is not None]
    changed = partial(until_changed, files, read, configured) if files else None
    try:
        uvloop.run(until_ended(serve(options), changed))
    except StartError as error:
        _die(str(error))


def _initialise() -> None:
    from nsxdp_agents.node_agent.routing import let_route_all

    try:
        let_route_all()
    except OSError as error:
        _die(f"the node can't route: {error.filename}: {error.strerror}")


def configured_by(parameters: dict[str, Any]) -> Configured[Options]:
    """What these parameters of `run`, and the files that they name, configure.

    Raises
    ------
    OptionsError
        As of `read_options`.
    """
    flags = {name: value for name, value in parameters.items() if name in Options.__struct_fields__}
    if flags["pod_cidrs"] is not None:
        flags["pod_cidrs"] = tuple(filter(None, flags["pod_cidrs"].split(",")))
    config, ncp_ini = (
        Path(parameters[name]) if parameters[name] else None for name in ("config", "ncp_ini")
    )
    return read_options(config, flags, ncp_ini)


def main() -> None:
    """The console script."""
    app()
