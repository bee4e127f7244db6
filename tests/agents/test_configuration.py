"""kube-proxy's configuration: each part works, or says why it does not, or is refused."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given as of_all
from hypothesis import strategies as st
from typer.testing import CliRunner

from nsxdp_agents.common.options import Configured, OptionsError, with_port
from nsxdp_agents.kube_proxy.cli import app, run
from nsxdp_agents.kube_proxy.config import API_VERSION, KIND, read_options, written
from nsxdp_agents.kube_proxy.flags import plain_switches
from nsxdp_agents.kube_proxy.options import Options
from nsxdp_agents.kube_proxy.settings import BY_FLAG, BY_PATH, LOCALHOST, SETTINGS
from nsxdp_agents.kube_proxy.values import duration, duration_text

_REAL = json.loads(
    (Path(__file__).parents[1] / "data" / "kube-proxy-configuration.json").read_text()
)
"""What kube-proxy itself writes and prints."""

_OWN_FLAGS = {
    *("--cleanup", "--config", "--help", "--init-only", "--version", "--write-config-to"),
    *("--hostname-override", "--kubeconfig", "--masquerade-all", "--nodeport-addresses"),
    *("--healthz-bind-address", "--metrics-bind-address"),
}

_SAMPLES: dict[str, Any] = {
    "a text": "x",
    "an IP address": "192.0.2.1",
    "true or false": True,
    "a whole number of 0 or more": 7,
    "a whole number from 0 to 31": 7,
    "a whole number from -1000 to 1000": 7,
    "a whole number from 0 to 99": 2,
    "a number": 7.5,
    "a duration, such as 1m30s": "1m10s",
    "seconds, or a duration such as 1m30s": 70,
    "a list of texts": ["10.0.0.0/8"],
    "a size": "4Ki",
    "anything": "x",
    "names, each with true or false": {"AllowServiceExternalIPs": False},
    "one of iptables, ipvs, nftables": "nftables",
    "one of ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix": "NodeCIDR",
}
"""A value of each kind, which says something."""

_BY_PATH: dict[str, Any] = {
    "healthzBindAddress": "127.0.0.1:99",
    "metricsBindAddress": "127.0.0.1:99",
    "logging.format": "json",
    "nsxdp.apiServer": "https://192.0.2.1:6443",
    "nsxdp.logFormat": "json",
    "nsxdp.logLevel": "debug",
    "nsxdp.hostRoutes": False,
    "nsxdp.openflow": "tcp:192.0.2.1:6653",
    "nsxdp.ovsdb": "tcp:192.0.2.1:6640",
}
"""Where that of its kind won't do."""


def file(directory: Path, content: dict[str, Any]) -> Path:
    path = directory / "config.yaml"
    path.write_text(yaml.safe_dump({"apiVersion": API_VERSION, "kind": KIND} | content))
    return path


def nested(path: str, value: Any) -> dict[str, Any]:
    for part in reversed(path.split(".")):
        value = {part: value}
    return dict(value)


def leaves(content: dict[str, Any], within: str = "") -> Iterator[str]:
    for name, value in content.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{within}{name}.")
        else:
            yield f"{within}{name}"


def test_kp70_all_of_kube_proxy_s_names_are_known() -> None:
    fields = {*leaves(_REAL["defaults"]), *_REAL["omitted"]} - {"apiVersion", "kind"}
    assert fields == {path for path in BY_PATH if not path.startswith("nsxdp.")}
    deprecated = {"--healthz-port", "--metrics-port"}  # not in its help
    assert {*_REAL["flags"]} | deprecated == {*BY_FLAG, *_OWN_FLAGS}


def test_kp70_a_file_that_kube_proxy_wrote_says_nothing(tmp_path: Path) -> None:
    assert read_options(file(tmp_path, _REAL["defaults"]), {}) == read_options(None, {})


def test_kp70_a_file_of_zeros_says_nothing(tmp_path: Path) -> None:
    """As kubeadm writes it."""

    def zero(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: zero(inner) for name, inner in value.items()}
        if isinstance(value, str) and re.fullmatch(r"(\d+[hms])+", value):
            return "0s"
        return type(value)() if isinstance(value, str) else None

    content = {name: zero(value) for name, value in _REAL["defaults"].items()}
    content["logging"]["flushFrequency"] = 0
    content |= {"apiVersion": API_VERSION, "kind": KIND}
    content["conntrack"] |= dict.fromkeys(("tcpCloseWaitTimeout", "tcpEstablishedTimeout"))
    assert read_options(file(tmp_path, content), {}) == read_options(None, {})


