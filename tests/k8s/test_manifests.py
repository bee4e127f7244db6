"""A directory of manifests as a source: edits of every sort, mistakes, and what they cost."""

import asyncio
import contextlib
import os
import shutil
import textwrap

import pytest

from nsxdp.k8s.manifests import Directory, ManifestDirectory, ManifestError
from nsxdp.k8s.objects import SERVICE_NAME_LABEL
from nsxdp.k8s.resources import SERVICES, Want, service_proxy_wants

WANTS = service_proxy_wants()


def service(name, ip, port=80, **meta):
    labels = ", ".join(f"{k}: {v!r}" for k, v in meta.items())
    return textwrap.dedent(f"""\
        apiVersion: v1
        kind: Service
        metadata:
          name: {name}
          labels: {{{labels}}}
        spec:
          clusterIP: {ip}
          ports:
          - port: {port}
        """)


def endpoints(name, *addresses):
    return textwrap.dedent(f"""\
        apiVersion: discovery.k8s.io/v1
        kind: EndpointSlice
        metadata:
          name: {name}-1
          labels: {{{SERVICE_NAME_LABEL}: {name}}}
        addressType: IPv4
        endpoints: [{", ".join(f"{{addresses: [{a}]}}" for a in addresses)}]
        ports: [{{port: 8080}}]
        """)


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "manifests"
    path.mkdir()
    return path


@pytest.fixture
async def seen(directory, consumer):
    """A consumer that begins to follow the directory with its first step."""

    class FromTheFirstStep(consumer):
        async def step(self):
            if not entered.is_set():
                entered.set()
                await stack.enter_async_context(source)
            await super().step()

    entered = asyncio.Event()
    source = ManifestDirectory(directory, WANTS, settle=0.01)
    async with contextlib.AsyncExitStack() as stack:
        yield FromTheFirstStep(source)


def replace(path, text):
    """As editors and `kubectl` do it: write beside, rename over."""
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(text)
    beside.rename(path)


async def test_life_of_a_file(directory, seen):
    (directory / "web.yaml").write_text(
        service("web", "10.96.0.10") + "---\n" + endpoints("web", "10.0.0.1")
    )
    await seen.until(lambda: len(seen.synced) == 2)
    web = seen.get("default/web")
    assert (web.spec.type, web.spec.cluster_ips, web.spec.ip_families) == (
        "ClusterIP",
        ("10.96.0.10",),
        ("IPv4",),
    )
    assert (web.spec.ports[0].protocol, web.spec.internal_traffic_policy) == ("TCP", "Cluster")
    assert seen.keys("EndpointSlice") == {"default/web-1"}

    seen.forget()
    both = service("web", "10.96.0.10") + "---\n" + endpoints("web", "10.0.0.1", "10.0.0.2")
    replace(directory / "web.yaml", both)
    await seen.until(lambda: seen.said)
    assert seen.said == [("upsert", "EndpointSlice", "default/web-1")]

    seen.forget()
    (directory / "web.yaml").write_text(service("web", "10.96.0.10", 81))  # in place
    await seen.until(lambda: len(seen.said) == 2)
    assert set(seen.said) == {
        ("upsert", "Service", "default/web"),
        ("delete", "EndpointSlice", "default/web-1"),
    }

    seen.forget()
    (directory / "web.yaml").unlink()
    await seen.until(lambda: seen.said)
    assert seen.said == [("delete", "Service", "default/web")]


async def test_an_empty_directory_is_synced(seen):
    await seen.until(lambda: seen.synced == {"Service", "EndpointSlice"})
    assert not seen.objects


async def test_files_come_and_are_renamed(directory, seen):
    await seen.until(lambda: len(seen.synced) == 2)
    (directory / "a.json").write_text(
        '{"kind":"List","apiVersion":"v1","items":[{"kind":"Service","apiVersion":"v1",'
        '"metadata":{"name":"a","namespace":"x"},'
        '"spec":{"clusterIP":"fd00::1","ports":[{"port":1}]}}]}'
    )
    await seen.until(lambda: seen.get("x/a"))
    assert seen.get("x/a").spec.ip_families == ("IPv6",)
    seen.forget()
    (directory / "a.json").rename(directory / "b.json")  # changes nothing
    (directory / "c.yml").write_text(service("c", "10.96.0.3"))
    await seen.until(lambda: seen.get("default/c"))
    assert seen.said == [("upsert", "Service", "default/c")]
    (directory / "c.yml").rename(directory / "c.txt")
    await seen.until(lambda: not seen.get("default/c"))


