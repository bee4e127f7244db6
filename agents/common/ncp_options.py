"""What of ncp.ini is for every agent, and how the API server is found by it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Final

from nsxdp_agents.common.ncp_ini import LEVEL, SWITCH, TEXT, IniOption, Kind, Said, number, word
from nsxdp_agents.common.options import OptionsError

__all__ = ["COMMON", "DEBUG", "SECONDS", "beneath"]

_LOG: Final = "the log goes to standard error, line by line"
_METRICS: Final = "metrics are for Prometheus, at --metrics-bind-address"
_HOST_TEXT: Final = re.compile(r"[\w:.-]+", re.ASCII)
_MOST: Final = 2**31 - 1

SECONDS: Final = number(0, _MOST)


def _host(text: str) -> str:
    if not _HOST_TEXT.fullmatch(text):
        raise ValueError(text)
    return text


_HOST: Final = Kind("an address or a name", _host)
DEBUG: Final = Kind(SWITCH.says, lambda text: "debug" if SWITCH.read(text) else None)

COMMON: Final[tuple[IniOption, ...]] = (
    # The log. The last one that is said counts.
    IniOption("DEFAULT", "loglevel", LEVEL, "log_level"),
    IniOption("coe", "loglevel", LEVEL, "log_level"),
    IniOption("DEFAULT", "debug", DEBUG, "log_level"),
    IniOption("k8s", "loglevel", LEVEL, why="the log has one level for all modules"),
    IniOption("DEFAULT", "use_stderr", SWITCH, why=_LOG, so=(True,)),
    IniOption("DEFAULT", "use_syslog", SWITCH, why=_LOG, so=(False,)),
    IniOption("DEFAULT", "log_dir", TEXT, why=_LOG),
    IniOption("DEFAULT", "log_file", TEXT, why=_LOG),
    IniOption("DEFAULT", "log_rotation_file_max_mb", number(0, _MOST), why=_LOG),
    IniOption("DEFAULT", "log_rotation_backup_count", number(0, _MOST), why=_LOG),
    # The process.
    IniOption("coe", "node_type", word("HOSTVM", "BAREMETAL", "CLOUD", "WCP_WORKER"),
              why="a node is a machine with an uplink to the platform's trunk", so=("HOSTVM",)),
    IniOption("coe", "connect_retry_timeout", SECONDS,
              why="whom an agent has lost it looks for, and doesn't end", so=(0,)),
    IniOption("coe", "metrics_interval", SECONDS, why=_METRICS, so=(0,)),
    IniOption("coe", "metrics_log_file", TEXT, why=_METRICS),
    IniOption("coe", "enable_sha", SWITCH, why="health is told at --healthz-bind-address",
              so=(False,)),
    # The switch. Up to NCP 2.4 the uplink was in the other section.
    IniOption("nsx_node_agent", "ovs_bridge", TEXT, "bridge"),
    IniOption("nsx_kube_proxy", "ovs_uplink_port", TEXT, "uplink_port"),
    IniOption("nsx_node_agent", "ovs_uplink_port", TEXT, "uplink_port"),
    # The API server.
    IniOption("k8s", "apiserver_host_ip", _HOST, "api_host"),
    IniOption("k8s", "apiserver_host_port", number(1, 65535), "api_port"),
    IniOption("k8s", "ca_file", TEXT, "api_ca_file"),
    IniOption("k8s", "client_token_file", TEXT, "api_token_file"),
    IniOption("k8s", "client_cert_file", TEXT, "api_cert_file"),
    IniOption("k8s", "client_private_key_file", TEXT, "api_key_file"),
)  # fmt: skip
"""``api_host`` and ``api_port`` become an agent's ``server``."""

_API: Final = ("api_host", "api_port", "api_ca_file", "api_token_file", "api_cert_file",
               "api_key_file")  # fmt: skip
_OTHER_SOURCES: Final = ("kubeconfig", "manifests", "pod_cidrs", "server")


def beneath(said: Said, above: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a file says, overridden by those of 'above'.

    Who says another source above has nothing of this one: neither its address nor its credentials.

    Raises
    ------
    OptionsError
        It isn't said where the API server is, and this is no pod; or a certificate has no key.
    """
    values = {name: value for name, value in said.values.items() if name not in _API}
    api = {name: value for name, value in said.values.items() if name in _API}
    if api and not any(above.get(name) for name in _OTHER_SOURCES):
        values |= _api(api, next(said.places[name] for name in api))
    return {**values, **above}


def _api(said: dict[str, Any], where: str) -> dict[str, Any]:
    """What isn't said is as a pod has it."""
    from nsxdp.k8s.credentials import SERVICE_ACCOUNT  # takes a while to be imported

    host = said.pop("api_host", None) or os.environ.get("KUBERNETES_SERVICE_HOST")
    port = said.pop("api_port", None) or os.environ.get("KUBERNETES_SERVICE_PORT") or "443"
    if not host:
        raise OptionsError(f"{where}: without [k8s] apiserver_host_ip nobody knows the API server")
    if ("api_cert_file" in said) != ("api_key_file" in said):
        raise OptionsError(f"{where}: client_cert_file and client_private_key_file go together")
    found = {"api_ca_file": str(SERVICE_ACCOUNT / "ca.crt"), **said}
    if "api_cert_file" not in found:
        found.setdefault("api_token_file", str(SERVICE_ACCOUNT / "token"))
    return {"server": f"https://{f'[{host}]' if ':' in host else host}:{port}", **found}
