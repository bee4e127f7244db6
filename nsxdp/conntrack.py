"""Tracked connections, as ``ovs-appctl dpctl/dump-conntrack`` prints them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from socket import AF_INET, AF_INET6, inet_pton
from typing import Final, NamedTuple

__all__ = ["Entry", "read_entries"]

_TUPLE: Final = (
    r"\(src=([^,)\n]+),dst=([^,)\n]+)(?:,sport=(\d{1,5}),dport=(\d{1,5}))?(?:,id=(\d{1,5}))?"
    r"[^)\n]*?(?:,packets=(\d{1,19}),bytes=(\d{1,19}))?\)"
)
"""Numbers have so many digits that no count needs more than 64 bits."""
_ENTRY: Final = re.compile(rf"^(\w+),orig={_TUPLE},reply={_TUPLE}(.*)$", re.MULTILINE | re.ASCII)
_MARK: Final = re.compile(r",mark=(\d{1,10})\b", re.ASCII)
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
    icmp_id
        The number by which the echoes of one ICMP sender are told from another's.
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
    icmp_id: int = 0


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
        protocol, src, dst, sport, dport, icmp_id, packets, bytes_, *reply, rest = found.groups()
        reply_src, reply_dst, reply_sport, reply_dport, _, reply_packets, reply_bytes = reply
        mark, state = _MARK.search(rest), _STATE.search(rest)
        entry = Entry(
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
            int(icmp_id or 0),
        )
        if _can_be(entry):
            yield entry


def _can_be(entry: Entry) -> bool:
    """Whether there can be such a connection: who reads of one has no need to doubt it."""
    ports = entry.src_port, entry.dst_port, entry.reply_src_port, entry.reply_dst_port
    family = AF_INET6 if ":" in entry.src else AF_INET
    try:
        for address in (entry.src, entry.dst, entry.reply_src, entry.reply_dst):
            inet_pton(family, address)
    except (OSError, ValueError):
        return False
    return max(ports) < 1 << 16


def _count(text: str | None) -> int | None:
    return None if text is None else int(text)
