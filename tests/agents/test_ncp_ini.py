"""ncp.ini: what is for an agent works, what means nothing is told, and the rest is passed over."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oslo_config import cfg
from typer.testing import CliRunner

from nsxdp.k8s.credentials import SERVICE_ACCOUNT
from nsxdp.lab.cluster.deploy import NCP_INI, manifests
from nsxdp_agents.common.config_file import until_changed
from nsxdp_agents.common.ncp_ini import LEVEL, SWITCH, IniOption, read_ncp_ini
from nsxdp_agents.common.ncp_names import NAMES
from nsxdp_agents.common.ncp_options import DEBUG
from nsxdp_agents.common.options import Configured, OptionsError
from nsxdp_agents.kube_proxy import config as kube_proxy
from nsxdp_agents.kube_proxy.cli import app
from nsxdp_agents.kube_proxy.ncp_options import OPTIONS as KUBE_PROXY
from nsxdp_agents.node_agent import options as node_agent
from nsxdp_agents.node_agent.ncp_options import OPTIONS as NODE_AGENT

SAMPLE = Path(__file__).parents[1] / "data" / "ncp.ini"
OTHERS = {
    "[DEFAULT] site": "there is no such option",
    "[nsx_node_agent] cluster_short": "there is no such option",
}
"""What the sample has of its own, to refer to."""

_SAMPLES = {
    "debug": "true",
    "apiserver_host_ip": "192.0.2.1",
    "node_type": "BAREMETAL",
    "config_handler": "nestdb",
    "is_dhcp_configured_on_ovs_uplink_port": "True",
    "enable_ipv6": "no",
    "use_stderr": "0",
    "mtu": "1400",
}
"""Where the sample of its kind won't do."""

Read = Callable[..., Configured[Any]]


def read_node_agent(path: Path, **flags: Any) -> Configured[Any]:
    return node_agent.read_options(None, flags, path)


def read_kube_proxy(path: Path, **flags: Any) -> Configured[Any]:
    return kube_proxy.read_options(None, flags, None, path)


BOTH = pytest.mark.parametrize("read", [read_node_agent, read_kube_proxy])


def file(directory: Path, text: str) -> Path:
    path = directory / "ncp.ini"
    path.write_text(text)
    return path


@pytest.fixture(autouse=True)
def in_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")


def test_a_whole_file_for_nsx_node_agent() -> None:
    options, notes = read_node_agent(SAMPLE, forwarding="nsx")
    assert options.bridge == "br-int"
    assert (options.uplink_port, options.mtu) == ("ens192", 1600)
    assert (options.config_retry_timeout, options.log_level) == (300, "debug")
    assert (options.server, options.api_ca_file, options.api_token_file) == (
        "https://192.0.2.10:6443",
        "/etc/k8s-rack-7/ca.crt",
        "/etc/kubernetes/token",
    )
    told = {where.removeprefix(f"--ncp-ini {SAMPLE}: "): why for where, why in notes}
    assert told.keys() == OTHERS.keys() | {
        "[DEFAULT] log_dir",
        "[nsx_node_agent] enable_ipv6",
        "[nsx_node_agent] nsxrpc_loglevel",
    }
    assert told["[DEFAULT] log_dir"] == "the log goes to standard error, line by line"


def test_the_same_file_for_nsx_kube_proxy() -> None:
    options, notes = read_kube_proxy(SAMPLE)
    assert (options.bridge, options.uplink_port) == ("br-int", "ens192")
    assert (options.server, options.log_level) == ("https://192.0.2.10:6443", "debug")
    told = {where.removeprefix(f"--ncp-ini {SAMPLE}: ") for where, _ in notes}
    assert told == OTHERS.keys() | {"[DEFAULT] log_dir"}


