"""What Prometheus sees of the node agent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

from nsxdp.logs import get_logger
from nsxdp.openflow import OpenFlowError
from nsxdp.writer import Commit
from nsxdp_agents.node_agent.counters import RuleCollector
from nsxdp_agents.node_agent.ipam import Pool

__all__ = ["Metrics"]

log = get_logger(__name__)

_BUCKETS: Final = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 20.0, 60.0),
)
"""Seconds. A pod's network should be there within a tenth of one."""


class Metrics:
    """All metrics of one agent, in a registry of their own.

    Parameters
    ----------
    pools
        The addresses for pods, asked whenever somebody looks.
    pods, peers
        How many pods and other nodes there are, likewise.

    Attributes
    ----------
    registry
        Where they are.
    rules
        Shows what rules of policies have done.
    """

    def __init__(
        self,
        pools: Callable[[], Iterable[Pool]],
        pods: Callable[[], int],
        peers: Callable[[], int],
    ) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Histogram(
            "nsx_node_agent_cni_request_duration_seconds",
            "Latency of a runtime's requests: from the last byte to the answer",
            ("command",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._errors = Counter(
            "nsx_node_agent_cni_errors_total",
            "A runtime's requests that were not fulfilled, by the CNI's error code",
            ("command", "code"),
            registry=self.registry,
        )
        Gauge(
            "nsx_node_agent_pods", "Interfaces that pods have", registry=self.registry
        ).set_function(pods)
        Gauge(
            "nsx_node_agent_peers",
            "Other nodes, whose pods are to be reached",
            registry=self.registry,
        ).set_function(peers)
        self._host_repairs = Counter(
            "nsx_node_agent_host_repairs_total",
            "Routes and tables of the node's kernel that somebody else had changed, made anew",
            registry=self.registry,
        )
        self._flows = Gauge(
            "nsx_node_agent_openflow_flows", "Flows that are wanted", registry=self.registry
        )
        self._messages = Counter(
            "nsx_node_agent_openflow_messages_total",
            "Flow and group messages sent",
            registry=self.registry,
        )
        self._commits = Histogram(
            "nsx_node_agent_openflow_bundle_seconds",
            "Latency of one commit: sent to confirmed",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._drift = Counter(
            "nsx_node_agent_openflow_drift_total",
            "Flows and groups that somebody else had changed, repaired",
            registry=self.registry,
        )
        self._refused = Counter(
            "nsx_node_agent_openflow_refused_total",
            "Messages that the switch refused",
            registry=self.registry,
        )

        self._records = Counter(
            "nsx_node_agent_flow_records_total",
            "Records of connections that were written or sent",
            ("output",),
            registry=self.registry,
        )
        self._lost_records = Counter(
            "nsx_node_agent_flow_records_lost_total",
            "Records of connections that were lost: by an output, or of connections that are too "
            "many to be remembered (tracked)",
            ("output",),
            registry=self.registry,
        )
        self.rules = RuleCollector(self.registry)

        def of_family(version: int, of: Callable[[Pool], int]) -> Callable[[], float]:
            return lambda: sum(of(pool) for pool in pools() if pool.network.version == version)

        for name, text, of in (
            ("size", "Addresses for pods that the node has", lambda pool: pool.size),
            ("free", "Addresses for pods that nobody has", lambda pool: pool.free),
        ):
            gauge = Gauge(
                f"nsx_node_agent_ipam_addresses_{name}",
                text,
                ("ip_family",),
                registry=self.registry,
            )
            for version in (4, 6):
                gauge.labels(f"IPv{version}").set_function(of_family(version, of))

    async def refresh(self) -> None:
        """Ask for what isn't at hand; what can't be had is as it was."""
        if self.rules.counters is not None:
            try:
                await self.rules.counters.refresh()
            except (OpenFlowError, TimeoutError) as error:
                log.warning("rules are not counted", reason=str(error) or "no answer in time")

    def request(self, command: str, code: int, seconds: float) -> None:
        """A runtime's request was answered with the error 'code', 0 if there was none."""
        self._requests.labels(command).observe(seconds)
        if code:
            self._errors.labels(command, str(code)).inc()

    def committed(self, commit: Commit, flows: int) -> None:
        """The switch confirmed 'commit'; it has 'flows' of ours now."""
        self._flows.set(flows)
        self._messages.inc(commit.messages)
        if commit.messages:
            self._commits.observe(commit.seconds)
        if commit.drift:
            self._drift.inc(commit.messages)

    def host_repaired(self, count: int) -> None:
        """So many of the node's routes and tables were made anew."""
        self._host_repairs.inc(count)

    def recorded(self, output: str, count: int) -> None:
        """So many records of connections got to an output."""
        self._records.labels(output).inc(count)

    def lost(self, output: str, count: int) -> None:
        """So many didn't."""
        self._lost_records.labels(output).inc(count)

    def refused(self) -> None:
        """The switch refused a message."""
        self._refused.inc()
