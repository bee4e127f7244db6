"""Pairs of interfaces, as the kernel makes them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from nsxdp.lab import Netns
from nsxdp.rtnetlink import Connection, Link
from nsxdp.rtnetlink.veth import create


@pytest.fixture
def pod() -> Iterator[Netns]:
    with Netns("pod") as netns:
        yield netns


def test_a_pair_has_one_queue_each_way_however_many_processors_there_are(
    netns: Netns, pod: Netns
) -> None:
    file = os.open(pod.path, os.O_RDONLY)
    try:
        with netns.enter(), Connection() as kernel:
            assert kernel.apply([create(Link(0, "near"), Link(0, "eth0"), file)]) == []
    finally:
        os.close(file)
    for end, name in ((netns, "near"), (pod, "eth0")):
        (link,) = json.loads(end.run(["ip", "-j", "-d", "link", "show", name]).stdout)
        assert (link["num_tx_queues"], link["num_rx_queues"]) == (1, 1)
