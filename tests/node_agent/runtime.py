"""A container runtime as far as networks go: it calls nsx-cni as the specification says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from faults.agent import SECONDS, until
from nsxdp.lab import Netns, Node
from nsxdp.lab.ovs import datapath
from nsxdp.lab.tools import slowness
from nsxdp_agents.node_agent.cni.install import PLUGIN

__all__ = ["PROXY", "SECONDS", "Agent", "Object", "PluginError", "Runtime", "until"]

Object = dict[str, Any]
PROGRAM = Path(sys.executable).with_name("nsx-node-agent")
PROXY = PROGRAM.with_name("nsx-kube-proxy")


class PluginError(Exception):
    """The plugin's error."""

    def __init__(self, said: Object) -> None:
        super().__init__(json.dumps(said))
        self.said = said
        self.code: int = said["code"]


class Runtime:
    """Calls the plugin.

    Parameters
    ----------
    socket
        The agent's.
    version
        Of the specification.
    """

    def __init__(self, socket: Path, version: str = "1.1.0", *, program: Path = PLUGIN) -> None:
        self.socket = socket
        self.version = version
        self.program = program
        self.timeout = 30

    def config(self, **more: object) -> Object:
        """The network configuration that the plugin gets."""
        return {
            "cniVersion": self.version,
            "name": "nsx",
            "type": "nsx-cni",
            "socket": str(self.socket),
            "timeout": self.timeout,
            **more,
        }

    def popen(
        self, variables: Mapping[str, str], config: Object | bytes
    ) -> subprocess.Popen[bytes]:
        """Start the plugin, with its input written."""
        process = subprocess.Popen(
            [self.program],
            env={"PATH": os.environ["PATH"], **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None
        with process.stdin:
            process.stdin.write(
                config if isinstance(config, bytes) else json.dumps(config).encode()
            )
        process.stdin = None
        return process

    def result_of(self, process: subprocess.Popen[bytes]) -> Object:
        """What a plugin that was started says; empty: nothing, which is good."""
        out, err = process.communicate(timeout=SECONDS * slowness())
        assert err == b""
        said: Object = json.loads(out) if out else {}
        if process.returncode:
            assert process.returncode == 1
            raise PluginError(said)
        return said

    def call(self, command: str, variables: Mapping[str, str], **config: object) -> Object:
        """Run the plugin."""
        given = {"CNI_COMMAND": command, "CNI_PATH": "/opt/cni/bin", **variables}
        return self.result_of(self.popen(given, self.config(**config)))

    def variables(
        self, container: str, netns: Netns | None, ifname: str = "eth0", pod: str = ""
    ) -> dict[str, str]:
        """What the plugin finds in its environment."""
        args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod or container}"
        return {
            "CNI_CONTAINERID": container,
            "CNI_IFNAME": ifname,
            "CNI_ARGS": f"{args};K8S_POD_INFRA_CONTAINER_ID={container}",
            **({"CNI_NETNS": str(netns.path)} if netns else {}),
        }

    def add(
        self, container: str, netns: Netns, *, wants: Object | None = None, **more: Any
    ) -> Object:
        """ADD: the result. 'wants' is the runtimeConfig, if there is any."""
        config = {"runtimeConfig": wants} if wants else {}
        return self.call("ADD", self.variables(container, netns, **more), **config)

    def start_add(self, container: str, netns: Netns) -> subprocess.Popen[bytes]:
        """ADD, whose end is for later."""
        given = {"CNI_COMMAND": "ADD", **self.variables(container, netns)}
        return self.popen(given, self.config())

    def delete(self, container: str, netns: Netns | None = None, **more: Any) -> None:
        """DEL."""
        assert self.call("DEL", self.variables(container, netns, **more)) == {}

    def check(self, container: str, netns: Netns, result: Object) -> None:
        """CHECK of what an ADD gave."""
        variables = self.variables(container, netns)
        assert self.call("CHECK", variables, prevResult=result) == {}

    def collect(self, valid: Iterable[str]) -> None:
        """GC: these containers are all there are."""
        attachments = [{"containerID": each, "ifname": "eth0"} for each in valid]
        assert self.call("GC", {}, **{"cni.dev/valid-attachments": attachments}) == {}

    def status(self) -> None:
        """STATUS."""
        assert self.call("STATUS", {}) == {}


class Agent:
    """A running nsx-node-agent on a lab's node."""

    def __init__(self, node: Node, directory: Path, *flags: str, ready: bool = True) -> None:
        self.node = node
        self.directory = directory
        self.socket = directory / "cni.sock"
        self.log = directory / "agent.log"
        given = {flag.partition("=")[0] for flag in flags}
        defaults = {
            "--ovsdb": node.ovsdb,
            "--bridge": node.bridge,
            "--datapath": datapath(),
            "--cni-socket": str(self.socket),
            "--state-dir": str(directory / "state"),
            "--pod-cidr": "10.244.0.0/24,fd00:244::/64",
        }
        if {"--manifests", "--kubeconfig"} & given:
            del defaults["--pod-cidr"]
        self.argv = [
            str(PROGRAM),
            *flags,
            *(f"{flag}={value}" for flag, value in defaults.items() if flag not in given),
        ]
        self.start(ready=ready)

    def start(self, *, ready: bool = True) -> None:
        """Start it (again), and wait until it answers, or until pods can be added."""
        with self.log.open("ab") as file:
            self.process = self.node.netns.popen(self.argv, stdout=file, stderr=file)
        until("the agent answers", lambda: self.answers(ready=ready))

    def answers(self, *, ready: bool = True) -> bool:
        """Whether it answers a STATUS, or says that pods can be added."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            Runtime(self.socket).status()
        except PluginError as error:
            return not ready and "can't be reached" not in str(error)
        return True

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        self.process.terminate()
        return self.process.wait(SECONDS * slowness())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def runtime(self) -> Runtime:
        """A runtime whose plugin asks this agent."""
        return Runtime(self.socket)

    @property
    def ports(self) -> list[str]:
        """The bridge's ports of pods."""
        names = self.node.ovs.vsctl("list-ports", self.node.bridge).split()
        return sorted(name for name in names if name.startswith("nsx"))

    @property
    def devices(self) -> list[str]:
        """The node's devices of pods."""
        links = json.loads(self.node.netns.run(["ip", "-json", "link"]).stdout)
        return sorted(link["ifname"] for link in links if link["ifname"].startswith("nsx"))

    def appctl(self, *command: str) -> str:
        """What ``ovs-appctl -t nsx-node-agent`` prints."""
        return self.appctl_by("nsx-node-agent", *command)

    def appctl_by(self, target: str, *command: str) -> str:
        """Likewise, where 'target' is a daemon's name or its socket."""
        argv = ["ovs-appctl", "-t", target, *command]
        return self.node.netns.run(argv, env=self.node.ovs.env).stdout

    @property
    def leases(self) -> list[Object]:
        """What it says that pods have."""
        return [json.loads(line) for line in self.appctl("pods").splitlines()]
