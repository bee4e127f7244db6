"""What can be configured: the defaults, and what doesn't fit together."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import msgspec

from nsxdp.services.addresses import parse_prefix
from nsxdp_agents.common.options import (
    OVSDB,
    REALTIME_PRIORITY,
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
    run_directory,
)

__all__ = ["HEALTHZ", "METRICS", "Options"]

HEALTHZ: Final = {4: "0.0.0.0:10256", 6: "[::]:10256"}
METRICS: Final = {4: "127.0.0.1:10249", 6: "[::1]:10249"}
"""The defaults, by the IP version of the node's primary address."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration. Durations are seconds; an address is ``HOST:PORT``, or empty: none."""

    kubeconfig: str = ""
    server: str = ""
    """The API server's URL; empty: the kubeconfig's, or the cluster's."""
    api_ca_file: str = ""
    api_token_file: str = ""
    api_cert_file: str = ""
    api_key_file: str = ""
    """Files that it is spoken to with, if not those of a kubeconfig or of the pod."""
    api_qps: float = 0.0
    """Requests a second to the API server; 0, or less: as many as needed."""
    api_burst: int = 10
    config_sync_period: float = 0.0
    """How often everything is listed anew; 0: only when a watch can't go on."""
    manifests: str = ""
    ovsdb: str = OVSDB
    private_key: str = ""
    certificate: str = ""
    ca_cert: str = ""
    """Files of an ``ssl:`` connection to Open vSwitch; all three or none."""
    bridge: str = "br-int"
    openflow: str = ""
    """Where the bridge listens; empty: the socket ``BRIDGE.mgmt`` beside the database's."""
    node_name: str = ""
    bind_address: str = ""
    """The node's primary address; empty: as Kubernetes knows it."""
    service_proxy_name: str = ""
    sync_period: float = 30.0
    """How often the switch is compared with what it should have, and a failed commit is retried."""
    healthz_bind_address: str | None = None
    metrics_bind_address: str | None = None
    """None: the usual port, at addresses of the primary address's family."""
    bind_address_hard_fail: bool = False
    profiling: bool = False
    oom_score_adj: int = -999
    realtime_priority: int = REALTIME_PRIORITY
    """Before whom the process gets a processor (sched(7)); 0: before nobody."""
    host_routes: bool = True
    """Whether the node's own processes get a way to Services, by routes through the bridge."""
    uplink_port: str = ""
    """The Interface on the bridge by which the outside comes; empty: the one with that role."""
    nodeport_addresses: tuple[str, ...] = ("primary",)
    """Prefixes of the node's addresses that serve node ports; ``primary``: those that Kubernetes
    knows it by."""
    masquerade_all: bool = False
    """Whether every client of a cluster IP is masqueraded."""
    external_ips: bool = True
    """Whether Services' external IPs are served."""
    conntrack_max_per_core: int | None = None
    conntrack_min: int | None = None
    conntrack_tcp_established: float | None = None
    conntrack_tcp_close_wait: float | None = None
    """None: what kube-proxy has for the kernel's connection tracking; Open vSwitch's own is left
    as it is."""
    conntrack_tcp_be_liberal: bool = False
    conntrack_udp: float = 0.0
    conntrack_udp_stream: float = 0.0
    log_format: LogFormat = "text"
    log_level: LogLevel = "info"

    def check(self) -> Options:
        """Return the options with the defaults that depend on the machine and on each other.

        Raises
        ------
        OptionsError
            They contradict each other, or one is out of its range.
        """
        if (self.kubeconfig or self.server) and self.manifests:
            first = "--kubeconfig" if self.kubeconfig else "--master"
            raise OptionsError(
                f"{first} and --manifests both name where Services come from: give one of them"
            )
        if self.node_name and not self.node_name.strip():
            raise OptionsError("--node-name: must be the name of a Node, not blanks")
        check_sources(self.kubeconfig, self.manifests)
        check_api(self)
        if not 1 <= self.sync_period <= 3600:
            raise OptionsError(f"--sync-period {self.sync_period:g}: must be 1 to 3600 seconds")
        check_realtime_priority(self.realtime_priority)
        check_tls(self.private_key, self.certificate, self.ca_cert)
        check_log(self.log_format, self.log_level)
        self._check_node_ports()
        primary = self._primary()
        version = ip_address(primary).version if primary else 4
        check_remotes("--ovsdb", self.ovsdb.split(","))
        openflow = self.openflow or management_socket(self.ovsdb, self.bridge)
        check_remotes("--openflow", [openflow])
        return msgspec.structs.replace(
            self,
            node_name=self.node_name.strip().lower() or socket.gethostname().lower(),
            bind_address=primary,
            openflow=openflow,
            healthz_bind_address=checked_bind_address(
                "--healthz-bind-address", self.healthz_bind_address, HEALTHZ[version]
            ),
            metrics_bind_address=checked_bind_address(
                "--metrics-bind-address", self.metrics_bind_address, METRICS[version]
            ),
        )

    @property
    def run_directory(self) -> Path | None:
        """Where the control sockets of this machine's Open vSwitch are; None: it runs elsewhere."""
        return run_directory(self.ovsdb)

    def _check_node_ports(self) -> None:
        if self.nodeport_addresses != ("primary",):
            for cidr in self.nodeport_addresses:
                if parse_prefix(cidr) is None:
                    raise OptionsError(
                        f"--nodeport-addresses {cidr}: must be prefixes, such as 192.0.2.0/24, or "
                        "primary alone"
                    )

    def _primary(self) -> str:
        """The node's primary address, if one is said."""
        return "" if self.bind_address in ("0.0.0.0", "::") else self.bind_address
