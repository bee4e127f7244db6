"""What can be configured: the file, the defaults, and what doesn't fit together.

The file is kube-proxy's own (kind KubeProxyConfiguration), with the fields that mean something
here, and a section ``nsxdp`` for what kube-proxy hasn't::

    apiVersion: kubeproxy.config.k8s.io/v1alpha1
    kind: KubeProxyConfiguration
    hostnameOverride: node-1
    clientConnection: {kubeconfig: /etc/kubernetes/proxy.conf}
    healthzBindAddress: 0.0.0.0:10256
    nodePortAddresses: [192.0.2.0/24]
    nftables: {masqueradeAll: false}
    nsxdp: {bridge: br-int, ovsdb: "unix:/var/run/openvswitch/db.sock"}

A flag overrides the file.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import yaml

from nsxdp.services.addresses import parse_prefix

__all__ = ["Options", "OptionsError", "parse_bind_address", "read_options"]

API_VERSION: Final = "kubeproxy.config.k8s.io/v1alpha1"
KIND: Final = "KubeProxyConfiguration"

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


class OptionsError(ValueError):
    """A configuration that can't be used; says what is wrong and what to do."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration. Durations are seconds; an address is ``HOST:PORT``, or empty: none."""

    kubeconfig: str = ""
    manifests: str = ""
    ovsdb: str = "unix:/var/run/openvswitch/db.sock"
    private_key: str = ""
    certificate: str = ""
    ca_cert: str = ""
    """Files of an ``ssl:`` connection to Open vSwitch; all three or none."""
    bridge: str = "br-int"
    openflow: str = ""
    """Where the bridge listens; empty: the socket ``BRIDGE.mgmt`` beside the database's."""
    node_name: str = ""
    service_proxy_name: str = ""
    sync_period: float = 30.0
    """How often the switch is compared with what it should have, and a failed commit is retried."""
    healthz_bind_address: str = "0.0.0.0:10256"
    metrics_bind_address: str = "127.0.0.1:10249"
    host_routes: bool = True
    """Whether the node's own processes get a way to Services, by routes through the bridge."""
    uplink_port: str = ""
    """The Interface on the bridge by which the outside comes; empty: the one with that role."""
    nodeport_addresses: tuple[str, ...] = ("primary",)
    """Prefixes of the node's addresses that serve node ports; ``primary``: those that Kubernetes
    knows it by."""
    masquerade_all: bool = False
    """Whether every client of a cluster IP is masqueraded."""
    log_format: LogFormat = "text"
    log_level: LogLevel = "info"

    def check(self) -> Options:
        """Return the options with the defaults that depend on the machine.

        Raises
        ------
        OptionsError
            They contradict each other, or one is out of its range.
        """
        if self.kubeconfig and self.manifests:
            raise OptionsError(
                "--kubeconfig and --manifests both name where Services come from: give one of them"
            )
        if self.manifests and not Path(self.manifests).is_dir():
            raise OptionsError(f"--manifests {self.manifests}: no such directory")
        if self.kubeconfig and not Path(self.kubeconfig).is_file():
            raise OptionsError(f"--kubeconfig {self.kubeconfig}: no such file")
        if not 1 <= self.sync_period <= 3600:
            raise OptionsError(f"--sync-period {self.sync_period:g}: must be 1 to 3600 seconds")
        if len({bool(self.private_key), bool(self.certificate), bool(self.ca_cert)}) > 1:
            raise OptionsError("--private-key, --certificate and --ca-cert go together")
        for flag, address in (
            ("--healthz-bind-address", self.healthz_bind_address),
            ("--metrics-bind-address", self.metrics_bind_address),
        ):
            try:
                parse_bind_address(address)
            except ValueError as error:
                raise OptionsError(f"{flag} {address}: {error}") from None
        if self.nodeport_addresses != ("primary",):
            for cidr in self.nodeport_addresses:
                if parse_prefix(cidr) is None:
                    raise OptionsError(
                        f"--nodeport-addresses {cidr}: must be prefixes, such as 192.0.2.0/24, or "
                        "primary alone"
                    )
        _check_remotes("--ovsdb", self.ovsdb.split(","))
        openflow = self.openflow or _management_socket(self.ovsdb, self.bridge)
        _check_remotes("--openflow", [openflow])
        return msgspec.structs.replace(
            self, node_name=self.node_name or socket.gethostname().lower(), openflow=openflow
        )


