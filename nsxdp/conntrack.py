"""Tracked connections, as ``ovs-appctl dpctl/dump-conntrack`` prints them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

__all__ = ["Entry", "read_entries"]

_ENTRY: Final = re.compile(
    r"^(?P<protocol>\w+),"
    r"orig=\(src=([^,)]+),dst=([^,)]+)(?:,sport=(\d+),dport=(\d+))?[^)\n]*?"
    r"(?:,packets=(\d+),bytes=(\d+))?\),"
    r"reply=\(src=([^,)]+),dst=([^,)]+)(?:,sport=(\d+),dport=(\d+))?[^)\n]*?"
    r"(?:,packets=(\d+),bytes=(\d+))?\)(.*)$",
    re.MULTILINE,
)
_MARK: Final = re.compile(r",mark=(\d+)")
_STATE: Final = re.compile(r"\(state=(\w+)")


class Entry(NamedTuple):
    """A connection. Where a number isn't printed, it is 0; counts are None then.

    Attributes
    ----------
    protocol
        ``tcp``, ``udp``, ``icmp`` ...
    src, src_port, dst, dst_port
        As its first packet came.
    reply_src, reply_src_port, reply_dst, reply_dst_port
        As the answers come: who is translated has another address here.
    packets, bytes, reply_packets, reply_bytes
        Of both directions, if this datapath counts.
    mark
        The connection's.
    state
        Of TCP, with ``dump-conntrack -s``: ``ESTABLISHED``; else empty.
    """

    protocol: str
    src: str
    src_port: int
    dst: str
    dst_port: int
    reply_src: str
    reply_src_port: int
    reply_dst: str
    reply_dst_port: int
    packets: int | None
    bytes: int | None
    reply_packets: int | None
    reply_bytes: int | None
    mark: int
    state: str


def read_entries(dump: str) -> Iterator[Entry]:
    """The connections; lines that aren't one are left out.

    Examples
    --------
    >>> from nsxdp.conntrack import read_entries
    >>> (entry,) = read_entries(
    ...     "tcp,orig=(src=10.244.0.3,dst=10.96.0.10,sport=5000,dport=80,packets=6,bytes=600),"
    ...     "reply=(src=10.244.1.3,dst=10.244.0.3,sport=8080,dport=5000,packets=4,bytes=4000),"
    ...     "zone=65312,mark=16,timeout=29,protoinfo=(state=TIME_WAIT)"
    ... )
    >>> entry.dst, entry.reply_src, entry.reply_src_port, entry.reply_bytes, entry.state
    ('10.96.0.10', '10.244.1.3', 8080, 4000, 'TIME_WAIT')
    """
    for found in _ENTRY.finditer(dump):
        protocol, src, dst, sport, dport, packets, bytes_, *reply, rest = found.groups()
        reply_src, reply_dst, reply_sport, reply_dport, reply_packets, reply_bytes = reply
        mark, state = _MARK.search(rest), _STATE.search(rest)
        yield Entry(
            protocol,
            src,
            int(sport or 0),
            dst,
            int(dport or 0),
            reply_src,
            int(reply_sport or 0),
            reply_dst,
            int(reply_dport or 0),
            _count(packets),
            _count(bytes_),
            _count(reply_packets),
            _count(reply_bytes),
            int(mark[1]) if mark else 0,
            state[1] if state else "",
        )


def _count(text: str | None) -> int | None:
    return None if text is None else int(text)
