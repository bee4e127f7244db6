"""What a trace tells: the tables that a packet met, what they decided, and its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from nsxdp.tracing.packet import Packet
from nsxdp.tracing.tree import Branch

__all__ = ["Step", "Story"]


@dataclass(slots=True)
class Step:
    """A table that the packet meets.

    Attributes
    ----------
    words
        What happens there.
    """

    table: str
    match: str
    priority: int | None
    actions: list[str]
    words: str


@dataclass(slots=True)
class Story:
    """What becomes of a packet on one bridge.

    Attributes
    ----------
    outcome
        ``delivered`` by a port of the bridge, ``rejected``, ``dropped``, or ``switched`` as by any
        switch.
    end
        The same in words, with the reason.
    node
        Whose bridge it is; empty: not known.
    service, group, bucket, endpoint
        That were chosen; empty and 0: none was.
    endpoint_pod
        The endpoint's pod; empty: not known.
    masquerade
        Whom the endpoint sees as the client, where it isn't the sender; else empty.
    egress, ingress
        What policies say to the sender sending it, and to the receiver getting it; empty: they
        weren't asked.
    way
        ``local`` to a pod of the bridge, ``node`` to the node itself, ``tunnel`` or ``route`` to
        another node, ``trunk`` to the platform, ``outside`` of the cluster; empty: it goes nowhere,
        or that isn't known.
    next_node
        The other node that it goes to; empty: to none.
    port
        By which it leaves.
    notes
        What no trace can know.
    """

    packet: Packet
    steps: list[Step] = field(default_factory=list)
    outcome: str = "dropped"
    end: str = "nothing is done with it"
    node: str = ""
    service: str = ""
    group: int = 0
    bucket: int = 0
    endpoint: str = ""
    endpoint_pod: str = ""
    masquerade: str = ""
    egress: str = ""
    ingress: str = ""
    way: str = ""
    next_node: str = ""
    port: str = ""
    notes: list[str] = field(default_factory=list)

    def tree(self) -> Branch:
        """For people, with each table."""
        tree = Branch(f"{self.packet}, from {self.packet.sender}")
        for before in self.packet.before:
            tree.add(f"before: {before}")
        for step in self.steps:
            tree.add(f"{step.table}: {step.words}")
        self._conclude(tree)
        return tree

    def summary(self) -> Branch:
        """For people, in short."""
        where = f"on node {self.node}: " if self.node else ""
        tree = Branch(f"{where}{self.packet}, from {self.packet.sender}")
        for what, words in self._decisions():
            tree.add(f"{what}: {words}")
        self._conclude(tree)
        return tree

    def json(self) -> dict[str, Any]:
        """For programs."""
        told = asdict(self)
        told["packet"] = {
            "sender": self.packet.sender,
            "in_port": self.packet.in_port,
            "text": str(self.packet),
            "flow": self.packet.flow,
            "before": self.packet.before,
        }
        return told

    def _decisions(self) -> Iterator[tuple[str, str]]:
        if self.service:
            yield "Service", self.service
        if self.endpoint:
            who = f", pod {self.endpoint_pod}" if self.endpoint_pod else ""
            yield "endpoint", f"{self.endpoint}{who}"
        if self.masquerade:
            yield "SNAT", f"the endpoint sees {self.masquerade} as the client"
        if self.egress:
            yield "egress", self.egress
        if self.ingress:
            yield "ingress", self.ingress

    def _conclude(self, tree: Branch) -> None:
        tree.add(f"{self.outcome}: {self.end}")
        for note in self.notes:
            tree.add(f"note: {note}")
