"""What can be configured: the defaults, and what doesn't fit together."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import msgspec

from nsxdp_agents.common.datapath import Datapath
from nsxdp_agents.common.document import read_document
from nsxdp_agents.common.options import (
    OVSDB,
    REALTIME_PRIORITY,
    Configured,
    LogFormat,
    LogLevel,
    OptionsError,
    check_api,
    check_log,
    check_realtime_priority,
    check_remotes,
    check_sources,
    check_tls,
    checked_bind_address,
    management_socket,
)

if TYPE_CHECKING:
    from nsxdp.forwarding.model import Mode

__all__ = [
    "API_VERSION",
    "KIND",
    "MTUS",
    "WAITS",
    "Encapsulation",
    "Forwarding",
    "Options",
    "read_options",
    "written",
]

API_VERSION: Final = "nsxdp.io/v1alpha1"
KIND: Final = "NodeAgentConfiguration"

Encapsulation = Literal["none", "geneve", "vxlan"]
"""How pods of other nodes are reached: by the nodes' own network, or in tunnels."""

Forwarding = Literal["standalone", "nsx"]
"""Who switches and routes for pods: the node, or a platform to whose trunk the uplink leads."""

_MODES: Final[dict[str, Mode]] = {"none": "noEncap", "geneve": "geneve", "vxlan": "vxlan"}

HEALTHZ: Final = "127.0.0.1:10260"
METRICS: Final = "127.0.0.1:10261"

WAITS: Final = range(1, 571)
"""Seconds."""

_REST: Final = 30
"""Seconds that are left for the rest of an ADD; nsx-cni never waits for more than 600 in all."""

MTUS: Final = range(1280, 65536)
"""IPv6 needs 1280 bytes."""


_INTERVALS: Final = range(1, 601)
"""A connection is tracked for half a minute after its end, at least: what ends and goes between two
looks isn't told of."""


