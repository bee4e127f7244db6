"""Asking Open vSwitch's daemons what ovs-appctl asks them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nsxdp.lab import OVS
from nsxdp.unixctl import UnixctlError, call, control_socket
from nsxdp_agents.common.unixctl import serving


async def test_a_real_daemon_answers(ovs: OVS) -> None:
    socket = control_socket(ovs.directory)
    assert (await call(socket, "version")).startswith("ovs-vswitchd")
    assert (await call(socket, "coverage/read-counter", "bridge_reconfigure")).strip().isdigit()


async def test_what_it_refuses_is_an_error(ovs: OVS) -> None:
    with pytest.raises(UnixctlError, match=r'no/such: "no/such" is not a valid command'):
        await call(control_socket(ovs.directory), "no/such")


def test_a_daemon_that_does_not_run(tmp_path: Path) -> None:
    with pytest.raises(UnixctlError, match="ovs-vswitchd does not run here"):
        control_socket(tmp_path)


@asynccontextmanager
async def server(path: Path, answer: bytes, *, close: bool) -> AsyncIterator[Path]:
    """A daemon that answers whatever it is asked with 'answer', and may hang then."""
    end = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(answer)
        if not close:
            await end.wait()
        writer.close()

    listening = await asyncio.start_unix_server(serve, path)
    try:
        yield path
    finally:
        end.set()
        listening.close()
        await listening.wait_closed()


@pytest.mark.parametrize(
    ("answer", "close", "expected"),
    [
        (b"", True, "cut off"),
        (b'{"id": 0, "result": "a', True, "cut off"),
        (b"}", True, "cut off"),
        (b"[1, 2]}", True, "cut off"),
        (b'{"result": ' + b"[" * 90_000 + b"}", True, "cut off"),
        (b'{"result": "\xff"}', True, "utf-8"),
        (b'{"id": 0', False, "no answer within 0.2 s"),
        (b'{"result": "' + bytes(200_000) + b'"', False, "more than 100000 bytes"),
        (b'{"id": 0, "error": "no\\n", "result": null}', True, "no$"),
    ],
)
async def test_a_daemon_that_lies(
    tmp_path: Path, answer: bytes, close: bool, expected: str
) -> None:
    async with server(tmp_path / "ctl", answer, close=close) as socket:
        with pytest.raises(UnixctlError, match=expected):
            await call(socket, "version", seconds=0.2, most=100_000)


async def test_an_answer_in_pieces_that_look_whole(tmp_path: Path) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in (b'{"result": "{a}', b"b}", b'"}'):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    path = tmp_path / "ctl"
    async with await asyncio.start_unix_server(serve, path):
        assert await call(path, "version") == "{a}b}"


@pytest.mark.parametrize(
    "request_",
    [b"[" * 60_000, b'{"method": "\xff"}', b"{}", b'{"method": "no/such"}', b"7" * 100_000],
)
async def test_an_agent_answers_whatever_it_is_asked(tmp_path: Path, request_: bytes) -> None:
    async with serving(tmp_path, "agent", {}):
        reader, writer = await asyncio.open_unix_connection(control_socket(tmp_path, "agent"))
        writer.write(request_)
        writer.write_eof()
        answer = json.loads(await reader.read())
        writer.close()
    assert answer["result"] is None
    assert answer["error"].endswith("\n")
