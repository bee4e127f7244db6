"""Between an agent and Open vSwitch's database: it can lose an answer."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Final

__all__ = ["Relay"]

_SIZE: Final = 1 << 16


class Relay:
    """Hands on what one side says to the other.

    Parameters
    ----------
    path
        Its socket.
    to
        The database's.
    """

    def __init__(self, path: Path, to: Path) -> None:
        self.path = path
        self._to = to
        self._loses = Event()
        self._word = b""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        Thread(target=self._accept, daemon=True).start()

    def lose(self, word: bytes) -> None:
        """Break off as soon as the database has something new that has 'word' in it."""
        self._word = word
        self._loses.set()

    @property
    def lost(self) -> bool:
        """Whether that has happened."""
        return not self._loses.is_set()

    def close(self) -> None:
        """Hand on nothing that comes from now on."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # it was closed
            while True:
                peer, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                server.connect(str(self._to))
                for ends in ((peer, server), (server, peer)):
                    Thread(target=self._copy, args=(*ends, server), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):  # the other one has ended
            while data := source.recv(_SIZE):
                # The database tells what has changed before it answers who changed it.
                if source is server and self._loses.is_set() and self._word in data:
                    self._loses.clear()
                    break
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
