"""A thousand network policies over a thousand pods: a node's start, and one label that changes."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any, Final

import pytest
import uvloop

from bench.conftest import Record
from nsxdp.k8s.decode import to_object
from nsxdp.k8s.objects import Object
from nsxdp.k8s.resources import RESOURCES
from nsxdp.k8s.source import Op
from nsxdp.lab import Node
from nsxdp.openflow import Connection, DesiredSet
from nsxdp.pipeline.registers import NODE_COOKIE_PREFIX, NODE_GROUP_FIRST, NODE_GROUP_LAST
from nsxdp.pipeline.tables import TABLES
from nsxdp.policy.planner import PolicyPlanner
from nsxdp.transport import parse_remote
from nsxdp_agents.common import memory

_NAMESPACES: Final = 50
_APPS: Final = 20
"""In each namespace; each has a pod, and a policy of its own."""
_CHANGES: Final = 500
_START: Final = "1,000 policies over 1,000 pods: start to barrier"
_CHANGE: Final = "one label of one pod changes"

Json = dict[str, Any]


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node("bench") as made:
        yield made


@pytest.fixture(autouse=True)
def collected_as_in_the_agent() -> Iterator[None]:
    """Python's collector looks as often as in nsx-node-agent's process."""
    before = gc.get_threshold()
    memory.before_load()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


class Policed:
    """A planner with its switch."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.planner = PolicyPlanner()
        self.desired = DesiredSet(NODE_COOKIE_PREFIX, NODE_GROUP_FIRST, NODE_GROUP_LAST)

    async def commit(self) -> int:
        """What changed goes to the switch. Returns how many messages that were."""
        compiled = self.planner.round()
        delta = self.desired.replace(compiled.owners, compiled.messages, compiled.ends)
        await self.connection.commit(bytes(delta))
        return delta.messages


@pytest.mark.parametrize("local", [100, 1000])
def bench_start(record: Record, node: Node, local: int) -> None:
    """From the objects, decoded, to the barrier's answer."""
    who = f"nsxdp, {local:,} of the pods on the node"
    seconds: list[float] = []

    async def starts() -> Policed:
        for _ in range(5):
            node.ovs.ofctl("del-flows", node.mgmt)
            policed = Policed(connection)
            gc.collect()
            began = time.perf_counter()
            _take_all(policed.planner, local)
            await policed.commit()
            seconds.append(time.perf_counter() - began)
        return policed

    async def changes(policed: Policed) -> list[int]:
        messages = []
        for n in range(_CHANGES):
            place = n // 2 * (_NAMESPACES * _APPS // local) % (_NAMESPACES * _APPS)
            label = "else" if n % 2 == 0 else ""
            changed = _pod(place // _APPS, place % _APPS, label)
            began = time.perf_counter()
            policed.planner.take(Op.UPSERT, changed)
            messages.append(await policed.commit())
            after.append(time.perf_counter() - began)
        return messages

    after: list[float] = []

    async def all_of_it() -> None:
        async with connection:
            await connection.ready(10)
            policed = await starts()
            flows = str(policed.desired.size.flows)
            record(_START, who, seconds, facts={"flows": flows})
            messages = sorted(await changes(policed))
            facts = {"messages": f"{messages[0]} to {messages[-1]}"}
            record(_CHANGE, who, after, facts=facts)

    connection = Connection(parse_remote(node.mgmt, 6653), tables=TABLES)
    uvloop.run(all_of_it())


def _take_all(planner: PolicyPlanner, local: int) -> None:
    """All objects, with so many of the pods on the bridge."""
    for obj in _OBJECTS:
        planner.take(Op.UPSERT, obj)
    for place in range(0, _NAMESPACES * _APPS, _NAMESPACES * _APPS // local):
        namespace, app = divmod(place, _APPS)
        addresses = map(ip_address, _addresses(namespace, app))
        planner.plug(100 + place, f"ns-{namespace}/app-{app}", addresses)


def _addresses(namespace: int, app: int) -> tuple[str, str]:
    return f"10.{64 + namespace}.0.{app + 1}", f"fd00:{namespace}::{app + 1}"


def _object(value: Json) -> Object:
    obj = to_object(RESOURCES[value["kind"]], value)
    assert isinstance(obj, Object)
    return obj


def _pod(namespace: int, app: int, label: str = "") -> Object:
    ports = [{"name": "http", "containerPort": 8080 + app % 4}]
    return _object(
        {
            "kind": "Pod",
            "metadata": {
                "name": f"app-{app}",
                "namespace": f"ns-{namespace}",
                "labels": {"app": label or f"app-{app}", "tier": ("web", "data")[app % 2]},
            },
            "spec": {"containers": [{"name": "c", "ports": ports}]},
            "status": {"podIPs": [{"ip": ip} for ip in _addresses(namespace, app)]},
        }
    )


def _policy(namespace: int, app: int) -> Object:
    """Of an app: some others of its namespace, a team's pods and a network may; it may do some."""
    neighbours = [f"app-{(app + step) % _APPS}" for step in (1, 2, 3)]
    team = {"team": f"team-{namespace % 5}"}
    blocks = {"cidr": "192.0.2.0/24", "except": ["192.0.2.64/26"]}
    return _object(
        {
            "kind": "NetworkPolicy",
            "metadata": {"name": f"app-{app}", "namespace": f"ns-{namespace}"},
            "spec": {
                "podSelector": {"matchLabels": {"app": f"app-{app}"}},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [
                    {
                        "from": [{"podSelector": {"matchLabels": {"app": n}}} for n in neighbours],
                        "ports": [{"port": "http"}, {"port": 9090, "endPort": 9099}],
                    },
                    {
                        "from": [
                            {
                                "namespaceSelector": {"matchLabels": team},
                                "podSelector": {"matchLabels": {"app": "app-0"}},
                            },
                            {"ipBlock": blocks},
                        ],
                        "ports": [{"port": 443}],
                    },
                ],
                "egress": [
                    {
                        "to": [{"podSelector": {"matchLabels": {"tier": "data"}}}],
                        "ports": [{"port": "http"}],
                    },
                    {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}]},
                ],
            },
        }
    )


def _namespace(number: int) -> Object:
    labels = {"team": f"team-{number % 5}"}
    return _object({"kind": "Namespace", "metadata": {"name": f"ns-{number}", "labels": labels}})


_OBJECTS: Final = (
    *map(_namespace, range(_NAMESPACES)),
    *(_pod(namespace, app) for namespace in range(_NAMESPACES) for app in range(_APPS)),
    *(_policy(namespace, app) for namespace in range(_NAMESPACES) for app in range(_APPS)),
)
