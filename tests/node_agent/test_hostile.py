"""Whatever comes over the socket, whoever sends it: it is refused, and others are served."""

from __future__ import annotations

import json
import os
import resource
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from runtime import SECONDS, Agent, Object, PluginError, Runtime, until

from nsxdp.lab import Netns
from nsxdp_agents.node_agent.cni.wire import MAX_CONFIG, MAX_VARIABLES

Sandbox = Callable[[str], Netns]

MAGIC = 0x4E53582D


def frame(variables: bytes, config: bytes) -> bytes:
    """A request."""
    return struct.pack("!4I", MAGIC, 1, len(variables), len(config)) + variables + config


def connected(agent: Agent) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    peer.settimeout(SECONDS)
    peer.connect(str(agent.socket))
    return peer


def ask(agent: Agent, message: bytes, *files: int) -> Object | None:
    """The answer to a message; None: there is none, but the end."""
    with connected(agent) as peer:
        socket.send_fds(peer, [message], files)
        peer.shutdown(socket.SHUT_WR)
        with peer.makefile("rb") as file:
            try:
                header = file.read(12)
            except ConnectionResetError:  # it was closed before all was read
                return None
            if not header:
                return None
            magic, status, size = struct.unpack("!3I", header)
            assert magic == MAGIC
            body: Object = json.loads(file.read(size) or b"{}")
            assert (status == 1) == ("code" in body)
            return body


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        struct.pack("!4I", MAGIC, 2, 0, 0),
        struct.pack("!4I", MAGIC, 1, MAX_VARIABLES + 1, 0),
        struct.pack("!4I", MAGIC, 1, 0, MAX_CONFIG + 1),
        struct.pack("!4I", MAGIC, 1, 0xFFFFFFFF, 0xFFFFFFFF),
        frame(b"CNI_COMMAND=ADD\0", b"{}")[:-1],
    ],
)
def test_what_is_no_request_gets_no_answer(agent: Agent, runtime: Runtime, message: bytes) -> None:
    assert ask(agent, message) is None
    runtime.status()


