"""The page about forwarding by the node agent, written from its tables and flows."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Final

from nsxdp.forwarding.compiler import ForwardingCompiler
from nsxdp.forwarding.model import NodeConfig, Peer, PodPort
from nsxdp.openflow import DesiredSet
from nsxdp.openflow.fake import FakeSwitch
from nsxdp.pipeline.registers import NODE_COOKIE_PREFIX, NODE_GROUP_FIRST, NODE_GROUP_LAST
from nsxdp.pipeline.tables import NODE_STAGES, STAGES, TABLES
from pages.markdown import WRITTEN, wrapped
from pages.pipeline import GATEWAY, POD, blocks_of

__all__ = ["CONFIG", "ON_TRUNK", "PEER", "example", "page", "trunk_example"]

CONFIG: Final = NodeConfig(
    "geneve",
    GATEWAY,
    (ip_network("10.244.0.0/24"), ip_network("fd00:244::/64")),
    (ip_address("10.244.0.2"), ip_address("fd00:244::2")),
    tunnel=9,
)
PEER: Final = Peer(
    "another",
    (ip_address("192.0.2.2"),),
    (ip_network("10.244.1.0/24"), ip_network("fd00:244:1::/64")),
    tunnel_key=7,
)

ON_TRUNK: Final = NodeConfig("nsx", GATEWAY, uplink=1)
VLAN: Final = 11


def example() -> FakeSwitch:
    """A switch that has what the example's pod, peer and node need."""
    return _switch(CONFIG, PodPort(POD.iface_id, POD.ofport, POD.mac, POD.ips), PEER)


def trunk_example() -> FakeSwitch:
    """Likewise, where a platform forwards."""
    return _switch(ON_TRUNK, PodPort(POD.iface_id, POD.ofport, POD.mac, POD.ips, VLAN))


def _switch(config: NodeConfig, pod: PodPort, *peers: Peer) -> FakeSwitch:
    desired = DesiredSet(NODE_COOKIE_PREFIX, NODE_GROUP_FIRST, NODE_GROUP_LAST)
    compiler = ForwardingCompiler()
    for owned in (
        compiler.configure(config),
        compiler.set_pods([pod]),
        compiler.set_peers(peers),
    ):
        desired.replace(owned.owners, owned.messages, owned.ends)
    switch = FakeSwitch(TABLES)
    switch.apply(desired.dump())
    return switch


def page() -> str:
    """The page, in Markdown."""
    return "\n".join([*_head(), *_tables(), *_flows()]) + "\n"


def _head() -> Iterator[str]:
    yield "# Forwarding for pods"
    yield ""
    yield WRITTEN
    yield ""
    yield wrapped(
        "On a bridge that is wired by us, these flows are the pods' switch and router. They join "
        "the Service proxy's (pipeline.md), which knows nothing of them: how, is in "
        "`nsxdp/pipeline/joints.py` and architecture.md."
    )
    yield ""


def _tables() -> Iterator[str]:
    yield "## Tables"
    yield ""
    yield "| number | name | purpose |"
    yield "| --- | --- | --- |"
    for stage in NODE_STAGES:
        yield f"| {stage.number} | {stage.name} | {stage.purpose} |"
    yield ""


def _flows() -> Iterator[str]:
    yield "## An example"
    yield ""
    yield wrapped(
        f"A node whose gateway is the bridge's own port ({GATEWAY.mac}, 10.244.0.1 and "
        f"fd00:244::1), with one pod at port {POD.ofport} ({POD.mac}, 10.244.0.5 and "
        f"fd00:244::5); and another node, 192.0.2.2, whose pods have 10.244.1.0/24 and "
        f"fd00:244:1::/64, by Geneve through port {CONFIG.tunnel}."
    )
    yield from _of(example())
    yield from ("", "## On a platform's trunk", "")
    yield wrapped(
        f"The same pod where a platform switches and routes (mode nsx): it has VLAN {VLAN} on the "
        f"uplink, port {ON_TRUNK.uplink}."
    )
    yield from _of(trunk_example())


def _of(switch: FakeSwitch) -> Iterator[str]:
    flows = switch.dump_flows()
    for stage in sorted((*STAGES, *NODE_STAGES), key=lambda stage: stage.number):
        own = [flow for flow in flows if flow.startswith(f"table={stage.name},")]
        if own:
            yield from ("", f"### {stage.name}", "")
            yield from blocks_of(own)