def test_values_are_those_that_oslo_config_reads() -> None:
    theirs = cfg.ConfigOpts()
    for group, name in ((None, "site"), ("coe", "cluster"), ("nsx_node_agent", "cluster_short")):
        theirs.register_opt(cfg.StrOpt(name), group)
    entries = [entry for entry in {*NODE_AGENT, *KUBE_PROXY} if entry.kind != DEBUG]
    ours = read_ncp_ini(SAMPLE, [e._replace(option=e.title, so=()) for e in entries]).values
    kinds: dict[type, type] = {bool: cfg.BoolOpt, int: cfg.IntOpt, str: cfg.StrOpt}
    said = [entry for entry in entries if entry.title in ours]
    for entry in said:
        option = kinds[type(ours[entry.title])](entry.name)
        theirs.register_opt(option, None if entry.section == "DEFAULT" else entry.section)
    theirs(args=[], default_config_files=[str(SAMPLE)])
    assert {type(value) for value in ours.values()} == kinds.keys()
    for entry in said:
        group = theirs if entry.section == "DEFAULT" else theirs[entry.section]
        value = group[entry.name]
        assert ours[entry.title] == (value.lower() if entry.kind is LEVEL else value), entry.title


def test_the_tables_have_names_of_ncp_s_alone() -> None:
    for entry in (*NODE_AGENT, *KUBE_PROXY):
        assert entry.name in NAMES[entry.section], entry.title
        assert bool(entry.option) != bool(entry.why), entry.title
    ours = {(entry.section, entry.name) for entry in (*NODE_AGENT, *KUBE_PROXY)}
    agents = ("nsx_node_agent", "nsx_kube_proxy")
    assert {(s, n) for s in agents for n in NAMES[s]} == {(s, n) for s, n in ours if s in agents}


@pytest.mark.parametrize(
    ("read", "entry"),
    [(read_node_agent, each) for each in NODE_AGENT] + [(read_kube_proxy, e) for e in KUBE_PROXY],
    ids=lambda value: value.title if isinstance(value, IniOption) else "",
)
def test_each_option_does_something_or_says_why_not(
    read: Read, entry: IniOption, tmp_path: Path
) -> None:
    of_kind = {SWITCH: "yes", LEVEL: "ERROR"}.get(entry.kind, "77")
    text = f"[{entry.section}]\n{entry.name} = {_SAMPLES.get(entry.name, of_kind)}\n"
    if entry.name in ("client_cert_file", "client_private_key_file"):
        text += "client_cert_file = /x\nclient_private_key_file = /y\n"
    flags = {"forwarding": "nsx"} if read is read_node_agent else {}
    found = read(file(tmp_path, text), **flags)
    changed = found.options != read(file(tmp_path, ""), **flags).options
    if entry.option:
        assert (changed, found.notes) == (True, ())
    else:
        ((where, why),) = found.notes
        assert (changed, why) == (False, entry.why)
        assert where.endswith(entry.title)


@BOTH
def test_what_is_for_others_is_passed_over(read: Read, tmp_path: Path) -> None:
    """Of all sections whatever NCP has had, but for what an agent of ours has in its table."""
    known = {(entry.section, entry.name) for entry in (*NODE_AGENT, *KUBE_PROXY)}
    text = "".join(
        f"[{section}]\n" + "".join(f"{n} = $1 % x\n" for n in names if (section, n) not in known)
        for section, names in NAMES.items()
    )
    assert read(file(tmp_path, text)) == read(file(tmp_path, ""))


@BOTH
def test_what_is_said_in_comments_says_nothing(read: Read, tmp_path: Path) -> None:
    text = (
        "[k8s]\nca_file = <None>\nclient_token_file =\n[coe]\nloglevel=None\nnode_type = HOSTVM\n"
    )
    assert read(file(tmp_path, text)) == read(file(tmp_path, ""))


@BOTH
@pytest.mark.parametrize(
    ("text", "where", "why"),
    [
        ("[k8s]\ncafile = x", "[k8s] cafile", "there is no such option: is ca_file meant?"),
        (
            "[k8s]\novs_bridge = br-int",
            "[k8s] ovs_bridge",
            "there is no such option: it belongs in [nsx_node_agent]",
        ),
        (
            "[nsx_node_agnet]\nmtu = 1500",
            "[nsx_node_agnet]",
            "there is no such section: is nsx_node_agent meant?",
        ),
        ("[coe]\nzzz = 1", "[coe] zzz", "there is no such option"),
    ],
)
def test_a_name_that_is_none_is_told(
    read: Read, text: str, where: str, why: str, tmp_path: Path
) -> None:
    path = file(tmp_path, text)
    assert read(path).notes == ((f"--ncp-ini {path}: {where}", why),)


