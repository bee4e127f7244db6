"""What Prometheus sees: kube-proxy's metrics under kube-proxy's names (KP-68), and the switch's.

People's dashboards and alerts for kube-proxy go on working.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.process_collector import ProcessCollector

from nsxdp.k8s.client import Answer
from nsxdp.services.addresses import Family
from nsxdp.writer import Commit

__all__ = ["Metrics"]

_FAMILIES: Final = tuple(family.label for family in Family)
"""The values of the label ip_family. One commit serves both."""

_SYNC_BUCKETS: Final = tuple(0.001 * 2**i for i in range(15))
_PROGRAMMING_BUCKETS: Final = (
    *(0.25, 0.5),
    *(float(s) for s in range(1, 60)),
    *(float(s) for s in range(60, 120, 5)),
    *(float(s) for s in range(120, 301, 30)),
)
_WATCH_BUCKETS: Final = tuple(0.00025 * 2**i for i in range(17))
_REQUEST_BUCKETS: Final = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_FAMILY: Final = ("ip_family",)


class Metrics:
    """All metrics of one proxy, in registries of their own: `slis` are those of /metrics/slis."""

    def __init__(self) -> None:
        # Those are a gauge beside each counter, which kube-proxy hasn't.
        disable_created_metrics()  # type: ignore[no-untyped-call]
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
            "sync_proxy_rules_last_queued_timestamp_seconds",
            "When a change of what is served last came in",
        )
        self.programming_duration = self._histogram(
            "network_programming_duration_seconds",
            "From the change of an endpoint in the cluster to its flows on this node",
            _PROGRAMMING_BUCKETS,
        )
        self.endpoint_changes_pending = Gauge(
            "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
            "EndpointSlices not yet compiled",
            registry=self.registry,
        )
        self.endpoint_changes = Counter(
            "kubeproxy_sync_proxy_rules_endpoint_changes_total",
            "Changes of EndpointSlices",
            registry=self.registry,
        )
        self.service_changes_pending = Gauge(
            "kubeproxy_sync_proxy_rules_service_changes_pending",
            "Services not yet compiled",
            registry=self.registry,
        )
        self.service_changes = Counter(
            "kubeproxy_sync_proxy_rules_service_changes_total",
            "Changes of Services",
            registry=self.registry,
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
        self.conntrack_duration = self._histogram(
            "conntrack_reconciler_sync_duration_seconds",
            "How long it took to delete tracked connections to endpoints that went",
        )
        self.conntrack_deleted = self._counter(
            "conntrack_reconciler_deleted_entries_total",
            "Endpoints whose tracked connections were deleted because they went",
        )
        self.healthz = Counter(
            "kubeproxy_proxy_healthz_total", "Answers of healthz", ("code",), registry=self.registry
        )
        self.livez = Counter(
            "kubeproxy_proxy_livez_total", "Answers of livez", ("code",), registry=self.registry
        )

        self.requests = Counter(
            "rest_client_requests_total",
            "Requests to the API server, by what came of them",
            ("code", "method", "host"),
            registry=self.registry,
        )
        self.request_duration = Histogram(
            "rest_client_request_duration_seconds",
            "From a request to the API server to its answer's head",
            ("verb", "host"),
            buckets=_REQUEST_BUCKETS,
            registry=self.registry,
        )
        self.slis = CollectorRegistry()
        ProcessCollector(registry=self.slis)
        self.check = Gauge(
            "kubernetes_healthcheck",
            "Whether a check of health succeeded",
            ("name", "type"),
            registry=self.slis,
        )
        self.checks = Counter(
            "kubernetes_healthchecks_total",
            "Checks of health, by what came of them",
            ("name", "type", "status"),
            registry=self.slis,
        )

    def answered(self, answer: Answer) -> None:
        """The API server answered a request, or didn't."""
        self.requests.labels(answer.status, answer.method, answer.host).inc()
        self.request_duration.labels(answer.method, answer.host).observe(answer.seconds)

    def checked(self, name: str, kind: str, *, good: bool) -> None:
        """Health was asked for; 'name' is ``sync`` or ``node``, 'kind' ``healthz`` or ``livez``."""
        self.check.labels(name, kind).set(good)
        self.checks.labels(name, kind, "success" if good else "error").inc()

    def services_changed(self, n: int, pending: int) -> None:
        """'n' Services came in; 'pending' of them wait for the next round."""
        self.service_changes.inc(n)
        self.service_changes_pending.set(pending)

    def endpoints_changed(self, n: int, pending: int) -> None:
        """'n' EndpointSlices came in; 'pending' of them wait for the next round."""
        self.endpoint_changes.inc(n)
        self.endpoint_changes_pending.set(pending)

    def queued(self, at: float) -> None:
        """Something came in 'at' (since the epoch) that changes what the switch should have."""
        _each(self.last_queued_timestamp, Gauge.set, at)

    def round_began(self) -> None:
        """All that came in is being compiled."""
        self.service_changes_pending.set(0)
        self.endpoint_changes_pending.set(0)

    def round_done(
        self,
        seconds: float,
        since_watch: float | None,
        now: float,
        trigger_times: dict[tuple[str, Family], list[float]],
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
        for (_, of), times in trigger_times.items():
            programming = self.programming_duration[_FAMILIES.index(of.label)]
            for changed in times:
                programming.observe(max(0.0, now - changed))
        for (family, traffic), n in without_local.items():
            self.no_local_endpoints.labels(family, traffic).set(n)

    def forgotten(self, family: Family, n: int, seconds: float) -> None:
        """The switch was told 'n' times to forget connections, and did so in 'seconds'."""
        at = _FAMILIES.index(family.label)
        self.conntrack_deleted[at].inc(n)
        self.conntrack_duration[at].observe(seconds)

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
