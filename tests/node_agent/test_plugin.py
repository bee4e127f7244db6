"""nsx-cni by itself, under address and undefined-behaviour sanitizers: what it says of its own, and
agents that are away, slow, or none at all.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runtime import SECONDS, PluginError, Runtime, until

from nsxdp_agents.node_agent.cni.install import PLUGIN
from nsxdp_agents.node_agent.cni.request import VERSIONS
from nsxdp_agents.node_agent.cni.wire import MAX_ANSWER, MAX_CONFIG, MAX_VARIABLES, answer

ROOT = Path(__file__).parents[2]
FLAGS = ["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fno-sanitize-recover=all"]
SOURCES = [*sorted((ROOT / "csrc/cni").glob("*.c")), ROOT / "csrc/json.c", ROOT / "csrc/buf.c"]

Behaviour = Callable[[socket.socket], None]


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nsx-cni with sanitizers."""
    program = tmp_path_factory.mktemp("plugin") / "nsx-cni"
    include = [f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'csrc/include'}"]
    subprocess.run(
        ["gcc", *FLAGS, "-fsanitize=address,undefined", *include, *SOURCES, "-o", program],
        check=True,
        timeout=SECONDS,
    )
    return program


@pytest.fixture
def runtime(plugin: Path, tmp_path: Path) -> Runtime:
    """A runtime whose plugin asks an agent that isn't there, unless a test says otherwise."""
    return Runtime(tmp_path / "sock", program=plugin)


@contextmanager
def agent(path: Path, behave: Behaviour) -> Iterator[None]:
    """Somebody who listens there, and does that with the first who comes."""

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            behave(peer)

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = Thread(target=serve)
        thread.start()
        yield
        thread.join(SECONDS)


def read_request(peer: socket.socket) -> tuple[bytes, bytes]:
    """The variables and the configuration of a request."""
    with peer.makefile("rb") as file:
        magic, version, variables, config = struct.unpack("!4I", file.read(16))
        assert (magic, version) == (0x4E53582D, 1)
        return file.read(variables), file.read(config)


def answering(message: bytes) -> Behaviour:
    """Reads the request, and sends that."""

    def behave(peer: socket.socket) -> None:
        read_request(peer)
        peer.sendall(message)

    return behave


def test_it_tells_the_versions_that_there_are(runtime: Runtime) -> None:
    for version in VERSIONS:
        runtime.version = version
        assert runtime.call("VERSION", {}) == {
            "cniVersion": version,
            "supportedVersions": list(VERSIONS),
        }
    runtime.version = "9.9.9"
    assert runtime.call("VERSION", {})["cniVersion"] == VERSIONS[-1]


def test_it_needs_no_library_of_the_node(tmp_path: Path) -> None:
    shutil.copy(PLUGIN, tmp_path)
    done = subprocess.run(
        ["chroot", tmp_path, f"/{PLUGIN.name}"],
        env={**os.environ, "CNI_COMMAND": "VERSION"},
        input='{"cniVersion": "1.1.0"}',
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert json.loads(done.stdout)["supportedVersions"] == list(VERSIONS)


def test_it_hands_over_all_that_the_runtime_says(runtime: Runtime) -> None:
    seen: list[tuple[bytes, bytes]] = []

    def behave(peer: socket.socket) -> None:
        seen.append(read_request(peer))
        peer.sendall(answer(b'{"fine":true}', ok=True))

    with agent(runtime.socket, behave):
        assert runtime.call("ADD", runtime.variables("4ac7", None), more=[1, {}]) == {"fine": True}
    ((variables, config),) = seen
    said = dict(each.split("=", 1) for each in variables.decode().split("\0")[:-1])
    assert said == {"CNI_COMMAND": "ADD", **runtime.variables("4ac7", None)}
    assert json.loads(config) == runtime.config(more=[1, {}])


def test_what_an_agent_refuses_the_plugin_refuses(runtime: Runtime) -> None:
    error = {"cniVersion": "1.1.0", "code": 7, "msg": "no"}
    with (
        agent(runtime.socket, answering(answer(json.dumps(error).encode(), ok=False))),
        pytest.raises(PluginError) as refused,
    ):
        runtime.delete("4ac7")
    assert refused.value.said == error


@pytest.mark.parametrize("command", ["ADD", "DEL", "CHECK", "GC", "STATUS"])
def test_without_an_agent_it_is_to_be_tried_again(runtime: Runtime, command: str) -> None:
    runtime.version = "1.0.0"
    with pytest.raises(PluginError, match="see whether it runs on this node") as away:
        runtime.call(command, {})
    assert away.value.code == (50 if command == "STATUS" else 11)
    assert away.value.said["cniVersion"] == "1.0.0"
    assert away.value.said["details"] == "No such file or directory"


def test_an_agent_that_ended_leaves_a_socket_that_is_none(runtime: Runtime) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(runtime.socket))
    with pytest.raises(PluginError) as away:
        runtime.delete("4ac7")
    assert away.value.code == 11
    assert away.value.said["details"] == "Connection refused"


