"""Credentials: what a kubeconfig and a pod give, and what is said when they don't."""

import base64
import json
import os
import stat
import subprocess
import sys
import time

import pytest
import yaml

from nsxdp.k8s import credentials as module
from nsxdp.k8s.client import Client
from nsxdp.k8s.credentials import Access, Credentials, Files
from nsxdp.k8s.errors import CredentialsError, UnauthorizedError, UnreachableError
from nsxdp.k8s.resources import SERVICES


def config(user=None, cluster=None, **changes):
    made = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster or {"server": "http://127.0.0.1:1/"}}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    made.update(changes)
    return {key: value for key, value in made.items() if value is not None}


@pytest.fixture
def kubeconfig(tmp_path):
    path = tmp_path / "config"

    def write(*args, **kw):
        path.write_text(yaml.safe_dump(config(*args, **kw)))
        return path

    return write


async def test_token(kubeconfig):
    got = await (await Credentials.from_kubeconfig(kubeconfig({"token": "abc"}))).access()
    assert got == Access("http://127.0.0.1:1", authorization="Bearer abc", compress=True)


async def test_certificates_against_a_real_server(client):
    """Embedded certificates are used."""
    assert (await client.version()).startswith("v1.")
    assert (await client.get(SERVICES, "kubernetes", "default")).spec.type == "ClusterIP"


async def test_keys_leave_nothing_behind(inside, tmp_path, monkeypatch):
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    for _ in range(2):
        await Credentials.from_kubeconfig(inside.kubeconfig)
    assert list(tmp_path.iterdir()) == []


async def test_token_file_is_read_again(kubeconfig, tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.write_text("one\n")
    monkeypatch.setattr(module, "_CHECK_SECONDS", 0.0)
    credentials = await Credentials.from_kubeconfig(kubeconfig({"tokenFile": "token"}))
    assert (await credentials.access()).authorization == "Bearer one"
    new = tmp_path / "new"
    new.write_text("second\n")
    new.rename(token)
    assert (await credentials.access()).authorization == "Bearer second"
    token.unlink()  # just being replaced: what there was stays
    assert (await credentials.access()).authorization == "Bearer second"


async def test_exec_plugin(kubeconfig, tmp_path, monkeypatch):
    counter = tmp_path / "count"
    plugin = tmp_path / "plugin"
    plugin.write_text(
        f"#!{sys.executable}\n"
        "import json, pathlib\n"
        f"count = pathlib.Path({str(counter)!r})\n"
        "n = int(count.read_text()) + 1 if count.exists() else 1\n"
        "count.write_text(str(n))\n"
        "print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1',"
        " 'kind': 'ExecCredential', 'status': {'token': f'token-{n}',"
        " 'expirationTimestamp': '2020-01-01T00:00:00Z'}}))\n"
    )
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(module, "_CHECK_SECONDS", 0.0)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin)}}
    credentials = await Credentials.from_kubeconfig(kubeconfig(user))
    # It has expired: each request asks for a new one.
    assert (await credentials.access()).authorization == "Bearer token-2"
    assert (await credentials.access()).authorization == "Bearer token-3"


async def test_401_makes_it_load_again(fake, kubeconfig):
    path = kubeconfig({"token": "old"}, {"server": fake.url})
    async with Client(await Credentials.from_kubeconfig(path)) as client:
        fake.script = [fake.fail(401), fake.raw(b'{"gitVersion":"v1"}')]
        with pytest.raises(UnauthorizedError, match="have they expired"):
            await client.version()
        kubeconfig({"token": "new"}, {"server": fake.url})
        fake.script = [fake.fail(401), fake.raw(b'{"gitVersion":"v1"}')]
        assert await client.version() == "v1"


async def test_in_cluster(tmp_path, monkeypatch, inside):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(CredentialsError, match=r"no service account in .*automount"):
        await Credentials.in_cluster(tmp_path)
    (tmp_path / "token").write_text("pod-token\n")
    authority = json.loads(inside.kubeconfig.read_text())["clusters"][0]["cluster"]
    (tmp_path / "ca.crt").write_bytes(base64.b64decode(authority["certificate-authority-data"]))
    got = await (await Credentials.in_cluster(tmp_path)).access()
    assert (got.server, got.authorization) == ("https://[fd00::1]:443", "Bearer pod-token")
    assert got.ssl_context is not None


async def test_files_against_a_real_server(tmp_path, inside):
    """Authority, certificate and key are in files of their own."""
    config = json.loads(inside.kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]

    def file(name: str, said: dict[str, str]) -> str:
        (tmp_path / name).write_bytes(base64.b64decode(said[name]))
        return str(tmp_path / name)

    files = Files(
        authority=file("certificate-authority-data", cluster),
        certificate=file("client-certificate-data", user),
        key=file("client-key-data", user),
    )
    async with Client(await Credentials.from_files(cluster["server"], files)) as client:
        assert (await client.version()).startswith("v1.")
        assert (await client.get(SERVICES, "kubernetes", "default")).spec.type == "ClusterIP"