async def test_what_editors_leave_is_no_manifest(directory, seen):
    text = service("no", "10.96.0.9")
    for name in (".web.yaml.swp", ".#web.yaml", "web.yaml~", "#web.yaml#", "4913", "web.yaml.bak"):
        (directory / name).write_text(text)
    (directory / "dir.yaml").mkdir()
    (directory / "nowhere.yaml").symlink_to("not-there")
    (directory / "z.yaml").write_text(service("web", "10.96.0.1"))
    await seen.until(lambda: seen.synced)
    assert seen.keys() == {"default/web"}
    assert not seen.errors


async def test_config_map_swap(directory, seen):
    """A mounted ConfigMap: files are links through ``..data``, which is swapped as a whole."""

    def publish(version, **files):
        made = directory / f"..{version}"
        made.mkdir()
        for name, text in files.items():
            (made / f"{name}.yaml").write_text(text)
        (directory / "..data_tmp").symlink_to(made.name)
        (directory / "..data_tmp").rename(directory / "..data")

    publish("v1", web=service("web", "10.96.0.1"), dns=service("dns", "10.96.0.2"))
    for name in ("web", "dns"):
        (directory / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")
    await seen.until(lambda: seen.keys() == {"default/web", "default/dns"})
    seen.forget()
    publish("v2", web=service("web", "10.96.0.1", 8080), dns=service("dns", "10.96.0.2"))
    shutil.rmtree(directory / "..v1")
    await seen.until(lambda: seen.said)
    assert seen.said == [("upsert", "Service", "default/web")]
    assert seen.get("default/web").spec.ports[0].port == 8080


BAD = [
    ("a: [b\nkind: x", "bad.yaml:2: not YAML: while parsing a flow sequence"),
    (
        service("bad", "10.96.0.1", "http"),
        "bad.yaml:9: Service bad: $.spec.ports[0].port: Expected `int`, got `str`",
    ),
    (
        service("ok", "10.96.0.1") + "---\n" + service("bad", "10.96.0.300"),
        "bad.yaml:17: Service default/bad: $.spec.clusterIP: '10.96.0.300' is not an IP",
    ),
    (
        service("bad", "10.96.0.1", 0),
        "bad.yaml:9: Service default/bad: $.spec.ports[0].port: must be between 1 and 65535",
    ),
    (
        service("bad", "10.96.0.1").replace("  name: bad", "  name: bad\n  name: bad"),
        "bad.yaml:5: not YAML: the key 'name' stands here twice",
    ),
    (
        service("bad", "10.96.0.1").replace("  name: bad\n", ""),
        "bad.yaml:3: Service (no name): $.metadata.name: an object must have a name",
    ),
    (
        endpoints("bad", "10.0.0.1").replace(SERVICE_NAME_LABEL, "name"),
        "bad.yaml:5: EndpointSlice default/bad-1: $.metadata.labels: the label "
        "kubernetes.io/service-name must name the Service",
    ),
    (
        endpoints("bad", "10.0.0.1", "fd00::1"),
        "bad.yaml:7: EndpointSlice default/bad-1: $.endpoints[1].addresses[0]: "
        "fd00::1 is not an IPv4 address",
    ),
    ("- a\n- b\n", "bad.yaml:1: a manifest must be a mapping, this is a list"),
    ("name: x\n", "bad.yaml:1: $.kind: says of no kind what this is"),
    (
        service("x", "10.96.0.1").replace("v1", "v2", 1),
        "bad.yaml:1: Service x: $.apiVersion: is 'v2', must be 'v1'",
    ),
    ("a: " + "[" * 500, "bad.yaml:1: not YAML: nested too deeply"),
    ("a: " + "[" * 100_000, "bad.yaml:1: not YAML: "),  # libyaml may see it first
    ("a: \x00", "bad.yaml: not YAML"),
    (
        service("a", "10.96.0.1") + "---\n" + service("a", "10.96.0.2"),
        "bad.yaml:14: Service default/a: $.metadata.name: stands already at bad.yaml:4",
    ),
    ("&a [*a]", "bad.yaml"),
]


@pytest.mark.parametrize(("text", "says"), BAD)
async def test_a_bad_file_keeps_what_it_gave(directory, seen, text, says):
    """One clear line; the objects from before stay until it is good again; other files go on."""
    bad = directory / "bad.yaml"
    bad.write_text(service("before", "10.96.0.50"))
    await seen.until(lambda: len(seen.synced) == 2)
    seen.forget()
    replace(bad, text)
    await seen.until(lambda: seen.errors)
    assert len(seen.errors) == 1
    assert str(seen.errors[0]).startswith(says)
    assert "\n" not in str(seen.errors[0])
    replace(directory / "other.yaml", service("other", "10.96.0.51"))
    await seen.until(lambda: seen.get("default/other"))
    assert seen.keys() == {"default/before", "default/other"}
    assert len(seen.errors) == 1, "it is said once"
    replace(bad, service("after", "10.96.0.52"))
    await seen.until(lambda: seen.keys() == {"default/after", "default/other"})


def test_json_errors_have_lines_too(directory):
    (directory / "a.json").write_text(
        '{"kind":"ServiceList","apiVersion":"v1","items":[\n'
        '{"metadata":{"name":"j"},\n'
        '"spec":{"clusterIP":"10.96.0.1",\n"ports":[{"port":"1"}]}}]}'
    )
    (directory / "b.json").write_text('{"kind":\n"Service",,}')
    errors = [str(error) for error in Directory(directory, WANTS).scan().errors]
    assert errors[0] == "a.json:4: Service j: $.spec.ports[0].port: Expected `int`, got `str`"
    assert errors[1].startswith("b.json:2: not YAML: ")


def test_many_mistakes_are_not_all_told(directory):
    text = "---\n".join(service(f"s{i}", "10.96.0.1", 0) for i in range(100))
    (directory / "a.yaml").write_text(text)
    assert len(Directory(directory, WANTS).scan().errors) == 10


def test_other_kinds_and_empty_documents_are_passed_over(directory):
    (directory / "a.yaml").write_text(
        "---\n# nothing\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n---\n"
        + service("web", "10.96.0.1")
    )
    scan = Directory(directory, WANTS).scan()
    assert [obj.key for _, obj in scan.changes["Service"]] == ["default/web"]
    assert not scan.errors


def test_yaml_is_read_as_kubectl_reads_it(directory):
    (directory / "a.yaml").write_text(
        service("web", "10.96.0.1").replace(
            "  labels: {}",
            "  creationTimestamp: 2024-01-01T00:00:00Z\n"
            "  labels:\n  annotations: {a: 12:30:45, b: 08}",
        )
    )
    scan = Directory(directory, WANTS).scan()
    assert not scan.errors
    ((_, web),) = scan.changes["Service"]
    assert web.metadata.creation_timestamp == "2024-01-01T00:00:00Z"
    assert web.metadata.annotations == {"a": "12:30:45", "b": "08"}
    assert web.metadata.labels is None


def test_selectors_hold_here_too(directory):
    """KP-2, KP-3: the same selectors as for an API server."""
    (directory / "a.yaml").write_text(
        service("served", "10.96.0.1")
        + "---\n"
        + service("headless", "None")
        + "---\n"
        + service("others", "10.96.0.2", **{"service.kubernetes.io/service-proxy-name": "x"})
    )
    scan = Directory(directory, WANTS).scan()
    assert [obj.key for _, obj in scan.changes["Service"]] == ["default/served"]
    others = Directory(directory, service_proxy_wants(proxy_name="x")).scan()
    assert [obj.key for _, obj in others.changes["Service"]] == ["default/others"]
    elsewhere = Directory(directory, [Want(SERVICES, namespace="kube-system")]).scan()
    assert not elsewhere.changes["Service"]


async def test_the_first_of_two_files_counts(directory, seen):
    (directory / "a.yaml").write_text(service("web", "10.96.0.1", 1))
    (directory / "b.yaml").write_text(service("web", "10.96.0.2", 2))
    await seen.until(lambda: len(seen.synced) == 2)
    assert seen.get("default/web").spec.ports[0].port == 1
    assert [str(e) for e in seen.errors] == [
        "b.yaml:4: Service default/web: $.metadata.name: stands already at a.yaml:4: "
        "this one is left out"
    ]
    seen.forget()
    (directory / "c.yaml").write_text(service("other", "10.96.0.3"))
    await seen.until(lambda: seen.get("default/other"))
    assert not seen.errors, "it is said once"
    seen.forget()
    (directory / "a.yaml").unlink()
    await seen.until(lambda: seen.said)
    assert seen.said == [("upsert", "Service", "default/web")]
    assert seen.get("default/web").spec.ports[0].port == 2


async def test_an_object_moves_between_files(directory, seen):
    (directory / "a.yaml").write_text(service("web", "10.96.0.1"))
    (directory / "b.yaml").write_text(service("dns", "10.96.0.2"))
    await seen.until(lambda: len(seen.synced) == 2)
    seen.forget()
    (directory / "a.yaml").write_text(service("new", "10.96.0.3"))
    (directory / "b.yaml").write_text(
        service("dns", "10.96.0.2") + "---\n" + service("web", "10.96.0.1")
    )
    await seen.until(lambda: seen.get("default/new"))
    assert seen.said == [("upsert", "Service", "default/new")]


async def test_addresses_and_node_ports_are_allocated_once(directory, seen):
    """As the API server's allocators have it."""
    node_port = service("n1", "10.96.0.3").replace("spec:", "spec:\n  type: NodePort")
    node_port = node_port.replace("- port: 80", "- port: 80\n    nodePort: 30000")
    (directory / "a.yaml").write_text(
        service("one", "10.96.0.1")
        + "---\n"
        + service("two", "10.96.0.001")
        + "---\n"
        + node_port
        + "---\n"
        + node_port.replace("n1", "n2").replace("10.96.0.3", "10.96.0.4")
    )
    await seen.until(lambda: len(seen.synced) == 2)
    assert seen.keys() == {"default/one", "default/n1"}
    assert [str(e) for e in seen.errors] == [
        "a.yaml:14: Service default/two: $.spec: clusterIP 10.96.0.1 is already default/one's "
        "(a.yaml:4)",
        "a.yaml:36: Service default/n2: $.spec: nodePort 30000/TCP is already default/n1's "
        "(a.yaml:24)",
    ]


async def test_the_directory_disappears_and_comes_back(directory, consumer):
    (directory / "web.yaml").write_text(service("web", "10.96.0.1"))
    async with ManifestDirectory(directory, WANTS, settle=0.01, interval=0.1) as source:
        seen = consumer(source)
        await seen.until(lambda: len(seen.synced) == 2)
        seen.forget()
        away = directory.with_name("away")
        directory.rename(away)
        directory.mkdir()
        (directory / "web.yaml").write_text(service("web", "10.96.0.1"))
        (directory / "dns.yaml").write_text(service("dns", "10.96.0.2"))
        await seen.until(lambda: seen.get("default/dns"))
        assert ("delete", "Service", "default/web") not in seen.said


def test_a_directory_that_is_away_is_not_an_empty_one(directory):
    (directory / "web.yaml").write_text(service("web", "10.96.0.1"))
    reader = Directory(directory, WANTS)
    reader.scan()
    directory.rename(directory.with_name("away"))
    with pytest.raises(ManifestError, match="no such file or directory"):
        reader.scan()
    directory.with_name("away").rename(directory)
    assert not reader.scan().changes["Service"]


async def test_no_directory(directory):
    with pytest.raises(ManifestError, match=r"the manifests at .*none: no such file"):
        async with ManifestDirectory(directory / "none", WANTS):
            pass


async def test_changes_behind_links_are_seen_now_and_then(directory, tmp_path, consumer):
    target = tmp_path / "target.yaml"
    target.write_text(service("web", "10.96.0.1", 1))
    (directory / "web.yaml").symlink_to(target)
    async with ManifestDirectory(directory, WANTS, settle=0.01, interval=0.1) as source:
        seen = consumer(source)
        await seen.until(lambda: seen.get("default/web"))
        replace(target, service("web", "10.96.0.1", 2))
        await seen.until(lambda: seen.get("default/web").spec.ports[0].port == 2)


async def test_a_single_file(directory, consumer):
    path = directory / "web.yaml"
    path.write_text(service("web", "10.96.0.1", 1))
    (directory / "other.yaml").write_text(service("other", "10.96.0.2"))
    async with ManifestDirectory(path, WANTS, settle=0.01) as source:
        seen = consumer(source)
        await seen.until(lambda: seen.synced)
        assert seen.keys() == {"default/web"}
        replace(path, service("web", "10.96.0.1", 2))
        await seen.until(lambda: seen.get("default/web").spec.ports[0].port == 2)


async def test_many_objects_come_in_batches(directory, consumer):
    documents = [service(f"s{i}", f"10.96.{i // 250}.{i % 250 + 1}") for i in range(1500)]
    (directory / "a.yaml").write_text("---\n".join(documents))
    async with ManifestDirectory(directory, WANTS, queue_size=1) as source:
        seen = consumer(source)
        await seen.step()
        assert len(seen.objects) == 1000
        assert not seen.synced
        await seen.until(lambda: seen.synced)
        assert len(seen.objects) == 1500


def test_a_file_that_may_not_be_read(directory, monkeypatch):
    path = directory / "web.yaml"
    path.write_text(service("web", "10.96.0.1"))

    def refuse(*_):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(type(path), "read_bytes", refuse)
    errors = Directory(directory, WANTS).scan().errors
    assert [str(error) for error in errors] == ["web.yaml: Permission denied"]
