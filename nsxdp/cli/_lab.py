"""What the lab's commands share: how they fail, how they wait for their end, how labs end."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import typer
from rich.console import Console

from nsxdp.lab import errors, owner

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
