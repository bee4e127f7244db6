"""Templates against os-ken's encoder: the same flows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from bench import oskenflows
from bench.conftest import Measure
from bench.workload import BUCKETS, services, texts
from nsxdp.openflow import codec

N = 100_000
FEW = 200
"""As os-ken is slow, so many are enough to time it."""


@pytest.mark.parametrize("n", [N, 1_000])
def bench_balance_flows(measure: Measure, n: int) -> None:
    columns = services(n)
    measure(_BALANCE, f"nsxdp, {n:,} at once", columns.stamp_balance, items=n, unit="flow_mods")


def bench_balance_flows_with_os_ken(measure: Measure) -> None:
    columns = services(FEW)
    rows = list(zip(texts(columns.vips), [80] * FEW, columns.groups.tolist(), strict=True))
    _same_flow(oskenflows.balance(*rows[-1]), columns.stamp_balance()[-1])
    _against(measure, _BALANCE, oskenflows.balance, rows, "flow_mods")


@pytest.mark.parametrize("n", [N, 1_000])
def bench_endpoint_flows(measure: Measure, n: int) -> None:
    columns = services(n // BUCKETS)
    measure(_ENDPOINT, f"nsxdp, {n:,} at once", columns.stamp_endpoints, items=n, unit="flow_mods")


def bench_endpoint_flows_with_os_ken(measure: Measure) -> None:
    columns = services(FEW // BUCKETS)
    rows = list(
        zip(
            columns.slots.tolist(),
            columns.groups_of_endpoints.tolist(),
            columns.timeouts.tolist(),
            texts(columns.ips),
            columns.endpoint_ports.tolist(),
            strict=True,
        )
    )
    _same_flow(oskenflows.endpoint(*rows[-1]), columns.stamp_endpoints()[-1])
    _against(measure, _ENDPOINT, oskenflows.endpoint, rows, "flow_mods")


@pytest.mark.parametrize("n", [N // BUCKETS, 1])
def bench_groups(measure: Measure, n: int) -> None:
    columns = services(n)
    measure(_GROUP, f"nsxdp, {n:,} at once", columns.stamp_groups, items=n, unit="group_mods")


def bench_groups_with_os_ken(measure: Measure) -> None:
    columns = services(FEW // BUCKETS)
    endpoints = zip(
        columns.slots.tolist(), texts(columns.ips), columns.endpoint_ports.tolist(), strict=True
    )
    rows = [
        (group, list(itertools.islice(endpoints, BUCKETS))) for group in columns.groups.tolist()
    ]
    _against(measure, _GROUP, oskenflows.group, rows, "group_mods")


_BALANCE = "ServiceLB's flow of a Service port"
_ENDPOINT = "EndpointDNAT's flow of an endpoint: learn, ct, nat"
_GROUP = "a Service port's group of ten endpoints"


def _against(
    measure: Measure, group: str, make: Callable[..., bytes], rows: list[tuple[Any, ...]], unit: str
) -> None:
    def do() -> None:
        for row in rows:
            make(*row)

    measure(group, "os-ken", do, items=len(rows), unit=unit, peer=True)


def _same_flow(theirs: bytes, ours: bytes) -> None:
    """See that both say the same; the order of match fields is free."""
    assert codec.flow_format(theirs) == codec.flow_format(ours)
