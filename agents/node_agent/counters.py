"""What each rule of policies has done: the switch's counts of the flows that decide, by rule.

Only first packets of connections are asked about, so a count is about them, not about traffic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

import numpy as np
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from nsxdp.openflow import OpenFlowError
from nsxdp.pipeline.policy import WAYS
from nsxdp.policy.planner import PolicyPlanner, Verdict
from nsxdp.tracing.names import Ruling
from nsxdp_agents.node_agent.dataplane import Dataplane

__all__ = ["Count", "Counters", "RuleCollector"]

_TABLES: Final = tuple(table for way in WAYS.values() for table in way.tiers.values())
"""Those in which rules decide."""

_MAX_RULES: Final = 1000
"""That have samples of their own."""
_OTHERS: Final = "others"


class Count(NamedTuple):
    """First packets of connections, and their bytes."""

    packets: int
    bytes: int


class Counters:
    """The counts of a node's rules, asked of the switch when somebody wants to know.

    Parameters
    ----------
    planner
        Knows whose the flows are.
    dataplane
        Asks the switch.
    seconds
        For how long an answer is good: it isn't asked more often.
    timeout
        How long it may take.

    Attributes
    ----------
    counts
        As of the last answer.
    """

    def __init__(
        self,
        planner: PolicyPlanner,
        dataplane: Dataplane,
        *,
        seconds: float = 2.0,
        timeout: float = 5.0,
    ) -> None:
        self.counts: Mapping[Verdict, Count] = {}
        self._planner = planner
        self._dataplane = dataplane
        self._seconds = seconds
        self._timeout = timeout
        self._next = 0.0
        self._asking = asyncio.Lock()

    async def refresh(self) -> None:
        """Ask the switch, unless it was just asked.

        Raises
        ------
        OpenFlowError
            It can't be asked; `counts` are those of before.
        TimeoutError
            It doesn't answer in time; likewise.
        """
        async with self._asking, asyncio.timeout(self._timeout):
            now = asyncio.get_running_loop().time
            if now() < self._next:
                return
            self.counts = await self._ask()
            self._next = now() + self._seconds

    async def _ask(self) -> dict[Verdict, Count]:
        verdicts = self._planner.verdicts()
        counts = dict.fromkeys(verdicts.values(), Count(0, 0))
        for table in _TABLES:
            flows_of, flows = await self._dataplane.flows(table)
            owners, at = np.unique(flows_of, return_inverse=True)
            packets, size = np.zeros((2, len(owners)), np.uint64)
            np.add.at(packets, at, flows.packets)
            np.add.at(size, at, flows.bytes)
            for owner, *more in zip(owners.tolist(), packets.tolist(), size.tolist(), strict=True):
                if (verdict := verdicts.get(owner)) is not None:
                    had = counts[verdict]
                    counts[verdict] = Count(had.packets + more[0], had.bytes + more[1])
        return counts

    async def show(self) -> str:
        """All, a line each.

        Raises
        ------
        ValueError
            The switch can't be asked.
        """
        try:
            await self.refresh()
        except TimeoutError:
            raise ValueError("the switch doesn't answer: see whether ovs-vswitchd runs") from None
        except OpenFlowError as error:
            raise ValueError(str(error)) from None
        return "\n".join(
            f"{verdict.rule}: {verdict.action}: {count.packets} packets, {count.bytes} bytes"
            for verdict, count in sorted(self.counts.items())
        )

    async def ruling(self, cookie: int) -> Ruling | None:
        """The rule that the flow with a cookie is of; None: it is of none.

        Raises
        ------
        ValueError
            The switch can't be asked.
        """
        try:
            async with asyncio.timeout(self._timeout):
                owner = await self._dataplane.owner(cookie)
        except (TimeoutError, OpenFlowError) as error:
            raise ValueError(f"the switch can't be asked: {error}") from None
        verdict = self._planner.verdicts().get(owner) if owner is not None else None
        if owner is None or verdict is None:
            return None
        policies = self._planner.isolated_by(owner)
        return Ruling(policies or verdict.rule, verdict.action, isolated=bool(policies))


class RuleCollector(Collector):
    """The counts as Prometheus sees them: those of the first thousand rules by name, and of others.

    Parameters
    ----------
    registry
        Where they are collected.

    Attributes
    ----------
    counters
        None: there are no policies.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.counters: Counters | None = None
        registry.register(self)

    def collect(self) -> Iterable[CounterMetricFamily]:
        """The samples of now."""
        packets = CounterMetricFamily(
            "nsx_node_agent_policy_rule_packets",
            "First packets of connections that a rule of a policy decided about",
            labels=("rule", "verdict"),
        )
        size = CounterMetricFamily(
            "nsx_node_agent_policy_rule_bytes",
            "Their bytes",
            labels=("rule", "verdict"),
        )
        for verdict, count in self._counts():
            packets.add_metric(verdict, count.packets)
            size.add_metric(verdict, count.bytes)
        return packets, size

    def _counts(self) -> Iterator[tuple[Verdict, Count]]:
        counts = iter(sorted(self.counters.counts.items()) if self.counters else ())
        yield from islice(counts, _MAX_RULES)
        others: dict[Verdict, Count] = {}
        for verdict, count in counts:
            of_all = verdict._replace(rule=_OTHERS)
            had = others.get(of_all, Count(0, 0))
            others[of_all] = Count(had.packets + count.packets, had.bytes + count.bytes)
        yield from others.items()
