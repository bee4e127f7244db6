"""Many pods start on a node: from the plugin's start to its end, with the pod's port at work."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from bench.conftest import Record
from bench.results import duration
from nsxdp.lab import Netns, Node
from nsxdp.lab.errors import MissingTool
from nsxdp_agents.node_agent.cni.install import PLUGIN

_PODS: Final = 200
_ROUNDS: Final = 3
_PLUGINS: Final = Path("/usr/lib/cni")
_PACKAGE: Final = "containernetworking-plugins"
_SUBNETS: Final = ("10.244.0.0/23", "fd00:244::/64")
_AGENT: Final = Path(sys.executable).with_name("nsx-node-agent")
_START_SECONDS: Final = 60.0


class Plugin:
    """A CNI plugin on a node of its own, called as a runtime calls it."""

    def __init__(self, netns: Netns, program: Path, directory: Path, config: object) -> None:
        self._netns = netns
        self._program = program
        self._config = directory / "config.json"
        self._config.write_text(json.dumps(config))

    def start(self, command: str, container: str, sandbox: Netns) -> int:
        """Call it; the process's number."""
        environment = {
            "PATH": os.environ["PATH"],
            "CNI_PATH": str(_PLUGINS),
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_IFNAME": "eth0",
            "CNI_NETNS": str(sandbox.path),
        }
        files = [
            (os.POSIX_SPAWN_OPEN, 0, str(self._config), os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        ]
        argv = [self._program.name]
        return os.posix_spawn(self._program, argv, environment, file_actions=files)

    def all(self, command: str, sandboxes: list[Netns], at_once: int) -> list[float]:
        """Call it for each, so many at a time; the seconds that each call took."""
        seconds = []
        begun: dict[int, float] = {}
        with self._netns.enter():
            for number, sandbox in enumerate(sandboxes):
                begin = time.perf_counter()
                begun[self.start(command, f"pod-{number}", sandbox)] = begin
                while len(begun) >= at_once or (begun and number == len(sandboxes) - 1):
                    process, status = os.wait()
                    assert status == 0
                    seconds.append(time.perf_counter() - begun.pop(process))
        return seconds


@contextlib.contextmanager
def _ours(directory: Path) -> Iterator[Plugin]:
    socket = directory / "cni.sock"
    with Node("ours", gateway=None, gateway6=None) as node:
        argv = [
            str(_AGENT),
            f"--ovsdb={node.ovsdb}",
            f"--bridge={node.bridge}",
            "--datapath=netdev",
            f"--cni-socket={socket}",
            f"--state-dir={directory / 'state'}",
            f"--pod-cidr={','.join(_SUBNETS)}",
            "--log-level=warning",
        ]
        with (directory / "agent.log").open("wb") as log:
            agent = node.netns.popen(argv, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_SECONDS
        while not socket.exists():
            assert agent.poll() is None, (directory / "agent.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        config = {"cniVersion": "1.0.0", "name": "nsx", "type": "nsx-cni", "socket": str(socket)}
        try:
            yield Plugin(node.netns, PLUGIN, directory, config)
        finally:
            agent.kill()
            agent.wait()


@contextlib.contextmanager
def _bridge(directory: Path) -> Iterator[Plugin]:
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    ipam = {
        "type": "host-local",
        "dataDir": str(directory / "addresses"),
        "ranges": [[{"subnet": subnet}] for subnet in _SUBNETS],
        "routes": routes,
    }
    config = {
        "cniVersion": "1.0.0",
        "name": "peer",
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipam": ipam,
    }
    with Netns("peer") as netns:
        yield Plugin(netns, _PLUGINS / "bridge", directory, config)


@pytest.mark.parametrize("at_once", [1, 20, 50, _PODS])
def bench_pods(record: Record, tmp_path: Path, at_once: int) -> None:
    """Pods that start, so many at a time."""
    if not (_PLUGINS / "bridge").exists():
        raise MissingTool(f"no {_PLUGINS}/bridge: install with: apt-get install {_PACKAGE}")
    seconds: dict[str, list[float]] = {}
    whole: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        plugins = {}
        for who, opened in {"nsxdp": _ours, "bridge and host-local": _bridge}.items():
            directory = tmp_path / who.partition(" ")[0]
            directory.mkdir()
            plugins[who] = stack.enter_context(opened(directory))
        sandboxes = [stack.enter_context(Netns(f"pod{number}")) for number in range(_PODS)]
        for _ in range(_ROUNDS):
            for who, plugin in plugins.items():
                begin = time.perf_counter()
                seconds.setdefault(who, []).extend(plugin.all("ADD", sandboxes, at_once))
                whole.setdefault(who, []).append(time.perf_counter() - begin)
                plugin.all("DEL", sandboxes, at_once)
    for who, times in seconds.items():
        facts = {f"all {_PODS}": duration(statistics.median(whole[who]))}
        group = f"{_PODS} pods, {at_once} at a time" if at_once < _PODS else f"{_PODS} pods at once"
        record(group, who, times, peer=who != "nsxdp", facts=facts)
