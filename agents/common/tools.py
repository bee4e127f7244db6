"""Runs the tools of others that speak to this process's network namespace."""

from __future__ import annotations

import subprocess
from typing import Final

__all__ = ["ToolError", "run"]

_SECONDS: Final = 30.0

# With vfork(), the interpreter's lock is held until the tool has got a processor and is loaded:
# everything of this process would wait for that.
vars(subprocess)["_USE_VFORK"] = False


class ToolError(Exception):
    """A tool can't be run, or fails; the message is one line."""


def run(tool: str, *arguments: str, package: str, text: str = "", harmless: str = "") -> str:
    """Run 'tool' with 'text' as its input, for a thread; what it prints.

    Parameters
    ----------
    package
        Whose it is, for who hasn't installed it.
    harmless
        A failure of which the tool says that is none.

    Raises
    ------
    ToolError
        It fails, isn't installed, or doesn't end.
    """
    try:
        done = subprocess.run(
            [tool, *arguments],
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except OSError as error:
        raise ToolError(f"{tool}: {error.strerror}: install {package}") from None
    except subprocess.TimeoutExpired:
        raise ToolError(f"{tool}: no end within {_SECONDS:g} s") from None
    if done.returncode and not (harmless and harmless in done.stderr):
        lines = (line.strip() for line in done.stderr.splitlines())
        raise ToolError(next(filter(None, lines), f"{tool} failed without a word"))
    return done.stdout