class Options(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """The configuration; an address is ``HOST:PORT``, or empty: none."""

    kubeconfig: str = ""
    server: str = ""
    """The API server's URL; empty: the kubeconfig's, or the cluster's."""
    api_ca_file: str = ""
    api_token_file: str = ""
    api_cert_file: str = ""
    api_key_file: str = ""
    """Files that it is spoken to with, if not those of a kubeconfig or of the pod."""
    manifests: str = ""
    node_name: str = ""
    pod_cidrs: tuple[str, ...] = ()
    """The networks of the node's pods; empty: as its Node object says."""
    ovsdb: str = OVSDB
    private_key: str = ""
    certificate: str = ""
    ca_cert: str = ""
    """Files of an ``ssl:`` connection to Open vSwitch; all three or none."""
    bridge: str = "br-int"
    openflow: str = ""
    """Where the bridge listens; empty: the socket ``BRIDGE.mgmt`` beside the database's."""
    datapath: Datapath = "auto"
    """Of the bridge, where there is none yet."""
    forwarding: Forwarding = "standalone"
    uplink_port: str = ""
    """The interface that leads to the platform's trunk; empty: the bridge's port with that role."""
    node_uplink: str = ""
    """The interface with the node's own addresses that is put on a bridge; empty: none is."""
    node_bridge: str = "br-ex"
    """That bridge."""
    config_retry_timeout: int = 50
    """Seconds that a pod waits for its network on the platform."""
    encapsulation: Encapsulation = "none"
    mtu: int = 0
    """Of pods' interfaces; 0: what the nodes' network has room for."""
    cni_socket: str = "/var/run/nsx-ujo/cni.sock"
    state_dir: str = "/var/lib/nsx-node-agent"
    """Where it is kept which pod has which address."""
    install_cni: str = ""
    """Where the plugin is put, for the container runtime; empty: nowhere."""
    cni_conf_dir: str = "/etc/cni/net.d"
    """Where the configuration of the plugin is put along with it."""
    healthz_bind_address: str = HEALTHZ
    metrics_bind_address: str = METRICS
    log_dropped_traffic: bool = False
    """Whether the log tells of connections that policies deny."""
    flow_records: str = ""
    """The file to which records of connections are added; ``-``: standard output; empty: none."""
    ipfix_collector: str = ""
    """Where they are sent by UDP, ``HOST:PORT``; empty: nowhere."""
    flow_records_interval: int = 10
    """Seconds between two looks at connections."""
    realtime_priority: int = REALTIME_PRIORITY
    """The process's (see `nsxdp_agents.common.realtime`); 0: none."""
    log_format: LogFormat = "text"
    log_level: LogLevel = "info"

    @property
    def mode(self) -> Mode:
        """The encapsulation, or the platform, as forwarding knows it."""
        return "nsx" if self.forwarding == "nsx" else _MODES[self.encapsulation]

    @property
    def plugin_timeout(self) -> int | None:
        """Seconds that nsx-cni is to wait for an answer; None: as many as it does by itself."""
        return self.config_retry_timeout + _REST if self.mode == "nsx" else None

    @property
    def node_uplink_place(self) -> tuple[str, str, Datapath]:
        """Where the node's own interface is to be: bridge, interface, and the bridge's datapath."""
        return self.node_bridge, self.node_uplink, self.datapath

    def check(self) -> Options:
        """Return the options with the defaults that depend on the machine and on each other.

        Raises
        ------
        OptionsError
            They contradict each other, or one is out of its range.
        """
        if (self.kubeconfig or self.server) and self.manifests:
            first = "--kubeconfig" if self.kubeconfig else f"the API server {self.server}"
            raise OptionsError(
                f"{first} and --manifests both name where Nodes come from: give one of them"
            )
        check_sources(self.kubeconfig, self.manifests)
        check_api(self)
        check_tls(self.private_key, self.certificate, self.ca_cert)
        if self.mtu and self.mtu not in MTUS:
            raise OptionsError(f"--mtu {self.mtu}: must be {MTUS.start} to {MTUS.stop - 1}")
        for flag, word, words in (
            ("--datapath", self.datapath, get_args(Datapath)),
            ("--forwarding", self.forwarding, get_args(Forwarding)),
            ("--encapsulation", self.encapsulation, get_args(Encapsulation)),
        ):
            if word not in words:
                raise OptionsError(f"{flag} {word}: must be one of {', '.join(words)}")
        for flag, path in (("--cni-socket", self.cni_socket), ("--state-dir", self.state_dir)):
            if not path.startswith("/"):
                raise OptionsError(f"{flag} {path}: must be a path that begins with /")
        self._check_flow_records()
        self._check_pod_cidrs()
        self._check_forwarding()
        check_realtime_priority(self.realtime_priority)
        check_log(self.log_format, self.log_level)
        check_remotes("--ovsdb", self.ovsdb.split(","))
        openflow = self.openflow or management_socket(self.ovsdb, self.bridge)
        check_remotes("--openflow", [openflow])
        return msgspec.structs.replace(
            self,
            openflow=openflow,
            node_name=self.node_name.strip().lower() or socket.gethostname().lower(),
            healthz_bind_address=checked_bind_address(
                "--healthz-bind-address", self.healthz_bind_address, HEALTHZ
            ),
            metrics_bind_address=checked_bind_address(
                "--metrics-bind-address", self.metrics_bind_address, METRICS
            ),
        )

    @property
    def records_flows(self) -> bool:
        """Whether anybody wants records of connections."""
        return bool(self.flow_records or self.ipfix_collector)

    @property
    def tells_of_denials(self) -> bool:
        """Whether anybody wants to know what policies deny."""
        return self.log_dropped_traffic or self.records_flows

    @property
    def collector(self) -> tuple[str, int]:
        """Its host and port."""
        host, _, port = self.ipfix_collector.rpartition(":")
        return host.strip("[]"), int(port)

    def _check_flow_records(self) -> None:
        if self.flow_records_interval not in _INTERVALS:
            raise OptionsError(
                f"--flow-records-interval {self.flow_records_interval}: must be "
                f"{_INTERVALS.start} to {_INTERVALS.stop - 1} seconds"
            )
        if not self.ipfix_collector:
            return
        host, _, port = self.ipfix_collector.rpartition(":")
        if not host.strip("[]") or not port.isdecimal() or not 0 < int(port) < 65536:
            raise OptionsError(
                f"--ipfix-collector {self.ipfix_collector}: must be HOST:PORT, such as "
                "collector.example:4739"
            )

    def _check_forwarding(self) -> None:
        if self.config_retry_timeout not in WAITS:
            raise OptionsError(
                f"--config-retry-timeout {self.config_retry_timeout}: must be {WAITS.start} to "
                f"{WAITS.stop - 1}"
            )
        if self.node_uplink and self.node_bridge in (self.bridge, self.node_uplink):
            raise OptionsError(
                f"--node-bridge {self.node_bridge}: must be another one than that of the pods, and "
                "than the interface"
            )
        if self.node_uplink and self.node_uplink == self.uplink_port:
            raise OptionsError(
                f"--node-uplink {self.node_uplink}: the uplink to the platform is another interface"
            )
        bridges = (self.bridge, self.node_bridge)
        for flag, name in (
            ("--uplink-port", self.uplink_port),
            ("--node-uplink", self.node_uplink),
        ):
            if name in bridges:
                raise OptionsError(f"{flag} {name}: is a bridge: name an interface of the node")
        if self.forwarding == "standalone":
            if self.uplink_port:
                raise OptionsError(
                    f"--uplink-port {self.uplink_port}: only --forwarding nsx has an uplink"
                )
            return
        for flag, said in (
            ("--pod-cidr", ",".join(self.pod_cidrs)),
            ("--encapsulation", self.encapsulation if self.encapsulation != "none" else ""),
            ("--log-dropped-traffic", "yes" if self.log_dropped_traffic else ""),
        ):
            if said:
                raise OptionsError(f"{flag} {said}: with --forwarding nsx it is the platform's")

    def _check_pod_cidrs(self) -> None:
        from nsxdp_agents.node_agent.ipam import Pools

        if not self.pod_cidrs:
            return
        for flag, said in (
            ("--kubeconfig", self.kubeconfig),
            ("the API server", self.server),
            ("--manifests", self.manifests),
            ("--encapsulation", self.encapsulation if self.encapsulation != "none" else ""),
            ("--log-dropped-traffic", "yes" if self.log_dropped_traffic else ""),
        ):
            if said:
                raise OptionsError(
                    f"{flag} {said}: with --pod-cidr nobody is asked for policies or other nodes"
                )
        try:
            Pools().use([ip_network(cidr) for cidr in self.pod_cidrs])
        except ValueError as error:
            raise OptionsError(f"--pod-cidr {','.join(self.pod_cidrs)}: {error}") from None


def read_options(
    config: Path | None, flags: Mapping[str, Any], ncp_ini: Path | None = None
) -> Configured[Options]:
    """The options of the file 'config', overridden by those of 'flags' that aren't None.

    Both override 'ncp_ini', a file of NCP's.

    Raises
    ------
    OptionsError
        A file can't be read, or something in it or in the flags can't be used.
    """
    said = _in_file(config) if config else {}
    said.update({name: value for name, value in flags.items() if value is not None})
    notes: list[tuple[str, str]] = []
    if ncp_ini is not None:
        said, notes = _with_ncp_ini(ncp_ini, said)
    return Configured(Options(**said).check(), tuple(notes))


def _in_file(path: Path) -> dict[str, Any]:
    """What the file says."""
    content = read_document(path, KIND, API_VERSION)
    try:
        options = msgspec.convert(content, Options)
    except msgspec.ValidationError as error:
        raise OptionsError(f"--config {path}: {error}") from None
    fields = msgspec.structs.fields(Options)
    return {f.name: getattr(options, f.name) for f in fields if f.encode_name in content}


def _with_ncp_ini(
    path: Path, above: dict[str, Any]
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """What was said 'above', and beneath it what the file says; and what that says in vain."""
    # Only who has such a file needs them.
    from nsxdp_agents.common.ncp_ini import read_ncp_ini
    from nsxdp_agents.common.ncp_options import beneath
    from nsxdp_agents.node_agent.ncp_options import OPTIONS

    ini = read_ncp_ini(path, OPTIONS)
    said = beneath(ini, above)
    notes = list(ini.notes)
    if "uplink_port" in ini.values and said.get("forwarding") != "nsx":
        # Whose nodes switch and route by themselves may still have the file of a platform.
        notes.append((ini.places["uplink_port"], "only --forwarding nsx has an uplink"))
        if "uplink_port" not in above:
            del said["uplink_port"]
    return said, notes


def written(options: Options) -> dict[str, Any]:
    """The file that says what 'options' are, as a mapping."""
    said: dict[str, Any] = msgspec.to_builtins(options)
    return {"apiVersion": API_VERSION, "kind": KIND, **said}
