"""All that kube-proxy can be told, in its file or by flags, and what becomes of it here.

Each setting either is an option of ours, or means nothing to a proxy on Open vSwitch: then it is
taken, and the log says why it does nothing. So a file that was written for kube-proxy can be used
as it is, and nobody believes that something has an effect that has none.

Names and defaults are those of KubeProxyConfiguration v1alpha1 and of the flags of kube-proxy 1.36.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from nsxdp_agents.kube_proxy.values import (
    ADDRESS,
    ANYTHING,
    BIT,
    COUNT,
    DURATION,
    GATES,
    LOCAL_MODE,
    MODE,
    NUMBER,
    PRIORITY,
    QUANTITY,
    SCORE,
    SECONDS,
    SWITCH,
    TEXT,
    VERBOSITY,
    WORDS,
    Kind,
)

__all__ = [
    "BY_FLAG",
    "BY_PATH",
    "EXTERNAL_IPS_GATE",
    "LOCALHOST",
    "SECTIONS",
    "SETTINGS",
    "Setting",
]

EXTERNAL_IPS_GATE: Final = "AllowServiceExternalIPs"
"""The one of Kubernetes's feature gates that means something here."""


LOCALHOST: Final = "iptables.localhostNodePorts"
"""Whether node ports are served at 127.0.0.1, too."""


class Setting(NamedTuple):
    """One thing that can be said.

    Attributes
    ----------
    path
        Where the file has it: ``conntrack.min``; empty: flags alone.
    kind
        How it is written.
    option
        What of `Options` it is; empty: it means nothing here.
    flag
        kube-proxy's flag; empty: none, or one that the command line has of its own.
    help
        Of the flag; of one that means nothing, why it doesn't.
    zero_counts
        Whether 0, false or empty is a value and not the same as nothing said: kube-proxy's file
        has null for the latter.
    usual
        kube-proxy's default. In the file it says nothing: who has kube-proxy write its file finds
        all defaults there.
    is_so
        The value that says how it is here anyway.
    """

    path: str
    kind: Kind
    option: str = ""
    flag: str = ""
    help: str = ""
    zero_counts: bool = False
    usual: Any = None
    is_so: Any = None


_MARKS: Final = "marks are bits of Open vSwitch's own, not of the kernel's packets"
_AT_ONCE: Final = "changes go to the switch at once, and gather while it confirms others"
_UNBUFFERED: Final = "the log goes to standard error, line by line"
_NO_IPVS: Final = "Services are served by Open vSwitch, not by IPVS"
_NO_WINDOWS: Final = "this is for Windows"
_BY_PORT: Final = "who is a pod of this node is told by the bridge's port that packets come from"
_NO_ID: Final = "the machine's ids are of no use here"
_ENCODING: Final = "lists are asked for as protobuf, and everything else is JSON"

