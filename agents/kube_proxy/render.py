"""What the proxy would put on a switch, as text: for review, for tests, for understanding."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from nsxdp.k8s.manifests import Directory
from nsxdp.k8s.resources import service_proxy_wants
from nsxdp.openflow import DesiredSet, Tables
from nsxdp.openflow.fake import FakeSwitch
from nsxdp.pipeline.node import NodeCompiler, NodePlan
from nsxdp.pipeline.registers import COOKIE_PREFIX, GROUP_FIRST, GROUP_LAST
from nsxdp.services.planner import ServicePlanner

__all__ = ["RenderError", "render"]


class RenderError(Exception):
    """A manifest can't be used; the message has a line for each."""


def render(manifests: Path, node_name: str, tables: Tables | None) -> Iterator[str]:
    """The groups, then the flows, for the Services in 'manifests', each in ovs-ofctl's syntax.

    Pods and the gateway are known to a real bridge only, so their flows are not among them. With
    'tables', tables have their names.

    Raises
    ------
    RenderError
        A manifest can't be used.
    """
    scan = Directory(manifests, service_proxy_wants(node_name)).scan()
    if scan.errors:
        raise RenderError("\n".join(str(error) for error in scan.errors))
    planner = ServicePlanner(node_name)
    for changes in scan.changes.values():
        for op, obj in changes:
            planner.take(op, obj)
    desired = DesiredSet(COOKIE_PREFIX, GROUP_FIRST, GROUP_LAST)
    for owned in (
        NodeCompiler().compile(NodePlan(None, ())),
        planner.round(time.time()).owned,
    ):
        desired.replace(owned.owners, owned.messages, owned.ends)
    switch = FakeSwitch(tables)
    switch.apply(desired.dump())
    yield from switch.dump_groups()
    yield from switch.dump_flows()
