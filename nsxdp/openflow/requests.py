"""Requests of agents, in their words."""

from __future__ import annotations

from nsxdp.openflow.messages import (
    ALL_GROUPS,
    ALL_TABLES,
    ANY_MATCH,
    CtFlush,
    CtTuple,
    FlowCommand,
    FlowDescRequest,
    FlowMod,
)
from nsxdp.openflow.parts import Match

__all__ = [
    "ALL_GROUPS",
    "ALL_TABLES",
    "ANY_MATCH",
    "CtTuple",
    "ct_flush",
    "delete_flows",
    "flow_desc_request",
]


def flow_desc_request(
    cookie: int = 0, mask: int = 0, table: int = ALL_TABLES, match: Match = ANY_MATCH
) -> FlowDescRequest:
    """Ask for the flows with a cookie like this (in the bits of ``mask``).

    Parameters
    ----------
    match
        Only flows that match at least this.
    """
    return FlowDescRequest(table, cookie=cookie, cookie_mask=mask, match=match)


def delete_flows(
    cookie: int = 0, mask: int = 0, table: int = ALL_TABLES, match: Match = ANY_MATCH
) -> FlowMod:
    """Delete the flows with a cookie like this (in the bits of ``mask``).

    Parameters
    ----------
    match
        Only flows that match at least this.

    Examples
    --------
    >>> from nsxdp.openflow import delete_flows
    >>> print(delete_flows(0x6E01 << 48, 0xFFFF << 48, table=20))
    OFPT_FLOW_MOD (OF1.5) (xid=0x0): DEL table:20 ... cookie:0x6e01000000000000/...
    """
    return FlowMod(cookie, mask, table, FlowCommand.DELETE, match=match)


def ct_flush(
    zone: int | None = None,
    protocol: int = 0,
    original: CtTuple | None = None,
    reply: CtTuple | None = None,
) -> CtFlush:
    """Forget tracked connections.

    Parameters
    ----------
    zone
        Only of this zone.
    protocol
        Only of this IP protocol; needed where a port is given.
    original, reply
        Only those with these addresses and ports: as their first packet had them, and as an answer
        has them, which is where one sees the endpoint that a Service's address was translated to.

    Examples
    --------
    >>> from ipaddress import ip_address
    >>> from nsxdp.openflow import CtTuple, ct_flush
    >>> request = ct_flush(zone=1, protocol=6, reply=CtTuple(src=ip_address("10.244.0.5")))
    >>> print(request)
    NXT_CT_FLUSH (OF1.5) (xid=0x0): zone=1 ... 'ct_nw_src=10.244.0.5,...
    """
    return CtFlush(protocol, original, reply, zone)
