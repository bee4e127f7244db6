"""The parts of a flow as values: what it matches, and what it does."""

from __future__ import annotations

from typing import Self

from nsxdp.openflow import codec
from nsxdp.openflow.codec import Tables

__all__ = ["Actions", "Match"]


class Match(bytes):
    """What a flow matches: the bytes of a ``struct ofp_match``, padded.

    Examples
    --------
    >>> from nsxdp.openflow import Match
    >>> match = Match.parse("tcp,tp_dst=80,nw_dst=10.0.0.0/8")
    >>> print(match, len(match))
    tcp,nw_dst=10.0.0.0/8,tp_dst=80 40
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a match in ovs-ofctl's syntax: ``tcp,nw_dst=10.0.0.1``; empty for everything.

        Raises
        ------
        ParseError
            The text isn't one; says where.
        """
        return cls(codec.match_parse(text))

    @classmethod
    def of(cls, fields: bytes) -> Self:
        """A match of OXM fields, one after the other."""
        size = 4 + len(fields)
        return cls(b"\0\1" + size.to_bytes(2, "big") + fields + bytes(-size % 8))

    @property
    def fields(self) -> bytes:
        """Its OXM fields, one after the other."""
        return bytes(self[4 : int.from_bytes(self[2:4], "big")])

    def __str__(self) -> str:
        return codec.match_format(self)

    def __repr__(self) -> str:
        return f"Match.parse({str(self)!r})"


class Actions(bytes):
    """What a flow does: the bytes of its instructions; none to drop.

    Examples
    --------
    >>> from nsxdp.openflow import Actions
    >>> Actions.parse("mod_nw_dst:10.0.0.5,output:2")
    Actions.parse('set_field:10.0.0.5->ip_dst,output:2')
    >>> print(Actions(b""))
    drop
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str, tables: Tables | None = None) -> Self:
        """Read what may follow ``actions=``, of a flow that matches whatever these need.

        Parameters
        ----------
        tables
            Names that the text may use for tables.

        Raises
        ------
        ParseError
            The text isn't such; says where.
        """
        return cls(codec.instructions_parse(text, tables))

    def format(self, tables: Tables | None = None) -> str:
        """The actions as ``ovs-ofctl dump-flows`` prints them, with names of ``tables``.

        No actions are ``drop``.
        """
        return codec.instructions_format(self, tables)

    def __str__(self) -> str:
        return self.format()

    def __repr__(self) -> str:
        return f"Actions.parse({str(self)!r})"