@BOTH
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[DEFAULT]\ndebug = maybe", "[DEFAULT] debug: must be true or false, not 'maybe'"),
        ("[coe]\nloglevel = LOUD", "[coe] loglevel: must be one of NOTSET, DEBUG, INFO"),
        (
            "[k8s]\napiserver_host_port = 70000",
            "[k8s] apiserver_host_port: must be a whole number from 1 to 65535, not '70000'",
        ),
        ("[k8s]\napiserver_host_ip = a/b", "[k8s] apiserver_host_ip: must be an address or a name"),
        ("[k8s]\nclient_cert_file = x", "client_cert_file and client_private_key_file go together"),
        ("[coe]\nnode_type = VM", "[coe] node_type: must be one of HOSTVM, BAREMETAL"),
        ("[k8s]\nca_file = $x", "[k8s] ca_file: the file doesn't say what $x is"),
        ("[k8s]\nca_file = $ca_file", "[k8s] ca_file: refers to itself"),
        ("debug = True", "at line 1, No section before this: 'debug'"),
        ("[DEFAULT]\ndebug", "at line 2, No ':' or '=' found in assignment: 'debug'"),
        ("[DEFAULT", "at line 1, Invalid section"),
    ],
)
def test_what_is_wrong_in_a_file(read: Read, text: str, said: str, tmp_path: Path) -> None:
    path = file(tmp_path, text)
    with pytest.raises(OptionsError) as caught:
        read(path)
    assert str(caught.value).startswith(f"--ncp-ini {path}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


_NAMES = sorted({name for names in NAMES.values() for name in names})
_VALUES = st.text() | st.sampled_from(["$" + name for name in _NAMES]) | st.integers().map(str)


@BOTH
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary()
    | st.dictionaries(
        st.sampled_from(sorted(NAMES)) | st.text(),
        st.dictionaries(st.sampled_from(_NAMES) | st.text(), _VALUES),
    ).map(
        lambda sections: "".join(
            f"[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in options.items())
            for section, options in sections.items()
        ).encode(errors="replace")
    )
)
def test_any_file_at_all(read: Read, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "ncp.ini").write_bytes(content)
    with suppress(OptionsError):
        read(tmp_path / "ncp.ini")


@BOTH
def test_a_file_that_cannot_be_read(read: Read, tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match=r"--ncp-ini .*/gone: No such file or directory"):
        read(tmp_path / "gone")
    (tmp_path / "binary").write_bytes(b"[DEFAULT]\n\xff\xfe")
    with pytest.raises(OptionsError, match=r"--ncp-ini .*/binary: .*can't decode"):
        read(tmp_path / "binary")


def test_out_of_its_range_a_value_is_told_by_its_name_in_the_file(tmp_path: Path) -> None:
    path = file(tmp_path, "[nsx_node_agent]\nmtu = 900\n")
    with pytest.raises(OptionsError, match=r"\[nsx_node_agent\] mtu: must be a whole number from"):
        read_node_agent(path)


def test_flags_and_the_configuration_file_override_it(tmp_path: Path) -> None:
    ini = file(tmp_path, "[nsx_node_agent]\novs_bridge = a\nmtu = 1400\n[DEFAULT]\ndebug = on\n")
    ours = tmp_path / "config.yaml"
    head = {"apiVersion": node_agent.API_VERSION, "kind": node_agent.KIND}
    # What is a default of the file's counts, too, if it is said.
    ours.write_text(yaml.safe_dump(head | {"bridge": "b", "mtu": 1300, "logLevel": "info"}))
    options, _ = node_agent.read_options(ours, {"bridge": "c"}, ini)
    assert (options.bridge, options.mtu, options.log_level) == ("c", 1300, "info")

    head = {"apiVersion": kube_proxy.API_VERSION, "kind": kube_proxy.KIND}
    ours.write_text(yaml.safe_dump(head | {"nsxdp": {"bridge": "b"}}))
    assert kube_proxy.read_options(ours, {}, None, ini).options.bridge == "b"
    options, _ = kube_proxy.read_options(ours, {"bridge": "c"}, None, ini)
    assert (options.bridge, options.log_level) == ("c", "debug")


