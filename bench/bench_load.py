"""Loading ovs-vswitchd: our connection, a bare socket with bytes made before, ovs-ofctl."""

from __future__ import annotations

import asyncio
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import uvloop

from bench.conftest import Measure, Record
from bench.turns import take_turns, timed
from bench.workload import BALANCE, services
from nsxdp.lab.node import Node
from nsxdp.openflow import Connection, codec
from nsxdp.openflow.commit import describe_mod
from nsxdp.openflow.messages import BarrierRequest, BundleControl, BundleFlags, BundleKind, Hello
from nsxdp.pipeline.tables import TABLES
from nsxdp.transport import parse_remote

FLOWS = 100_000
GROUPS = 10_000
ROUNDS = 15

_FLOWS_AT_ONCE = f"{FLOWS:,} flows, in one bundle"
_GROUPS_AT_ONCE = f"{GROUPS:,} groups of ten buckets with ct and nat, in one bundle"
_ONE = "one flow and the barrier's answer"
_FLAGS = BundleFlags.ATOMIC | BundleFlags.ORDERED
_BUNDLE = 7
_BARRIER = 99


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node("bench") as made:
        yield made


@pytest.fixture(scope="module")
def commit(node: Node) -> Iterator[Callable[[bytes], object]]:
    """Commits to the switch over one connection, as an agent does."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        connection = Connection(parse_remote(node.mgmt, 6653), tables=TABLES)

        async def begin() -> None:
            await connection.__aenter__()
            await connection.ready(10)

        runner.run(begin())
        yield lambda messages: runner.run(connection.commit(messages))
        runner.run(connection.__aexit__(None, None, None))


def bench_flows(
    record: Record, node: Node, commit: Callable[[bytes], object], tmp_path: Path
) -> None:
    """All go to one group, which is there before."""
    columns = services(FLOWS)
    group = services(1).stamp_groups()[0]
    flows = BALANCE.stamp(vip=columns.vips, port=columns.ports, group=columns.groups[0])

    def setup() -> None:
        _empty(node)
        commit(group)

    _load(record, node, commit, tmp_path, _FLOWS_AT_ONCE, bytes(flows), setup, FLOWS, "flows")
    said = node.ovs.ofctl("dump-aggregate", node.mgmt)
    assert f"flow_count={FLOWS}" in said, said


def bench_groups(
    record: Record, node: Node, commit: Callable[[bytes], object], tmp_path: Path
) -> None:
    groups = bytes(services(GROUPS).stamp_groups())
    setup = partial(_empty, node)
    _load(record, node, commit, tmp_path, _GROUPS_AT_ONCE, groups, setup, GROUPS, "groups")
    assert node.ovs.ofctl("dump-groups", node.mgmt).count("group_id=") == GROUPS


def _load(
    record: Record,
    node: Node,
    commit: Callable[[bytes], object],
    folder: Path,
    group: str,
    messages: bytes,
    setup: Callable[[], object],
    items: int,
    unit: str,
) -> None:
    bundle = _bundle(messages)
    file = folder / "bundle.txt"
    file.write_text("".join(f"{describe_mod(message)}\n" for message in _split(messages)))
    with _Bare(node.mgmt.removeprefix("unix:")) as bare:
        works = {
            "nsxdp, Connection.commit": timed(lambda: commit(messages), setup),
            "a bare socket": timed(lambda: bare.send(bundle, _BARRIER), setup),
            "ovs-ofctl bundle FILE": timed(
                lambda: node.ovs.ofctl("bundle", node.mgmt, str(file)), setup
            ),
        }
        take_turns(record, group, works, rounds=ROUNDS, items=items, unit=unit)


def _empty(node: Node) -> None:
    node.ovs.ofctl("del-flows", node.mgmt)
    node.ovs.ofctl("del-groups", node.mgmt)


def _bundle(messages: bytes) -> bytes:
    """All that is sent for a bundle of these messages, and a barrier's request."""
    wrapped = bytearray()
    view = memoryview(messages)
    while view:
        _, used = codec.split(view[: 1 << 20])
        wrapped += codec.bundle_wrap(view[:used], _BUNDLE, _FLAGS, 1)
        view = view[used:]
    return b"".join(
        [
            BundleControl(_BUNDLE, BundleKind.OPEN_REQUEST, _FLAGS, xid=1).encode(),
            wrapped,
            BundleControl(_BUNDLE, BundleKind.CLOSE_REQUEST, _FLAGS, xid=2).encode(),
            BundleControl(_BUNDLE, BundleKind.COMMIT_REQUEST, _FLAGS, xid=3).encode(),
            BarrierRequest(xid=_BARRIER).encode(),
        ]
    )


def _split(messages: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(messages):
        end = at + int.from_bytes(messages[at + 2 : at + 4], "big")
        yield messages[at:end]
        at = end


def bench_one_message(record: Record, node: Node) -> None:
    """The least that a change can take: one message and its barrier."""
    message = services(1).stamp_balance()[0]
    _empty(node)
    seconds = []

    async def commits() -> None:
        async with Connection(parse_remote(node.mgmt, 6653), tables=TABLES) as connection:
            await connection.ready(10)
            await connection.commit(services(1).stamp_groups()[0])
            for _ in range(1000):
                started = time.perf_counter()
                await connection.commit(message)
                seconds.append(time.perf_counter() - started)

    uvloop.run(commits())
    record(_ONE, "nsxdp, Connection.commit", seconds)


def bench_one_message_on_a_bare_socket(measure: Measure, node: Node) -> None:
    data = services(1).stamp_balance()[0] + BarrierRequest(xid=_BARRIER).encode()
    with _Bare(node.mgmt.removeprefix("unix:")) as bare:
        measure(
            _ONE,
            "a bare socket",
            lambda: bare.send(data, _BARRIER),
            peer=True,
            rounds=1000,
        )


class _Bare:
    """A socket to a switch that has said hello, and no more logic than it needs."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(path)
        self.send(Hello(xid=0).encode() + BarrierRequest(xid=98).encode(), 98)
        self._socket.setblocking(False)

    def __enter__(self) -> _Bare:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes, xid: int) -> None:
        """Write 'data', and read until the barrier 'xid' is answered."""
        self._socket.setblocking(False)
        out = memoryview(data)
        rest = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
            while True:
                for _, events in selector.select(60):
                    if events & selectors.EVENT_WRITE and out:
                        out = out[self._socket.send(out) :]
                        if not out:
                            selector.modify(self._socket, selectors.EVENT_READ)
                    if events & selectors.EVENT_READ:
                        rest += self._socket.recv(1 << 16)
                while len(rest) >= 8:
                    kind, length, got = struct.unpack_from("!xBHI", rest)
                    if len(rest) < length:
                        break
                    if kind == 1:
                        raise RuntimeError(codec.message_format(bytes(rest[:length])))
                    del rest[:length]
                    if kind == 21 and got == xid:
                        return
