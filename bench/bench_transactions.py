"""Ports added, each with a transaction: nsxdp against python-ovs, ovsdbapp and bare sockets.

Runs take turns, each on a bridge that is empty again, so that the machine is the same to all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from bench.conftest import Record
from bench.northbound import VSWITCH, Server, fill, fill_vswitch, run
from bench.ports import COMMITS, add_ports
from bench.turns import take_turns

ROUNDS: Final = 7
AT_ONCE: Final = 16

OURS: Final = ("nsxdp, with its replica", "nsxdp, without a replica")
SOCKETS: Final = ("bare socket", "bare socket, updates unread")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, json.loads(VSWITCH.read_text())) as server:
        run(fill(server, lambda client: fill_vswitch(client, 0)))
        yield server


def bench_one_at_a_time(record: Record, server: Server) -> None:
    works = {
        who: partial(add_ports, who, server.remote)
        for who in (*OURS, *SOCKETS, "python-ovs", "ovsdbapp")
    }
    group = f"{COMMITS:,} ports added, each with a transaction that waits for its answer"
    take_turns(record, group, works, rounds=ROUNDS, items=COMMITS, unit="transactions")


def bench_several_at_once(record: Record, server: Server) -> None:
    works = {who: partial(add_ports, who, server.remote, AT_ONCE) for who in (*OURS, *SOCKETS)}
    group = f"{COMMITS:,} ports added, {AT_ONCE} transactions under way at any time"
    take_turns(record, group, works, rounds=ROUNDS, items=COMMITS, unit="transactions")