class _ClientConnection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kubeconfig: str | None = None


class _Nsxdp(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    manifests: str | None = None
    ovsdb: str | None = None
    bridge: str | None = None
    private_key: str | None = None
    certificate: str | None = None
    ca_cert: str | None = None
    openflow: str | None = None
    service_proxy_name: str | None = None
    sync_period: float | None = None
    host_routes: bool | None = None
    uplink_port: str | None = None
    log_format: LogFormat | None = None
    log_level: LogLevel | None = None


class _Nftables(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    masquerade_all: bool | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    api_version: str
    kind: str
    hostname_override: str | None = None
    client_connection: _ClientConnection = _ClientConnection()
    healthz_bind_address: str | None = None
    metrics_bind_address: str | None = None
    node_port_addresses: tuple[str, ...] | None = None
    nftables: _Nftables = _Nftables()
    nsxdp: _Nsxdp = _Nsxdp()


def read_options(config: Path | None, flags: dict[str, Any]) -> Options:
    """The options of the file 'config', overridden by those of 'flags' that aren't None.

    Raises
    ------
    OptionsError
        The file can't be read, or something in it or in the flags can't be used.
    """
    values = _read_file(config) if config else {}
    values.update({name: value for name, value in flags.items() if value is not None})
    return Options(**values).check()


def parse_bind_address(address: str) -> tuple[str, int] | None:
    """Host and port of ``0.0.0.0:10256`` or ``[::]:10256``; None for an empty 'address'."""
    if not address:
        return None
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be HOST:PORT, such as 0.0.0.0:10256")
    return host.strip("[]"), int(port)


def _check_remotes(flag: str, remotes: list[str]) -> None:
    from nsxdp.transport import parse_remote  # takes a while to be imported, and help should not

    for remote in remotes:
        try:
            parse_remote(remote.strip(), 1)
        except ValueError as error:
            raise OptionsError(f"{flag} {error}") from None


def _management_socket(ovsdb: str, bridge: str) -> str:
    """The bridge's management socket, in the directory of the database's socket."""
    kind, _, path = ovsdb.partition(":")
    if kind != "unix":
        raise OptionsError(
            f"--ovsdb {ovsdb} is not on this machine: say with --openflow where the bridge listens"
        )
    return f"unix:{Path(path).parent / bridge}.mgmt"


def _read_file(path: Path) -> dict[str, Any]:
    try:
        file = msgspec.convert(yaml.safe_load(path.read_text()), _File)
    except OSError as error:
        raise OptionsError(f"--config {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionsError(f"--config {path}: {' '.join(str(error).split())}") from None
    except msgspec.ValidationError as error:
        raise OptionsError(f"--config {path}: {error}") from None
    if (file.api_version, file.kind) != (API_VERSION, KIND):
        raise OptionsError(
            f"--config {path}: is {file.kind} of {file.api_version}, "
            f"must be {KIND} of {API_VERSION}"
        )
    values = {
        "node_name": file.hostname_override,
        "kubeconfig": file.client_connection.kubeconfig,
        "healthz_bind_address": file.healthz_bind_address,
        "metrics_bind_address": file.metrics_bind_address,
        "nodeport_addresses": file.node_port_addresses or None,
        "masquerade_all": file.nftables.masquerade_all,
        **msgspec.structs.asdict(file.nsxdp),
    }
    return {name: value for name, value in values.items() if value is not None}