def test_a_slow_agent_is_not_waited_for_for_ever(runtime: Runtime) -> None:
    runtime.timeout = 1

    def behave(peer: socket.socket) -> None:
        read_request(peer)
        assert peer.recv(1) == b""  # until the plugin is gone

    with (
        agent(runtime.socket, behave),
        pytest.raises(PluginError, match="it doesn't answer") as late,
    ):
        runtime.delete("4ac7")
    assert late.value.code == 11


def test_an_agent_that_takes_nobody_is_not_waited_for_for_ever(runtime: Runtime) -> None:
    runtime.timeout = 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(runtime.socket))
        listener.listen(0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as first:
            first.connect(str(runtime.socket))
            with pytest.raises(PluginError, match="it can't be reached") as late:
                runtime.delete("4ac7")
    assert late.value.code == 11


@pytest.mark.parametrize(
    ("message", "said", "code"),
    [
        (b"", "it doesn't answer", 11),
        (answer(b"{}", ok=True)[:7], "it doesn't answer", 11),
        (answer(b'{"cut":"off"}', ok=True)[:-3], "its answer is cut off", 11),
        (b"HTTP/1.1 400 Bad", "of another version", 5),
        (struct.pack("!III", 0x4E53582D, 0, MAX_ANSWER + 1), "of another version", 5),
        (struct.pack("!III", 0x4E53582D, 0, 0xFFFFFFFF), "of another version", 5),
        (struct.pack("!III", 0x4E53582D, 2, 0), "of another version", 5),
    ],
)
def test_an_agent_that_says_something_else(
    runtime: Runtime, message: bytes, said: str, code: int
) -> None:
    with (
        agent(runtime.socket, answering(message)),
        pytest.raises(PluginError, match=said) as failed,
    ):
        runtime.delete("4ac7")
    assert failed.value.code == code


def test_a_namespace_that_is_not_there_matters_but_to_a_deletion(
    runtime: Runtime, tmp_path: Path
) -> None:
    variables = runtime.variables("4ac7", None) | {"CNI_NETNS": f'{tmp_path}/"gone"'}
    with pytest.raises(PluginError, match="can't be opened") as failed:
        runtime.call("ADD", variables)
    assert failed.value.code == 3
    with agent(runtime.socket, answering(answer(b"", ok=True))):
        assert runtime.call("DEL", variables) == {}


@pytest.mark.parametrize("environment", [{}, {"CNI_COMMAND": ""}])
def test_a_call_without_a_command_says_who_calls_it(
    plugin: Path, environment: dict[str, str]
) -> None:
    """At once, even on a terminal where nobody writes anything."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done = subprocess.run(
            [plugin], env=environment, stdin=theirs, capture_output=True, timeout=5, check=False
        )
    said = json.loads(done.stdout)
    assert (done.returncode, said["code"]) == (1, 4)
    assert "called by a container runtime" in said["msg"]


def test_it_runs_before_others(plugin: Path) -> None:
    """Where it may, as it may as root."""
    environment = {"CNI_COMMAND": "VERSION"}
    with subprocess.Popen([plugin], env=environment, stdin=subprocess.PIPE) as process:
        until(
            "it has a real-time priority",
            lambda: os.sched_getscheduler(process.pid) & os.SCHED_RR == os.SCHED_RR,
        )
        process.kill()


def test_what_is_too_much_is_refused(runtime: Runtime) -> None:
    with pytest.raises(PluginError, match="can't be read") as failed:
        runtime.result_of(runtime.popen({"CNI_COMMAND": "ADD"}, b" " * (MAX_CONFIG + 1)))
    assert failed.value.code == 5
    much = {"CNI_COMMAND": "ADD", "CNI_ARGS": "x" * MAX_VARIABLES}
    with pytest.raises(PluginError, match=f"more than {MAX_VARIABLES} bytes") as failed:
        runtime.result_of(runtime.popen(much, b"{}"))
    assert failed.value.code == 4
    long_path = json.dumps({"socket": "/" + "x" * 5000}).encode()
    with pytest.raises(PluginError, match="it can't be reached") as failed:
        runtime.result_of(runtime.popen({"CNI_COMMAND": "DEL"}, long_path))
    assert failed.value.code == 5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
MEMBERS = st.dictionaries(st.sampled_from(["cniVersion", "timeout", "name", "x"]), JSON)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200)
    | MEMBERS.map(lambda said: json.dumps({**said, "socket": "/nonexistent"}).encode())
    | MEMBERS.map(lambda said: json.dumps({**said, "socket": "/nonexistent"}).encode()[:-9])
)
def test_whatever_the_configuration_is_the_answer_is_one(runtime: Runtime, config: bytes) -> None:
    environment = {"CNI_COMMAND": "STATUS", "CNI_NETNS": '\x01\u20ac"\\'}
    with pytest.raises(PluginError) as failed:
        runtime.result_of(runtime.popen(environment, config))
    assert failed.value.said["cniVersion"] in VERSIONS
    assert failed.value.code == 3