@pytest.mark.parametrize(
    "setting", [s for s in SETTINGS if s.path not in ("", LOCALHOST)], ids=lambda s: s.path
)
def test_each_field_does_something_or_says_why_not(setting: Any, tmp_path: Path) -> None:
    content = nested(setting.path, _BY_PATH.get(setting.path, _SAMPLES[setting.kind.says]))
    if setting.option in ("private_key", "certificate", "ca_cert"):
        content["nsxdp"] |= dict.fromkeys(("privateKey", "certificate", "caCert"), "x")
    if setting.option.startswith("api_") and setting.path.startswith("nsxdp."):
        content["nsxdp"]["apiServer"] = _BY_PATH["nsxdp.apiServer"]
        if setting.option in ("api_cert_file", "api_key_file"):
            content["nsxdp"] |= dict.fromkeys(("apiCertFile", "apiKeyFile"), "x")
    if setting.option == "ovsdb":
        content["nsxdp"]["openflow"] = "tcp:192.0.2.1:6653"
    if setting.option == "kubeconfig":
        content = nested(setting.path, str(file(tmp_path, {})))
    if setting.option == "manifests":
        content = nested(setting.path, str(tmp_path))
    found = read_options(file(tmp_path, content), {})
    if setting.option:
        assert found.options != read_options(None, {}).options
        assert found.notes == ()
    else:
        assert found.options == read_options(None, {}).options
        ((where, why),) = found.notes
        assert setting.path in where
        assert why == setting.help


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"conntrak": {"min": 1}}, "there is no field conntrak: is conntrack meant?"),
        (
            {"conntrack": {"tcpEstablishedTimeOut": "1s"}},
            "there is no field conntrack.tcpEstablishedTimeOut: "
            "is conntrack.tcpEstablishedTimeout meant?",
        ),
        ({"zzz": 1}, "there is no field zzz"),
        ({1: 2}, "there is no field 1"),
        ({"conntrack": 3}, "conntrack: must be a section with fields, not 3"),
        (
            {"conntrack": {"min": -1}},
            "conntrack.min: must be a whole number of 0 or more, not -1",
        ),
        ({"conntrack": {"min": True}}, "conntrack.min: must be a whole number of 0 or more"),
        ({"conntrack": {"udpTimeout": "5"}}, "conntrack.udpTimeout: must be a duration, such as"),
        ({"conntrack": {"udpTimeout": "-5s"}}, "conntrack.udpTimeout: must be a duration"),
        ({"conntrack": {"udpTimeout": 5}}, "conntrack.udpTimeout: must be a duration"),
        ({"bindAddress": "here"}, "bindAddress: must be an IP address, not 'here'"),
        ({"mode": "kernelspace"}, "mode: must be one of iptables, ipvs, nftables"),
        ({"detectLocalMode": "Guess"}, "detectLocalMode: must be one of ClusterCIDR, NodeCIDR"),
        ({"oomScoreAdj": 1001}, "oomScoreAdj: must be a whole number from -1000 to 1000"),
        ({"iptables": {"masqueradeBit": 32}}, "masqueradeBit: must be a whole number from 0 to 31"),
        ({"nodePortAddresses": "primary"}, "nodePortAddresses: must be a list of texts"),
        ({"nodePortAddresses": ["primary", "::/0"]}, "must be prefixes"),
        ({"featureGates": {"x": 1}}, "featureGates: must be names, each with true or false"),
        (
            {"featureGates": {"AllowServiceExternalIP": False}},
            "there is no feature gate AllowServiceExternalIP: is AllowServiceExternalIPs meant?",
        ),
        ({"healthzBindAddress": "0.0.0.0:0"}, "must be HOST:PORT"),
        ({"hostnameOverride": " "}, "--node-name: must be the name of a Node, not blanks"),
        ({"logging": {"format": "xml"}}, "--log-format xml: must be one of text, json"),
        ({"nsxdp": {"syncPeriod": 0}}, "must be 1 to 3600 seconds"),
    ],
)
def test_what_is_wrong_in_a_file(content: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(OptionsError) as caught:
        read_options(file(tmp_path, content), {})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("oomScoreAdj: 5\noomScoreAdj: 6\n", "oomScoreAdj is there twice: in lines 3 and 4"),
        ("conntrack: {min: 5, max: 6,\n  min: 5}", "min is there twice: in lines 3 and 4"),
    ],
)
def test_what_is_said_twice(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"apiVersion: {API_VERSION}\nkind: {KIND}\n{text}")
    with pytest.raises(OptionsError) as caught:
        read_options(path, {})
    assert str(caught.value) == f"--config {path}: {said}"


@of_all(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(sorted(BY_PATH)) | st.text(), inner)
        ),
    )
)
def test_any_file_at_all(content: Any) -> None:
    extra = content if isinstance(content, dict) else {"mode": content}
    with tempfile.TemporaryDirectory() as directory, suppress(OptionsError):
        read_options(file(Path(directory), extra), {})


def flags(**said: str | bool) -> Configured[Options]:
    return read_options(None, {}, {f"--{name.replace('_', '-')}": v for name, v in said.items()})


