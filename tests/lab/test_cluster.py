"""The parts of ``nsxdp lab cluster`` that need no cluster; `tests/cluster` has the rest."""

import io
import json
import re
import tarfile
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from rich.console import Console

from nsxdp.lab import build
from nsxdp.lab.cluster import report
from nsxdp.lab.cluster.archive import Image, Layer, only, write_archive
from nsxdp.lab.cluster.cluster import Cluster, _alone, purge
from nsxdp.lab.cluster.coredns import coredns
from nsxdp.lab.cluster.debian import _fill
from nsxdp.lab.cluster.deploy import DAEMON_SETS, ENDPOINT, NCP_INI, manifests
from nsxdp.lab.cluster.images import versions
from nsxdp.lab.cluster.lists import LISTS
from nsxdp.lab.cluster.loadbalancers import FINALIZER, changes
from nsxdp.lab.cluster.network import reference_cni
from nsxdp.lab.cluster.node import node_object
from nsxdp.lab.cluster.ours import NAME, _commands
from nsxdp.lab.cluster.plan import FAMILIES, GATEWAY, MOST_NODES, NodePlan, Plan
from nsxdp.lab.cluster.progress import Reader
from nsxdp.lab.errors import LabError
from nsxdp.lab.owner import Owner


def test_nodes_have_addresses_and_pod_ranges_of_their_own() -> None:
    nodes = list(Plan(MOST_NODES))
    assert [node.name for node in nodes[:2]] == ["node-1", "node-2"]
    addresses = [str(address.ip) for node in nodes for address in node.addresses]
    pods = [pods for node in nodes for pods in node.pods]
    assert addresses[:2] == ["172.31.0.11", "fd00:31::b"]
    assert [str(network) for network in pods[:2]] == ["10.244.1.0/24", "fd00:244:0:1::/64"]
    assert len({*addresses, *(str(address.ip) for address in GATEWAY)}) == 2 * MOST_NODES + 2
    assert len(set(pods)) == len(pods)
    for family, version in zip(FAMILIES, (4, 6), strict=True):
        own = [network for network in pods if network.version == version]
        assert all(network.subnet_of(family.pods) for network in own)  # type: ignore[arg-type]


def test_a_node_s_object_and_its_cni_agree_about_its_pods() -> None:
    node = NodePlan(3)
    ranges = [entry[0]["subnet"] for entry in reference_cni(node)["plugins"][0]["ipam"]["ranges"]]
    assert node_object(node)["spec"]["podCIDRs"] == ranges


def test_an_archive_shares_layers(tmp_path: Path) -> None:
    with Layer(tmp_path / "base.tar") as layer:
        layer.directory("etc")
        layer.text("etc/hello", "world\n")
    with Layer(tmp_path / "top.tar") as layer:
        layer.link("hello", "/etc/hello")
    base, top = tmp_path / "base.tar", tmp_path / "top.tar"
    images = [Image(["a:1"], [base], {"Cmd": ["sh"]}), Image(["b:1", "b:2"], [base, top], {})]
    write_archive(tmp_path / "images.tar", images, "x86_64")

    with tarfile.open(tmp_path / "images.tar") as archive:
        content = {name: archive.extractfile(name) for name in archive.getnames()}
        manifest = json.load(content["manifest.json"] or io.BytesIO())
        assert [image["RepoTags"] for image in manifest] == [["a:1"], ["b:1", "b:2"]]
        shared, own = manifest[1]["Layers"]
        assert manifest[0]["Layers"] == [shared]
        assert sorted(name for name in content if name.endswith(".tar")) == sorted([shared, own])
        configuration = json.load(content[manifest[1]["Config"]] or io.BytesIO())
        assert configuration["architecture"] == "amd64"
        digests = configuration["rootfs"]["diff_ids"]
        assert digests == [f"sha256:{name.split('/')[0]}" for name in (shared, own)]


def test_the_same_content_is_the_same_layer(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "program").write_text("#!/bin/sh\n")
    (tmp_path / "tree" / "program").chmod(0o755)
    for name in ("one", "two"):
        with Layer(tmp_path / f"{name}.tar") as layer:
            layer.tree("usr", tmp_path / "tree")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as tar:
        assert tar.getmember("usr/program").mode == 0o755


