"""The page about the pipeline, written from its declarations and from flows as they are made."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network
from typing import Final

import yaml

from nsxdp.bridge import LocalPod
from nsxdp.k8s.decode import to_object
from nsxdp.k8s.defaults import with_defaults
from nsxdp.k8s.errors import ObjectError
from nsxdp.k8s.resources import RESOURCES
from nsxdp.k8s.source import Op
from nsxdp.openflow import DesiredSet
from nsxdp.openflow.fake import FakeSwitch
from nsxdp.pipeline import registers
from nsxdp.pipeline.node import Gateway, NodeCompiler, NodePlan
from nsxdp.pipeline.tables import STAGES, TABLES
from nsxdp.services.planner import ServicePlanner
from pages.markdown import WIDTH, WRITTEN, wrapped

__all__ = ["EXAMPLE", "GATEWAY", "POD", "blocks_of", "example", "page"]

EXAMPLE: Final = """\
# HTTP, also at a node port, and DNS over UDP and IPv6.
kind: Service
metadata: {name: web}
spec: {type: NodePort, clusterIP: 10.96.0.10, ports: [{port: 80, nodePort: 30080}]}
---
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: "", port: 8080}]
endpoints: [{addresses: [10.244.0.5]}, {addresses: [10.244.1.6]}]
---
kind: Service
metadata: {name: dns}
spec: {clusterIP: "fd00:96::a", ipFamilies: [IPv6], ports: [{port: 53, protocol: UDP}]}
---
kind: EndpointSlice
metadata: {name: dns-1, labels: {kubernetes.io/service-name: dns}}
addressType: IPv6
ports: [{name: "", port: 1053, protocol: UDP}]
endpoints: [{addresses: ["fd00:244::5"]}]
---
# A client stays with its endpoint.
kind: Service
metadata: {name: cart}
spec: {clusterIP: 10.96.0.20, sessionAffinity: ClientIP, ports: [{port: 80}]}
---
kind: EndpointSlice
metadata: {name: cart-1, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{name: "", port: 8080}]
endpoints: [{addresses: [10.244.0.5]}]
---
# Who comes from outside goes to this node's endpoints, and is not masqueraded.
kind: Service
metadata: {name: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.30
  externalTrafficPolicy: Local
  ports: [{port: 80, nodePort: 30081}]
---
kind: EndpointSlice
metadata: {name: shop-1, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{name: "", port: 8080}]
endpoints:
  - {addresses: [10.244.0.5], nodeName: here}
  - {addresses: [10.244.1.6], nodeName: another}
---
# No endpoint anywhere: refused.
kind: Service
metadata: {name: closed}
spec: {clusterIP: 10.96.0.98, ports: [{port: 80}]}
---
# No endpoint on this node: dropped.
kind: Service
metadata: {name: elsewhere}
spec: {clusterIP: 10.96.0.99, internalTrafficPolicy: Local, ports: [{port: 80}]}
---
kind: EndpointSlice
metadata: {name: elsewhere-1, labels: {kubernetes.io/service-name: elsewhere}}
addressType: IPv4
ports: [{name: "", port: 8080}]
endpoints: [{addresses: [10.244.1.7], nodeName: another}]
"""

GATEWAY: Final = Gateway(
    0xFFFF_FFFE, "0a:58:0a:f4:00:01", (ip_address("10.244.0.1"), ip_address("fd00:244::1"))
)
POD: Final = LocalPod(
    "default/web-1",
    "0a:58:0a:f4:00:05",
    (ip_address("10.244.0.5"), ip_address("fd00:244::5")),
    5,
)
UPLINK: Final = 1
NODE: Final = ip_address("192.0.2.10")


def example() -> FakeSwitch:
    """A switch that has what the example's Services, pod and gateway need."""
    planner = ServicePlanner("here")
    for value in yaml.safe_load_all(EXAMPLE):
        resource = RESOURCES[value["kind"]]
        obj = to_object(resource, value)
        assert not isinstance(obj, ObjectError), obj
        planner.take(Op.UPSERT, with_defaults(resource, obj))
    desired = DesiredSet(registers.COOKIE_PREFIX, registers.GROUP_FIRST, registers.GROUP_LAST)
    plan = NodePlan(
        GATEWAY,
        (POD,),
        uplink=UPLINK,
        addresses=frozenset({NODE}),
        node_port_addresses=frozenset({NODE}),
        ranges=frozenset({ip_network("10.96.0.0/12")}),
    )
    for owned in (
        NodeCompiler().compile(plan),
        planner.round(0.0).owned,
    ):
        desired.replace(owned.owners, owned.messages, owned.ends)
    switch = FakeSwitch(TABLES)
    switch.apply(desired.dump())
    return switch


def page() -> str:
    """The page, in Markdown."""
    return "\n".join([*_head(), *_tables(), *_bits(), *_flows()]) + "\n"


def _head() -> Iterator[str]:
    yield "# The bridge's pipeline"
    yield ""
    yield WRITTEN
    yield ""
    yield wrapped(
        "An IP packet goes through connection tracking once. The first packet of a connection to "
        "a Service is then translated to an endpoint, and the translation is committed; every "
        "later packet, in either direction, leaves connection tracking translated.",
    )
    yield ""


def _tables() -> Iterator[str]:
    yield "## Tables"
    yield ""
    yield "| number | name | purpose | what matches nothing |"
    yield "| --- | --- | --- | --- |"
    for stage in STAGES:
        miss = f"`{stage.miss}`" if stage.miss else "nothing is done with it"
        yield f"| {stage.number} | {stage.name} | {stage.purpose} | {miss} |"
    yield ""


def _bits() -> Iterator[str]:
    yield "## Registers and marks"
    yield ""
    yield "| bits | name | meaning |"
    yield "| --- | --- | --- |"
    for name, bits in registers.BITS.items():
        places = f"{bits.first}" if bits.first == bits.last else f"{bits.first}..{bits.last}"
        yield f"| `{bits.field}[{places}]` | {name} | {bits.meaning} |"
    yield ""
    yield "| constant | value |"
    yield "| --- | --- |"
    for what, value in (
        ("conntrack zone", f"{registers.ZONE}"),
        ("conntrack zone of masquerading", f"{registers.SNAT_ZONE}"),
        ("cookies of our flows", f"{registers.COOKIE_PREFIX << 48:#x}/0xffff000000000000"),
        ("cookie of learned flows", f"{registers.LEARNED_COOKIE:#x}"),
        ("our group ids", f"{registers.GROUP_FIRST:#x} to {registers.GROUP_LAST:#x}"),
        ("meter for packets that are refused", f"{registers.REJECT_METER}"),
        ("MAC of the host's next hop to Services", registers.VIRTUAL_MAC),
        (
            "client that is masqueraded",
            f"{registers.MASQUERADE_IPV4}, {registers.MASQUERADE_IPV6}",
        ),
        (
            "to whom the node's kernel sends its node ports",
            f"{registers.NODE_PORT_IPV4}, {registers.NODE_PORT_IPV6}",
        ),
        (
            "client of an endpoint that reaches itself",
            f"{registers.HAIRPIN_IPV4}, {registers.HAIRPIN_IPV6}",
        ),
        (
            "client of a process of the node that the node reaches",
            f"{registers.NODE_IPV4}, {registers.NODE_IPV6}",
        ),
    ):
        yield f"| {what} | `{value}` |"
    yield ""


def _flows() -> Iterator[str]:
    switch = example()
    yield "## An example"
    yield ""
    yield wrapped(
        f"A node `here`, whose gateway is the bridge's own port ({GATEWAY.mac}, "
        f"{_and(GATEWAY.addresses)}), with one pod at port {POD.ofport} ({POD.mac}, "
        f"{_and(POD.ips)}), the uplink at port {UPLINK}, and an address {NODE} that serves node "
        "ports; and these Services:",
    )
    yield ""
    yield from ("```yaml", *EXAMPLE.splitlines(), "```")
    yield ""
    yield "### Groups"
    yield ""
    yield from blocks_of(switch.dump_groups())
    flows = switch.dump_flows()
    for stage in STAGES:
        yield ""
        yield f"### {stage.name}"
        yield ""
        yield wrapped(stage.purpose)
        own = [flow for flow in flows if flow.startswith(f"table={stage.name},")]
        if own:
            yield ""
            yield from blocks_of(own)


def blocks_of(texts: Iterable[str]) -> Iterator[str]:
    """Flows or groups, in lines that aren't too long."""
    yield from ("```", *(line for text in texts for line in _wrapped(text)), "```")


def _and(addresses: tuple[object, ...]) -> str:
    return " and ".join(map(str, addresses))


def _wrapped(text: str) -> Iterator[str]:
    """A flow or group in lines that aren't too long; the further ones are indented."""
    indent = ""
    for part in re.split(r" (?=actions=)|(?<=,)(?=bucket=)", text):
        line = f"{indent}{part}"
        indent = "    "
        while len(line) > WIDTH:
            at = _break(line)
            yield line[:at]
            line = f"{indent * 2}{line[at:]}"
        yield line


def _break(line: str) -> int:
    """Where to break a line that is too long: after a comma in as few parentheses as may be."""
    depth = 0
    best = (0, 0)
    for at, character in enumerate(line[:WIDTH]):
        depth += (character == "(") - (character == ")")
        if character == "," and at > WIDTH // 2:
            best = max(best, (-depth, at + 1)) if best[1] else (-depth, at + 1)
    return best[1]