async def test_a_token_of_files_is_read_again(tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.write_text("one\n")
    monkeypatch.setattr(module, "_CHECK_SECONDS", 0.0)
    credentials = await Credentials.from_files("http://127.0.0.1:1/", Files(token=str(token)))
    assert await credentials.access() == Access("http://127.0.0.1:1", authorization="Bearer one")
    (tmp_path / "new").write_text("second\n")
    (tmp_path / "new").rename(token)
    assert (await credentials.access()).authorization == "Bearer second"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (Files(token="/nowhere/token"), "No such file or directory: '/nowhere/token'"),
        (Files(token=os.devnull), "/dev/null has no token"),
        (Files(authority="/nowhere/ca"), "certificate authority /nowhere/ca: .*No such file"),
        (Files(certificate=__file__, key=__file__), "client certificate or its key cannot be used"),
    ],
)
async def test_files_that_cannot_be_used(files, says):
    with pytest.raises(CredentialsError, match=says):
        await Credentials.from_files("https://127.0.0.1:1", files)


async def test_find_prefers_what_is_said(kubeconfig, monkeypatch):
    path = kubeconfig({"token": "abc"})
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert (await Credentials.find(str(path))).server == "http://127.0.0.1:1"
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    monkeypatch.setenv("KUBECONFIG", str(path))
    assert (await Credentials.find()).server == "http://127.0.0.1:1"


async def test_another_server(kubeconfig, fake):
    """The credentials stay; without any, the server is asked without."""
    path = kubeconfig({"token": "abc"}, {"server": "http://127.0.0.1:1"})
    credentials = await Credentials.find(str(path), server=fake.url + "/")
    assert await credentials.access() == Access(fake.url, authorization="Bearer abc", compress=True)
    credentials = await Credentials.find(server="http://192.0.2.1:8080")
    assert await credentials.access() == Access("http://192.0.2.1:8080", compress=True)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"current-context": None}, r"no current-context: choose one of \['x'\]"),
        ({"current-context": "y"}, r"no context 'y': there are \['x'\]"),
        ({"users": []}, r"context 'x' names the user 'u': there are \[\]"),
        ({"clusters": []}, r"context 'x' names the cluster 'c': there are \[\]"),
        ({"clusters": [{"name": "c", "cluster": {}}]}, "cluster of context 'x' has no server"),
        ({"users": [{"name": "u", "user": {"client-certificate": "gone.pem"}}],
          "clusters": [{"name": "c", "cluster": {"server": "https://h"}}]}, "gone.pem"),
        ({"users": [{"name": "u", "user": {"exec": {"command": "x"}}}]}, "apiVersion"),
        ({"contexts": 7}, "kubeconfig"),
        ({"users": [{"user": {}}]}, "name"),
    ],
)  # fmt: skip
async def test_what_is_wrong_with_a_kubeconfig(kubeconfig, changes, says):
    path = kubeconfig(**changes)
    with pytest.raises(CredentialsError, match=says) as caught:
        await Credentials.from_kubeconfig(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_no_file_and_no_yaml(tmp_path):
    with pytest.raises(CredentialsError, match=r"no kubeconfig file at .*--kubeconfig"):
        await Credentials.from_kubeconfig(tmp_path / "none")
    for text in ("a: [", "just text", ""):
        (tmp_path / "bad").write_text(text)
        with pytest.raises(CredentialsError, match=r"kubeconfig .*bad: "):
            await Credentials.from_kubeconfig(tmp_path / "bad")


async def test_nobody_listens(kubeconfig):
    async with Client(await Credentials.from_kubeconfig(kubeconfig())) as client:
        says = (
            "cannot reach the API server http://127.0.0.1:1: connection refused: "
            "is it running, is --kubeconfig right?"
        )
        with pytest.raises(UnreachableError, match=says.replace("?", r"\?")):
            await client.version()


async def test_the_wrong_authority(inside, kubeconfig):
    """Without the cluster's authority the server is not trusted, and the error says why."""
    path = kubeconfig({"token": "x"}, {"server": inside.url})
    async with Client(await Credentials.from_kubeconfig(path)) as client:
        with pytest.raises(UnreachableError, match=r"cannot trust the API server .*authority"):
            await client.version()
    path = kubeconfig({"token": "x"}, {"server": inside.url, "insecure-skip-tls-verify": True})
    async with Client(await Credentials.from_kubeconfig(path)) as client:
        with pytest.raises(UnauthorizedError):
            await client.version()


def test_the_loaders_come_without_the_generated_client():
    """Importing all of kubernetes_asyncio costs 37 MB; whoever imports it later gets it whole."""
    script = (
        "import sys\n"
        "from nsxdp.k8s.kubeconfig import loaders\n"
        "loaders()\n"
        "assert not [m for m in sys.modules if m.startswith('kubernetes_asyncio')]\n"
        "from kubernetes_asyncio.client import Configuration\n"
        "assert Configuration.__module__.startswith('kubernetes_asyncio.'), Configuration\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, env=os.environ)


async def test_expired_means_soon(monkeypatch):
    """A token is replaced before it expires, not after."""
    credentials = await Credentials.static(Access("http://h", expires=time.time() + 30))
    monkeypatch.setattr(module, "_CHECK_SECONDS", 0.0)
    loaded = []

    async def refresh():
        loaded.append(1)
        return True

    monkeypatch.setattr(credentials, "refresh", refresh)
    await credentials.access()
    assert loaded
