"""Loading ovs-vswitchd: our connection, a bare socket with bytes made before, ovs-ofctl."""

from __future__ import annotations

import asyncio
import selectors
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import uvloop

from bench.conftest import Measure, Record
from bench.workload import TCP, services
from nsxdp.lab.node import Node
from nsxdp.openflow import Connection, codec
from nsxdp.openflow.messages import BarrierRequest, BundleControl, BundleFlags, BundleKind, Hello
from nsxdp.pipeline.tables import TABLES
from nsxdp.transport import parse_remote

GROUPS = 10_000
FLOWS = 2 * GROUPS
ROUNDS = 5

_ONCE = f"{GROUPS:,} groups of ten buckets and {FLOWS:,} flows, in one bundle"
_ONE = "one flow and the barrier's answer"
_UNIT = "messages"
_FLAGS = BundleFlags.ATOMIC | BundleFlags.ORDERED
_BUNDLE = 7


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node("bench") as made:
        yield made


@pytest.fixture(scope="module")
def messages() -> bytes:
    """The groups, and two flows for each."""
    columns = services(GROUPS)
    second = TCP.balance.stamp(
        vip=columns.vips, port=np.full(GROUPS, 443, np.uint16), group=columns.groups
    )
    stamped = (columns.stamp_groups(), columns.stamp_balance(), second)
    return b"".join(bytes(piece) for piece in stamped)


def _empty(node: Node) -> None:
    node.ovs.ofctl("del-flows", node.mgmt)
    node.ovs.ofctl("del-groups", node.mgmt)


def _check(node: Node) -> None:
    said = node.ovs.ofctl("dump-aggregate", node.mgmt)
    assert f"flow_count={FLOWS}" in said, said


def bench_connection(measure: Measure, node: Node, messages: bytes) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        connection = Connection(parse_remote(node.mgmt, 6653), tables=TABLES)

        async def begin() -> None:
            await connection.__aenter__()
            await connection.ready(10)

        runner.run(begin())
        measure(
            _ONCE,
            "nsxdp, Connection.commit",
            lambda: runner.run(connection.commit(messages)),
            items=GROUPS + FLOWS,
            unit=_UNIT,
            rounds=ROUNDS,
            setup=lambda: _empty(node),
        )
        runner.run(connection.__aexit__(None, None, None))
    _check(node)


def bench_bare_socket(measure: Measure, node: Node, messages: bytes) -> None:
    wrapped = bytearray()
    view = memoryview(messages)
    while view:
        _, used = codec.split(view[: 1 << 20])
        wrapped += codec.bundle_wrap(view[:used], _BUNDLE, _FLAGS, 1)
        view = view[used:]
    barrier = BarrierRequest(xid=99).encode()
    data = b"".join(
        [
            BundleControl(_BUNDLE, BundleKind.OPEN_REQUEST, _FLAGS, xid=1).encode(),
            wrapped,
            BundleControl(_BUNDLE, BundleKind.CLOSE_REQUEST, _FLAGS, xid=2).encode(),
            BundleControl(_BUNDLE, BundleKind.COMMIT_REQUEST, _FLAGS, xid=3).encode(),
            barrier,
        ]
    )
    with _Bare(node.mgmt.removeprefix("unix:")) as bare:
        measure(
            _ONCE,
            "a bare socket",
            lambda: bare.send(data, 99),
            items=GROUPS + FLOWS,
            unit=_UNIT,
            peer=True,
            rounds=ROUNDS,
            setup=lambda: _empty(node),
        )
    _check(node)


def bench_ovs_ofctl(measure: Measure, node: Node, messages: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bundle.txt"
    with path.open("w") as file:
        at = 0
        while at < len(messages):
            length = int.from_bytes(messages[at + 2 : at + 4], "big")
            message = messages[at : at + length]
            if message[1] == 15:
                file.write(f"group add {codec.group_format(message)}\n")
            else:
                file.write(f"flow add {codec.flow_format(message)}\n")
            at += length
    measure(
        _ONCE,
        "ovs-ofctl bundle FILE",
        lambda: node.ovs.ofctl("bundle", node.mgmt, str(path)),
        items=GROUPS + FLOWS,
        unit=_UNIT,
        rounds=ROUNDS,
        setup=lambda: _empty(node),
    )
    _check(node)


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
    data = services(1).stamp_balance()[0] + BarrierRequest(xid=99).encode()
    with _Bare(node.mgmt.removeprefix("unix:")) as bare:
        measure(
            _ONE,
            "a bare socket",
            lambda: bare.send(data, 99),
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