@pytest.mark.parametrize(
    ("variables", "config", "code"),
    [
        ("", "{}", 4),
        ("CNI_COMMAND=add", "{}", 4),
        ("CNI_COMMAND=ADD", "", 6),
        ("CNI_COMMAND=ADD", '{"x":' + "[" * 100_000, 6),
        ("CNI_COMMAND=ADD", "[]", 7),
        ("CNI_COMMAND=ADD", '{"cniVersion":7}', 7),
        ("CNI_COMMAND=ADD", '{"cniVersion":"0.2.0","name":"nsx"}', 1),
        ("CNI_COMMAND=ADD", '{"cniVersion":"2.0.0","name":"nsx"}', 1),
        ("CNI_COMMAND=CHECK", '{"cniVersion":"0.3.1","name":"nsx"}', 1),
        ("CNI_COMMAND=GC", '{"cniVersion":"1.0.0","name":"nsx"}', 1),
        ("CNI_COMMAND=STATUS", '{"cniVersion":"1.0.0","name":"nsx"}', 1),
        ("CNI_COMMAND=STATUS", '{"cniVersion":"1.1.0"}', 7),
        ("CNI_COMMAND=STATUS", '{"cniVersion":"1.1.0","name":"../x"}', 7),
        ("CNI_COMMAND=GC", '{"cniVersion":"1.1.0","name":"nsx"}', 7),
        ("CNI_COMMAND=GC", '{"cniVersion":"1.1.0","name":"nsx","cni.dev/attachments":[1]}', 7),
        ("CNI_COMMAND=DEL", '{"name":"nsx"}', 4),
        ("CNI_COMMAND=DEL\0CNI_CONTAINERID=a", '{"name":"nsx"}', 4),
        ("CNI_COMMAND=DEL\0CNI_CONTAINERID=../a\0CNI_IFNAME=eth0", '{"name":"nsx"}', 4),
        ("CNI_COMMAND=DEL\0CNI_CONTAINERID=a\0CNI_IFNAME=a/b", '{"name":"nsx"}', 4),
        ("CNI_COMMAND=DEL\0CNI_CONTAINERID=a\0CNI_IFNAME=..", '{"name":"nsx"}', 4),
        ("CNI_COMMAND=DEL\0CNI_CONTAINERID=a\0CNI_IFNAME=" + 16 * "e", '{"name":"nsx"}', 4),
        ("CNI_COMMAND=ADD\0CNI_CONTAINERID=a\0CNI_IFNAME=eth0", '{"name":"nsx"}', 4),
        (
            "CNI_COMMAND=DEL\0CNI_CONTAINERID=a\0CNI_IFNAME=eth0\0CNI_ARGS=K8S_POD_NAME=\x1b[1m",
            '{"name":"nsx"}',
            4,
        ),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_specification_s_code(
    agent: Agent, runtime: Runtime, variables: str, config: str, code: int
) -> None:
    said = ask(agent, frame(variables.encode() + b"\0", config.encode()))
    assert said is not None
    assert said["code"] == code
    assert said["msg"]
    runtime.status()


def test_a_file_that_is_no_network_namespace_is_refused(
    agent: Agent, runtime: Runtime, sandbox: Sandbox, tmp_path: Path
) -> None:
    variables = b"CNI_COMMAND=ADD\0CNI_CONTAINERID=a\0CNI_IFNAME=eth0\0"
    others = [str(tmp_path / "file"), "/proc/self/ns/uts", "/dev/null"]
    Path(others[0]).touch()
    for path in others:
        opened = os.open(path, os.O_RDONLY)
        said = ask(agent, frame(variables, b'{"name":"nsx"}'), opened)
        os.close(opened)
        assert said is not None
        assert said["code"] == 4
        assert "is no network namespace" in said["msg"]
    runtime.add("4ac7", sandbox("pod"))


def test_files_that_nobody_asked_for_are_closed(agent: Agent, runtime: Runtime) -> None:
    def files() -> int:
        return len(list(Path(f"/proc/{agent.process.pid}/fd").iterdir()))

    runtime.status()
    before = files()
    for _ in range(20):
        ask(agent, b"none", 0, 0, 0, 0, 0)
        ask(agent, frame(b"CNI_COMMAND=STATUS\0", b'{"cniVersion":"1.1.0","name":"n"}'), 0, 0)
    until("they are closed", lambda: files() <= before)


def test_who_says_nothing_keeps_nobody_waiting(agent: Agent, runtime: Runtime) -> None:
    silent = [connected(agent) for _ in range(200)]
    runtime.status()
    for peer in silent:
        peer.close()
    runtime.status()


def test_an_agent_without_free_files_says_so_and_serves_again(
    start: Callable[..., Agent],
) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1] // 2, before[1]))
    try:
        agent = start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    process = agent.process.pid
    assert resource.prlimit(process, resource.RLIMIT_NOFILE) == (before[1], before[1])
    used = len(list(Path(f"/proc/{process}/fd").iterdir()))
    resource.prlimit(process, resource.RLIMIT_NOFILE, (used + 10, before[1]))
    silent = [connected(agent) for _ in range(50)]
    until("it says so", lambda: "runtimes have to wait" in agent.log.read_text())
    for peer in silent:
        peer.close()
    until("it serves again", agent.answers)
    assert agent.log.read_text().count("runtimes have to wait") == 1


def test_a_runtime_that_goes_away_finds_its_pod_as_a_whole_or_not_at_all(
    agent: Agent, runtime: Runtime, sandbox: Sandbox
) -> None:
    pod = sandbox("pod")
    for n in range(5):
        process = runtime.start_add(f"c{n}", pod)
        process.kill()
        process.communicate()
        runtime.delete(f"c{n}", pod)
        assert agent.ports == agent.devices == agent.leases == []


def test_the_socket_is_for_root_alone(agent: Agent) -> None:
    assert agent.socket.stat().st_mode & 0o777 == 0o600
    agent.socket.chmod(0o666)
    child = os.fork()
    if not child:
        code = 1
        try:
            agent.directory.chmod(0o755)
            os.chdir(agent.directory)  # the way there is for root alone, too
            os.setgid(65534)
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
                peer.settimeout(SECONDS)
                peer.connect(agent.socket.name)
                peer.sendall(frame(b"CNI_COMMAND=STATUS\0", b'{"cniVersion":"1.1.0","name":"n"}'))
                code = 0 if peer.recv(12) == b"" else 2
        except ConnectionError:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert "must be root's" in agent.log.read_text()


def test_errors_reach_the_runtime_in_its_version(agent: Agent, sandbox: Sandbox) -> None:
    runtime = Runtime(agent.socket, "0.4.0")
    with pytest.raises(PluginError, match="comes first in a list") as failed:
        runtime.call("ADD", runtime.variables("a", sandbox("pod")), prevResult={"ips": []})
    assert failed.value.said["cniVersion"] == "0.4.0"
    assert failed.value.code == 7
