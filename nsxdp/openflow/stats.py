"""What flows, ports, groups and meters have done, as columns.

A million flows are a million rows of one numpy array, and objects only where somebody asks for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, overload

import numpy as np
import numpy.typing as npt

from nsxdp.openflow import codec
from nsxdp.openflow.codec import Tables
from nsxdp.openflow.errors import DecodeError
from nsxdp.openflow.flow import Flow, FlowStats

__all__ = [
    "FLOW_ROW",
    "GROUP_STATS",
    "METER_STATS",
    "PORT_STATS",
    "QUEUE_STATS",
    "TABLE_STATS",
    "FlowTable",
    "read_stats",
]

_DEFAULT_PRIORITY: Final = 0x8000
_MULTIPART: Final = 16
"""Bytes before the body of a multipart reply."""

FLOW_ROW: Final = np.dtype(
    [
        ("cookie", np.uint64),
        ("packets", np.uint64),
        ("bytes", np.uint64),
        ("match", np.uint64),
        ("instructions", np.uint64),
        ("match_len", np.uint32),
        ("instructions_len", np.uint32),
        ("duration_sec", np.uint32),
        ("duration_nsec", np.uint32),
        ("idle_age", np.int32),
        ("idle_timeout", np.uint16),
        ("hard_timeout", np.uint16),
        ("importance", np.uint16),
        ("flags", np.uint16),
        ("priority", np.uint16),
        ("table", np.uint8),
        ("pad", np.uint8),
    ],
    align=True,
)
"""A flow: ``struct nsx_flow_row``.

Times are in seconds (``duration_nsec`` adds nanoseconds); ``idle_age`` is -1 where the switch
doesn't know it, and a count is all ones.  ``match`` and ``instructions`` are where these start in
`FlowTable.data`.
"""
assert FLOW_ROW.itemsize == codec.FLOW_ROW_SIZE

TABLE_STATS: Final = np.dtype(
    [("table", "u1"), ("pad", "V3"), ("active", ">u4"), ("lookups", ">u8"), ("matched", ">u8")]
)
"""An entry of an OFPMP_TABLE_STATS reply: flows, and packets that were looked up and that matched.
"""
PORT_STATS: Final = np.dtype(
    [
        ("length", ">u2"),
        ("pad", "V2"),
        ("port", ">u4"),
        ("duration_sec", ">u4"),
        ("duration_nsec", ">u4"),
        ("rx_packets", ">u8"),
        ("tx_packets", ">u8"),
        ("rx_bytes", ">u8"),
        ("tx_bytes", ">u8"),
        ("rx_dropped", ">u8"),
        ("tx_dropped", ">u8"),
        ("rx_errors", ">u8"),
        ("tx_errors", ">u8"),
    ]
)
"""An entry of an OFPMP_PORT_STATS reply, without its properties.

A count is all ones where the switch doesn't know it; ``duration_sec`` are seconds since the port
was made.
"""
QUEUE_STATS: Final = np.dtype(
    [
        ("length", ">u2"),
        ("pad", "V6"),
        ("port", ">u4"),
        ("queue", ">u4"),
        ("bytes", ">u8"),
        ("packets", ">u8"),
        ("errors", ">u8"),
        ("duration_sec", ">u4"),
        ("duration_nsec", ">u4"),
    ]
)
"""An entry of an OFPMP_QUEUE_STATS reply: what was sent, and what was lost by overruns."""
GROUP_STATS: Final = np.dtype(
    [
        ("length", ">u2"),
        ("pad", "V2"),
        ("group", ">u4"),
        ("references", ">u4"),
        ("pad2", "V4"),
        ("packets", ">u8"),
        ("bytes", ">u8"),
        ("duration_sec", ">u4"),
        ("duration_nsec", ">u4"),
    ]
)
"""An entry of an OFPMP_GROUP_STATS reply, without its buckets.

