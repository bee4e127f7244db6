"""Private OVSDB servers and Open vSwitches, and a proxy that misbehaves on request."""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nsxdp.ovsdb.framing import Framer
from nsxdp.ovsdb.schema import Schema
from nsxdp.ovsdb.store import Store, Table

VSWITCH_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
PATIENCE = 20.0

EVERY_TYPE = {
    "name": "Types",
    "version": "1.2.3",
    "tables": {
        "T": {
            "isRoot": True,
            "indexes": [["name"]],
            "columns": {
                "name": {"type": "string"},
                "integer": {"type": "integer"},
                "real": {"type": "real"},
                "boolean": {"type": "boolean"},
                "string": {"type": "string"},
                "optional": {"type": {"key": "integer", "min": 0, "max": 1}},
                "integers": {"type": {"key": "integer", "min": 0, "max": "unlimited"}},
                "strings": {"type": {"key": "string", "min": 0, "max": 3}},
                "map": {"type": {"key": "string", "value": "string", "min": 0, "max": "unlimited"}},
                "one": {"type": {"key": "string", "value": "integer", "min": 0, "max": 1}},
                "ref": {
                    "type": {
                        "key": {"type": "uuid", "refTable": "T", "refType": "weak"},
                        "min": 0,
                        "max": 1,
                    }
                },
                "refs": {
                    "type": {
                        "key": {"type": "uuid", "refTable": "T", "refType": "weak"},
                        "min": 0,
                        "max": "unlimited",
                    }
                },
                "named": {
                    "type": {
                        "key": "string",
                        "value": {"type": "uuid", "refTable": "T", "refType": "weak"},
                        "min": 0,
                        "max": "unlimited",
                    }
                },
                "color": {
                    "type": {
                        "key": {"type": "string", "enum": ["set", ["red", "green", "blue"]]},
                        "min": 0,
                        "max": 1,
                    }
                },
                "vlan": {
                    "type": {
                        "key": {"type": "integer", "minInteger": 0, "maxInteger": 4095},
                        "min": 0,
                        "max": 1,
                    }
                },
            },
        }
    },
}
"""A schema with a column of every kind of type."""


def program(name: str) -> str:
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        pytest.fail(f"{name} is missing: run apt-get install openvswitch-switch util-linux")
    return path


def end(pid: int) -> None:
    """Kill a daemon that we started, and wait until it is gone."""
    watched = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(watched, signal.SIGKILL)
        ended, _, _ = select.select([watched], [], [], PATIENCE)
        assert ended, f"process {pid} can't be killed"
    finally:
        os.close(watched)


class OvsdbServer:
    """An ovsdb-server of its own, on a socket below ``directory``."""

    def __init__(
        self,
        directory: Path,
        schema: Path,
        *,
        clustered: bool = False,
        join: str = "",
        name: str = "",
    ) -> None:
        self.directory = directory
        self.remote = f"unix:{directory}/db.sock"
        self.database = directory / "conf.db"
        self.remotes = [f"--remote=punix:{directory}/db.sock"]
        self.log = directory / "ovsdb-server.log"
        self._pid = 0
        self.raft = f"unix:{directory}/raft"
        """Where other servers of its cluster find it."""
        if join:
            create = ["join-cluster", str(self.database), name, self.raft, join]
        elif clustered:
            create = ["create-cluster", str(self.database), str(schema), self.raft]
        else:
            create = ["create", str(self.database), str(schema)]
        subprocess.run([program("ovsdb-tool"), *create], check=True, timeout=PATIENCE)

    @property
    def environment(self) -> dict[str, str]:
        here = str(self.directory)
        return os.environ | {"OVS_RUNDIR": here, "OVS_DBDIR": here, "OVS_LOGDIR": here}

    def start(self) -> None:
        """Returns when its sockets are there."""
        subprocess.run(
            [
                program("ovsdb-server"),
                *self.remotes,
                "--detach",
                "--no-chdir",
                f"--pidfile={self.directory}/ovsdb-server.pid",
                f"--log-file={self.log}",
                "-vconsole:off",
                f"--unixctl={self.directory}/ovsdb-server.ctl",
                str(self.database),
            ],
            env=self.environment,
            check=True,
            timeout=PATIENCE,
        )
        self._pid = int((self.directory / "ovsdb-server.pid").read_text())

    def stop(self) -> None:
        if self._pid:
            end(self._pid)
            self._pid = 0

    def restart(self) -> None:
        self.stop()
        self.start()

    def vsctl(self, *words: str) -> str:
        return self.run("ovs-vsctl", f"--db={self.remote}", "--timeout=10", *words)

    def run(self, name: str, *words: str) -> str:
        done = subprocess.run(
            [program(name), *words],
            env=self.environment,
            check=True,
            timeout=PATIENCE,
            capture_output=True,
            text=True,
        )
        return done.stdout


