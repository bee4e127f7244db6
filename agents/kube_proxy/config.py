"""Reads what was said, in the file and by flags, and writes the file that says the same.

The file is kube-proxy's own, of kind KubeProxyConfiguration, with a section ``nsxdp`` for what
kube-proxy hasn't::

    apiVersion: kubeproxy.config.k8s.io/v1alpha1
    kind: KubeProxyConfiguration
    hostnameOverride: node-1
    clientConnection: {kubeconfig: /etc/kubernetes/proxy.conf}
    healthzBindAddress: 0.0.0.0:10256
    nodePortAddresses: [192.0.2.0/24]
    nsxdp: {bridge: br-int, ovsdb: "unix:/var/run/openvswitch/db.sock"}

A flag overrides the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from nsxdp.services.nodeports import contains_loopback
from nsxdp_agents.common.document import read_document
from nsxdp_agents.common.options import Configured, OptionsError, nearest, with_port
from nsxdp_agents.kube_proxy.options import Options
from nsxdp_agents.kube_proxy.settings import (
    BY_FLAG,
    BY_PATH,
    EXTERNAL_IPS_GATE,
    LOCALHOST,
    SECTIONS,
    SETTINGS,
    Setting,
)
from nsxdp_agents.kube_proxy.values import DURATION, duration_text

__all__ = ["API_VERSION", "KIND", "read_options", "written"]

API_VERSION: Final = "kubeproxy.config.k8s.io/v1alpha1"
KIND: Final = "KubeProxyConfiguration"

_SECTIONS_OF_MODES: Final = frozenset({"iptables", "ipvs", "nftables"})
_HEALTHZ_PORT: Final = 10256
_METRICS_PORT: Final = 10249


def read_options(
    config: Path | None,
    flags: Mapping[str, Any],
    kube_proxys: Mapping[str, str | bool | None] | None = None,
    ncp_ini: Path | None = None,
) -> Configured[Options]:
    """The options of the file 'config', overridden by those of 'flags' that aren't None.

    Parameters
    ----------
    config
        A KubeProxyConfiguration.
    flags
        By the option's name.
    kube_proxys
        Flags of kube-proxy that are settings (`BY_FLAG`), with their text.
    ncp_ini
        A file of NCP's, which all else overrides.

    Raises
    ------
    OptionsError
        A file can't be read, or something in it or in the flags can't be used.
    """
    said = list(_in_file(config)) if config else []
    said += _in_flags(kube_proxys or {})
    values: dict[str, Any] = {}
    notes = []
    for where, setting, value in said:
        if setting.option:
            values[setting.option] = value
        elif value != setting.is_so:
            notes.append((where, setting.help))
    notes += _gates(values)
    values.update({name: value for name, value in flags.items() if value is not None})
    _ports(values)
    if ncp_ini is not None:
        # Only who has such a file needs them.
        from nsxdp_agents.common.ncp_ini import read_ncp_ini
        from nsxdp_agents.common.ncp_options import beneath
        from nsxdp_agents.kube_proxy.ncp_options import OPTIONS

        ini = read_ncp_ini(ncp_ini, OPTIONS)
        values = beneath(ini, values)
        notes += ini.notes
    at_loopback = {setting.path: value for _, setting, value in said}.get(LOCALHOST, True)
    cidrs = values.get("nodeport_addresses", ("primary",))
    if at_loopback and cidrs != ("primary",) and contains_loopback(cidrs):
        notes.append(("127.0.0.0/8 in --nodeport-addresses", BY_PATH[LOCALHOST].help))
    return Configured(Options(**values).check(), tuple(notes))


_Said = tuple[str, Setting, Any]
"""Where something was said, what, and the value."""


def _in_file(path: Path) -> Iterator[_Said]:
    """All that the file says, in the table's order."""
    content = read_document(path, KIND, API_VERSION)
    try:
        values = dict(_flat(content, ""))
        found = {path: _read(path, BY_PATH[path], value) for path, value in values.items()}
    except _WrongValueError as error:
        raise OptionsError(f"--config {path}: {error}") from None
    mode = values.get("mode")
    for setting in SETTINGS:
        value = found.get(setting.path)
        if value is not None and _counts(setting, mode):
            yield f"--config {path}: {setting.path}", setting, value


