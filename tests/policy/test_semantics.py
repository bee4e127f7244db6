"""What the flows do is what the APIs say: clusters at random, all pairs of addresses, all ports."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
from clusters import OUTSIDE, PORTS, Maker
from flowtable import FlowTables, Left, packet_of
from policed import ENDS, ENTRY, GATEWAY, TUNNEL, Policed, addresses, port_of
from semantics import Direction, Packet, World

PARTS = 4
SEEDS = 40
"""Clusters of each part."""


def asked(world: World, local: list[str]) -> list[tuple[Direction, Packet, str]]:
    """All packets about which policies of this node are asked: direction, packet, and of whom."""
    owners = {ip: name for name, pod in world.pods.items() for ip in addresses(pod)}
    mine = {ip: name for ip, name in owners.items() if name in local}
    ports = [(p, port) for p, port in product(("TCP", "UDP", "SCTP"), PORTS[1:])]
    found: list[tuple[Direction, Packet, str]] = []
    for near, far in product(mine, (*owners, *OUTSIDE)):
        if near == far or (":" in near) != (":" in far):
            continue
        for protocol, port in (*ports, ("ICMP", 0)):
            found.append(("egress", Packet(near, far, protocol, port), mine[near]))
            found.append(("ingress", Packet(far, near, protocol, port), mine[near]))
    return found


@pytest.mark.parametrize("cluster", [False, True], ids=["NetworkPolicy", "ClusterNetworkPolicy"])
@pytest.mark.parametrize("part", range(PARTS))
def test_flows_allow_what_the_policies_allow(part: int, cluster: bool) -> None:
    seen: Counter[bool] = Counter()
    for seed in range(part * SEEDS, (part + 1) * SEEDS):
        maker = Maker(seed)
        world = maker.world(7, cluster=cluster)
        local = maker.some(tuple(world.pods), 1, 3)
        policed = Policed()
        policed.take_world(world, local)
        policed.commit()
        tables = FlowTables(policed.flows())
        packets = asked(world, local)
        for direction, packet, who in maker.random.sample(packets, min(300, len(packets))):
            allowed = passes(tables, world, direction, packet, who)
            assert allowed == world.allows(direction, packet), (seed, direction, packet)
            seen[allowed] += 1
    assert min(seen[True], seen[False]) > 500


def passes(
    tables: FlowTables, world: World, direction: Direction, packet: Packet, who: str
) -> bool:
    """Whether the packet gets through the stages of one direction."""
    fields = packet_of(packet.protocol, packet.source, packet.target, packet.port)
    port = port_of(world.pods[who])
    fields["in_port"] = port if direction == "egress" else TUNNEL
    fields["reg1"] = port if direction == "ingress" else GATEWAY
    return isinstance(tables.send(fields, ENTRY[direction], ENDS), Left)