class Vswitchd:
    """An ovs-vswitchd with the userspace datapath over an `OvsdbServer`.

    Its internal ports are devices of a network namespace that ends with it.
    """

    def __init__(self, server: OvsdbServer) -> None:
        self._server = server
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._server.vsctl("--no-wait", "init")
        with (self._server.directory / "ovs-vswitchd.log").open("ab") as output:
            self._process = subprocess.Popen(
                [
                    program("unshare"),
                    "--net",
                    program("ovs-vswitchd"),
                    self._server.remote,
                    "--disable-system",
                    f"--unixctl={self._server.directory}/ovs-vswitchd.ctl",
                ],
                env=self._server.environment,
                stderr=output,
            )

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(PATIENCE)
            self._process = None


@pytest.fixture
def ovsdb_server() -> type[OvsdbServer]:
    return OvsdbServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OvsdbServer]:
    """A server with an empty Open_vSwitch database."""
    server = OvsdbServer(tmp_path, VSWITCH_SCHEMA)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def vswitch_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OvsdbServer]:
    """As `server`, for all tests of a module."""
    server = OvsdbServer(tmp_path_factory.mktemp("vswitch"), VSWITCH_SCHEMA)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def clustered_server(tmp_path: Path) -> Iterator[OvsdbServer]:
    """A cluster of one server, which remembers transactions, unlike a standalone one."""
    server = OvsdbServer(tmp_path, VSWITCH_SCHEMA, clustered=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def types_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OvsdbServer]:
    """A server with an empty database of `EVERY_TYPE`."""
    directory = tmp_path_factory.mktemp("types")
    schema = directory / "types.ovsschema"
    schema.write_text(json.dumps(EVERY_TYPE))
    server = OvsdbServer(directory, schema)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def vswitch(server: OvsdbServer) -> Iterator[OvsdbServer]:
    """A server with a running ovs-vswitchd, which has a bridge br0."""
    daemon = Vswitchd(server)
    daemon.start()
    server.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
    yield server
    server.vsctl("--if-exists", "del-br", "br0")
    daemon.stop()


@pytest.fixture(scope="session")
def every_type() -> dict[str, Any]:
    return EVERY_TYPE


Respond = Callable[[dict[str, Any]], dict[str, Any] | bytes | None]


ReadValue = Callable[[str, Any], Any]


@pytest.fixture(scope="session")
def read_value() -> ReadValue:
    """What a column of `EVERY_TYPE` has when a server says this of it, as JSON."""
    schema = Schema.from_json(EVERY_TYPE).table("T")

    def read(column: str, value: Any) -> Any:
        table = Table(Store(), schema, [column])
        row = table.parse(
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8", json.dumps({column: value}).encode()
        )
        return row[column]

    return read


class Proxy:
    """Stands between a client and a server, and may answer in the server's place.

    ``respond`` sees each message of the client: what it returns is sent to the client and the
    server doesn't see the message; bytes are sent as they are; None lets the message through.
    """

    def __init__(self, remote: str) -> None:
        self.remote = remote
        self.respond: Respond = lambda _: None
        self.seen: list[str] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._to_client: list[asyncio.StreamWriter] = []

    def send(self, data: bytes) -> None:
        """Say something to every client, as if the server said it."""
        for writer in self._to_client:
            writer.write(data)

    def disconnect(self) -> None:
        for writer in self._writers:
            writer.close()
        self._writers.clear()
        self._to_client.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(self.remote[5:])
        self._writers += [writer, up_writer]
        self._to_client.append(writer)
        await asyncio.wait(
            [
                asyncio.create_task(self._requests(reader, writer, up_writer)),
                asyncio.create_task(_copy(up_reader, writer)),
            ],
            return_when=asyncio.FIRST_COMPLETED,
        )
        writer.close()
        up_writer.close()

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        server: asyncio.StreamWriter,
    ) -> None:
        framer = Framer()
        while data := await reader.read(1 << 16):
            for text in framer.feed(data):
                message = json.loads(text)
                self.seen.append(message.get("method", ""))
                answer = self.respond(message)
                if answer is None:
                    server.write(text)
                elif isinstance(answer, bytes):
                    client.write(answer)
                else:
                    client.write(json.dumps(answer).encode())


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


@asynccontextmanager
async def listening(
    path: Path, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]
) -> AsyncIterator[str]:
    """Serve each connection to a socket; gives the remote."""
    listener = await asyncio.start_unix_server(serve, path)
    try:
        yield f"unix:{path}"
    finally:
        listener.close()


@pytest.fixture
def listen(tmp_path: Path) -> Callable[..., Any]:
    """``async with listen(serve) as remote``: a server of a test's own making."""
    return lambda serve: listening(tmp_path / "listen.sock", serve)


@pytest.fixture(name="listening")
def _listening() -> Callable[..., Any]:
    """As `listen`, at a path of the test's choice."""
    return listening


@pytest.fixture
def proxy() -> type[Proxy]:
    return Proxy


async def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait for a state of which there is no event to wait for."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        await asyncio.sleep(0.01)


@pytest.fixture(name="eventually")
def _eventually() -> Callable[..., Any]:
    return eventually
