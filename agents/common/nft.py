"""Runs nft(8), which speaks to nftables in the kernel of this process's network namespace."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from nsxdp_agents.common.tools import ToolError, run

__all__ = ["NftError", "Table", "interface", "nft"]

_INTERFACE: Final = re.compile(r"[\w.@:-]{1,15}", re.ASCII)


class NftError(Exception):
    """nft can't be run, or refuses; the message is one line."""


def interface(name: str) -> str:
    """An interface's name as a rule has it.

    Raises
    ------
    NftError
        It can't stand in a rule.
    """
    if not _INTERFACE.fullmatch(name):
        raise NftError(f"an interface's name can't stand in a rule: {name!r}")
    return f'"{name}"'


async def nft(*arguments: str, text: str = "") -> str:
    """Run nft with 'text' as its input; what it prints.

    Raises
    ------
    NftError
        It fails.
    """
    # In a thread, as it ends before an event loop has met it.
    try:
        return await asyncio.to_thread(run, "nft", *arguments, package="nftables", text=text)
    except ToolError as error:
        raise NftError(str(error)) from None


class Table:
    """A table that is ours, written as a whole; nobody tells who else changes it.

    Parameters
    ----------
    name
        With its family: ``inet nsxdp``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._text: str | None = None
        self._left: str | None = None
        """What nft said of the table when it was written, empty where there is none; None: it has
        to be written."""

    async def write(self, text: str, *, deletes: bool = False) -> None:
        """Have 'text' be all of the table, in nft's syntax.

        Parameters
        ----------
        deletes
            Whether that leaves no table.

        Raises
        ------
        NftError
            It fails.
        """
        self._left = None
        self._text = text
        await nft("-f", "-", text=text)
        self._left = "" if deletes else await self._list()

    def was_written(self, text: str) -> bool:
        """Whether 'text' is what was written last, without a failure."""
        return self._left is not None and text == self._text

    async def is_as_left(self) -> bool:
        """Whether the table is as it was left; one that isn't there is nobody else's."""
        if self._left == "":
            return True
        try:
            return await self._list() == self._left
        except NftError:
            return False

    async def _list(self) -> str:
        return await nft("--numeric", "list", "table", *self.name.split())