def test_a_layer_that_failed_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Layer(tmp_path / "base.tar"):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_a_layer_of_debian_s_packages_leaves_out_what_nobody_reads(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "raw.tar", "w") as raw:
        for name in ("./bin/nc.openbsd", "./usr/share/doc/nc/copyright", "./usr/bin/dig"):
            raw.addfile(tarfile.TarInfo(name))
        device = tarfile.TarInfo("./dev/null")
        device.type = tarfile.CHRTYPE
        raw.addfile(device)
    links = {"nc": "nc.openbsd", "dig": "nc.openbsd"}
    with tarfile.open(tmp_path / "raw.tar") as raw, Layer(tmp_path / "root.tar") as layer:
        _fill(layer, raw, links, {"etc/hello": "world\n"})
    with tarfile.open(tmp_path / "root.tar") as root:
        # dig is a program of its own: no link takes its place.
        names = ["bin/nc.openbsd", "etc/hello", "usr/bin/dig", "usr/bin/nc"]
        assert sorted(name.removeprefix("./") for name in root.getnames()) == names
        assert root.getmember("usr/bin/nc").linkname == "/bin/nc.openbsd"
    with (
        tarfile.open(tmp_path / "raw.tar") as raw,
        pytest.raises(LabError, match=r"^no Debian package that was unpacked has ssh$"),
        Layer(tmp_path / "root.tar") as layer,
    ):
        _fill(layer, raw, {"ssh": "ssh"}, {})


def test_of_a_layer_that_is_made_anew_the_old_one_goes(tmp_path: Path) -> None:
    for name in ("tools-1.tar", "tools-2.tar", "python-1.tar"):
        (tmp_path / name).touch()
    assert only(tmp_path / "tools-2.tar", "tools") == tmp_path / "tools-2.tar"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["python-1.tar", "tools-2.tar"]


def test_the_suite_says_which_images_it_wants() -> None:
    table = """
    configs[Agnhost] = Config{list.PromoterE2eRegistry, "agnhost", "2.63.0"}
    // Pause image
    configs[Pause] = Config{list.GcRegistry, "pause", "3.10.2"}
    """
    assert versions(table) == {"Agnhost": ("agnhost", "2.63.0"), "Pause": ("pause", "3.10.2")}


def entry(state: str, text: str, message: str = "", kind: str = "It") -> dict[str, object]:
    return {
        "LeafNodeType": kind,
        "State": state,
        "RunTime": 1_500_000_000,
        "ContainerHierarchyTexts": ["[sig-network] Services"],
        "LeafNodeText": text,
        "Failure": {"Message": message},
    }


REPORT = [
    {
        "SpecReports": [
            entry("passed", "should serve a basic endpoint from pods [Conformance]"),
            entry("failed", "should be reachable", "timed out\nafter 2m"),
            entry("skipped", "should work on GCE", "Only supported for providers [gce]"),
            entry("skipped", "was not chosen"),
            entry("passed", "", kind="BeforeSuite"),
        ]
    },
    {"SpecReports": None},
]


def test_a_report_tells_of_the_specs_that_were_chosen() -> None:
    found = report.specs(REPORT)
    assert [(spec.state, spec.ok, spec.seconds) for spec in found] == [
        ("passed", True, 1.5),
        ("failed", False, 1.5),
        ("skipped", True, 1.5),
    ]
    assert found[0].name.startswith("[sig-network] Services should serve")
    assert report.summary(found) == "1 passed, 1 failed, 1 skipped"


def test_the_table_of_specs_shows_what_failed_first_and_why() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(report.table(report.specs(REPORT)))
    text = console.export_text()
    assert text.index("failed") < text.index("passed")
    assert "timed out after 2m" in text
    assert "[sig-network] Services should serve a basic endpoint from pods [Conformance]" in text


def test_a_program_that_is_not_known_is_named_with_those_that_are() -> None:
    with pytest.raises(LabError, match=r"^no program kubeadm; there are: .*kubelet"):
        build.ensure("kubeadm")


def test_two_clusters_do_not_share_a_directory(tmp_path: Path) -> None:
    with (
        _alone(tmp_path),
        pytest.raises(LabError, match=r"^another cluster is in .*--directory$"),
        _alone(tmp_path),
    ):
        pass
    (tmp_path / "images").mkdir()
    purge(tmp_path)
    assert not tmp_path.exists()
    purge(tmp_path)


def test_a_cluster_has_at_least_a_node(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"^0 nodes: a cluster has 1 to 200$"):
        Cluster(Plan(0), tmp_path)


