"""What ovs-ofctl sends to a switch, for the commands that it has no dry run of."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import threading
from pathlib import Path

TIMEOUT = 30
HELLO, BARRIER_REQUEST, BARRIER_REPLY = 0, 20, 21
_HEADER = struct.Struct("!BBHI")


class Listener:
    """A switch that answers nothing but barriers, and keeps the messages of one type."""

    def __init__(self, path: Path) -> None:
        self._path = path
        program = shutil.which("ovs-ofctl")
        assert program
        self._program = program

    def sent(self, kind: int, *arguments: str) -> bytes | None:
        """The message of type 'kind' that ``ovs-ofctl COMMAND SWITCH TEXT`` sends, with xid 0.

        None if it refuses the text.
        """
        found: list[bytes] = []
        command, *rest = arguments
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(self._path))
            try:
                server.listen(1)
                server.settimeout(TIMEOUT)
                process = subprocess.Popen(
                    [
                        *(self._program, "-O", "OpenFlow15", "--no-names", f"--timeout={TIMEOUT}"),
                        *(command, f"unix:{self._path}", *rest),
                    ],
                    stderr=subprocess.DEVNULL,
                )
                waiter = threading.Thread(target=self._stop, args=(process,))
                waiter.start()
                self._answer(server, kind, found)
                waiter.join(TIMEOUT)
            finally:
                self._path.unlink()
        return found[0] if process.returncode == 0 else None

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        """Wake the server, should ovs-ofctl have ended without a connection."""
        process.wait(TIMEOUT)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self._path))

    def _answer(self, server: socket.socket, kind: int, found: list[bytes]) -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as stream:
            connection.settimeout(TIMEOUT)
            while header := stream.read(_HEADER.size):
                _, message, length, xid = _HEADER.unpack(header)
                body = stream.read(length - _HEADER.size)
                if message == HELLO:
                    connection.sendall(_HEADER.pack(6, HELLO, 8, xid))
                elif message == BARRIER_REQUEST:
                    connection.sendall(_HEADER.pack(6, BARRIER_REPLY, 8, xid))
                elif message == kind:
                    found.append(_HEADER.pack(6, kind, length, 0) + body)
