"""What may be asked of policies in a cluster, and whether packets get through flows."""

from __future__ import annotations

from itertools import product

from clusters import OUTSIDE, PORTS
from flowtable import FlowTables, Left, packet_of
from policed import ENDS, ENTRY, GATEWAY, TUNNEL, addresses, port_of
from semantics import Direction, Packet, World

__all__ = ["asked", "passes"]


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


def passes(
    tables: FlowTables, world: World, direction: Direction, packet: Packet, who: str
) -> bool:
    """Whether the packet gets through the stages of one direction."""
    fields = packet_of(packet.protocol, packet.source, packet.target, packet.port)
    port = port_of(world.pods[who])
    fields["in_port"] = port if direction == "egress" else TUNNEL
    fields["reg1"] = port if direction == "ingress" else GATEWAY
    return isinstance(tables.send(fields, ENTRY[direction], ENDS), Left)
