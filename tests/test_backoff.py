"""Intervals between attempts."""

from itertools import islice

import pytest

from nsxdp.backoff import Backoff


@pytest.mark.parametrize(
    ("failures", "longest"), [(1, 0.1), (2, 0.2), (5, 1.6), (6, 3.0), (10_000, 3.0)]
)
def test_it_grows_to_its_bound(failures: int, longest: float) -> None:
    delays = [Backoff(0.1, 3.0).delay(failures) for _ in range(200)]
    assert all(longest / 2 <= delay <= longest for delay in delays)
    assert len(set(delays)) > 100


def test_one_after_the_other() -> None:
    backoff = Backoff(0.1, 8.0)
    bounds = [min(0.1 * 2**n, 8.0) for n in range(12)]
    delays = islice(backoff.delays(), 12)
    assert all(b / 2 <= d <= b for d, b in zip(delays, bounds, strict=True))


@pytest.mark.parametrize(("asked", "least"), [(5.0, 5.0), (1e9, 80.0)])
def test_who_asks_for_a_wait_gets_it_but_nobody_silences_us(asked: float, least: float) -> None:
    delays = [Backoff(0.1, 8.0).delay(1, asked) for _ in range(200)]
    assert all(least <= delay <= 1.1 * least for delay in delays)
    assert len(set(delays)) > 100
