"""A planner, its desired set and a switch in memory: YAML in, ovs-ofctl's text and messages out."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent

import numpy as np

from nsxdp.k8s.manifest import read
from nsxdp.k8s.objects import Object
from nsxdp.k8s.resources import RESOURCES
from nsxdp.k8s.source import Op
from nsxdp.openflow import Delta, DesiredSet, Diff
from nsxdp.openflow.codec import message_format
from nsxdp.openflow.fake import FakeSwitch
from nsxdp.pipeline.registers import COOKIE_PREFIX, GROUP_FIRST, GROUP_LAST
from nsxdp.pipeline.tables import TABLES
from nsxdp.services.addresses import Family
from nsxdp.services.model import ServicePortName
from nsxdp.services.planner import Round, ServicePlanner
from nsxdp.services.slots import endpoint_slots

NODE = "here"

_COOKIE = re.compile(r" cookie:0x[0-9a-f]+")
"""A flow's cookie is a hash of its content: it says nothing that the text doesn't."""


def objects(text: str) -> list[Object]:
    """The objects of a manifest, with the API server's defaults."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "manifest.yaml"
        path.write_text(dedent(text))
        file = read(path, RESOURCES)
    assert not file.errors, file.errors
    return [found.obj for found in file.objects]


def service(
    name: str = "web",
    *,
    cluster_ips: str = "10.96.0.10",
    ports: str = "{port: 80}",
    spec: str = "",
) -> str:
    """A Service in YAML. Ports and 'spec' are flow-style YAML."""
    first = cluster_ips.split(",")[0]
    return f"""
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{clusterIP: "{first}", clusterIPs: [{_quoted(cluster_ips)}], ports: [{ports}], {spec}}}
"""


def endpoint_slice(
    addresses: str,
    *,
    name: str = "web-1",
    service: str = "web",
    port: str = "{name: '', port: 8080}",
    more: str = "",
) -> str:
    """An EndpointSlice in YAML, of endpoints that all are ready and as 'more' says."""
    family = "IPv6" if ":" in addresses else "IPv4"
    endpoints = ", ".join(f"{{addresses: ['{a.strip()}'], {more}}}" for a in addresses.split(","))
    return f"""
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  {{name: {name}, namespace: default, labels: {{kubernetes.io/service-name: {service}}}}}
addressType: {family}
ports: [{port}]
endpoints: [{endpoints if addresses else ""}]
"""


def _quoted(texts: str) -> str:
    return ", ".join(f'"{text.strip()}"' for text in texts.split(","))


class Planned:
    """What an agent is without its input and output."""

    def __init__(self, text: str = "", *, now: float = 1000.0) -> None:
        self.now = now
        self.planner = ServicePlanner(NODE)
        self.desired = DesiredSet(COOKIE_PREFIX, GROUP_FIRST, GROUP_LAST)
        self.switch = FakeSwitch(TABLES)
        self.last: Round | None = None
        self._names: dict[int, str] = {}
        if text:
            self.apply(text)

    def take(self, text: str, op: Op = Op.UPSERT) -> None:
        """Let the planner know of objects, without planning yet."""
        for obj in objects(text):
            self.planner.take(op, obj)

    def round(self) -> Delta:
        """Plan, and let the switch have what differs: that is what is given back."""
        self._learn_names()
        self.last = self.planner.round(self.now)
        self._learn_names()
        owned = self.last.owned
        delta = self.desired.replace(owned.owners, owned.messages, owned.ends)
        self.switch.apply(delta)
        return delta

    def apply(self, text: str) -> Delta:
        """Objects come, or change."""
        self.take(text)
        return self.round()

    def delete(self, text: str) -> Delta:
        """Objects go."""
        self.take(text, Op.DELETE)
        return self.round()

    def messages(self, delta: Delta) -> list[str]:
        """What 'delta' has the switch do, each message in ovs-ofctl's syntax."""
        view = bytes(delta)
        texts = []
        while view:
            length = int.from_bytes(view[2:4], "big")
            text = message_format(view[:length], TABLES).split(":", 1)[1]
            text = _COOKIE.sub("", " ".join(text.split()))
            texts.append(_in_order(self._named(text)))
            view = view[length:]
        return texts

    def text(self) -> str:
        """What the switch has: groups, then flows, one a line.

        Group ids and bucket ids are hashes. In the text they are what they stand for:
        ``G(web:80/tcp)``, ``B(10.244.0.5:8080)``, and sorted as these. ``L(web:80/tcp)`` is a group
        of this node's endpoints alone.
        """
        groups = [_in_order(self._named(line)) for line in self.switch.dump_groups()]
        flows = [self._named(line) for line in self.switch.dump_flows()]
        return "\n".join([*sorted(groups), *_by_table_and_priority(flows)])

    def group_id(self, name: str = "web", port_name: str = "", family: Family = Family.IPV4) -> int:
        """The group of a Service's TCP port."""
        found = self.planner.compiler.group_id(
            ServicePortName("default", name, port_name, "TCP"), family
        )
        assert found is not None
        return found

    def differs_from(self, switch: FakeSwitch) -> Diff:
        """What this one would find wrong on a switch, actions compared too."""
        self.desired.begin(verify=True)
        for reply in switch.replies():
            self.desired.installed(reply)
        return self.desired.diff()[1]

    def _learn_names(self) -> None:
        """Learn what the numbers stand for that are in use now."""
        tracker = self.planner.tracker
        for family in Family:
            for name, port in tracker.ports(family).items():
                protocol = name.protocol.lower() + ("6" if family is Family.IPV6 else "")
                for local, letter in ((False, "G"), (True, "L")):
                    number = self.planner.compiler.group_id(name, family, local=local)
                    if number is not None:
                        self._names[number] = f"{letter}({name.name}:{port.port}/{protocol})"
                ends = tracker.endpoints(name, family)
                offsets = np.arange(len(ends) + 1, dtype=np.uint64)
                slots = endpoint_slots(ends.addresses, ends.ports, offsets)
                for slot, text in zip(slots.tolist(), ends.texts(), strict=True):
                    self._names[slot] = f"B({text})"

    def _named(self, line: str) -> str:
        def name(match: re.Match[str]) -> str:
            return self._names.get(int(match[0], 0), match[0])

        return re.sub(r"\b(0x[0-9a-f]+|[1-9][0-9]*)\b", name, line)


def _in_order(group: str) -> str:
    """A group's text with its buckets in the order of their texts."""
    head, *buckets = group.split(",bucket=")
    return ",bucket=".join([head, *sorted(buckets)])


def _by_table_and_priority(flows: list[str]) -> list[str]:
    """Flows, sorted by table and priority already, in the order of their texts within each."""
    ranks: dict[str, int] = {}
    for flow in flows:
        ranks.setdefault(flow.split(",")[0] + flow.split(",")[1], len(ranks))
    return sorted(flows, key=lambda flow: (ranks[flow.split(",")[0] + flow.split(",")[1]], flow))


def statements(text: str) -> list[str]:
    """The statements of a text of flows, groups or messages, without any whitespace.

    A statement's further lines are indented.
    """
    found: list[str] = []
    for line in dedent(text).strip().splitlines():
        if line[:1].isspace():
            found[-1] += "".join(line.split())
        elif line:
            found.append("".join(line.split()))
    return found