SETTINGS: Final[tuple[Setting, ...]] = (
    Setting("featureGates", GATES, "feature_gates", "--feature-gates",
            f"Feature gates, NAME=true|false with commas between them. {EXTERNAL_IPS_GATE}=false "
            "serves no external IPs; others mean nothing here."),
    # The API server.
    Setting("clientConnection.kubeconfig", TEXT, "kubeconfig"),
    Setting("clientConnection.acceptContentTypes", TEXT, help=_ENCODING),
    Setting("clientConnection.contentType", TEXT, "", "--kube-api-content-type", _ENCODING,
            usual="application/vnd.kubernetes.protobuf"),
    Setting("clientConnection.qps", NUMBER, "api_qps", "--kube-api-qps",
            "Requests a second to the API server; 0: as many as needed.", usual=5.0),
    Setting("clientConnection.burst", COUNT, "api_burst", "--kube-api-burst",
            "Requests to the API server that may come at once, if those a second are limited.",
            usual=10),
    Setting("", TEXT, "server", "--master",
            "The API server's URL, in place of the kubeconfig's."),
    Setting("configSyncPeriod", DURATION, "config_sync_period", "--config-sync-period",
            "How often everything is listed anew from the API server, to find what a watch has "
            "missed; 0: never, as watches miss nothing.", usual=900.0),
    # The log.
    Setting("logging.format", TEXT, "log_format", "--logging-format", "text or json."),
    Setting("logging.verbosity", VERBOSITY, "log_level", "--v",
            "As kube-proxy's: from 4 on, what is for debugging is logged, too."),
    Setting("logging.flushFrequency", ANYTHING, "", "--log-flush-frequency", _UNBUFFERED,
            usual="5s"),
    Setting("logging.vmodule", ANYTHING, "", "--vmodule",
            "the log has one level for all modules: --log-level"),
    Setting("logging.options.text.splitStream", SWITCH, "", "--log-text-split-stream",
            _UNBUFFERED),
    Setting("logging.options.text.infoBufferSize", QUANTITY, "", "--log-text-info-buffer-size",
            _UNBUFFERED),
    Setting("logging.options.json.splitStream", SWITCH, "", "--log-json-split-stream",
            _UNBUFFERED),
    Setting("logging.options.json.infoBufferSize", QUANTITY, "", "--log-json-info-buffer-size",
            _UNBUFFERED),
    Setting("", TEXT, "", "--boot-id-file", _NO_ID),
    Setting("", TEXT, "", "--machine-id-file", _NO_ID),
    # The node.
    Setting("hostnameOverride", TEXT, "node_name"),
    Setting("bindAddress", ADDRESS, "bind_address", "--bind-address",
            "The node's primary address, in place of the one that Kubernetes knows it by: node "
            "ports are served there. Nothing is bound to it. 0.0.0.0 and :: say nothing."),
    Setting("nodePortAddresses", WORDS, "nodeport_addresses"),
    # The process.
    Setting("healthzBindAddress", TEXT, "healthz_bind_address"),
    Setting("metricsBindAddress", TEXT, "metrics_bind_address"),
    Setting("", COUNT, "healthz_port", "--healthz-port",
            "The port of /healthz; 0: none. Deprecated: use --healthz-bind-address.", True),
    Setting("", COUNT, "metrics_port", "--metrics-port",
            "The port of /metrics; 0: none. Deprecated: use --metrics-bind-address.", True),
    Setting("bindAddressHardFail", SWITCH, "bind_address_hard_fail", "--bind-address-hard-fail",
            "End with an error where /healthz or /metrics can't be served."),
    Setting("enableProfiling", SWITCH, "profiling", "--profiling",
            "Serve /debug/pprof where /metrics is: what the process does, as text."),
    Setting("showHiddenMetricsForVersion", TEXT, "", "--show-hidden-metrics-for-version",
            "no metric is hidden"),
    Setting("oomScoreAdj", SCORE, "oom_score_adj", "--oom-score-adj",
            "The process's /proc/PID/oom_score_adj: the lower, the later it is killed when memory "
            "is short.", True),
    # How Services are served.
    Setting("mode", MODE, "", "--proxy-mode", "Services are served by Open vSwitch",
            usual="iptables"),
    Setting("nftables.masqueradeBit", BIT, "", "", _MARKS, True, usual=14),
    Setting("nftables.masqueradeAll", SWITCH, "masquerade_all"),
    Setting("nftables.syncPeriod", DURATION, "sync_period"),
    Setting("nftables.minSyncPeriod", DURATION, help=_AT_ONCE, usual=1.0),
    Setting("ipvs.syncPeriod", DURATION, "sync_period", "--ipvs-sync-period",
            "The same as --sync-period."),
    Setting("ipvs.minSyncPeriod", DURATION, "", "--ipvs-min-sync-period", _AT_ONCE),
    Setting("ipvs.scheduler", TEXT, "", "--ipvs-scheduler", _NO_IPVS),
    Setting("ipvs.excludeCIDRs", WORDS, "", "--ipvs-exclude-cidrs", _NO_IPVS),
    Setting("ipvs.strictARP", SWITCH, "", "--ipvs-strict-arp", _NO_IPVS),
    Setting("ipvs.tcpTimeout", DURATION, "", "--ipvs-tcp-timeout", _NO_IPVS),
    Setting("ipvs.tcpFinTimeout", DURATION, "", "--ipvs-tcpfin-timeout", _NO_IPVS),
    Setting("ipvs.udpTimeout", DURATION, "", "--ipvs-udp-timeout", _NO_IPVS),
    Setting("iptables.masqueradeBit", BIT, "", "--iptables-masquerade-bit", _MARKS, True, usual=14),
    Setting("iptables.masqueradeAll", SWITCH, "masquerade_all"),
    Setting(LOCALHOST, SWITCH, "", "--iptables-localhost-nodeports",
            "there are no node ports at 127.0.0.1", True, is_so=False, usual=True),
    Setting("iptables.syncPeriod", DURATION, "sync_period", "--iptables-sync-period",
            "The same as --sync-period."),
    Setting("iptables.minSyncPeriod", DURATION, "", "--iptables-min-sync-period", _AT_ONCE,
            usual=1.0),
    Setting("winkernel.networkName", TEXT, help=_NO_WINDOWS),
    Setting("winkernel.sourceVip", TEXT, help=_NO_WINDOWS),
    Setting("winkernel.enableDSR", SWITCH, help=_NO_WINDOWS),
    Setting("winkernel.rootHnsEndpointName", TEXT, help=_NO_WINDOWS),
    Setting("winkernel.forwardHealthCheckVip", SWITCH, help=_NO_WINDOWS),
    Setting("windowsRunAsService", SWITCH, help=_NO_WINDOWS),
    Setting("detectLocalMode", LOCAL_MODE, "", "--detect-local-mode", _BY_PORT,
            usual="ClusterCIDR"),
    Setting("detectLocal.bridgeInterface", TEXT, "", "--pod-bridge-interface", _BY_PORT),
    Setting("detectLocal.interfaceNamePrefix", TEXT, "", "--pod-interface-name-prefix", _BY_PORT),
    Setting("clusterCIDR", TEXT, "", "--cluster-cidr", _BY_PORT),
    Setting("portRange", TEXT, help="kube-proxy doesn't use it any more either"),
    # Connection tracking.
    Setting("conntrack.maxPerCore", COUNT, "conntrack_max_per_core", "--conntrack-max-per-core",
            "Connections that are tracked, for each processor; 0: as it is.", True, usual=32768),
    Setting("conntrack.min", COUNT, "conntrack_min", "--conntrack-min",
            "Connections that are tracked at least, unless that is left as it is.", True,
            usual=131072),
    Setting("conntrack.tcpEstablishedTimeout", DURATION, "conntrack_tcp_established",
            "--conntrack-tcp-timeout-established",
            "How long an idle TCP connection is tracked; 0: as it is.", True, usual=86400.0),
    Setting("conntrack.tcpCloseWaitTimeout", DURATION, "conntrack_tcp_close_wait",
            "--conntrack-tcp-timeout-close-wait",
            "How long a TCP connection that one end has closed is tracked; 0: as it is.", True,
            usual=3600.0),
    Setting("conntrack.tcpBeLiberal", SWITCH, "conntrack_tcp_be_liberal",
            "--conntrack-tcp-be-liberal",
            "Let TCP segments outside of the window through as part of their connection."),
    Setting("conntrack.udpTimeout", DURATION, "conntrack_udp", "--conntrack-udp-timeout",
            "How long a UDP packet without an answer is tracked; 0: as it is."),
    Setting("conntrack.udpStreamTimeout", DURATION, "conntrack_udp_stream",
            "--conntrack-udp-timeout-stream",
            "How long an idle UDP connection is tracked; 0: as it is."),
    # What kube-proxy hasn't.
    Setting("nsxdp.manifests", TEXT, "manifests"),
    Setting("nsxdp.apiServer", TEXT, "server"),
    Setting("nsxdp.apiCaFile", TEXT, "api_ca_file"),
    Setting("nsxdp.apiTokenFile", TEXT, "api_token_file"),
    Setting("nsxdp.apiCertFile", TEXT, "api_cert_file"),
    Setting("nsxdp.apiKeyFile", TEXT, "api_key_file"),
    Setting("nsxdp.ovsdb", TEXT, "ovsdb"),
    Setting("nsxdp.bridge", TEXT, "bridge"),
    Setting("nsxdp.privateKey", TEXT, "private_key"),
    Setting("nsxdp.certificate", TEXT, "certificate"),
    Setting("nsxdp.caCert", TEXT, "ca_cert"),
    Setting("nsxdp.openflow", TEXT, "openflow"),
    Setting("nsxdp.serviceProxyName", TEXT, "service_proxy_name"),
    Setting("nsxdp.syncPeriod", SECONDS, "sync_period", zero_counts=True),
    Setting("nsxdp.hostRoutes", SWITCH, "host_routes", zero_counts=True),
    Setting("nsxdp.uplinkPort", TEXT, "uplink_port"),
    Setting("nsxdp.realtimePriority", PRIORITY, "realtime_priority", zero_counts=True),
    Setting("nsxdp.logFormat", TEXT, "log_format"),
    Setting("nsxdp.logLevel", TEXT, "log_level"),
)  # fmt: skip
"""All of them; of two that are the same option, the later one counts."""

BY_PATH: Final = {setting.path: setting for setting in SETTINGS if setting.path}
BY_FLAG: Final = {setting.flag: setting for setting in SETTINGS if setting.flag}
SECTIONS: Final = frozenset(
    path[:end] for path in BY_PATH for end, character in enumerate(path) if character == "."
)
"""What has settings below it: ``conntrack``."""