``references`` are the flows and groups that use it.
"""
METER_STATS: Final = np.dtype(
    [
        ("meter", ">u4"),
        ("length", ">u2"),
        ("pad", "V6"),
        ("flows", ">u4"),
        ("packets", ">u8"),
        ("bytes", ">u8"),
        ("duration_sec", ">u4"),
        ("duration_nsec", ">u4"),
    ]
)
"""An entry of an OFPMP_METER_STATS reply, without its bands.

``flows`` are those that use it, ``packets`` and ``bytes`` what came in.
"""


def read_stats(replies: Sequence[bytes], entry: np.dtype[Any]) -> npt.NDArray[Any]:
    """The entries of multipart replies, each of which starts as ``entry`` says.

    Parameters
    ----------
    replies
        Whole OFPT_MULTIPART_REPLYs.
    entry
        With a ``length``, it is that of the entry with what follows; else all have the same.

    Returns
    -------
    entries
        Shape (n,), of ``entry`` in the machine's byte order.

    Raises
    ------
    DecodeError
        An entry is cut off, or has a length that none can have.
    """
    parts = []
    for reply in replies:
        body = reply[_MULTIPART:]
        at = 0
        while at < len(body):
            if at + entry.itemsize > len(body):
                raise DecodeError("an entry is cut off", _MULTIPART + at)
            row = np.frombuffer(body, entry, 1, at)
            parts.append(row)
            names = entry.names or ()
            length = int(row["length"][0]) if "length" in names else entry.itemsize
            if not entry.itemsize <= length <= len(body) - at:
                raise DecodeError(
                    f"an entry of {length} bytes where there are {len(body) - at}", _MULTIPART + at
                )
            at += length
    native = entry.newbyteorder("=")
    return np.concatenate(parts).astype(native) if parts else np.empty(0, native)


class FlowTable:
    """Flows with their statistics: rows of numbers, with the bytes they speak of.

    ``len()`` counts them, an index gives one as a `Flow`, and a slice, a mask or an array of
    indexes gives a table with some.  All columns of `FLOW_ROW` are attributes.

    Attributes
    ----------
    rows
        A structured array of dtype `FLOW_ROW`, shape (n,).
    data
        The replies; ``match`` and ``instructions`` count from its start.
    tables
        Names of tables for what is printed.

    Examples
    --------
    >>> import asyncio
    >>> from nsxdp.lab import Node
    >>> from nsxdp.openflow import Switch
    >>> async def main(bridge):
    ...     async with Switch(bridge) as switch:
    ...         await switch.add(*(f"table=1,tcp,tp_dst={port} actions=drop" for port in (80, 443)))
    ...         return await switch.dump("table=1")
    >>> with Node() as node:
    ...     flows = asyncio.run(main(node.mgmt))
    >>> len(flows), int(flows.packets.sum()), len(flows[flows.duration > 60])
    (2, 0, 0)
    >>> for flow in flows.sorted():
    ...     print(flow.actions)
    drop
    drop
    """

    __slots__ = ("data", "rows", "tables")

    def __init__(self, rows: npt.NDArray[Any], data: bytes, tables: Tables | None = None) -> None:
        self.rows = rows
        self.data = data
        self.tables = tables

    @classmethod
    def read(cls, replies: Sequence[bytes], tables: Tables | None = None) -> FlowTable:
        """Read OFPMP_FLOW_DESC replies.

        Parameters
        ----------
        tables
            Names of tables for what is printed.

        Raises
        ------
        DecodeError
            A reply is none, or a part of it is wrong.
        """
        rows, origin = [], 0
        for reply in replies:
            rows.append(codec.flow_rows(reply, origin))
            origin += len(reply)
        return cls(np.frombuffer(b"".join(rows), FLOW_ROW), b"".join(replies), tables)

    def __len__(self) -> int:
        return len(self.rows)

    def __getattr__(self, name: str) -> npt.NDArray[Any]:
        if name in (FLOW_ROW.names or ()):
            column: npt.NDArray[Any] = self.rows[name]
            return column
        raise AttributeError(f"flows have no column {name!r}")

    @property
    def duration(self) -> npt.NDArray[np.float64]:
        """Seconds since each was added, shape (n,)."""
        seconds: npt.NDArray[np.float64] = self.duration_sec + self.duration_nsec * 1e-9
        return seconds

    @overload
    def __getitem__(self, which: int) -> Flow: ...
    @overload
    def __getitem__(self, which: slice | npt.NDArray[Any] | Sequence[int]) -> FlowTable: ...
    def __getitem__(
        self, which: int | slice | npt.NDArray[Any] | Sequence[int]
    ) -> Flow | FlowTable:
        if isinstance(which, int | np.integer):
            return self.flow(int(which))
        return FlowTable(self.rows[which], self.data, self.tables)

    def __iter__(self) -> Iterator[Flow]:
        return map(self.flow, range(len(self)))

    def key(self, i: int) -> tuple[int, int, bytes]:
        """What tells it from the others: table, priority, match."""
        row = self.rows[i]
        return int(row["table"]), int(row["priority"]), self._piece(row, "match")

    def content(self, i: int) -> tuple[int, int, int, int, bytes]:
        """What a change can change: cookie, timeouts, importance, instructions."""
        row = self.rows[i]
        return (
            int(row["cookie"]),
            int(row["idle_timeout"]),
            int(row["hard_timeout"]),
            int(row["importance"]),
            self._piece(row, "instructions"),
        )

    def flow(self, i: int) -> Flow:
        """The i-th flow."""
        return Flow.decode(self.flow_mod(i))

    def flow_mod(self, i: int) -> bytes:
        """The OFPT_FLOW_MOD that adds the i-th."""
        cookie, idle, hard, importance, instructions = self.content(i)
        flags = int(self.rows[i]["flags"])
        return codec.flow_mod_encode(
            (*self.key(i), instructions, cookie, idle, hard, importance, flags)
        )

    def stats(self, i: int) -> FlowStats:
        """What the i-th has done."""
        row = self.rows[i]
        seconds = int(row["duration_sec"]) + int(row["duration_nsec"]) * 1e-9
        return FlowStats(int(row["packets"]), int(row["bytes"]), seconds)

    def format(self, i: int, *, stats: bool = True, cookie: bool = True) -> str:
        """The i-th as ``ovs-ofctl dump-flows`` prints it, with or without its counts and cookie."""
        row = self.rows[i : i + 1].tobytes() if i >= 0 else self.rows[i:][:1].tobytes()
        return codec.flow_row_format(self.data, row, self.tables, cookie, stats)

    def match_and_actions(self, i: int) -> tuple[str, str]:
        """The i-th flow's match and what it does, as text."""
        row = self.rows[i].copy()
        for name in ("table", "idle_timeout", "hard_timeout", "importance", "flags"):
            row[name] = 0
        row["priority"] = _DEFAULT_PRIORITY
        text = codec.flow_row_format(self.data, row.tobytes(), self.tables, False, False)
        # The first table's name, where it has one, is printed even here.
        match, _, actions = text.partition("actions=")
        return re.sub(r"^table=[^,]*, ", "", match).rstrip(), actions

    def lines(self, *, stats: bool = True, cookie: bool = True) -> Iterator[str]:
        """All, as ``ovs-ofctl dump-flows`` prints them, with or without counts and cookies."""
        size, data, tables = FLOW_ROW.itemsize, self.data, self.tables
        view = memoryview(self.rows.tobytes())
        for at in range(0, len(view), size):
            yield codec.flow_row_format(data, view[at : at + size], tables, cookie, stats)

    def sorted(self) -> FlowTable:
        """By table, then by priority, the highest first."""
        order = np.lexsort((-self.priority.astype(np.int32), self.table))
        return self[order]

    def top(self, n: int, by: str = "packets") -> FlowTable:
        """The ``n`` with the highest numbers in the column ``by`` of `FLOW_ROW`, highest first."""
        return self[np.argsort(self.rows[by], kind="stable")[::-1][:n]]

    def _piece(self, row: Any, name: str) -> bytes:
        at = int(row[name])
        return self.data[at : at + int(row[name + "_len"])]

    def __repr__(self) -> str:
        return f"<FlowTable of {len(self)} flows>"