def test_kp70_flags() -> None:
    found = flags(conntrack_min="4", v="6", kube_api_qps="2.5", oom_score_adj="-3", profiling=True)
    options = found.options
    assert (options.conntrack_min, options.log_level, options.api_qps) == (4, "debug", 2.5)
    assert (options.oom_score_adj, options.profiling) == (-3, True)
    assert found.notes == ()
    assert flags(feature_gates="AllowServiceExternalIPs=false").options.external_ips is False
    assert flags(feature_gates="AllAlpha=true,X=false").notes == (
        ("feature gate AllAlpha", "nothing here depends on it"),
        ("feature gate X", "nothing here depends on it"),
    )
    ((where, why),) = flags(cluster_cidr="10.244.0.0/16").notes
    assert where == "--cluster-cidr"
    assert "port" in why
    with pytest.raises(OptionsError, match=r"--conntrack-min x: must be a whole number of 0"):
        flags(conntrack_min="x")
    with pytest.raises(OptionsError, match="API server here: must begin with https://"):
        flags(master="here")


def test_addresses_to_serve_at() -> None:
    def addresses(configured: Configured[Options]) -> tuple[str | None, str | None]:
        options = configured.options
        return options.healthz_bind_address, options.metrics_bind_address

    assert addresses(flags()) == ("0.0.0.0:10256", "127.0.0.1:10249")
    assert addresses(flags(bind_address="::")) == ("0.0.0.0:10256", "127.0.0.1:10249")
    assert addresses(flags(bind_address="2001:db8::7")) == ("[::]:10256", "[::1]:10249")
    assert addresses(flags(healthz_port="0", metrics_port="77")) == ("", "127.0.0.1:77")
    given = {"healthz_bind_address": "192.0.2.1", "metrics_bind_address": ""}
    assert addresses(read_options(None, given)) == ("192.0.2.1:10256", "")
    given["healthz_bind_address"] = "2001:db8::1"
    found = read_options(None, given, {"--healthz-port": "99"})
    assert addresses(found) == ("[2001:db8::1]:99", "")


@pytest.mark.table("util.json", "calls", function=("AppendPortIfNeeded",))
def test_an_address_with_a_port(case: dict[str, Any]) -> None:
    assert with_port(case["input"]["address"], case["input"]["port"]) == case["output"]


def test_the_mode_s_section_counts(tmp_path: Path) -> None:
    sections = {
        "iptables": {"syncPeriod": "10s", "masqueradeAll": True},
        "ipvs": {"syncPeriod": "20s", "scheduler": "rr"},
        "nftables": {"syncPeriod": "40s"},
    }

    def found(mode: str) -> tuple[float, bool, int]:
        options, notes = read_options(file(tmp_path, sections | {"mode": mode}), {})
        return options.sync_period, options.masquerade_all, len(notes)

    assert found("iptables") == (10.0, True, 0)
    assert found("ipvs") == (20.0, True, 2)  # of its mode and its scheduler
    assert found("nftables") == (40.0, False, 1)
    assert found("") == (10.0, True, 1)


def test_kp37_node_ports_at_loopback(tmp_path: Path) -> None:
    content: dict[str, Any] = {"nodePortAddresses": ["0.0.0.0/0"]}
    assert "127.0.0.0/8" in read_options(file(tmp_path, content), {}).notes[0][0]
    content["iptables"] = {"localhostNodePorts": False}
    assert read_options(file(tmp_path, content), {}).notes == ()


def test_what_is_written_is_read_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    options, _ = read_options(
        None,
        {"manifests": str(tmp_path / "manifests"), "bridge": "br9", "masquerade_all": True},
        {
            "--conntrack-udp-timeout": "1h0m1.5s",
            "--conntrack-max-per-core": "0",
            "--feature-gates": "AllowServiceExternalIPs=false",
            "--bind-address": "2001:db8::1",
            "--profiling": True,
        },
    )
    assert read_options(file(tmp_path, written(options)), {}) == Configured(options)


def test_written_by_the_command(tmp_path: Path) -> None:
    target = tmp_path / "out.yaml"
    done = CliRunner().invoke(app, ["--bridge=br9", "-v", "7", f"--write-config-to={target}"])
    assert done.exit_code == 0, done.output
    options, _ = read_options(target, {})
    assert (options.bridge, options.log_level) == ("br9", "debug")
    done = CliRunner().invoke(app, ["--write-config-to=/nowhere/x"])
    assert (done.exit_code, "No such file" in done.output) == (1, True)


def test_switches_as_kube_proxy_takes_them() -> None:
    given = ["--masquerade-all=true", "--cleanup=false", "--profiling=F", "--bridge=true", "x=true"]
    plain = ["--masquerade-all", "--no-profiling", "--bridge=true", "x=true"]
    assert plain_switches(given, run) == plain
    assert plain_switches(["--cleanup=1", "--cleanup=yes"], run) == ["--cleanup", "--cleanup=yes"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1h2m3.5s", 3723.5), ("300ms", 0.3), (".5s", 0.5), ("0", 0.0), ("15us", 15e-6), ("1.s", 1.0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)
    assert duration(duration_text(seconds)) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "5x", "-5s", "5 s", "1" * 40 + "s", "٣s", "1e3s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        duration(text)


def test_defaults_are_those_of_the_structure() -> None:
    assert read_options(None, {}).options == Options().check()
    assert msgspec.structs.asdict(Options().check())["oom_score_adj"] == -999
