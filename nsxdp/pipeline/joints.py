"""How the node agent's stages and the Service proxy's are one pipeline, with either process alone.

Each of the two writes flows of its own, known by their cookies, and neither knows whether the
other runs. What the proxy writes is whole by itself. The agent's flows join it so:

- The proxy's priorities are multiples of 5. In a table that both have, the agent's never are: so no
  flow of one ever replaces one of the other.
- What is to come before the proxy's stage is a flow of a higher priority, which is passed by what
  has been there: SpoofGuard comes before the Classifier's other flows, and sends on what may pass::

    table=Classifier, priority=301,reg0=0/0x10000 actions=goto_table:SpoofGuard

- What the proxy decides otherwise is decided before it: every frame that is switched, and every
  route within the cluster (routing.py). The rest stays the proxy's: Services, hairpins, the node
  that reaches itself.
- What must be there even where the proxy isn't, comes after it, at a lower priority: packets are
  tracked, in its zone, so that connections that it translated go on without it::

    table=Classifier, priority=51,ip actions=goto_table:Conntrack
    table=Conntrack, priority=61,ip,in_port=LOCAL,dl_dst=02:6e:73:78:64:70
        actions=set_field:GATEWAY->eth_dst,ct(table=ConntrackState,zone=65312,nat)
    table=Conntrack, priority=51,ip actions=ct(table=ConntrackState,zone=65312,nat)
    table=ConntrackState, priority=1 actions=goto_table:L3Forwarding
    table=L3Forwarding, priority=1 actions=goto_table:L2Forwarding
"""

from __future__ import annotations

from typing import Final

from nsxdp.openflow import Template
from nsxdp.pipeline.registers import BITS, VIRTUAL_MAC, ZONE
from nsxdp.pipeline.tables import TABLES

__all__ = ["ADMIT", "HOST_HOP", "JOINTS"]

_ADMITTED: Final = BITS["Admitted"].mask
_TRACK: Final = f"ct(table=ConntrackState,zone={ZONE},nat)"

ADMIT: Final = f"set_field:{_ADMITTED:#x}/{_ADMITTED:#x}->reg0,resubmit(,Classifier)"
"""What SpoofGuard does with an IP packet that may pass."""

JOINTS: Final = tuple(
    Template(text, TABLES)
    for text in (
        f"table=Classifier,priority=301,reg0=0/{_ADMITTED:#x},actions=goto_table:SpoofGuard",
        *(
            f"table=Classifier,priority=51,{ip},actions=goto_table:Conntrack"
            for ip in ("ip", "ipv6")
        ),
        *(f"table=Conntrack,priority=51,{ip},actions={_TRACK}" for ip in ("ip", "ipv6")),
        "table=ConntrackState,priority=1,actions=goto_table:L3Forwarding",
        "table=L3Forwarding,priority=1,actions=goto_table:L2Forwarding",
    )
)
"""The flows that are there whatever pods and nodes there are."""

HOST_HOP: Final = tuple(
    Template(
        f"table=Conntrack,priority=61,{ip},in_port={{port}},dl_dst={VIRTUAL_MAC},"
        f"actions=set_field:{{gateway_mac}}->eth_dst,{_TRACK}",
        TABLES,
    )
    for ip in ("ip", "ipv6")
)
"""What the host sends to the router that the bridge is. Columns: port (the gateway's), gateway_mac.
"""