def test_the_machine_s_parameters_are_put_back_by_the_last_who_changed_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameter = tmp_path / "parameter"
    parameter.write_text("1\n")
    monkeypatch.setattr("nsxdp.lab.owner.ROOT", tmp_path / "run")
    monkeypatch.setattr("nsxdp.lab.owner.NETNS", tmp_path / "netns")
    monkeypatch.setattr("nsxdp.lab.owner.sysctl", lambda name: tmp_path / name)
    # Both live: this process, and the one that started it.
    first, second = Owner.current(), Owner.of(1)
    first.note_sysctls(["parameter", "missing"])
    parameter.write_text("2\n")
    second.note_sysctls(["parameter"])
    first.restore_sysctls()
    assert parameter.read_text() == "2\n"
    second.restore_sysctls()
    assert parameter.read_text() == "1"


def deployed() -> list[dict[str, object]]:
    return [
        item
        for path in sorted(manifests().glob("*.yaml"))
        for item in yaml.safe_load_all(path.read_text())
    ]


def test_the_manifests_have_what_the_lab_waits_for_and_its_image() -> None:
    sets = {item["metadata"]["name"]: item for item in deployed() if item["kind"] == "DaemonSet"}  # type: ignore[index]
    assert set(sets) == set(DAEMON_SETS)
    text = "".join(path.read_text() for path in manifests().glob("*.yaml"))
    images = {line.split("image: ")[1] for line in text.splitlines() if "image: " in line}
    assert {f"docker.io/library/{image}" for image in images} == {NAME}
    assert ENDPOINT in text


def test_the_agents_have_the_manifest_s_ncp_ini() -> None:
    objects: dict[tuple[str, str], dict[str, Any]] = {
        (item["kind"], item["metadata"]["name"]): item  # type: ignore[index]
        for item in deployed()
    }
    (key,) = objects["ConfigMap", NCP_INI]["data"]
    for name in ("nsx-node-agent", "nsx-kube-proxy"):
        spec = objects["DaemonSet", name]["spec"]["template"]["spec"]
        (volume,) = (v for v in spec["volumes"] if v.get("configMap", {}).get("name") == NCP_INI)
        readers = [
            container
            for container in (*spec["initContainers"], *spec["containers"])
            if container["command"][0] == name
            if container["command"] != ["nsx-node-agent", "--init-only"]  # which nothing configures
        ]
        assert readers
        for container in readers:
            (mount,) = (m for m in container["volumeMounts"] if m["name"] == volume["name"])
            said = f"--ncp-ini={mount['mountPath']}/{key}"
            assert said in (*container["command"], *container["args"])


def test_our_image_has_all_commands() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert _commands() == project["project"]["scripts"]


def test_coredns_answers_where_kubelets_send_pods() -> None:
    (service,) = (item for item in coredns() if item["kind"] == "Service")
    assert service["spec"]["clusterIP"] == "10.96.0.10"


LOG = """\
Running Suite: Kubernetes e2e suite
Will run 3 of 7579 specs
------------------------------
• [11.373 seconds]
[sig-network] DNS should provide DNS [Conformance] [sig-network, Conformance]
test/e2e/network/dns.go:117
------------------------------
S [SKIPPED] [0.101 seconds]
[sig-network] Firewall [BeforeEach] should work [sig-network]
------------------------------
• [FAILED] [61.500 seconds]
[sig-network] Services [It] should be reachable [sig-network, Slow]
"""


def test_progress_is_read_as_it_is_written() -> None:
    reader = Reader()
    found = [spec for n in range(0, len(LOG), 7) for spec in reader.read(LOG[n : n + 7])]
    assert [(spec.state, spec.seconds) for spec in found] == [
        ("passed", 11.373),
        ("skipped", 0.101),
        ("failed", 61.5),
    ]
    assert found[0].name == "[sig-network] DNS should provide DNS [Conformance]"
    assert found[2].name == "[sig-network] Services should be reachable"
    assert reader.summary == "3 of 3 specs, 1 failed"


def test_where_specs_run_one_by_one_their_names_come_first() -> None:
    line = "-" * 30
    log = f"{line}\n[sig-network] DNS should work [a, b]\nSTEP: hello\n• [1.000 seconds]\n{line}\n"
    (spec,) = Reader().read(log)
    assert spec.name == "[sig-network] DNS should work"


