"""The agent with a real API server: cold start, restart, and one endpoint more."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

import pytest

from bench.arrivals import Arrivals
from bench.cluster import ENDPOINTS, Cluster, endpoint_slice, small_services, writer
from bench.conftest import Record
from bench.processes import usage
from bench.results import duration, size

SERVICES = (1_000, 10_000)
STARTS = 5
CHANGES = 500
_STRIDE = 37
"""Between the Services that are changed; no divisor of their number."""
_PAUSE = 0.01
"""Seconds between two changes, so that each has a round of its own."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    numbers = metafunc.config.getoption("--services") or SERVICES
    metafunc.parametrize("cluster", numbers, ids="{:,}".format, indirect=True, scope="module")


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with Cluster(small_services(request.param)) as made:
        yield made


def bench_cold_start(record: Record, cluster: Cluster) -> None:
    """On an empty bridge: everything has to be read, compiled and sent."""
    _starts(record, cluster, "cold start", empty=True)


def bench_restart(record: Record, cluster: Cluster) -> None:
    """On a bridge that has all of it: nothing may be sent."""
    sent = _starts(record, cluster, "restart", empty=False)
    assert sent == 0, f"{sent} messages at a restart"


def _starts(record: Record, cluster: Cluster, who: str, *, empty: bool) -> int:
    times, used, switch = [], [], []
    sent = 0
    for _ in range(STARTS):
        if empty:
            cluster.remove_rules()
        before = usage(cluster.node.ovs.pid()).cpu
        with cluster.agent() as agent:
            switch.append(usage(cluster.node.ovs.pid()).cpu - before)
            times.append(agent.to_rules)
            agent.settle()
            used.append(agent.usage())
            sent = agent.messages()
    used.sort(key=lambda each: each.cpu)
    middle = used[len(used) // 2]
    record(
        f"{cluster.workload.title}: start to barrier",
        who,
        times,
        facts={
            "messages": f"{sent:,}",
            "CPU": duration(middle.cpu),
            "CPU of OVS": duration(sorted(switch)[len(switch) // 2]),
            "resident": size(max(each.resident for each in used)),
            "peak": size(max(each.peak for each in used)),
            "load": f"{os.getloadavg()[0]:.1f}",
        },
    )
    return sent


def bench_one_endpoint_more(record: Record, cluster: Cluster) -> None:
    """One EndpointSlice is replaced by one with an endpoint more, again and again.

    The event is there when the kernel has its packet for the agent, which knows of it when it has
    read it. The agent has a real-time priority, as always where it may.
    """
    arrived, read, outside, acknowledged = [], [], [], []
    with contextlib.ExitStack() as stack:
        agent = stack.enter_context(cluster.agent())
        api = stack.enter_context(writer(cluster))
        agent.settle()
        arrivals = stack.enter_context(Arrivals(cluster.node.netns, cluster.api.port))
        sent = agent.messages()
        before = agent.usage()
        for change in range(CHANGES):
            number = change * _STRIDE % cluster.workload.services
            put, answered = api.put(endpoint_slice(number, ENDPOINTS + 1))
            done = agent.next_round(put)
            confirmed = float(done["confirmed_at"])
            arrived.append(confirmed - arrivals.first(put, agent.pid))
            read.append(float(done["seconds"]))
            outside.append(confirmed - put)
            acknowledged.append(max(0.0, confirmed - answered))
            time.sleep(_PAUSE)
        after = agent.usage()
        sent = agent.messages() - sent
        for change in range(CHANGES):
            api.put(endpoint_slice(change * _STRIDE % cluster.workload.services))
    assert sent == CHANGES, f"{sent} messages for {CHANGES} changes"
    group = f"{cluster.workload.title}: one endpoint more"
    record(
        group,
        "watch event to barrier",
        arrived,
        facts={
            "messages a change": f"{sent / CHANGES:g}",
            "CPU a change": duration((after.cpu - before.cpu) / CHANGES),
            "waiting for a processor": duration((after.waited - before.waited) / CHANGES),
            "resident": size(after.resident),
        },
    )
    record(group, "watch event read to barrier", read)
    record(group, "API write acknowledged to barrier", acknowledged)
    record(group, "API write sent to barrier", outside)
