"""What the lab's commands share: how they fail, how they wait for their end, how labs end."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import typer
from rich.console import Console

from nsxdp.lab import errors, owner


class _Owned(Protocol):
    """Something that is up as long as a process is."""

    @property
    def owner(self) -> owner.Owner: ...


_T = TypeVar("_T", bound=_Owned)

out = Console()
err = Console(stderr=True)


@contextlib.contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Say what is wrong without a traceback, and end with status 1."""
    try:
        yield
    except errors.LabError as error:
        err.print(f"nsxdp lab: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from error


@contextlib.contextmanager
def stop_signal() -> Iterator[int]:
    """A file descriptor that becomes readable when SIGINT, SIGTERM or SIGHUP comes."""
    with contextlib.ExitStack() as stack:
        receiving, sending = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(sending, False)
        stack.callback(os.close, receiving)

        def note(number: int, frame: object) -> None:
            del number, frame
            with contextlib.suppress(BlockingIOError):
                os.write(sending, b".")

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            previous = signal.signal(number, note)
            stack.callback(signal.signal, number, previous)
        yield receiving


def all_up(read: Callable[[owner.Owner], _T]) -> list[_T]:
    """What is up, as 'read' finds it recorded by its owner."""
    found = []
    for known in owner.owners():
        if known.alive:
            with contextlib.suppress(OSError, ValueError):
                found.append(read(known))
    return found


def choose(found: list[_T], pid: int | None, *, what: str, start: str) -> _T:
    """The one of 'found' that the process 'pid' owns; without a pid, the only one.

    Raises
    ------
    LabError
        There is none, or there are several; 'start' is the command that brings one up.
    """
    chosen = [each for each in found if pid in (None, each.owner.pid)]
    if not chosen:
        which = f" of process {pid}" if pid else ""
        raise errors.LabError(f"no {what}{which} is up; start one with: {start}")
    if len(chosen) > 1:
        pids = ", ".join(str(each.owner.pid) for each in chosen)
        raise errors.LabError(f"several {what}s are up; choose one by --pid: {pids}")
    return chosen[0]


def take_down(lab: owner.Owner, seconds: float) -> None:
    """End the process that owns a lab, and remove what it has left.

    Raises
    ------
    LabError
        It has not ended in time.
    """
    # A process's file descriptor can't be mistaken for a later one with its number.
    fd = os.pidfd_open(lab.pid)
    try:
        signal.pidfd_send_signal(fd, signal.SIGTERM)
        if not owner.await_exit([fd], time.monotonic() + seconds):
            raise errors.LabError(f"process {lab.pid} has not ended after {seconds:g} s")
    finally:
        os.close(fd)
    owner.remove(lab)