@BOTH
def test_the_api_server_is_as_in_a_pod_where_nothing_else_is_said(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, authority = str(SERVICE_ACCOUNT / "token"), str(SERVICE_ACCOUNT / "ca.crt")
    options, _ = read(file(tmp_path, "[k8s]\napiserver_host_ip = fd00::1\n"))
    assert options.server == "https://[fd00::1]:443"
    assert (options.api_ca_file, options.api_token_file) == (authority, token)
    options, _ = read(
        file(tmp_path, "[k8s]\nclient_cert_file = /a\nclient_private_key_file = /b\n")
    )
    assert (options.server, options.api_token_file) == ("https://10.96.0.1:443", "")
    assert (options.api_cert_file, options.api_key_file) == ("/a", "/b")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    with pytest.raises(OptionsError, match=r"without .* apiserver_host_ip nobody knows"):
        read(file(tmp_path, "[k8s]\nca_file = /a\n"))


@BOTH
def test_who_says_another_source_has_nothing_of_the_file_s(read: Read, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").touch()
    for flags in ({"kubeconfig": str(tmp_path / "kubeconfig")}, {"manifests": str(tmp_path)}):
        options, _ = read(SAMPLE, **flags)
        assert (options.server, options.api_token_file, options.api_ca_file) == ("", "", "")
    options, _ = read_node_agent(SAMPLE, pod_cidrs=("10.244.0.0/24",))  # nobody is asked
    assert options.server == ""


def test_an_uplink_is_for_forwarding_by_a_platform() -> None:
    options, notes = read_node_agent(SAMPLE)
    assert options.uplink_port == ""
    ((where, why),) = ((a, b) for a, b in notes if "ovs_uplink_port" in a)
    assert (where, why) == (
        f"--ncp-ini {SAMPLE}: [nsx_node_agent] ovs_uplink_port",
        "only --forwarding nsx has an uplink",
    )


def test_the_command_takes_it(tmp_path: Path) -> None:
    target = tmp_path / "out.yaml"
    done = CliRunner().invoke(app, [f"--ncp-ini={SAMPLE}", f"--write-config-to={target}"])
    assert done.exit_code == 0, done.output
    options, _ = kube_proxy.read_options(target, {})
    assert options == read_kube_proxy(SAMPLE).options
    done = CliRunner().invoke(app, ["--ncp-ini=/nowhere/ncp.ini"])
    assert done.exit_code == 1
    assert done.output == "nsx-kube-proxy: --ncp-ini /nowhere/ncp.ini: No such file or directory\n"


@BOTH
def test_the_manifest_s_file_says_nothing_in_vain(read: Read, tmp_path: Path) -> None:
    (config_map,) = yaml.safe_load_all((manifests() / f"{NCP_INI}.yaml").read_text())
    path = file(tmp_path, config_map["data"]["ncp.ini"])
    assert read(path) == read(file(tmp_path, ""))
    # And what it has in comments, for people to fill in.
    text = re.sub(r"^#(?=\w+ =)", "", config_map["data"]["ncp.ini"], flags=re.MULTILINE)
    text = text.replace(" =\n", " = 192.0.2.1\n")
    flags = {"forwarding": "nsx"} if read is read_node_agent else {}
    options, notes = read(file(tmp_path, text), **flags)
    assert notes == ()
    assert (options.server, options.uplink_port) == ("https://192.0.2.1:6443", "192.0.2.1")


def test_without_the_file_nothing_of_oslo_config_is_imported() -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from nsxdp_agents.kube_proxy.config import read_options\n"
        "def theirs(): return sorted(m for m in sys.modules if m.startswith('oslo'))\n"
        "read_options(None, {}); print(theirs())\n"
        "read_options(None, {}, None, Path(sys.argv[1])); print(theirs())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, SAMPLE], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[]", "['oslo_config', 'oslo_config.iniparser']"]


@pytest.mark.parametrize("changed", ["one", "two"])
async def test_a_change_of_either_file_is_seen(changed: str, tmp_path: Path) -> None:
    files = [tmp_path / name / "file" for name in ("one", "two")]
    for path in files:
        path.parent.mkdir()
        path.write_text("as it was")

    def read() -> list[str]:
        return [path.read_text() for path in files]

    task = asyncio.create_task(until_changed(files, read, read()))
    await asyncio.sleep(0)
    (tmp_path / changed / "new").write_text("something else")
    (tmp_path / changed / "new").rename(tmp_path / changed / "file")
    await asyncio.wait_for(task, 20)
