"""What ovs-ofctl sends to a real switch: a go-between hears all of it."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from nsxdp.openflow.messages import HEADER

TIMEOUT = 20
_HELLO = 0


async def overhear(bridge: Path, path: Path, *words: str) -> list[bytes]:
    """The messages that ``ovs-ofctl OPTIONS COMMAND BRIDGE ARGUMENTS`` sends, but the hello.

    Their xids are 0. The switch may refuse them.

    Parameters
    ----------
    bridge
        The file that the bridge listens at.
    path
        A file for the go-between.
    words
        The options, the command, and its arguments.
    """
    heard: list[bytes] = []
    options = [word for word in words if word.startswith("--")]
    command, *arguments = words[len(options) :]

    async def relay(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, keep: list[bytes] | None
    ) -> None:
        while header := await reader.read(HEADER.size):
            if len(header) < HEADER.size:
                header += await reader.readexactly(HEADER.size - len(header))
            _, kind, length, _ = HEADER.unpack(header)
            body = await reader.readexactly(length - HEADER.size)
            if keep is not None and kind != _HELLO:
                keep.append(header[:4] + bytes(4) + body)
            writer.write(header + body)
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_unix_connection(bridge)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(relay(reader, ours, heard))
            tasks.create_task(relay(theirs, writer, None))

    program = shutil.which("ovs-ofctl")
    assert program
    async with await asyncio.start_unix_server(accept, path):
        process = await asyncio.create_subprocess_exec(
            *(program, "-O", "OpenFlow15", f"--timeout={TIMEOUT}"),
            *(*options, command, f"unix:{path}", *arguments),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await process.wait()
    return heard
