"""What the flows do is what the APIs say: clusters at random, and every pair of pods in them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest
from clusters import Maker
from flowtable import FlowTables
from policed import Policed, key
from questions import asked, passes
from semantics import Direction, Packet, World

SETS = int(os.environ.get("NSXDP_POLICY_SETS") or 240)
"""How many sets of policies; `make policy-sets` has ten thousand."""
FIRST = int(os.environ.get("NSXDP_POLICY_FIRST") or 0)
"""The seed of the first one."""

PARTS = 6
PORTS_OF_A_PAIR = 2
"""With which each pair of addresses is asked about in each direction, at random."""


def pairs(maker: Maker, world: World, local: list[str]) -> Iterator[tuple[Direction, Packet, str]]:
    """Of all that `asked` has, some packets of each pair: of pods, and of a pod and the outside."""
    found: dict[tuple[Direction, str, str], list[tuple[Direction, Packet, str]]] = {}
    for one in asked(world, local):
        direction, packet, _ = one
        found.setdefault((direction, packet.source, packet.target), []).append(one)
    for packets in found.values():
        yield from maker.random.sample(packets, PORTS_OF_A_PAIR)


@pytest.mark.parametrize("part", range(PARTS))
def test_flows_allow_what_the_policies_allow(part: int) -> None:
    """In a cluster of two nodes, each of which is asked about its own pods: and by which rule."""
    seen: Counter[bool] = Counter()
    for seed in range(FIRST + part, FIRST + SETS, PARTS):
        maker = Maker(seed)
        world = maker.world(7, cluster=bool(seed % 2))
        here = maker.some(tuple(world.pods), 1, 6)
        for local in (here, [name for name in world.pods if name not in here]):
            policed = Policed()
            policed.take_world(world, local)
            policed.commit()
            tables = FlowTables(policed.flows())
            for direction, packet, who in pairs(maker, world, local):
                allowed = passes(tables, world, direction, packet, who)
                by = world.allowing(direction, packet)
                assert allowed == (by is not None), (seed, direction, packet)
                named = policed.allowing(direction, packet, key(world.pods[who]))
                assert named in by if by else not named, (seed, direction, packet, named)
                seen[allowed] += 1
    assert min(seen[True], seen[False]) > 10 * SETS / PARTS