def test_results_are_files_for_programs(tmp_path: Path) -> None:
    found = report.specs(REPORT)
    report.write([*found, report.Spec("hostile", "failed", 1, "\x00\x1b<&")], tmp_path)
    said = json.loads((tmp_path / "results.json").read_text())
    assert said["summary"] == {"passed": 1, "failed": 2, "skipped": 1}
    assert said["specs"][1]["reason"] == "timed out\nafter 2m"
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert {key: suite.get(key) for key in ("tests", "failures", "skipped")} == {
        "tests": "4",
        "failures": "2",
        "skipped": "1",
    }
    failures = [case.find("failure") for case in suite]
    assert [one.text for one in failures if one is not None] == [
        "timed out\nafter 2m",
        "\ufffd\ufffd<&",
    ]


def test_of_a_spec_the_last_result_counts_that_is_one_of_our_network(tmp_path: Path) -> None:
    ours = ["nsx-kube-proxy", "nsx-node-agent", "nsx-ovs", "something-else"]
    runs = [
        ("1", "passed", ours),
        ("2", "failed", ours),
        ("3", "skipped", ours),
        ("4", "passed", ["nsx-ovs"]),
    ]
    for name, state, daemon_sets in runs:
        run = tmp_path / name
        run.mkdir()
        report.write([report.Spec("one", state, 1), report.Spec(name, state, 1)], run, daemon_sets)
    found = report.newest(tmp_path, DAEMON_SETS)
    assert [(spec.name, spec.state) for spec in found] == [
        ("1", "passed"),
        ("2", "failed"),
        ("3", "skipped"),
        ("one", "failed"),
    ]


def test_no_spec_is_on_two_lists_that_make_up_all() -> None:
    for name in (
        "[sig-network] DNS should provide DNS for the cluster [Conformance]",
        "[sig-network] Netpol should support allow-all policy [Feature:NetworkPolicy]",
        "[sig-network] LoadBalancers [Feature:LoadBalancer] should be able to change [Slow]",
        "[sig-network] Services should be rejected when no endpoints exist",
    ):
        on = [each for each, (_, focus, skip) in LISTS.items() if chosen(name, focus, skip)]
        assert len(on) == 2, name
        assert on[1] == "all"
    for name in (
        "[sig-network] Networking should function: sctp [Feature:SCTPConnectivity]",
        "[sig-network] Networking should provide Internet connection [Feature:Networking-IPv4]",
    ):
        assert not any(chosen(name, focus, skip) for _, focus, skip in LISTS.values())


def chosen(name: str, focus: str, skip: str) -> bool:
    return bool(re.search(focus, name)) and not (skip and re.search(skip, name))


def balanced(*addresses: str, kind: str = "LoadBalancer", **metadata: object) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "default", "name": "web", **metadata},
        "spec": {"type": kind, "ipFamilies": ["IPv4", "IPv6"]},
        "status": {"loadBalancer": {"ingress": [{"ip": address} for address in addresses]}},
    }


def test_a_service_gets_addresses_that_nobody_has_and_a_finalizer_before() -> None:
    finalizer, addresses = changes(balanced(), {"203.0.113.1"})
    path = "/api/v1/namespaces/default/services/web"
    assert finalizer == (path, {"metadata": {"finalizers": [FINALIZER]}})
    assert addresses.path == f"{path}/status"
    ingress = addresses.body["status"]["loadBalancer"]["ingress"]
    assert [entry["ip"] for entry in ingress] == ["203.0.113.2", "2001:db8:203::1"]


def test_a_service_keeps_its_addresses_as_long_as_it_wants_a_load_balancer() -> None:
    own = ("203.0.113.9", "2001:db8:203::9")
    assert list(changes(balanced(*own, finalizers=[FINALIZER]), own)) == []
    for gone in (
        balanced(*own, kind="NodePort", finalizers=["x", FINALIZER]),
        balanced(*own, finalizers=["x", FINALIZER], deletionTimestamp="2026-01-01T00:00:00Z"),
    ):
        status, finalizer = changes(gone, own)
        assert status.body == {"status": {"loadBalancer": {"ingress": []}}}
        assert finalizer.body == {"metadata": {"finalizers": ["x"]}}


def test_a_service_of_another_class_is_left_to_others() -> None:
    other = balanced()
    other["spec"]["loadBalancerClass"] = "example.com/theirs"
    assert list(changes(other, ())) == []


def test_addresses_of_load_balancers_come_to_an_end() -> None:
    taken = {str(host) for host in FAMILIES[0].balancers.hosts()}
    with pytest.raises(LabError, match=r"^all addresses of 203\.0\.113\.0/24 are taken by other"):
        list(changes(balanced(), taken))
