"""What Prometheus sees: kube-proxy's metrics under kube-proxy's names (KP-68), and the switch's.

People's dashboards and alerts for kube-proxy go on working.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

from nsxdp.writer import Commit

__all__ = ["Metrics"]

_FAMILIES: Final = ("IPv4", "IPv6")
"""The values of the label ip_family. One commit serves both."""

_SYNC_BUCKETS: Final = tuple(0.001 * 2**i for i in range(15))
_PROGRAMMING_BUCKETS: Final = (
    *(0.25, 0.5),
    *(float(s) for s in range(1, 60)),
    *(float(s) for s in range(60, 120, 5)),
    *(float(s) for s in range(120, 301, 30)),
)
_WATCH_BUCKETS: Final = tuple(0.00025 * 2**i for i in range(17))
_FAMILY: Final = ("ip_family",)


class Metrics:
    """All metrics of one proxy, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.sync_duration = self._histogram(
            "sync_proxy_rules_duration_seconds", "Latency of one round: from changes to the barrier"
        )
        self.sync_full_duration = self._histogram(
            "sync_full_proxy_rules_duration_seconds", "Latency of one comparison with the switch"
        )
        self.sync_partial_duration = self._histogram(
            "sync_partial_proxy_rules_duration_seconds", "Latency of one round of changes only"
        )
        self.watch_to_barrier = self._histogram(
            "sync_proxy_rules_watch_to_barrier_seconds",
            "From the bytes of a watch event to the switch's confirmation",
            _WATCH_BUCKETS,
        )
        self.last_timestamp = self._gauge(
            "sync_proxy_rules_last_timestamp_seconds", "When the switch was last as it should be"
        )
        self.last_queued_timestamp = self._gauge(
            "sync_proxy_rules_last_queued_timestamp_seconds", "When a change last came in"
        )
        self.programming_duration = self._histogram(
            "network_programming_duration_seconds",
            "From the change of an endpoint in the cluster to its flows on this node",
            _PROGRAMMING_BUCKETS,
        )
        self.endpoint_changes_pending = self._gauge(
            "sync_proxy_rules_endpoint_changes_pending", "EndpointSlices not yet compiled"
        )
        self.endpoint_changes = self._counter(
            "sync_proxy_rules_endpoint_changes_total", "Changes of EndpointSlices"
        )
        self.service_changes_pending = self._gauge(
            "sync_proxy_rules_service_changes_pending", "Services not yet compiled"
        )
        self.service_changes = self._counter(
            "sync_proxy_rules_service_changes_total", "Changes of Services"
        )
        self.no_local_endpoints = Gauge(
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
            "Services with a Local traffic policy and no endpoint on this node",
            ("ip_family", "traffic_policy"),
            registry=self.registry,
        )
        self.sync_failures = self._counter(
            "sync_proxy_rules_openflow_sync_failures_total", "Messages that the switch refused"
        )
        self.flows = self._gauge("sync_proxy_rules_openflow_flows_total", "Flows that are wanted")
        self.groups = self._gauge(
            "sync_proxy_rules_openflow_groups_total", "Groups that are wanted"
        )
        self.messages = self._counter(
            "sync_proxy_rules_openflow_messages_total", "Flow and group messages sent"
        )
        self.drift = self._counter(
            "sync_proxy_rules_openflow_drift_total",
            "Flows and groups that somebody else had changed, repaired",
        )
        self.bundle_duration = self._histogram(
            "sync_proxy_rules_openflow_bundle_seconds", "Latency of one commit: sent to confirmed"
        )
        self.rejected_packets = Counter(
            "kubeproxy_rejected_packets_total",
            "First packets to Services without endpoints, refused",
            registry=self.registry,
        )
        self.conntrack_deleted = Counter(
            "kubeproxy_conntrack_reconciler_deleted_entries_total",
            "Endpoints whose tracked connections were deleted because they went",
            registry=self.registry,
        )
        self.healthz = Counter(
            "kubeproxy_proxy_healthz_total", "Answers of healthz", ("code",), registry=self.registry
        )
        self.livez = Counter(
            "kubeproxy_proxy_livez_total", "Answers of livez", ("code",), registry=self.registry
        )

    def services_changed(self, n: int, pending: int, at: float) -> None:
        """'n' Services came in 'at' (since the epoch); 'pending' wait for the next round."""
        _each(self.service_changes, Counter.inc, n)
        _each(self.service_changes_pending, Gauge.set, pending)
        _each(self.last_queued_timestamp, Gauge.set, at)

    def endpoints_changed(self, n: int, pending: int, at: float) -> None:
        """'n' EndpointSlices came in 'at' (since the epoch); 'pending' wait for the next round."""
        _each(self.endpoint_changes, Counter.inc, n)
        _each(self.endpoint_changes_pending, Gauge.set, pending)
        _each(self.last_queued_timestamp, Gauge.set, at)

    def round_done(
        self,
        seconds: float,
        since_watch: float | None,
        now: float,
        trigger_times: dict[str, list[float]],
        without_local: dict[tuple[str, str], int],
    ) -> None:
        """A round took 'seconds' until the switch confirmed it, at 'now' (since the epoch).

        'since_watch' are the seconds since its oldest change came in, if there was one,
        'trigger_times' are when its endpoints changed in the cluster, 'without_local' Service ports
        whose endpoints are all elsewhere, by family.
        """
        _each(self.sync_duration, Histogram.observe, seconds)
        _each(self.sync_partial_duration, Histogram.observe, seconds)
        if since_watch is not None:
            _each(self.watch_to_barrier, Histogram.observe, since_watch)
        _each(self.last_timestamp, Gauge.set, now)
        _each(self.service_changes_pending, Gauge.set, 0)
        _each(self.endpoint_changes_pending, Gauge.set, 0)
        for times in trigger_times.values():
            for changed in times:
                _each(self.programming_duration, Histogram.observe, max(0.0, now - changed))
        for (family, traffic), n in without_local.items():
            self.no_local_endpoints.labels(family, traffic).set(n)

    def committed(self, commit: Commit, flows: int, groups: int) -> None:
        """The switch confirmed 'commit'; it has 'flows' and 'groups' of ours now."""
        _each(self.messages, Counter.inc, commit.messages)
        _each(self.flows, Gauge.set, flows)
        _each(self.groups, Gauge.set, groups)
        if commit.messages:
            _each(self.bundle_duration, Histogram.observe, commit.seconds)
        if commit.diff is not None:
            _each(self.sync_full_duration, Histogram.observe, commit.compared)
        if commit.drift:
            _each(self.drift, Counter.inc, commit.messages)

    def refused(self) -> None:
        """The switch refused a message, or all of a commit."""
        _each(self.sync_failures, Counter.inc, 1)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...] = _SYNC_BUCKETS
    ) -> tuple[Histogram, ...]:
        return _by_family(
            Histogram(f"kubeproxy_{name}", text, _FAMILY, buckets=buckets, registry=self.registry)
        )

    def _gauge(self, name: str, text: str) -> tuple[Gauge, ...]:
        return _by_family(Gauge(f"kubeproxy_{name}", text, _FAMILY, registry=self.registry))

    def _counter(self, name: str, text: str) -> tuple[Counter, ...]:
        return _by_family(Counter(f"kubeproxy_{name}", text, _FAMILY, registry=self.registry))


_Metric = TypeVar("_Metric", Counter, Gauge, Histogram)


def _by_family(metric: _Metric) -> tuple[_Metric, ...]:
    """What counts for each value of the label ip_family.

    So they have samples from the start: an alert can't tell one that isn't there from silence.
    """
    return tuple(metric.labels(family) for family in _FAMILIES)


def _each(metrics: tuple[_Metric, ...], do: Callable[[_Metric, float], None], value: float) -> None:
    """Do it for each value of the label ip_family."""
    for metric in metrics:
        do(metric, value)
