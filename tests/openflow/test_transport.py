"""Addresses as Open vSwitch writes them, and streams to them."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nsxdp.lab.pki import Authority
from nsxdp.transport import Remote, RemoteError, Tls, open_stream, parse_remote


@pytest.mark.parametrize(
    ("text", "remote"),
    [
        ("unix:/run/x.sock", Remote("unix", path="/run/x.sock")),
        ("unix:@name", Remote("unix", path="@name")),
        ("unix:/with:colon", Remote("unix", path="/with:colon")),
        ("tcp:10.0.0.1:6640", Remote("tcp", host="10.0.0.1", port=6640)),
        ("ssl:db.example:6640", Remote("ssl", host="db.example", port=6640)),
        ("tcp:[fd00::1]:6640", Remote("tcp", host="fd00::1", port=6640)),
    ],
)
def test_remotes(text: str, remote: Remote) -> None:
    assert parse_remote(text) == remote
    assert str(remote) == text
    assert parse_remote(str(remote)) == remote


@pytest.mark.parametrize("host", ["10.0.0.1", "db.example", "fd00::1", "[fd00::1]"])
def test_default_port(host: str) -> None:
    remote = parse_remote(f"tcp:{host}", 6640)
    assert (remote.host, remote.port) == (host.strip("[]"), 6640)


def test_a_relative_socket_is_in_open_vswitch_s_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OVS_RUNDIR", raising=False)
    assert parse_remote("unix:db.sock").path == "/var/run/openvswitch/db.sock"
    monkeypatch.setenv("OVS_RUNDIR", "/elsewhere")
    assert parse_remote("unix:db.sock").path == "/elsewhere/db.sock"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unix:",
        "/run/x.sock",
        "punix:/x",
        "tcp:",
        "tcp::80",
        "tcp:host",
        "tcp:host:0",
        "tcp:host:65536",
        "tcp:host:http",
        "tcp:host:-1",
        "tcp:[fd00::1",
        "tcp:[fd00::1]80",
        "tcp:fd00::1",
        "http://host:80",
    ],
)
def test_what_is_no_remote(text: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(repr(text))):
        parse_remote(text)


class Files:
    """Certificates of one authority for a server and a client."""

    def __init__(self, directory: Path, name: str) -> None:
        authority = Authority(name)
        self.ca = directory / f"{name}-ca.pem"
        self.ca.write_bytes(authority.certificate)
        self.paths: dict[str, tuple[Path, Path]] = {}
        for who in ("server", "client"):
            credential = authority.issue(who, addresses=["192.0.2.7"])
            key, certificate = directory / f"{name}-{who}.key", directory / f"{name}-{who}.pem"
            key.write_bytes(credential.key)
            certificate.write_bytes(credential.certificate)
            self.paths[who] = key, certificate

    def tls(self) -> Tls:
        return Tls(*self.paths["client"], self.ca)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Remote]:
        """An echo server that wants a certificate of its clients."""

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            writer.close()

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        key, certificate = self.paths["server"]
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(self.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
        async with server:
            yield Remote("ssl", host="127.0.0.1", port=server.sockets[0].getsockname()[1])


async def echoed(remote: Remote, tls: Tls | None) -> bytes:
    reader, writer = await open_stream(remote, tls, 5)
    try:
        async with asyncio.timeout(5):
            writer.write(b"hello\n")
            return await reader.read()
    finally:
        writer.close()


async def test_tls(tmp_path: Path) -> None:
    files = Files(tmp_path, "ours")
    async with files.serve() as remote:
        assert await echoed(remote, files.tls()) == b"hello\n"


async def test_a_server_of_another_authority(tmp_path: Path) -> None:
    ours, theirs = Files(tmp_path, "ours"), Files(tmp_path, "theirs")
    async with theirs.serve() as remote:
        with pytest.raises(RemoteError, match=r"^ssl:127.*isn't signed by our CA"):
            await echoed(remote, ours.tls())


async def test_tls_without_files(tmp_path: Path) -> None:
    files = Files(tmp_path, "ours")
    async with files.serve() as remote:
        with pytest.raises(RemoteError, match="needs a private key, a certificate and a CA"):
            await open_stream(remote)


def test_files_that_are_wrong(tmp_path: Path) -> None:
    files = Files(tmp_path, "ours")
    key, certificate = files.paths["client"]
    missing = tmp_path / "missing"
    with pytest.raises(RemoteError, match=r"missing: no such file, or no permission"):
        Tls(missing, certificate, files.ca).context()
    with pytest.raises(RemoteError, match="not a certificate and its key"):
        Tls(certificate, key, files.ca).context()
    with pytest.raises(RemoteError, match="not a CA certificate"):
        Tls(key, certificate, key).context()
    with pytest.raises(RemoteError, match="not a certificate and its key"):
        Tls(files.paths["server"][0], certificate, files.ca).context()


async def test_a_server_that_never_shakes_hands(tmp_path: Path) -> None:
    files = Files(tmp_path, "ours")
    gone = asyncio.Event()

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        remote = Remote("ssl", host="127.0.0.1", port=port)
        with pytest.raises(RemoteError, match=r"not connected within 0\.2 s"):
            await open_stream(remote, files.tls(), 0.2)
        gone.set()


async def test_refused() -> None:
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
    with pytest.raises(RemoteError, match="connection refused: is its server running"):
        await open_stream(Remote("tcp", host="127.0.0.1", port=port))
