"""Two nodes on a wire, each with a switch, an agent of its own, and a pod that serves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from ipaddress import ip_interface
from pathlib import Path

import yaml
from runtime import Agent, Object

from nsxdp.lab import Netns, Node

__all__ = ["MTU", "UNDERLAY", "Place", "Two", "a_manifest", "write"]

UNDERLAY = "br-wire"
"""The bridge with the node's address: what is in tunnels leaves by a bridge on the userspace
datapath."""

MTU = 1400
"""Of the wire between the nodes."""


def write(manifest: Path, *objects: Object) -> None:
    """Have these be all that a manifest says."""
    made = manifest.with_suffix(".new")
    made.write_text(yaml.safe_dump_all(objects))
    made.rename(manifest)


def a_manifest(name: str, cidrs: Sequence[str], ips: Iterable[str]) -> Object:
    """A Node that has those networks of pods, and those addresses."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"podCIDR": cidrs[0], "podCIDRs": [*cidrs]},
        "status": {"addresses": [{"type": "InternalIP", "address": ip} for ip in ips]},
    }


class Place:
    """A node, its agent, and its pods."""

    def __init__(self, node: Node, number: int, manifests: Path, directory: Path) -> None:
        self.node = node
        self.name = f"node-{number}"
        self.cidrs = [f"10.244.{number}.0/24", f"fd00:244:{number}::/64"]
        self.ips = [f"192.0.2.{number + 1}", f"2001:db8::{number + 1}"]
        self.manifest = manifests / f"{self.name}.yaml"
        self.directory = directory
        self.directory.mkdir()
        node.ovs.add_bridge(UNDERLAY)
        node.ovs.vsctl("add-port", UNDERLAY, "wire")
        node.netns.run(["ethtool", "-K", "wire", "tx", "off"])
        self.set_address()
        node.ovs.after_start.append(self.set_address)

    def set_address(self) -> None:
        self.node.netns.iproute(
            f"link set wire mtu {MTU} up",
            f"link set {UNDERLAY} up",
            f"addr replace {self.ips[0]}/24 dev {UNDERLAY}",
            f"addr replace {self.ips[1]}/64 dev {UNDERLAY} nodad",
        )

    def register(self) -> None:
        """Let Kubernetes know of the node."""
        write(self.manifest, a_manifest(self.name, self.cidrs, self.ips))

    def start(self, stack: ExitStack, *flags: str) -> None:
        own = [f"--manifests={self.manifest.parent}", f"--node-name={self.name}"]
        self.agent = stack.enter_context(Agent(self.node, self.directory, *own, *flags))

    def add(self, stack: ExitStack, name: str) -> tuple[Netns, list[str]]:
        """A pod that serves, and its addresses."""
        pod = stack.enter_context(Netns(name))
        result: Object = self.agent.runtime.add(name, pod)
        pod.serve_http(80)
        return pod, [str(ip_interface(ip["address"]).ip) for ip in result["ips"]]

    @property
    def routes(self) -> dict[str, str]:
        """To other nodes' pods."""
        found = {}
        for family in ("-4", "-6"):
            argv = ["ip", family, "-json", "route", "show", "proto", "111"]
            for route in json.loads(self.node.netns.run(argv).stdout or "[]"):
                found[route["dst"]] = route["gateway"]
        return found

    @property
    def table(self) -> str:
        argv = ["nft", "list", "table", "inet", "nsxdp_pods"]
        return self.node.netns.run(argv, check=False).stdout


class Two:
    """Two nodes, the second of which Kubernetes may not know yet, with a pod each."""

    def __init__(self, stack: ExitStack, directory: Path, mode: str) -> None:
        self.manifests = directory / "manifests"
        self.manifests.mkdir()
        self.stack = stack
        nodes = [
            stack.enter_context(
                Node(
                    name,
                    gateway=f"10.244.{number}.1/24",
                    gateway6=f"fd00:244:{number}::1/64",
                    mac=f"0a:58:0a:f4:0{number}:01",
                )
            )
            for number, name in enumerate(("here", "there"))
        ]
        other = nodes[1].netns.name
        nodes[0].netns.iproute(f"link add wire type veth peer name wire netns {other}")
        self.here, self.there = (
            Place(node, number, self.manifests, directory / node.name)
            for number, node in enumerate(nodes)
        )
        for place in (self.here, self.there):
            place.register()
        for place in (self.here, self.there):
            place.start(stack, f"--encapsulation={mode}")
        self.web, self.web_ips = self.here.add(stack, "web")
        self.far, self.far_ips = self.there.add(stack, "far")
