"""nsx-kube-proxy beside kube-proxy: start, restart, one change, many changes, memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from random import Random
from typing import Final

import pytest

from bench.cluster import Cluster, Workload, balancer, large_service, small_services, writer
from bench.conftest import Record
from bench.ovn import Balancers, Ovn
from bench.processes import Usage, usage
from bench.proxies import KubeProxy, Proxy, TooSlowError
from bench.results import duration, number, size
from nsxdp.lab.node import Node

_SERVICES: Final = 1_000
_LARGE: Final = 10_000
_STARTS: Final = 3
_CHANGES: Final = 200
_BURST: Final = 1_000
_PATIENCE: Final = 12.0
"""Seconds after which a slow contestant has no further turn."""
_PAUSE: Final = 0.02
_STRIDE: Final = 37

Start = Callable[[Cluster], Proxy]

_PROXIES: Final[Mapping[str, Start]] = {
    "nsx-kube-proxy": lambda cluster: cluster.agent(),
    "kube-proxy, nftables": lambda cluster: KubeProxy(
        cluster.node, cluster.api.kubeconfig, "nftables", cluster.workload.services
    ),
    "kube-proxy, iptables": lambda cluster: KubeProxy(
        cluster.node, cluster.api.kubeconfig, "iptables", cluster.workload.services
    ),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    numbers = metafunc.config.getoption("--services")
    workloads = [small_services(number) for number in numbers or [_SERVICES]]
    if not numbers and metafunc.function is bench_proxies:
        workloads.append(large_service(_LARGE))
    metafunc.parametrize("workload", workloads, ids=[workload.title for workload in workloads])


def bench_proxies(record: Record, workload: Workload) -> None:
    """nsx-kube-proxy, and kube-proxy in its modes."""
    with Cluster(workload) as cluster:
        _starts(record, cluster)
        _changes(record, cluster)


def _starts(record: Record, cluster: Cluster) -> None:
    """Without any rules, and then with all of them."""
    cold: dict[str, list[float]] = {who: [] for who in _PROXIES}
    warm: dict[str, list[float]] = {who: [] for who in _PROXIES}
    used: dict[str, Usage] = {}
    spent = dict.fromkeys(_PROXIES, 0.0)
    for turn in range(_STARTS):
        for who in Random(turn).sample(list(_PROXIES), len(_PROXIES)):
            if spent[who] > _PATIENCE:
                continue
            begin = time.monotonic()
            cluster.remove_rules()
            try:
                for times in (cold[who], warm[who]):
                    with _PROXIES[who](cluster) as proxy:
                        times.append(proxy.to_rules)
                        proxy.settle()
                        used[who] = proxy.usage()
            except TooSlowError:
                spent[who] = _PATIENCE
            spent[who] += time.monotonic() - begin
    for group, measured in (("start without rules", cold), ("restart", warm)):
        for who, times in measured.items():
            if measured is warm and not cold[who]:
                continue
            facts = {"starts": str(len(times))} if times else {"time": "not within 180 s"}
            if times:
                facts |= {
                    "resident": size(used[who].resident),
                    "peak": size(used[who].peak),
                }
            record(
                f"{cluster.workload.title}: {group}", who, times, peer=_is_peer(who), facts=facts
            )


def _changes(record: Record, cluster: Cluster) -> None:
    """One endpoint is replaced again and again, and then many are at once."""
    for who, start in _PROXIES.items():
        cluster.restore()
        try:
            with start(cluster) as proxy:
                proxy.settle()
                _one_change(record, cluster, who, proxy)
                _burst(record, cluster, who, proxy)
        except TooSlowError:
            continue


def _one_change(record: Record, cluster: Cluster, who: str, proxy: Proxy) -> None:
    workload = cluster.workload
    before = proxy.usage()
    times: list[float] = []
    end = time.monotonic() + _PATIENCE
    with writer(cluster) as api:
        while len(times) < _CHANGES and time.monotonic() < end:
            put, _ = api.put(workload.changed(*_change(workload, len(times), _STRIDE)))
            times.append(proxy.next_sync(put) - put)
            time.sleep(_PAUSE)
    proxy.settle()
    after = proxy.usage()
    record(
        f"{workload.title}: one endpoint replaced",
        who,
        times,
        peer=_is_peer(who),
        facts={
            "changes": str(len(times)),
            "CPU a change": duration((after.cpu - before.cpu) / len(times)),
            "resident": size(after.resident),
        },
    )


def _burst(record: Record, cluster: Cluster, who: str, proxy: Proxy) -> None:
    workload = cluster.workload
    heard = proxy.endpoint_changes()
    before = proxy.usage()
    begin = time.time()
    # What the changes one by one have left differs from all of these.
    cluster.api.load(workload.changed(*_change(workload, count, 1, 2)) for count in range(_BURST))
    written = time.time() - begin
    while proxy.endpoint_changes() < heard + _BURST:
        time.sleep(0.1)
    seconds = proxy.settle() - begin
    after = proxy.usage()
    record(
        f"{workload.title}: {_BURST:,} endpoints replaced at once",
        who,
        [seconds],
        peer=_is_peer(who),
        facts={
            "changes/s": number(_BURST / seconds),
            "after the last write": duration(max(0.0, seconds - written)),
            "CPU": duration(after.cpu - before.cpu),
            "resident": size(after.resident),
            "peak": size(after.peak),
        },
    )


def bench_ovn(record: Record, workload: Workload) -> None:
    """OVN, whose Services are load balancers in its northbound database."""
    with Node("ovn", gateway6=None, fail_mode="secure") as node:
        node.add_pod("client")
        with Ovn(node) as ovn:
            ovn.add_pods()
            asyncio.run(_ovn(record, workload, ovn))


async def _ovn(record: Record, workload: Workload, ovn: Ovn) -> None:
    async def timed(work: Awaitable[None]) -> float:
        begin = time.perf_counter()
        await work
        await balancers.switched()
        return time.perf_counter() - begin

    async def changed(changes: Iterable[tuple[int, int]]) -> None:
        for service, first in changes:
            await balancers.change(*balancer(service, first))

    async def started() -> None:
        ovn.start_controller()

    def note(group: str, times: list[float], facts: dict[str, str]) -> None:
        memory = {
            "resident": size(usage(ovn.pid("ovn-controller")).resident),
            "resident, ovn-northd": size(usage(ovn.pid("ovn-northd")).resident),
        }
        title = f"{workload.title}: {group}"
        record(title, "OVN", times, peer=True, facts=facts | memory)

    async with Balancers(ovn) as balancers:
        cold: list[float] = []
        warm: list[float] = []
        while len(cold) < _STARTS and sum(cold + warm) < _PATIENCE:
            await timed(balancers.remove_all())
            everything = dict(balancer(number) for number in range(workload.services))
            cold.append(await timed(balancers.add(everything)))
            ovn.stop_controller()
            warm.append(await timed(started()))
        note("start without rules", cold, {"starts": str(len(cold))})
        note("restart", warm, {"starts": str(len(warm))})
        times: list[float] = []
        while len(times) < _CHANGES and sum(times) < _PATIENCE:
            times.append(await timed(changed([_change(workload, len(times), _STRIDE)])))
        note("one endpoint replaced", times, {"changes": str(len(times))})
        seconds = await timed(changed(_change(workload, count, 1, 2) for count in range(_BURST)))
        facts = {"changes/s": number(_BURST / seconds)}
        note(f"{_BURST:,} endpoints replaced at once", [seconds], facts)


def _change(workload: Workload, count: int, stride: int, first: int = 0) -> tuple[int, int]:
    """Which slice is changed as number 'count', and with which endpoint it then begins."""
    return count * stride % workload.slices, first + 1 - count // workload.slices % 2


def _is_peer(who: str) -> bool:
    return not who.startswith("nsx")
