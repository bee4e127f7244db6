"""What ``ovs-appctl -t nsx-node-agent`` can ask the agent."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from typing import Final

from nsxdp.tracing.names import NodeFacts, Other
from nsxdp_agents.common.unixctl import Command, as_json, read_cookie
from nsxdp_agents.node_agent.counters import Counters
from nsxdp_agents.node_agent.ipam import Pools
from nsxdp_agents.node_agent.leases import Leases
from nsxdp_agents.node_agent.node import Nodes
from nsxdp_agents.node_agent.policies import Policies
from nsxdp_agents.node_agent.who import find_pod
from nsxdp_agents.node_agent.wiring import Wiring

__all__ = ["commands"]

_NO_POLICIES: Final = "there is no source of policies: pods may do anything"


def commands(
    node: str,
    leases: Leases,
    pools: Pools,
    wiring: Wiring,
    nodes: Nodes,
    policies: Policies | None,
    counters: Counters | None,
) -> dict[str, Command]:
    """The commands by their names; `ValueError` from one is told to who asked.

    Those for programs answer in JSON, with ``null`` for what isn't known.
    """

    async def stop(_: tuple[str, ...]) -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return ""

    async def pods(_: tuple[str, ...]) -> str:
        return "\n".join(map(as_json, sorted(leases, key=lambda lease: lease.port)))

    async def ipam(_: tuple[str, ...]) -> str:
        return "\n".join(
            f"{pool.network}: {pool.size} addresses, {pool.free} free" for pool in pools.pools
        )

    async def peers(_: tuple[str, ...]) -> str:
        return "\n".join(
            f"{peer.name} at {_listed(peer.addresses)}: {_listed(peer.pod_cidrs)}"
            for peer in sorted(wiring.peers, key=lambda peer: peer.name)
        )

    async def show(arguments: tuple[str, ...]) -> str:
        if len(arguments) > 1:
            raise ValueError("policy/show takes one pod at most: NAMESPACE/NAME")
        if policies is None:
            return _NO_POLICIES
        return "\n".join(policies.show(*arguments))

    async def count(arguments: tuple[str, ...]) -> str:
        if arguments:
            raise ValueError("policy/counters takes no arguments")
        return _NO_POLICIES if counters is None else await counters.show()

    async def whole(_: tuple[str, ...]) -> str:
        return as_json(_facts(node, wiring, nodes))

    async def find(arguments: tuple[str, ...]) -> str:
        if len(arguments) != 1:
            raise ValueError("pod/find takes a pod, NAMESPACE/NAME, or an address")
        return as_json(find_pod(wiring, policies, arguments[0]))

    async def rule(arguments: tuple[str, ...]) -> str:
        cookie = read_cookie("policy/rule", arguments)
        return as_json(None if counters is None else await counters.ruling(cookie))

    return {
        "node": whole,
        "pod/find": find,
        "policy/rule": rule,
        "policy/show": show,
        "policy/counters": count,
        "exit": stop,
        "pods": pods,
        "peers": peers,
        "ipam/show": ipam,
    }


def _listed(items: Iterable[object]) -> str:
    return ", ".join(map(str, items)) or "none"


def _facts(node: str, wiring: Wiring, nodes: Nodes) -> NodeFacts | None:
    config = wiring.config
    if config is None:
        return None
    return NodeFacts(
        node,
        config.mode,
        tuple(map(str, (*config.gateway.addresses, *nodes.addresses))),
        tuple(map(str, config.pod_cidrs)),
        config.tunnel,
        tuple(
            Other(
                peer.name,
                tuple(map(str, peer.addresses)),
                tuple(map(str, peer.pod_cidrs)),
                peer.tunnel_key,
            )
            for peer in sorted(wiring.peers, key=lambda peer: peer.name)
        ),
    )
