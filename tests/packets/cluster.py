"""A node with pods that serve, and nsx-kube-proxy as it is: a process that follows manifests."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from nsxdp.lab import Netns, Node, Pod, tools
from nsxdp.lab.ovs import datapath
from nsxdp.lab.programs import Server

HTTP, LINES, UDP, SCTP = 8080, 8081, 8053, 3868
"""What each server pod listens at, SCTP with the kernel's datapath; at CLOSED nobody does."""
CLOSED = 9

HAIRPIN = {4: "169.254.0.252", 6: "fd6e:7378:6470::252"}
MASQUERADE = {4: "169.254.0.251", 6: "fd6e:7378:6470::251"}
NODE = {4: "169.254.0.253", 6: "fd6e:7378:6470::253"}

_SECONDS = 60.0

_RANGES = """
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: kubernetes}
spec: {cidrs: [10.96.0.0/12, "fd00:96::/108"]}
"""

_MARK = "192.0.2.1"

_MARK_SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: mark, namespace: default}}
spec: {{clusterIP: 10.96.255.254, ports: [{{port: 1}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: mark, namespace: default, labels: {{kubernetes.io/service-name: mark}}}}
addressType: IPv4
ports: [{{name: "", port: {port}}}]
endpoints: [{{addresses: [{ip}]}}]
"""

T = TypeVar("T")


def of_family(pods: Iterable[Pod], family: int) -> list[str]:
    """The addresses of pods."""
    return [str(pod.ip if family == 4 else pod.ip6) for pod in pods]


def until(condition: Callable[[], T], what: str, seconds: float = _SECONDS) -> T:
    """Wait for a condition that comes about by itself; what it gave."""
    seconds *= tools.slowness()
    deadline = time.monotonic() + seconds
    pause = 0.01
    while not (found := condition()):
        assert time.monotonic() < deadline, f"after {seconds} seconds still not: {what}"
        time.sleep(pause)
        pause = min(1.5 * pause, 0.2)
    return found


def begin_with_fragments(client: Netns, vip: str, server: Netns, port: int) -> None:
    """Have a client's first datagram be a large one, which 'server' must get."""
    family = 6 if ":" in vip else 4
    with (
        server.open_socket(socket.SOCK_DGRAM, family=family) as receiver,
        client.open_socket(socket.SOCK_DGRAM, family=family) as sender,
    ):
        receiver.bind(("", port))
        receiver.settimeout(5 * tools.slowness())
        sent = os.urandom(4000)
        sender.sendto(sent, (vip, 80))
        assert receiver.recv(65536) == sent


class Cluster:
    """One node, its pods, and the agent.

    Attributes
    ----------
    node
        Bridge ``br-int``, gateway 10.244.0.1 and fd00:244::1.
    servers
        Four pods that say their names, at the ports above.
    client, other
        Two pods that serve nothing.
    host
        The node's own namespace.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "manifests"
        self._directory.mkdir()
        self._log = directory / "agent.log"
        self._texts: dict[str, str] = {"ranges": _RANGES}
        self._writes = 0
        self._vips: dict[str, tuple[str, str]] = {}
        self._closing = contextlib.ExitStack()
        try:
            self.node = self._closing.enter_context(Node("here"))
            self.host = self.node.netns
            self.servers = [self._serving(f"web{n}") for n in range(1, 5)]
            self.client = self.node.add_pod("client")
            self.other = self.node.add_pod("other")
            self._write()
            self.start_agent()
            self.sync()
        except BaseException:
            # An agent that hasn't got so far that it ends well isn't what is wrong.
            with contextlib.suppress(AssertionError):
                self.close()
            raise

    def close(self) -> None:
        """End the agent, which must have run until now, and remove the node."""
        self._closing.close()

    def _serving(self, name: str) -> Pod:
        pod = self.node.add_pod(name)
        sctp = [SCTP] if datapath() == "system" else []
        Server(pod, name, http=[HTTP], tcp=[LINES], udp=[UDP], sctp=sctp)
        return pod

    def start_agent(self) -> None:
        """Start nsx-kube-proxy."""
        command = self._command("--log-format=json")
        with self._log.open("wb") as log:
            self._agent = self.host.popen(command, stdout=log, stderr=log)
        self._closing.callback(self.stop_agent)

    def _command(self, *arguments: str) -> list[str]:
        """Of nsx-kube-proxy, with the options that say where all is."""
        return [
            sys.executable,
            *("-c", "from nsxdp_agents.kube_proxy.cli import main; main()"),
            *arguments,
            f"--manifests={self._directory}",
            f"--ovsdb={self.node.ovsdb}",
            f"--bridge={self.node.bridge}",
            f"--node-name={self.node.name}",
        ]

    def stop_agent(self) -> None:
        """End it, if that hasn't been done."""
        self._agent.send_signal(signal.SIGTERM)
        try:
            code = self._agent.wait(10 * tools.slowness())
        except subprocess.TimeoutExpired:
            self._agent.kill()
            raise
        assert code == 0, f"the agent ended with {code}:\n{self._log.read_text()[-4000:]}"

    def restart_agent(self) -> None:
        """End it and start it again; returns when it has done something."""
        self.stop_agent()
        self.start_agent()
        self.sync()

    def look(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of nsx-kube-proxy that looks at what the agent does."""
        return self.host.run(self._command(*arguments), check=False, timeout=_SECONDS)

    def look_on(self, terminal: int, *arguments: str) -> subprocess.Popen[bytes]:
        """Start such a command on a terminal, of which this is the file descriptor."""
        return self.host.popen(
            self._command(*arguments),
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
        )

    def gateway(self, family: int) -> str:
        """The node's own address on the bridge."""
        gateway = self.node.gateway if family == 4 else self.node.gateway6
        assert gateway is not None
        return str(gateway.ip)

    # Services.

    def serve(
        self,
        name: str,
        endpoints: Sequence[str],
        *,
        target: int,
        protocol: str = "TCP",
        spec: str = "",
        more: str = "",
        nodes: Mapping[str, str] | None = None,
        node_port: int = 0,
        ingress: Sequence[str] = (),
    ) -> tuple[str, str]:
        """Have a Service at port 80 of two cluster IPs, with these endpoints' addresses.

        'spec' and 'more' are YAML: more of the Service's spec, and of each endpoint; 'nodes' are
        the names of endpoints' nodes, 'ingress' the load balancer's addresses. Called again for the
        same name, it changes the Service and keeps its addresses.
        """
        number = len(self._vips) + 10
        ip, ip6 = self._vips.setdefault(name, (f"10.96.0.{number}", f"fd00:96::{number:x}"))
        text = f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{clusterIP: {ip}, clusterIPs: [{ip}, "{ip6}"], ipFamilies: [IPv4, IPv6],
  ipFamilyPolicy: RequireDualStack,
  ports: [{{port: 80, protocol: {protocol}, nodePort: {node_port}}}], {spec}}}
status: {{loadBalancer: {{ingress: [{", ".join(f'{{ip: "{ip}"}}' for ip in ingress)}]}}}}
"""
        for family in (4, 6):
            own = [end for end in endpoints if (":" in end) == (family == 6)]
            listed = ", ".join(
                f'{{addresses: ["{end}"], nodeName: {(nodes or {}).get(end, "here")}, {more}}}'
                for end in own
            )
            text += f"""
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  {{name: {name}-{family}, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv{family}
ports: [{{name: "", protocol: {protocol}, port: {target}}}]
endpoints: [{listed}]
"""
        self._texts[name] = text
        self.sync()
        return ip, ip6

    def know_node_by(self, *addresses: str) -> None:
        """Have Kubernetes know the node by these addresses."""
        listed = ", ".join(f'{{type: InternalIP, address: "{a}"}}' for a in addresses)
        self._texts["node"] = f"""
apiVersion: v1
kind: Node
metadata: {{name: here}}
status: {{addresses: [{listed}]}}
"""
        self.sync()
        # These flows are not a Service's: they may come after the mark.
        until(lambda: all(f"_dst={a} " in self._node_flows() for a in addresses), "node addresses")
        self.node.ovs.appctl("revalidator/wait")

    def remove(self, name: str) -> None:
        """Remove a Service and its endpoints."""
        del self._texts[name]
        self.sync()

    def sync(self) -> None:
        """Write the manifests; return when packets meet all that they say.

        They are one file, so the agent takes them all at once. The last thing in it is an endpoint
        that changes each time: when the switch has that, it has the rest. Its datapath goes on
        with what it has cached until the revalidators have been at it.
        """
        self._write()
        mark = f"nat(dst={_MARK}:{self._writes})"
        until(lambda: mark in self._groups(), f"{mark} on the switch\n{self._log_end()}")
        self.node.ovs.appctl("revalidator/wait")

    def forget_connections(self) -> None:
        """Have every packet from now on be a connection's first, whichever port it comes from."""
        self.node.ovs.appctl("dpctl/flush-conntrack")

    def _write(self) -> None:
        self._writes += 1
        texts = [*self._texts.values(), _MARK_SERVICE.format(ip=_MARK, port=self._writes)]
        new = self._directory / ".new"
        new.write_text("\n---\n".join(texts))
        new.rename(self._directory / "all.yaml")

    def _groups(self) -> str:
        return self.node.ovs.ofctl("dump-groups", self.node.mgmt)

    def _node_flows(self) -> str:
        return self.node.ovs.ofctl("dump-flows", self.node.mgmt, "table=16")

    def _log_end(self) -> str:
        return self._log.read_text()[-4000:] if self._log.exists() else ""
