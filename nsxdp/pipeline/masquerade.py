"""ServiceSNAT: the second half of a translation, for those whose source must not be seen.

An endpoint answers who it takes for the client. Where the answer would not come back through this
node, or where Kubernetes wants the client hidden, the source becomes an address of the bridge's
own. One OpenFlow action translates one end of a connection, so this is a second zone of conntrack,
which only such connections pass; that they are such is marked in the first zone::

    table=ServiceSNAT, priority=200,ip,reg0=0x4/0x6
        actions=ct(commit,zone=65312,exec(set_field:0x20/0x20->ct_mark)),
            ct(commit,table=L3Forwarding,zone=65313,nat(src=169.254.0.251))
    table=ConntrackState, priority=210,ct_state=-rpl+trk+dnat,ct_mark=0x20/0x20,ip
        actions=ct(table=L3Forwarding,zone=65313,nat)

Before there is an answer, the kernel's datapath translates nothing without ``commit``: then a
packet isn't ``+dnat``, and goes the way of the first one again.

An answer is known by its destination; it gets back its own, and then goes the way of all packets::

    table=Conntrack, priority=230,ip,nw_dst=169.254.0.251
        actions=ct(table=Conntrack,zone=65313,nat)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nsxdp.openflow import Template
from nsxdp.pipeline.registers import (
    BITS,
    MASQUERADE_IPV4,
    MASQUERADE_IPV6,
    SNAT_ZONE,
    ZONE,
)
from nsxdp.pipeline.tables import TABLES

__all__ = ["MASQUERADE"]

_MASQUERADE: Final = BITS["Masquerade"].mask
_UPLINK: Final = BITS["Uplink"].mask
_MASQUERADED: Final = BITS["Masqueraded"].mask
_BY_UPLINK: Final = BITS["ByUplink"].mask


def _mark(mark: int, *more: str) -> str:
    """What marks the connection in the zone of the Services."""
    execute = ",".join([f"set_field:{mark:#x}/{mark:#x}->ct_mark", *more])
    return f"ct(commit,zone={ZONE},exec({execute}))"


def _flows(ip: str, dst: str, address: str) -> Iterator[str]:
    keep_mac = "move:NXM_OF_ETH_SRC[]->NXM_NX_CT_LABEL[0..47]"
    source = address if ip == "ip" else f"[{address}]"
    translate = f"ct(commit,table=L3Forwarding,zone={SNAT_ZONE},nat(src={source}))"
    here = f"table=ServiceSNAT,priority=200,{ip},reg0={{:#x}}/{_MASQUERADE | _UPLINK:#x},actions="
    yield here.format(_MASQUERADE) + f"{_mark(_MASQUERADED)},{translate}"
    yield here.format(_UPLINK) + f"{_mark(_BY_UPLINK, keep_mac)},goto_table:L3Forwarding"
    both = _mark(_MASQUERADED | _BY_UPLINK, keep_mac)
    yield here.format(_MASQUERADE | _UPLINK) + f"{both},{translate}"
    yield (
        f"table=ConntrackState,priority=210,ct_state=-rpl+trk+dnat,"
        f"ct_mark={_MASQUERADED:#x}/{_MASQUERADED:#x},{ip},"
        f"actions=ct(table=L3Forwarding,zone={SNAT_ZONE},nat)"
    )
    yield (
        f"table=Conntrack,priority=230,{ip},{dst}={address},"
        f"actions=ct(table=Conntrack,zone={SNAT_ZONE},nat)"
    )


MASQUERADE: Final = tuple(
    Template(text, TABLES)
    for family in (
        ("ip", "nw_dst", MASQUERADE_IPV4),
        ("ipv6", "ipv6_dst", MASQUERADE_IPV6),
    )
    for text in _flows(*family)
)
"""The flows, which are there whatever Services there are."""