def _counts(setting: Setting, mode: object) -> bool:
    """Whether kube-proxy looks at a setting in 'mode': of its modes' sections at one alone."""
    section = setting.path.partition(".")[0]
    if not mode or section not in _SECTIONS_OF_MODES:
        return True
    if setting.path == "iptables.masqueradeAll":
        return mode != "nftables"
    return section == mode


def _flat(section: Mapping[object, Any], within: str) -> Iterator[tuple[str, Any]]:
    """What a section of the file and those below it say, by path."""
    for key, value in section.items():
        path = f"{within}{key}"
        if path in BY_PATH:
            yield path, value
        elif path not in SECTIONS:
            raise _WrongValueError(
                f"there is no field {path}{nearest(path, BY_PATH.keys() | SECTIONS)}"
            )
        elif isinstance(value, dict):
            yield from _flat(value, f"{path}.")
        elif value is not None:
            raise _WrongValueError(f"{path}: must be a section with fields, not {_shown(value)}")


def _in_flags(flags: Mapping[str, str | bool | None]) -> Iterator[_Said]:
    for flag, text in flags.items():
        if text is None:
            continue
        setting = BY_FLAG[flag]
        try:
            value = text if isinstance(text, bool) else setting.kind.parse(text)
        except (ValueError, TypeError):
            raise OptionsError(f"{flag} {text}: must be {setting.kind.says}") from None
        if value or setting.zero_counts:
            yield flag, setting, value


class _WrongValueError(Exception):
    """What the file says can't be used; the message begins with the place."""


def _read(path: str, setting: Setting, value: object) -> Any:
    """A setting's value; None where nothing is said."""
    if value is None:
        return None
    try:
        read = setting.kind.read(value)
    except (ValueError, TypeError):
        raise _WrongValueError(
            f"{path}: must be {setting.kind.says}, not {_shown(value)}"
        ) from None
    said = read != setting.usual and (read or setting.zero_counts)
    return read if said else None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _gates(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Take the feature gates out of 'values'; gives those that mean nothing."""
    for name, on in (values.pop("feature_gates", None) or {}).items():
        if name == EXTERNAL_IPS_GATE:
            values["external_ips"] = on
        elif meant := nearest(name, [EXTERNAL_IPS_GATE]):
            raise OptionsError(f"there is no feature gate {name}{meant}")
        else:
            yield f"feature gate {name}", "nothing here depends on it"


def _ports(values: dict[str, Any]) -> None:
    """What kube-proxy's flags for ports alone say, for the addresses."""
    for name, usual in (("healthz", _HEALTHZ_PORT), ("metrics", _METRICS_PORT)):
        option = f"{name}_bind_address"
        port = values.pop(f"{name}_port", usual)
        if not port:
            values[option] = ""
        elif values.get(option):
            values[option] = with_port(values[option], port)
        elif port != usual and option not in values:
            host = "0.0.0.0" if name == "healthz" else "127.0.0.1"
            values[option] = with_port(host, port)


def written(options: Options) -> dict[str, Any]:
    """The file that says what 'options' are, as a mapping."""
    file: dict[str, Any] = {"apiVersion": API_VERSION, "kind": KIND}
    for setting in {setting.option: setting for setting in SETTINGS if setting.path}.values():
        value = getattr(options, setting.option, None)
        if value is None:
            continue
        place = file
        *outer, last = setting.path.split(".")
        for part in outer:
            place = place.setdefault(part, {})
        if setting.kind is DURATION:
            value = duration_text(value)
        place[last] = list(value) if isinstance(value, tuple) else value
    if not options.external_ips:
        file["featureGates"] = {EXTERNAL_IPS_GATE: False}
    return file
