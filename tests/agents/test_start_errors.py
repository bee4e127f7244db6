"""What can't work is said in one line, with the way out, and nothing is put on the switch."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from proxying import (
    PROGRAM,
    Manifests,
    endpoints,
    finished,
    groups,
    ours,
    service,
)

from nsxdp.lab import Node

NOBODY = "65534"


def refused(node: Node, *flags: str) -> str:
    """Run the agent with such flags; the one line that it ends with."""
    done = finished(flags, node.netns)
    assert done.returncode == 1, done
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("nsx-kube-proxy: ")
    assert ours(node) == []
    assert groups(node) == []
    assert "meter=" not in node.ovs.ofctl("dump-meters", node.mgmt)
    return lines[0].removeprefix("nsx-kube-proxy: ")


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """One for all: nothing of it is changed."""
    with Node() as made:
        yield made


@pytest.fixture
def source(manifests: Manifests) -> str:
    manifests.put(service("web", "10.96.0.10"), endpoints("web", "10.244.0.11"))
    return f"--manifests={manifests.path}"


def test_no_bridge_of_that_name(node: Node, source: str) -> None:
    assert refused(node, source, f"--ovsdb={node.ovsdb}", "--bridge=br9") == (
        f"{node.ovsdb}: there is no bridge br9 (there are: br-int): run ovs-vsctl add-br br9"
    )


def test_a_bridge_without_openflow_15(node: Node, source: str) -> None:
    node.ovs.add_bridge("old", settings=["protocols=OpenFlow10,OpenFlow13"])
    assert refused(node, source, f"--ovsdb={node.ovsdb}", "--bridge=old") == (
        "bridge old does not speak OpenFlow 1.5: "
        "run ovs-vsctl set bridge old protocols=OpenFlow10,OpenFlow13,OpenFlow15"
    )


def test_no_database(node: Node, source: str) -> None:
    assert refused(node, source, "--ovsdb=unix:/nowhere/db.sock") == (
        "unix:/nowhere/db.sock: no such socket: is its server running?"
    )


def test_nobody_listens_for_openflow(node: Node, source: str) -> None:
    """It may be about to start: that is waited for, and said."""
    argv = (source, f"--ovsdb={node.ovsdb}", "--openflow=unix:/nowhere/br.mgmt")
    done = finished(argv, node.netns)
    assert done.returncode == 1
    *waiting, last = done.stderr.splitlines()
    assert len(waiting) == 1
    assert last == (
        "nsx-kube-proxy: not ready within 10 s: "
        "unix:/nowhere/br.mgmt: no such socket: is its server running?"
    )


@pytest.mark.parametrize("flag", ["--ovsdb", "--openflow"])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("db.sock", "must start with 'unix:', 'tcp:' or 'ssl:'"),
        ("tcp:10.0.0.1:0", "the port must be a number from 1 to 65535"),
        ("unix:", "a socket's file must follow 'unix:'"),
    ],
)
def test_an_address_that_is_none(node: Node, source: str, flag: str, value: str, said: str) -> None:
    flags = {"--ovsdb": node.ovsdb, "--openflow": node.mgmt} | {flag: value}
    line = refused(node, source, *(f"{name}={text}" for name, text in flags.items()))
    assert line.startswith(f"{flag} '{value}': ")
    assert said in line


def test_ssl_without_its_files(node: Node, source: str) -> None:
    line = refused(node, source, "--ovsdb=ssl:127.0.0.1:6640", f"--openflow={node.mgmt}")
    assert line == "ssl:127.0.0.1:6640: needs a private key, a certificate and a CA certificate"


def test_no_permission(node: Node, source: str, manifests: Manifests, tmp_path: Path) -> None:
    """The sockets are root's."""
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    assert manifests.path.exists()
    done = node.netns.run(
        [
            *("setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"),
            *(PROGRAM, source, f"--ovsdb={node.ovsdb}"),
        ],
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        1,
        f"nsx-kube-proxy: {node.ovsdb}: permission denied: run as root\n",
    )
    assert ours(node) == []


def test_both_sources(node: Node, source: str) -> None:
    line = refused(node, source, "--kubeconfig=/etc/kubernetes/proxy.conf")
    assert line.endswith("both name where Services come from: give one of them")


def test_no_source(node: Node) -> None:
    """In a pod there would be credentials."""
    line = refused(node, f"--ovsdb={node.ovsdb}")
    assert "--kubeconfig" in line
    assert "--manifests" in line


def test_no_directory(node: Node) -> None:
    assert refused(node, "--manifests=/nowhere") == "--manifests /nowhere: no such directory"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "while parsing"),
        ("[]", "is no mapping: must be a KubeProxyConfiguration"),
        ("", "is no mapping: must be a KubeProxyConfiguration"),
        ("kind: KubeProxyConfiguration\n", "is KubeProxyConfiguration of no apiVersion, must be"),
        (
            "apiVersion: v1\nkind: Pod\n",
            "is Pod of v1, must be KubeProxyConfiguration of kubeproxy.config.k8s.io/v1alpha1",
        ),
        (
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
            "nsxdp: {brdige: br-int}\n",
            "there is no field nsxdp.brdige: is nsxdp.bridge meant?",
        ),
        (
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
            "nsxdp: {syncPeriod: soon}\n",
            "nsxdp.syncPeriod: must be seconds, or a duration such as 1m30s, not 'soon'",
        ),
    ],
)
def test_a_configuration_file_that_is_none(
    node: Node, tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    line = refused(node, f"--config={file}")
    assert line.startswith(f"--config {file}: ")
    assert said in line


def test_kp66_an_address_in_use_where_that_shall_be_the_end(node: Node, source: str) -> None:
    with node.netns.enter():
        taken = socket.create_server(("127.0.0.1", 10249))
    with taken:
        flags = (f"--ovsdb={node.ovsdb}", "--bind-address-hard-fail=true")
        line = refused(node, source, *flags)
    assert line == (
        "--metrics-bind-address 127.0.0.1:10249 can't be served: Address already in use"
    )


def test_no_configuration_file(node: Node) -> None:
    line = refused(node, "--config=/nowhere.yaml")
    assert line == "--config /nowhere.yaml: No such file or directory"


def test_a_kubeconfig_that_is_none(node: Node, tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text("apiVersion: v1\nkind: Config\n")
    line = refused(node, f"--kubeconfig={file}", f"--ovsdb={node.ovsdb}")
    assert str(file) in line


def test_the_flags_of_the_command_line_say_what_is_wrong(node: Node, source: str) -> None:
    assert "must be 1 to 3600" in refused(node, source, "--sync-period=0")
    line = refused(node, source, "--healthz-bind-address=here")
    assert line == "--healthz-bind-address here: must be HOST:PORT, such as 0.0.0.0:10256"
    done = finished(["--no-such-flag"], node.netns)
    assert done.returncode == 2
    assert "No such option: --no-such-flag" in done.stderr
